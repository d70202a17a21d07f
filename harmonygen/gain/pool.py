"""Run the trainings of a study, one after another here or several side by side as processes of one thread each."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harmonygen.errors import HarmonygenError
from harmonygen.gain.run import run_job

Log = Callable[[str], None]


LOG = "train.log"


_POLL_SECONDS = 0.5


_TAIL = 5  # lines of a failed run's log in the message


def run_all(folders: Sequence[Path], workers: int, log: Log) -> Iterator[Path]:
    """Run the jobs of ``folders`` and yield each when it is whole.

    A run in a process of its own writes what it says to ``train.log``. When this process is stopped, they write a
    checkpoint and stop too.

    Raises:
        HarmonygenError: a run failed: the others that are at work are stopped, with a checkpoint.
    """
    if workers == 1:
        for folder in folders:
            run_job(folder, log)
            yield folder
        return
    yield from _in_processes(folders, workers)


def _in_processes(folders: Sequence[Path], workers: int) -> Iterator[Path]:
    waiting, running = list(folders), dict[Path, subprocess.Popen[bytes]]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                folder = waiting.pop(0)
                running[folder] = _start(folder)
            ended = [folder for folder, process in running.items() if process.poll() is not None]
            for folder in ended:
                _refuse_failed(folder, running.pop(folder).returncode)
                yield folder
            if not ended:
                time.sleep(_POLL_SECONDS)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()


def _start(folder: Path) -> subprocess.Popen[bytes]:
    """Start a run in a session of its own: Ctrl-C reaches it through this process alone, once."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(folder / LOG, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "harmonygen.gain.run", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _refuse_failed(folder: Path, code: int) -> None:
    if code:
        lines = (folder / LOG).read_text(errors="replace").strip().splitlines()
        said = " | ".join(lines[-_TAIL:]) or "nothing was said"
        raise HarmonygenError(
            f"the training in '{folder}' ended with code {code} ({said}): mend it, then rerun the command to resume"
        )
