"""Watch what a process does to files, and do something to it at a chosen one of these events.

Events come from Python's audit hooks, so that nothing of harmonygen is replaced: opening for writing, renaming,
linking, removing and making folders below the watched folders, reading a file of the data (``read``), and, since they
are not audited, ``os.fsync`` and a Parquet row group's write are wrapped. Arrow's own file calls are in C++; their
renames and syncs are ours.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
NAMES = {
    "os.rename": "rename",
    "os.link": "link",
    "os.symlink": "link",
    "os.remove": "remove",
    "os.mkdir": "mkdir",
}


class Trap:
    """Counts events and acts at number ``at`` (from 0) of those whose kind is in ``ops`` (all kinds if empty).

    ``does``: ``kill`` (SIGKILL), ``signal`` (the numbers in ``numbers``, one at each event from there), ``error`` (an
    OSError of ``errno``), ``hold`` (wait until the file ``until`` is there) or ``nothing``. Each event is a line of the
    file ``log``.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.out, self.data = (os.path.abspath(spec[name]) for name in ("out", "data"))
        self.left, self.numbers = spec.get("at", -1), list(spec.get("numbers", ()))
        self.ops, self.mine = set(spec.get("ops", ())), threading.Lock()
        self.log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if spec.get("log") else None

    def set(self) -> None:
        """Start to watch; it cannot be undone in this process."""
        import pyarrow.parquet as pq

        sys.addaudithook(self._hear)
        os.fsync = self._after("fsync", os.fsync)
        pq.ParquetWriter.write_table = self._after("write", pq.ParquetWriter.write_table)

    def _after(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **options: Any) -> Any:
            self._event(kind, _name_of(args[0]) if kind == "fsync" else self.out)
            return call(*args, **options)

        return watched

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if isinstance(path, (str, bytes, os.PathLike)):
                self._event("open" if flags and flags & WRITING else "read", os.fsdecode(path))
        elif event in NAMES:
            path = args[1] if event in ("os.rename", "os.link", "os.symlink") else args[0]
            self._event(NAMES[event], os.fsdecode(path))

    def _event(self, kind: str, path: str) -> None:
        path = os.path.abspath(path)
        home = self.data if kind == "read" else self.out
        if path != home and not path.startswith(home + os.sep):
            return
        with self.mine:
            if self.log is not None:
                os.write(self.log, f"{kind}\t{os.path.relpath(path, home)}\n".encode())
            if self.ops and kind not in self.ops:
                return
            now, self.left = self.left == 0 or (self.left < 0 and self.numbers != []), self.left - 1
        if now and self.spec.get("at", -1) >= 0:
            self._act(path)

    def _act(self, path: str) -> None:
        does = self.spec["does"]
        if does == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif does == "signal" and self.numbers:
            os.kill(os.getpid(), self.numbers.pop(0))
        elif does == "error":
            raise OSError(self.spec["errno"], os.strerror(self.spec["errno"]), path)
        elif does == "hold":
            Path(self.spec["reached"]).touch()
            while not Path(self.spec["until"]).exists():
                time.sleep(0.01)


def _name_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return "/"
