"""`synthesize` with the same threads in all, in one process or in several.

    python benchmarks/workers.py --data photos.csv --workers 1 2

Each row is a command of its own in a new folder; local workers share out the threads. The first number of workers is
what the others are compared with. Exit code 1 if a row differs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from ray_engine import rows_of, synthesize


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
    arguments = ["--data", options.data, "--limit", str(options.limit), "--k", str(options.k)]
    arguments += ["--resolution", str(options.resolution), "--shard-size", str(max(1, options.limit // 8))]
    print(f"{options.limit} pairs, K = {options.k}, {options.resolution} px, {options.threads} threads in all\n")
    print("| workers | threads each | seconds | candidates/s | times | rows equal |\n|---:|---:|---:|---:|---:|---|")
    first, expected, differ = 0.0, None, False
    with tempfile.TemporaryDirectory() as folder:
        for workers in options.workers:
            out = Path(folder) / str(workers)
            seconds, summary = synthesize(out, arguments, workers, options.threads)
            found = rows_of(out)
            first, expected = first or seconds, expected or found
            equal = sum(expected.get(key) == row for key, row in found.items())
            differ |= equal != len(expected)
            each, made = options.threads // workers, summary["candidates"]
            print(
                f"| {workers} | {each} | {seconds:.1f} | {made / seconds:.2f} | {first / seconds:.2f} "
                f"| {equal} of {len(expected)} |",
                flush=True,
            )
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())
