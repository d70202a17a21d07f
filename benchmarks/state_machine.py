"""Run random sequences of commands, kills and faults against a model of what the folders have to hold.

    python benchmarks/state_machine.py [--sequences 1000] [--seed 0] [--only 17] [--jobs 2]

Each sequence has 20 steps (synthesize, select, decide, score, augment, resume, kill, fill the disk, corrupt a byte,
change an option) and depends on the seed and its own number alone: `--seed S --only I` replays one, and `--shrink`
looks for a shorter sequence that fails alike. Exit code 1 if a sequence failed.
"""

from __future__ import annotations

import argparse
import atexit
import functools
import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

_BLOCK = 20  # sequences between two lines of progress
Block = tuple[Counter[str], list[str]]
"""How often each kind of step ran, and what was told of each sequence that failed."""


def main() -> int:
    """Run the sequences and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=1000, help="number of sequences (default 1000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first sequence (default 0)")
    parser.add_argument("--seed", type=int, default=0, help="what all sequences follow from (default 0)")
    parser.add_argument("--only", type=int, help="number of the one sequence to replay")
    parser.add_argument("--shrink", action="store_true", help="look for the shortest sequence that fails alike")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side (default 1)")
    options = parser.parse_args()
    began, tally, failures = time.monotonic(), Counter[str](), 0
    numbers = range(options.first, options.first + options.sequences) if options.only is None else [options.only]
    for counts, told in _blocks(list(numbers), options):
        tally += counts
        failures += len(told)
        print(f"sequences {tally['sequences']}, failures {failures}, {time.monotonic() - began:.0f} s", flush=True)
    for kind in sorted(tally):
        print(f"{kind:32s} {tally[kind]:8d}")
    print(f"sequences {tally['sequences']}, failures {failures}, {time.monotonic() - began:.0f} s")
    return int(failures > 0)


def _blocks(numbers: list[int], options: argparse.Namespace) -> Iterator[Block]:
    """Run the sequences in blocks, side by side if asked to."""
    blocks = [numbers[start : start + _BLOCK] for start in range(0, len(numbers), _BLOCK)]
    if options.jobs == 1:
        yield from (run_block(block, options.seed, options.shrink) for block in blocks)
        return
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(run_block, block, options.seed, options.shrink) for block in blocks]
        yield from (done.result() for done in as_completed(running))


def run_block(numbers: list[int], base: int, shrink: bool = False) -> Block:
    """Run some sequences; a failure is told with the words that replay it."""
    from machine.commands import classifiers_remembered
    from machine.sequence import run_sequence

    tally, told = Counter[str](), []
    world = _world()
    for number in numbers:
        try:
            with classifiers_remembered():
                run_sequence(world, tally, base, number, shrink)
        except Exception as error:
            causes = "\n".join(str(each) for each in getattr(error, "exceptions", [error]))
            notes = "\n".join(getattr(error, "__notes__", []))
            replay = f"python benchmarks/state_machine.py --seed {base} --only {number}"
            told.append(f"sequence {number} failed: {causes}\n{notes}\nreplay: {replay}\n")
            print(told[-1], flush=True)
    return tally, told


@functools.cache
def _world() -> Any:
    """Return this process's world; its folder goes when the process ends."""
    from machine.world import build

    place = tempfile.mkdtemp(prefix="harmonygen-machine-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    gc.collect()
    gc.freeze()  # so that forked commands do not copy what is here
    return build(Path(place))


if __name__ == "__main__":
    sys.exit(main())
