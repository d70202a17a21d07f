"""Measurements behind the page: one at a time, in a process of its own that ends with the server.

The server stays quick and small meanwhile. A measurement that is stopped or killed resumes where it was when it is
started again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from harmonygen.errors import HarmonygenError, UsageError
from harmonygen.review.measure import Kind
from harmonygen.review.measured import KINDS, measure_kind

State = Literal["none", "running", "done", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a measurement is: pairs done, of all, and what went wrong."""

    state: State = "none"
    done: int = 0
    total: int = 0
    message: str = ""


class Measuring:
    """The measurements of one run, started from the page. Its methods may be called from several threads."""

    def __init__(self, folder: Path, ended: Callable[[], None]) -> None:
        """Take the run's folder, and who is told that there is something new to read."""
        self.folder, self._ended = folder, ended
        self._lock = threading.Lock()
        self._standings: dict[Kind, Standing] = {kind: Standing() for kind in KINDS}
        self._process: Any = None

    def standings(self) -> dict[Kind, dict[str, Any]]:
        """Return how far each measurement is."""
        with self._lock:
            return {kind: asdict(each) for kind, each in self._standings.items()}

    def start(self, kind: str) -> None:
        """Begin, or resume, a measurement.

        Raises:
            UsageError: there is no such measurement, or one is at work.
        """
        if kind not in KINDS:
            raise UsageError(f"nothing is called {kind!r}: measure {', '.join(KINDS)}")
        with self._lock:
            if self._process is not None:
                raise UsageError("something is being measured: wait for it, or stop it first")
            spawn = multiprocessing.get_context("spawn")
            here, there = spawn.Pipe(duplex=False)
            self._process = spawn.Process(target=_work, args=(str(self.folder), kind, there), daemon=True)
            self._process.start()
            there.close()
            self._standings[kind] = Standing("running")
        threading.Thread(target=self._follow, args=(kind, here), daemon=True).start()

    def stop(self) -> None:
        """End what is at work; what it measured stays."""
        with self._lock:
            if self._process is not None:
                self._process.terminate()

    def _follow(self, kind: Kind, here: Connection) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._note(kind, here.recv())
        process = self._process
        process.join()
        with self._lock:
            self._process, last = None, self._standings[kind]
            if last.state == "running":
                killed = process.exitcode == -signal.SIGTERM
                told = "stopped, can be resumed" if killed else "ended early, can be resumed"
                self._standings[kind] = replace(last, state="stopped" if killed else "failed", message=told)
        if last.state == "done":
            self._ended()

    def _note(self, kind: Kind, said: Standing) -> None:
        with self._lock:
            self._standings[kind] = said


def _end_with_the_server() -> None:
    """Wait until the server is gone, however it ended, and end this process: its chunks are on the disk."""
    server = multiprocessing.parent_process()
    if server is not None:
        server.join()
        os._exit(1)


def _work(folder: str, kind: Kind, told: Connection) -> None:
    """Measure in this process, and say how far it is; end when the server does."""
    from harmonygen.review.column_store import columns_of, stored_columns
    from harmonygen.runs.read import look_inside

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(10)
    threading.Thread(target=_end_with_the_server, daemon=True).start()

    def progress(done: int, total: int) -> None:
        told.send(Standing("running", done, total))

    with suppress(OSError):  # the server is gone: nobody is to be told
        try:
            run = look_inside(Path(folder))
            columns = stored_columns(run) or columns_of(run)
            measure_kind(run, columns, kind, progress)
            told.send(Standing("done", columns.pairs, columns.pairs))
        except HarmonygenError as error:
            told.send(Standing("failed", message=str(error)))
        except MemoryError:
            told.send(Standing("failed", message="memory ran out: close other programs, then resume"))
