"""`synthesize` with the same threads in all, in one process or in several.

    python benchmarks/workers.py --data photos.csv --workers 1 2

Each row is a command of its own in a new folder; local workers share out the threads. The first number of workers is
what the others are compared with. A product summed by another number of threads differs in its last bits, so pixels
are compared; exit code 1 if a candidate is missing, or a pixel differs by more than 2 levels.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from ray_engine import synthesize

_LEVELS = 2


def pixels_of(out: Path) -> dict[tuple[str, int], np.ndarray]:
    """Return every candidate's pixels by pair and k."""
    from harmonygen.pictures.images import decode

    tables = [pq.read_table(path, columns=["pair_id", "k", "composite"]) for path in sorted(out.glob("candidates/*"))]
    rows = [row for table in tables for row in table.to_pylist()]
    return {(row["pair_id"], row["k"]): decode(row["composite"]["bytes"], "composite").image_u8 for row in rows}


def difference(one: dict, other: dict) -> int:
    """Return the largest difference of any pixel, in 8-bit levels; 256 if a candidate is missing on a side."""
    if one.keys() != other.keys():
        return 256
    return max(int(np.abs(one[key].astype(int) - other[key]).max()) for key in one)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of all workers together")
    options = parser.parse_args()
    arguments = ["--allow-outside", "--data", options.data, "--limit", str(options.limit), "--k", str(options.k)]
    arguments += ["--resolution", str(options.resolution), "--shard-size", str(max(1, options.limit // 8))]
    print(f"{options.limit} pairs, K = {options.k}, {options.resolution} px, {options.threads} threads in all\n")
    print("| workers | threads each | seconds | candidates/s | times | largest pixel difference |")
    print("|---:|---:|---:|---:|---:|---:|")
    first, expected, differ = 0.0, None, False
    with tempfile.TemporaryDirectory() as folder:
        for workers in options.workers:
            out = Path(folder) / str(workers)
            seconds, summary = synthesize(out, arguments, workers, options.threads)
            found = pixels_of(out)
            first, expected = first or seconds, expected or found
            levels = difference(expected, found)
            differ |= levels > _LEVELS
            each, rate = options.threads // workers, summary["candidates"] / seconds
            times = f"{first / seconds:.2f}"
            print(f"| {workers} | {each} | {seconds:.1f} | {rate:.2f} | {times} | {levels} |", flush=True)
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())
