"""Crash small commands at every operation on their folder, and print what came of it.

    python benchmarks/crash_states [--only train,export] [--most 40] [--jobs 2]

Columns: operations recorded; distinct states of the disk that a crash can leave; how many were tried; after how many
the repeated command came to the undisturbed result; after how many it did not; in how many a file under its final name
was not whole; seconds. Exit code 1 if a state was not recovered or a file was torn.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parent), *(each for each in sys.path if Path(each or ".").resolve() != HERE)]

from crash_states import commands, table, warm  # noqa: E402
from crash_states.trial import Result, try_share  # noqa: E402


def main() -> int:
    """Run the trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"some of {','.join(commands.ALL)}")
    parser.add_argument("--most", type=int, default=0, help="states of each command, evenly chosen (0: all)")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    options = parser.parse_args()
    os.environ.update(warm.ENVIRONMENT)
    began, results = time.monotonic(), []
    print(table.header(), flush=True)
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="harmonygen-crash-") as place,
        ProcessPoolExecutor(options.jobs, context, initializer=warm.prepare) as pool,
    ):
        started = {
            name: _shares(pool, name, Path(place), options.jobs, options.most)
            for name in commands.ALL
            if not options.only or name in options.only.split(",")
        }
        for shares in started.values():
            results.append(table.together([share.result() for share in shares]))
            print(table.line(results[-1]), flush=True)
    for result in results:
        print(*("", *table.faults(result)), sep="\n", end="")
    print(f"\n{sum(result.tried for result in results)} states; {time.monotonic() - began:.0f} s")
    return 0 if results and all(table.is_good(result) for result in results) else 1


def _shares(pool: ProcessPoolExecutor, name: str, place: Path, jobs: int, most: int) -> list[Future[Result]]:
    """Start a command's shares; one that writes in threads is not shared, since no two records of it are alike."""
    count = 1 if name in commands.THREADED else jobs
    return [
        pool.submit(try_share, commands.ALL[name], place / f"{name}-{share}", share, count, most)
        for share in range(count)
    ]


if __name__ == "__main__":
    sys.exit(main())
