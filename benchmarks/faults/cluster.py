"""A worker of Ray killed, its driver killed: the same command resumes, nothing lost, nothing twice.

The engine's own tests hold the machinery (a cluster of its own, kills by process); each is one injection here.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from faults.table import Row

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests" / "engines" / "test_ray.py"
CASES = {
    "a worker killed": "test_a_worker_that_is_killed_is_replaced",
    "workers killed again and again": "test_a_shard_that_always_ends_its_worker_is_named",
    "the driver killed and restarted": "test_the_command_killed_and_repeated_loses_nothing",
}
MOST_SECONDS = 900
COUNT = {name: re.compile(rf"(\d+) {name}") for name in ("passed", "failed", "error")}


def rows(_place: Path, quick: bool = False) -> Iterator[Row]:
    """Kill workers and drivers of Ray; the tests compare rows and pixels with a local run."""
    fault = f"Ray: {', '.join(CASES)}"
    if quick or find_spec("ray") is None or not TESTS.is_file():
        yield Row(fault, 0, 0, note="not in the quick subset" if quick else "Ray, or its tests, are not installed")
        return
    code, said = _test()
    passed, *others = (sum(map(int, count.findall(said))) for count in COUNT.values())
    good = passed if code is not None and not any(others) else 0
    if code == 0 and not passed:  # a doubled -q prints no counts
        good = len(CASES)
    last = (said.strip().splitlines() or [""])[-1][:200]
    note = (
        "rows and pixels equal to a local run's"
        if code == 0
        else f"stopped after {MOST_SECONDS} s" * (code is None) or last
    )
    yield Row(fault, len(CASES), good, note=note)


def _test() -> tuple[int | None, str]:
    """Run the tests; return their exit code, None if they took too long, and what they said."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(TESTS),
        "-k",
        " or ".join(CASES.values()),
    ]
    tests = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        return tests.wait(MOST_SECONDS), tests.communicate()[0]
    except subprocess.TimeoutExpired:
        tests.send_signal(signal.SIGINT)  # so that the cluster is ended too
        return None, tests.communicate()[0]
