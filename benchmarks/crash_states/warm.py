"""Run a command many times in forked children of this process, which has its imports loaded."""

from __future__ import annotations

import atexit
import importlib
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}
SECONDS = 120
"""A child that takes longer is ended: a command that hangs after a crash has not recovered."""


@dataclass(frozen=True)
class End:
    """How a command ended: its exit code (minus a signal's number), the last line that it said, and what was asked."""

    code: int
    told: str
    answer: Any = None


def prepare() -> None:
    """Prepare a worker process: one thread for each command, and no words of libraries at the interpreter's end."""
    os.environ.update(ENVIRONMENT)
    atexit.register(os._exit, 0)


def load(command: Sequence[object], said: Path) -> None:
    """Import here, without running anything here, every module that a command imports in a child."""
    end = run(command, said, last=lambda: list(sys.modules))
    if end.code:
        raise RuntimeError(f"the command does not work at all: {' '.join(map(str, command))}: {end.told}")
    for name in end.answer:
        if name != "__main__":
            with suppress(Exception):
                importlib.import_module(name)


def run(
    command: Sequence[object],
    said: Path,
    first: Callable[[], object] = lambda: None,
    last: Callable[[], Any] = lambda: None,
) -> End:
    """Run a command in a child: ``first`` before it, ``last`` after it; the latter's value is the answer."""

    def work() -> tuple[int, Any]:
        from harmonygen_cli.main import run as command_line

        first()
        code = command_line([str(word) for word in command])
        return code, last()

    return forked(work, said)


def forked(work: Callable[[], tuple[int, Any]], said: Path) -> End:
    """Call ``work`` in a child of this process; it returns the exit code and the answer."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _live(work, said, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as opened:
        answer = opened.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    lines = said.read_text(errors="replace").strip().splitlines() or [""]
    return End(code, lines[-1], pickle.loads(answer) if answer else None)


def _live(work: Callable[[], tuple[int, Any]], said: Path, writing: int) -> None:
    """Be the child, from its first line to its exit code; never returns."""
    code = 1
    try:
        signal.alarm(SECONDS)
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        code, answer = work()
        with os.fdopen(writing, "wb") as opened:
            pickle.dump(answer, opened)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
