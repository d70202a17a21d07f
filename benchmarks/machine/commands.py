"""Run one command of the command line: in this process, or in a forked one that may crash."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SECONDS = 120  # a forked command that takes longer hangs


@dataclass(frozen=True)
class End:
    """How a command ended: its exit code (minus the signal's number if one killed it) and what it said on stderr."""

    code: int
    said: str


@contextlib.contextmanager
def classifiers_remembered() -> Iterator[None]:
    """Load each classifier folder once a process: building a random ResNet takes longer than all else in a step."""
    from harmonygen.models.classifier import HarmonyResNet

    before = HarmonyResNet.__dict__["from_pretrained"]
    HarmonyResNet.from_pretrained = _remembering()
    try:
        yield
    finally:
        HarmonyResNet.from_pretrained = before


@functools.cache
def _remembering() -> Callable[..., Any]:
    from harmonygen.models.classifier import HarmonyResNet

    return functools.cache(HarmonyResNet.from_pretrained)


def command(words: Sequence[object], strike: Mapping[str, Any] | None = None, alone: bool = False) -> End:
    """Run ``harmonygen WORDS``; ``strike`` holds what :meth:`Striker.armed` takes, ``alone`` asks for a forked process.

    A forked process costs several times the command: it is for what may crash the interpreter.
    """
    from machine.strikes import Dead, striker

    typed = [str(word) for word in words]
    with striker().armed(**strike) if strike else contextlib.nullcontext():
        try:
            return _forked(typed) if alone else _here(typed)
        except Dead:
            return End(-signal.SIGKILL, "")


def _here(words: list[str]) -> End:
    from harmonygen_cli.main import run

    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = run(words)
    return End(code, said.getvalue())


def _forked(words: list[str]) -> End:
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if not child:
            _live(words, said.fileno())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return End(code, said.read().decode(errors="replace"))


def _live(words: list[str], said: int) -> None:
    """Be one command in a process of its own; never returns."""
    code = 1
    try:
        signal.alarm(_SECONDS)
        for descriptor in (1, 2):
            os.dup2(said, descriptor)
        sys.stdout = sys.stderr = open(said, "w", closefd=False)  # noqa: SIM115  (the process ends with it)
        from harmonygen_cli.main import run

        code = run(words)
    except BaseException as end:
        traceback.print_exc()
        if type(end).__name__ == "Dead":
            os.kill(os.getpid(), signal.SIGKILL)
    finally:
        sys.stdout.flush()
        os._exit(code)


def snapshot(folder: Path, hidden: bool = False) -> dict[str, tuple[int, bytes]]:
    """Return each file below a folder with its time of change and content; ``hidden`` ones too if asked."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and (hidden or path.name[0] != "."))
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
