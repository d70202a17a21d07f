"""Read mutated inputs: exit codes 0, 2 and 3 only, memory bounded, nothing outside the data opened.

    python benchmarks/fuzz [--examples 2000] [--seed 0] [--show]

Every example is a small data set in one of the layouts with one to three mutations, read by `synthesize`, its dry run
or `inspect`. The first failure of each kind is printed, and exit code 1 says that there was one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def main() -> int:
    """Run the examples and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2000, help="number of examples (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="what all examples follow from (default 0)")
    parser.add_argument("--show", action="store_true", help="print every example")
    options = parser.parse_args()
    from fuzz.examples import run_examples

    codes, faults, began = Counter[int](), Counter[str](), time.monotonic()
    first: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for outcome in run_examples(Path(folder), options.examples, options.seed):
            codes[outcome.code] += 1
            if options.show or outcome.fault:
                print(f"{outcome.told} -> {outcome.code} {outcome.fault}", flush=True)
            if outcome.fault:
                faults[outcome.fault] += 1
                first.setdefault(outcome.fault, outcome.told)
    spread = ", ".join(f"exit {code}: {count:,}" for code, count in sorted(codes.items()))
    print(f"{codes.total():,} examples, {spread}; failures {faults.total():,}; {time.monotonic() - began:.0f} s")
    for fault, count in faults.most_common():
        print(f"{count:6d}  {fault}\n        first: {first[fault]}")
    return int(faults.total() > 0)


if __name__ == "__main__":
    sys.exit(main())
