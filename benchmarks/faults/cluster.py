"""A worker of Ray killed, its driver killed: the same command goes on, nothing lost, nothing twice.

The engine's own tests hold the machinery (a cluster of its own, kills by process); each is one injection here.
"""

from __future__ import annotations

import re
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
COUNT = {name: re.compile(rf"(\d+) {name}") for name in ("passed", "failed", "error")}


def rows(_place: Path, quick: bool = False) -> Iterator[Row]:
    """Kill workers and drivers of Ray; the tests compare rows and pixels with a local run."""
    fault = f"Ray: {', '.join(CASES)}"
    if quick or find_spec("ray") is None or not TESTS.is_file():
        yield Row(fault, 0, 0, note="not in the quick subset" if quick else "Ray, or its tests, are not installed")
        return
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
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    passed, *others = (sum(map(int, count.findall(done.stdout))) for count in COUNT.values())
    if not passed and done.stdout.strip().endswith("[100%]") and not done.returncode:
        passed = len(CASES)  # -q twice prints no counts
    note = (
        "rows and pixels equal to a local run's" if not done.returncode else done.stdout.strip().splitlines()[-1][:200]
    )
    yield Row(fault, len(CASES), passed if not any(others) else min(passed, len(CASES) - 1), note=note)
