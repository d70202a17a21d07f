"""Compare the arms of a gain study on another bench: change of fMSE of each seed's model, arm against arm.

    python benchmarks/authentic.py harmonizers TREE --harmonizer parametric:STUDY/runs/ARM/seed-N/model ... > table.txt
    python benchmarks/arms_on_bench.py table.txt [more.txt ...] [--against base jitter]

Reads the tables that `authentic.py harmonizers` prints, composites as stored. Differences are of the same seed, with
Student's 95 % interval over seeds: what other trainings would give on these very composites. What other composites
would give is not in it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import t

_MODEL = re.compile(r"runs/(?P<arm>[^/]+)/seed-(?P<seed>\d+)/model")
_COMPOSITES = "as stored"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--against", nargs="*", default=["base", "jitter"], help="arms to compare with")
    options = parser.parse_args()
    arms = read(line for path in options.tables for line in path.read_text().splitlines())
    known = [arm for arm in options.against if arm in arms]
    print("| arm | seeds | change of fMSE | " + " | ".join(f"against {arm}, points" for arm in known) + " |")
    print("|---|---:|---:|" + "---:|" * len(known))
    for arm, changes in arms.items():
        values = np.array([changes[seed] for seed in sorted(changes)])
        cells = [difference(changes, arms[other]) if other != arm else "" for other in known]
        print(f"| {arm} | {len(values)} | {values.mean():.1f} % | " + " | ".join(cells) + " |")
    return 0


def read(lines: Iterable[str]) -> dict[str, dict[int, float]]:
    """Return the change of fMSE in percent of each arm and seed."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for line in lines:
        model, cells = _MODEL.search(line), [cell.strip() for cell in line.split("|")]
        if model and cells[2] == _COMPOSITES:
            found[model["arm"]][int(model["seed"])] = 100 * (float(cells[5]) / float(cells[4]) - 1)
    return found


def difference(changes: dict[int, float], others: dict[int, float]) -> str:
    """Return the mean difference of the seeds that both have, with its interval over seeds."""
    seeds = sorted(set(changes) & set(others))
    values: npt.NDArray[np.float64] = np.array([changes[seed] - others[seed] for seed in seeds])
    if len(values) < 2:
        return "too few seeds"
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():+.1f} [{values.mean() - half:+.1f}, {values.mean() + half:+.1f}]"


if __name__ == "__main__":
    sys.exit(main())
