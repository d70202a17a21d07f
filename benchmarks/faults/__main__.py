"""Inject faults into harmonygen and print what came of each.

    python benchmarks/faults [--only kills] [--quick]

Columns: how often a fault was injected, how often the answer was the one it has to be, files or rows lost, rows twice.
Exit code 1 if anything was lost, made twice, not survived or breached (code that ran, tokens found, files elsewhere).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parent), *(each for each in sys.path if Path(each or ".").resolve() != HERE)]
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from faults import suite  # noqa: E402
from faults.table import header, line, verdict  # noqa: E402


def main() -> int:
    """Run the suite and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"one kind of fault: {', '.join(suite.KINDS)}")
    parser.add_argument("--quick", action="store_true", help="fewer injections of each")
    options = parser.parse_args()
    began, all_rows = time.monotonic(), []
    print(header(), flush=True)
    with tempfile.TemporaryDirectory(prefix="harmonygen-faults-") as place:
        for row in suite.rows(Path(place), options.only, options.quick):
            all_rows.append(row)
            print(line(row), flush=True)
    said, good = verdict(all_rows)
    print(f"\n{said}; {time.monotonic() - began:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
