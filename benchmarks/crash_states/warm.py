"""Run a command many times in forked children of this process, which has run it once."""

from __future__ import annotations

import atexit
import gc
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
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
    """Run a command here, in this process: its imports, templates and parsers are then ready in every child.

    Give it an output folder of its own, so that nothing which is kept by a path is of the folder that is crashed.
    """
    output = os.dup(1), os.dup(2)
    try:
        _say_into(said)
        code = _command_line(command)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for kept, descriptor in zip(output, (1, 2), strict=True):
            os.dup2(kept, descriptor)
            os.close(kept)
    if code:
        raise RuntimeError(f"the command does not work at all: {' '.join(map(str, command))}: {_last_line(said)}")
    gc.collect()
    gc.freeze()  # children copy fewer pages


def _command_line(command: Sequence[object]) -> int:
    from harmonygen_cli.main import run as command_line

    return command_line([str(word) for word in command])


def _say_into(said: Path) -> None:
    opened = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(opened, descriptor)
    os.close(opened)


def _last_line(said: Path) -> str:
    return (said.read_text(errors="replace").strip().splitlines() or [""])[-1]


def run(
    command: Sequence[object],
    said: Path,
    first: Callable[[], object] = lambda: None,
    last: Callable[[], Any] = lambda: None,
) -> End:
    """Run a command in a child: ``first`` before it, ``last`` after it; the latter's value is the answer."""

    def work() -> tuple[int, Any]:
        first()
        code = _command_line(command)
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
    return End(code, _last_line(said), pickle.loads(answer) if answer else None)


def _live(work: Callable[[], tuple[int, Any]], said: Path, writing: int) -> None:
    """Be the child, from its first line to its exit code; never returns."""
    code = 1
    try:
        signal.alarm(SECONDS)
        _say_into(said)
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
