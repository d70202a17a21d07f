"""`harmonygen why --recreate` on random rows of a run: how many are made again bit for bit.

python benchmarks/recreate_rows.py RUN [--rows 200] [--seed 0]
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from harmonygen.review.recreate import other_versions, recreate
from harmonygen.runs.read import Run


def main() -> int:
    """Print how many rows are equal; return 1 if one is not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    run = Run.open(options.run)
    table = run.rows()
    keys = list(zip(table["pair_id"].to_pylist(), table["k"].to_pylist(), strict=True))
    wanted: dict[str, list[int]] = {}
    for pair_id, k in random.Random(options.seed).sample(keys, min(options.rows, len(keys))):
        wanted.setdefault(pair_id, []).append(k)
    began, equal, seen = time.perf_counter(), 0, 0
    for each in recreate(run, wanted):
        seen, equal = seen + 1, equal + each.equal
        if not each.equal:
            print(f"{each.pair_id} {each.k}: {each.pixels} pixels differ, by {each.most} levels at most")
    seconds = time.perf_counter() - began
    print(f"{equal} of {seen} rows of {len(wanted)} pairs equal, bit for bit; {seconds:.0f} s; {len(keys)} in the run")
    if versions := other_versions(run):
        print("other versions made the run:", versions)
    return int(equal < seen)


if __name__ == "__main__":
    sys.exit(main())
