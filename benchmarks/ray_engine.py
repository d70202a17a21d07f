"""The Ray engine against the local one: the same pairs, the same threads; seconds, Ray's fixed cost, equal bytes.

    python benchmarks/ray_engine.py --workers 2 -- --data photos/ --limit 40 --k 10 --generator diffusion

What follows `--` goes to `harmonygen synthesize`. Every run is a command of its own in a new folder, with one thread a
worker unless --threads says otherwise. Ray is the command's own, started and ended with it. Exit code 1 if a row
differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

DEFAULT = ["--generator", "lut", "--k", "10", "--limit", "6", "--shard-size", "2"]
FIXED = """
import json, os, time
from harmonygen.synthesis.engines import ray as engine
marks = [time.monotonic()]
ray = engine.import_ray(); marks.append(time.monotonic())
with engine._connected(ray, None, {workers}):
    marks.append(time.monotonic())
    @ray.remote(num_cpus=1)
    class Empty:
        def ready(self):
            return None
    ray.get([Empty.remote().ready.remote() for _ in range({workers})]); marks.append(time.monotonic())
marks.append(time.monotonic())
print(json.dumps([later - earlier for earlier, later in zip(marks, marks[1:])]))
"""


def main() -> int:
    """Run both engines and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("arguments", nargs="*", help="options of harmonygen synthesize, after --")
    options = parser.parse_args()
    arguments = options.arguments or DEFAULT
    rows, expected = [], None
    with tempfile.TemporaryDirectory() as folder:
        for workers in options.workers:
            for engine in ("local", "ray"):
                out = Path(folder) / f"{engine}-{workers}"
                threads = options.threads * (workers if engine == "local" else 1)  # local shares out, Ray's each have
                seconds, summary = synthesize(out, [*arguments, "--engine", engine], workers, threads)
                found = rows_of(out)
                expected = expected or found
                equal = sum(expected.get(key) == row for key, row in found.items())
                same = equal == len(expected) == len(found)
                rows.append((engine, workers, seconds, summary["candidates"], f"{equal} of {len(expected)}", same))
    show(rows, options.threads)
    parts = fixed_cost(max(options.workers), options.threads)
    names = ("import ray", "start", f"{max(options.workers)} empty workers", "end")
    said = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in zip(names, parts, strict=True))
    print(f"\nRay's fixed cost: {sum(parts):.1f} s ({said})")
    return 0 if all(row[-1] for row in rows) else 1


def environment(threads: int) -> dict[str, str]:
    """Return this process's environment with a number of threads in it, which PyTorch and Ray keep."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads)}


def synthesize(out: Path, arguments: list[str], workers: int, threads: int) -> tuple[float, dict]:
    """Run the command; return its wall seconds and its summary."""
    entry = "from harmonygen_cli.main import main; main()"
    command = [sys.executable, "-c", entry, "synthesize", *arguments, "--workers", str(workers)]
    began = time.monotonic()
    done = subprocess.run(
        [*command, "--out", str(out), "--quiet", "--json"], stdout=subprocess.PIPE, env=environment(threads)
    )
    seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"harmonygen synthesize ended with exit code {done.returncode}")
    return seconds, json.loads(done.stdout)["summary"]


def rows_of(out: Path) -> dict[tuple[str, int], str]:
    """Return every candidate's whole row (encoded bytes, scores, gates) by pair and k."""
    rows = [row for path in sorted((out / "candidates").glob("part-*")) for row in pq.read_table(path).to_pylist()]
    return {(row["pair_id"], row["k"]): repr(row) for row in rows}


def show(rows: list[tuple], threads: int) -> None:
    """Print the table."""
    print("| engine | workers | threads each | seconds | candidates/s, all in | rows equal, bytes too |")
    print("|---|---:|---:|---:|---:|---:|")
    for engine, workers, seconds, candidates, equal, _ in rows:
        print(f"| {engine} | {workers} | {threads} | {seconds:.1f} | {candidates / seconds:.2f} | {equal} |")


def fixed_cost(workers: int, threads: int) -> list[float]:
    """Return the seconds to import Ray, start it, start workers that do nothing, and end it."""
    code = FIXED.format(workers=workers)
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment(threads), check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    raise SystemExit(main())
