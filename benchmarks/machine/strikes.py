"""Strike a command in this process: let it die at one of its events, or find no space at one.

A command that dies does nothing more to any file: from its last event on, every further one raises :class:`Dead`, also
those that would clean up. So it leaves behind what a killed process leaves, and no process has to be forked.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from faults.trap import Trap

_NOWHERE = "/nowhere"


class Dead(BaseException):
    """The command was killed."""


class Striker(Trap):
    """A trap that is armed for one command at a time."""

    def __init__(self) -> None:
        super().__init__({"out": _NOWHERE, "data": _NOWHERE})
        self.dead = False

    @contextmanager
    def armed(
        self, out: Path, data: Path, does: str, at: int, ops: Sequence[str] = (), errno: int = 0
    ) -> Iterator[None]:
        """Strike at event ``at`` (from 0) of those of the kinds ``ops`` (all if empty), below ``out`` and ``data``.

        ``does`` is ``die``, or ``error``: raise an OSError of ``errno``.
        """
        self.spec = {"does": does, "at": at, "errno": errno}
        self.out, self.data, self.ops, self.left, self.dead = str(out), str(data), set(ops), at, False
        try:
            yield
        finally:
            self.spec, self.out, self.data, self.left, self.dead = {}, _NOWHERE, _NOWHERE, -1, False

    def _event(self, kind: str, path: str) -> None:
        if self.dead and kind != "read" and os.path.abspath(path).startswith(self.out):
            raise Dead
        super()._event(kind, path)

    def _act(self, path: str) -> None:
        if self.spec["does"] == "die":
            self.dead = True
            raise Dead
        super()._act(path)


@functools.cache
def striker() -> Striker:
    """Return this process's striker; it watches from now on."""
    made = Striker()
    made.set()
    return made
