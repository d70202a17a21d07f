"""Kill `harmonygen synthesize` at random moments, resume it each time, and compare with a run left alone.

    python benchmarks/kill_resume.py --kills 10 --seed 0 -- --generator lut --k 10 --shard-size 2

What follows `--` goes to `harmonygen synthesize`. Prints a line a kill, then rows lost, rows twice, and whether seeds
and pixels are those of the run left alone; exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from harmonygen.storage.shards import file_metadata, is_whole
from harmonygen.synthesis.shard import SECONDS_KEY

DEFAULT = ["--generator", "lut", "--k", "10", "--shard-size", "2"]
POLL_SECONDS = 0.02
Rows = dict[tuple[str, int], tuple[int, str, bool, bytes]]
"""(pair_id, k) -> seed, gate, selected, decoded pixels."""


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("arguments", nargs="*", help="options of harmonygen synthesize, after --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        alone, killed = Path(folder) / "alone", Path(folder) / "killed"
        arguments = options.arguments or DEFAULT
        begun, whole = measure(start(alone, arguments), alone)
        files = list((alone / "candidates").glob("part-*.parquet"))
        shard = sum(float(file_metadata(path)[SECONDS_KEY]) for path in files) / len(files)
        print(f"left alone: {whole:.1f} s, start-up {begun:.1f} s; {len(files)} shards of {shard:.2f} s", flush=True)
        print(f"{'kill':>4} {'at':>20} {'seconds':>8} {'shards whole':>13} {'stray files':>12}", flush=True)
        moments = random.Random(options.seed)
        for number in range(1, options.kills + 1):
            process, began = start(killed, arguments), time.monotonic()
            where = kill(process, killed, moments, begun, shard)
            figures = f"{time.monotonic() - began:>8.2f} {count_whole(killed):>13} {count_strays(killed):>12}"
            print(f"{number:>4} {where:>20} {figures}", flush=True)
        measure(start(killed, arguments), killed)
        return compare(rows_of(alone), rows_of(killed), count_strays(killed))


def start(out: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start synthesize in a process group of its own, so that a kill reaches its workers too."""
    entry = "from harmonygen_cli.main import main; main()"
    command = [sys.executable, "-c", entry, "synthesize", *arguments, "--out", str(out), "--quiet"]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)


def measure(process: subprocess.Popen[bytes], out: Path) -> tuple[float, float]:
    """Wait for a run; return the seconds until it made its first file, and until its end."""
    began, first = time.monotonic(), 0.0
    while process.poll() is None:
        first = first or (time.monotonic() - began if (out / "plan.json").exists() else 0.0)
        time.sleep(POLL_SECONDS)
    if process.returncode:
        raise SystemExit(f"harmonygen synthesize ended with exit code {process.returncode}")
    return first, time.monotonic() - began


def kill(process: subprocess.Popen[bytes], out: Path, moments: random.Random, begun: float, shard: float) -> str:
    """Kill a run, one in five while it starts, else within two shards' time of its first write; say where."""
    starting, share = moments.random() < 0.2, moments.random()
    old = set(out.rglob(".*.tmp"))
    if not starting:
        while process.poll() is None and not set(out.rglob(".*.tmp")) - old:
            time.sleep(POLL_SECONDS)
    try:
        process.wait(share * (begun if starting else 2 * shard))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"start-up {share:.0%}" if starting else f"shard + {share * 2 * shard:.2f} s"
    return f"ended before, code {process.returncode}"


def count_whole(out: Path) -> int:
    """Count the shards under their final names, and check that every one is whole."""
    files = list((out / "candidates").glob("part-*.parquet"))
    torn = [
        path.name for folder in ("candidates", "pairs") for path in (out / folder).glob("part-*") if not is_whole(path)
    ]
    if torn:
        raise SystemExit(f"torn files under their final names: {', '.join(torn)}")
    return len(files)


def count_strays(out: Path) -> int:
    """Count temporary files."""
    return len(list(out.rglob(".*.tmp")))


def rows_of(out: Path) -> list[tuple[tuple[str, int], tuple[int, str, bool, bytes]]]:
    """Return every candidate row of a run."""
    rows = (row for path in sorted((out / "candidates").glob("part-*")) for row in pq.read_table(path).to_pylist())
    return [
        ((row["pair_id"], row["k"]), (row["seed"], row["gate"], row["selected"], pixels(row["composite"]["bytes"])))
        for row in rows
    ]


def pixels(encoded: bytes) -> bytes:
    """Decode an image to its raw pixels."""
    return np.asarray(Image.open(io.BytesIO(encoded))).tobytes()


def compare(alone: list, killed: list, strays: int) -> int:
    """Print how the killed run differs; return the exit code."""
    expected, found = dict(alone), dict(killed)
    common = expected.keys() & found.keys()
    lost = len(expected.keys() - found.keys())
    twice = sum(count - 1 for count in Counter(key for key, _ in killed).values())
    seeds = sum(expected[key][0] == found[key][0] for key in common)
    verdicts = sum(expected[key][1:3] == found[key][1:3] for key in common)
    same = sum(expected[key][3] == found[key][3] for key in common)
    total = len(expected)
    print(f"rows lost {lost}, rows twice {twice}, stray files at the end {strays}")
    print(f"of {total} rows: seeds equal {seeds}, gates and selection equal {verdicts}, pixels equal {same}")
    good = not (lost or twice or strays) and seeds == verdicts == same == total
    print("nothing lost, nothing twice" if good else "THE RUNS DIFFER")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
