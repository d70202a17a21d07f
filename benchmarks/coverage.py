"""How often the intervals hold: samples are drawn from known distributions, and the share whose interval has the truth.

    python benchmarks/coverage.py                                     # the table of docs/evaluate.md; minutes, one core
    python benchmarks/coverage.py --samples 200 --photos 10 30        # a glance
    python benchmarks/coverage.py --only "3 seeds"                    # some rows
    python benchmarks/coverage.py --scores OUT/per_image.parquet      # photos of an evaluation as the distribution

Normal values stand for PSNR, log-normal ones with sigma 1.5 for MSE and fMSE. A second method's values are the first
one's by a factor that varies (log-normal, sigma 0.5, in the mean 16 % less). Grouped: each photo has one to five
composites, which share three quarters of their variance (of its logarithm). Crossed: differences of photos under
several trainings, whose seeds add nothing, as much as the photos do, or four times as much to the variance of the mean.
All intervals are of 95 % and made by the functions that `evaluate` and `gain` call. A star marks what is outside
93 to 97 %.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from harmonygen.evaluation.bootstrap import (
    Interval,
    crossed_intervals,
    intervals,
    intervals_of,
    medians,
    paired_columns,
    relative_changes,
    shares,
)
from harmonygen.evaluation.pivots import resamples

Floats = npt.NDArray[np.float64]
SIGMA, FACTOR, SHIFT = 1.5, 0.5, -0.3
LOW, HIGH = 93.0, 97.0
PHOTOS = (5, 10, 30, 100, 500)


class Case(NamedTuple):
    """A row of the table: ``draw(rng, photos, samples, resamples)`` returns an interval a sample, and the truth."""

    kind: str
    tails: str
    seeds: int
    draw: Callable[[np.random.Generator, int, int, int], tuple[Sequence[Interval], float]]


def normal_pair(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Floats, Floats, float, float]:
    """Draw values of two methods like PSNR, and return their means too."""
    before = rng.normal(30, 5, shape)
    return before, before + rng.normal(1, 2, shape), 30.0, 31.0


def heavy_pair(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Floats, Floats, float, float]:
    """Draw values of two methods like MSE, and return their means too."""
    before = np.exp(rng.normal(0, SIGMA, shape))
    after = before * np.exp(rng.normal(SHIFT, FACTOR, shape))
    mean = float(np.exp(SIGMA**2 / 2))
    return before, after, mean, float(mean * np.exp(SHIFT + FACTOR**2 / 2))


PAIRS = {"normal": normal_pair, "heavy": heavy_pair}


def mean(tails: str) -> Case:
    """Return the case of a single mean."""

    def draw(rng: np.random.Generator, photos: int, samples: int, n: int) -> tuple[Sequence[Interval], float]:
        before, _, truth, _ = PAIRS[tails](rng, (photos, samples))
        return intervals(before, n=n), truth

    return Case("mean", tails, 1, draw)


def percentiles(tails: str) -> Case:
    """Return the case of a single mean with the percentiles of its resamples, which harmonygen had before."""

    def draw(rng: np.random.Generator, photos: int, samples: int, n: int) -> tuple[Sequence[Interval], float]:
        before, _, truth, _ = PAIRS[tails](rng, (photos, samples))
        drawn = np.concatenate([weights @ before / photos for weights in resamples(photos, 0, n)])
        return between(np.percentile(drawn, [2.5, 97.5], axis=0), photos), truth

    return Case("mean, percentiles (as it was)", tails, 0, draw)


def between(bounds: Floats, photos: int) -> list[Interval]:
    """Return the intervals of bounds (2, samples)."""
    return [Interval(0.0, low, high, photos) for low, high in bounds.T.tolist()]


def difference(tails: str) -> Case:
    """Return the case of a paired difference."""

    def draw(rng: np.random.Generator, photos: int, samples: int, n: int) -> tuple[Sequence[Interval], float]:
        before, after, old, new = PAIRS[tails](rng, (photos, samples))
        found = paired_columns(after, before, [True] * samples, n=n)
        return [one.difference for one in found], new - old

    return Case("paired difference", tails, 1, draw)


def change(tails: str) -> Case:
    """Return the case of a relative change of means."""

    def draw(rng: np.random.Generator, photos: int, samples: int, n: int) -> tuple[Sequence[Interval], float]:
        before, after, old, new = PAIRS[tails](rng, (photos, samples))
        return relative_changes(after, before, n=n), new / old - 1

    return Case("relative change", tails, 1, draw)


def grouped(tails: str) -> Case:
    """Return the case of a mean over composites of which a photo has one to five."""

    def draw(rng: np.random.Generator, photos: int, samples: int, n: int) -> tuple[Sequence[Interval], float]:
        of_photo = np.repeat(np.arange(photos), rng.integers(1, 6, photos))
        shared, own = (rng.normal(0, 1, (size, samples)) for size in (photos, len(of_photo)))
        values = SIGMA * (np.sqrt(0.75) * shared[of_photo] + np.sqrt(0.25) * own)
        if tails == "heavy":
            return intervals(np.exp(values), n=n, groups=of_photo), float(np.exp(SIGMA**2 / 2))
        return intervals(values, n=n, groups=of_photo), 0.0

    return Case("mean, grouped", tails, 1, draw)


def crossed(tails: str, seeds: int, strength: float) -> Case:
    """Return the case of a mean difference over photos and seeds, which add ``strength`` times the photos' variance."""

    def draw(rng: np.random.Generator, photos: int, samples: int, n: int) -> tuple[Sequence[Interval], float]:
        values, truth = of_photos_and_seeds(rng, tails, (photos, seeds, samples), strength)
        return crossed_intervals(values, [str(place) for place in range(photos)], n=n), truth

    return Case(f"{seeds} seeds, adding {strength:g} x the photos'", tails, seeds, draw)


def crossed_percentiles(tails: str, seeds: int, strength: float) -> Case:
    """Return the same case with percentiles of resamples of both photos and seeds, which harmonygen had before."""

    def draw(rng: np.random.Generator, photos: int, samples: int, n: int) -> tuple[Sequence[Interval], float]:
        values, truth = of_photos_and_seeds(rng, tails, (photos, seeds, samples), strength)
        drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=n) / seeds
        of_photo = np.concatenate(list(resamples(photos, 0, n))) / photos
        means = sum(of_photo @ values[:, seed] * drawn[:, seed, None] for seed in range(seeds))
        return between(np.percentile(means, [2.5, 97.5], axis=0), photos), truth

    return Case(f"{seeds} seeds, adding {strength:g} x, percentiles (as it was)", tails, 0, draw)


def of_photos_and_seeds(
    rng: np.random.Generator, tails: str, shape: tuple[int, int, int], strength: float
) -> tuple[Floats, float]:
    """Draw differences (photos, seeds, samples) of two methods, and return their mean too."""
    photos, seeds, samples = shape
    before, after, old, new = PAIRS[tails](rng, (photos, samples))
    spread = 2.0 if tails == "normal" else heavy_spread()
    of_seed = rng.normal(0, spread * np.sqrt(strength * seeds / photos), (seeds, samples))
    chance = rng.normal(0, spread / 2, shape)
    return (after - before)[:, None] + of_seed + chance, new - old


def heavy_spread() -> float:
    """Return the standard deviation of after minus before of :func:`heavy_pair`."""
    factor, factor_squared = np.exp(SHIFT + FACTOR**2 / 2), np.exp(2 * SHIFT + 2 * FACTOR**2)
    squared = np.exp(2 * SIGMA**2) * (factor_squared - 2 * factor + 1)
    return float(np.sqrt(squared - np.exp(SIGMA**2) * (factor - 1) ** 2))


def median(tails: str) -> Case:
    """Return the case of a median, whose interval is of percentiles."""

    def draw(rng: np.random.Generator, photos: int, samples: int, n: int) -> tuple[Sequence[Interval], float]:
        values = rng.normal(0, SIGMA, (photos, samples))
        return medians(values if tails == "normal" else np.exp(values)), float(tails == "heavy")

    return Case("median, percentiles", tails, 0, draw)


def auc() -> Case:
    """Return the case of the area under the ROC curve of photos and composites, whose interval is of percentiles."""

    def area(rows: Floats) -> Floats:
        below = np.searchsorted(np.sort(rows[:, 0]), rows[:, 1])
        return np.array([below.mean() / len(rows)])

    def draw(rng: np.random.Generator, photos: int, samples: int, n: int) -> tuple[Sequence[Interval], float]:
        scores = rng.normal([0.0, 1.0], 1.0, (samples, photos, 2))
        return [intervals_of(each, area, n=500)[0] for each in scores], float(ndtr(np.sqrt(0.5)))

    return Case("AUC, percentiles", "normal", 0, draw)


def share(truth: float) -> Case:
    """Return the case of a share."""

    def draw(rng: np.random.Generator, photos: int, samples: int, n: int) -> tuple[Sequence[Interval], float]:
        return shares(rng.random((photos, samples)) < truth), truth

    return Case("share, Wilson", f"{truth:.0%} true", 0, draw)


def cases() -> list[Case]:
    """Return the rows of the table."""
    both = ("normal", "heavy")
    found = [make(tails) for make in (percentiles, mean, difference, change, grouped) for tails in both]
    found += [crossed_percentiles(tails, seeds, add) for seeds in (3, 10) for add in (1, 4) for tails in both]
    found += [crossed(tails, seeds, add) for seeds in (2, 3, 5) for add in (0, 1, 4) for tails in both]
    return [*found, *map(median, both), auc(), share(0.5), share(0.9)]


def held(case: Case, photos: int, samples: int, n: int = 2000, seed: int = 0) -> float:
    """Return the percentage of samples whose interval holds the truth."""
    rng = np.random.default_rng([seed, photos])
    found, truth = case.draw(rng, photos, samples, n)
    return 100 * float(np.mean([one.low <= truth <= one.high for one in found]))


def of_scores(path: Path) -> list[Case]:
    """Return the rows whose distribution is an evaluation's images: the first method, and each other against it."""
    import pandas as pd

    table = pd.read_parquet(path)
    first, *others = table["method"].unique()
    found = []
    for figure in ("psnr", "mse", "fmse"):
        values = table.pivot(index="name", columns="method", values=figure).replace([np.inf, -np.inf], np.nan).dropna()
        found.append(_sampled(f"{figure}, {first}", values[first].to_numpy()))
        for other in others:
            found.append(_sampled(f"{figure}, {other} - {first}", (values[other] - values[first]).to_numpy()))
    return found


def _sampled(kind: str, values: Floats) -> Case:
    def draw(rng: np.random.Generator, photos: int, samples: int, n: int) -> tuple[Sequence[Interval], float]:
        return intervals(rng.choice(values, (photos, samples)), n=n), float(values.mean())

    return Case(kind, f"{len(values)} images", 1, draw)


def main() -> None:
    """Print the table, and the span of its rows by number of photos and seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000, help="samples of a cell; half of it over 100 photos")
    parser.add_argument("--photos", type=int, nargs="+", default=list(PHOTOS), help="photos in a sample")
    parser.add_argument("--resamples", type=int, default=2000, help="resamples of each interval")
    parser.add_argument("--only", default="", help="rows whose name has this text")
    parser.add_argument("--scores", type=Path, help="per_image.parquet of an evaluation to draw photos from")
    options = parser.parse_args()
    print(f"| interval of | tails | {' | '.join(f'{n} photos' for n in options.photos)} |")
    print(f"|---|---|{'---:|' * len(options.photos)}", flush=True)
    spans: dict[tuple[int, int], list[float]] = {}
    for case in of_scores(options.scores) if options.scores else cases():
        if options.only not in case.kind:
            continue
        row = []
        for photos in options.photos:
            samples = options.samples if photos <= 100 else options.samples // 2
            few = min(samples, 300) if case.kind.startswith(("median", "AUC")) else samples  # slow ones
            row.append(held(case, photos, few, options.resamples))
            spans.setdefault((case.seeds, photos), []).append(row[-1])
        cells = (f"{value:.1f}{'' if LOW <= value <= HIGH else ' *'}" for value in row)
        print(f"| {case.kind} | {case.tails} | {' | '.join(cells)} |", flush=True)
    print("\nfor harmonygen/evaluation/measured.py: seeds, photos: least and most of the rows above, rounded outwards")
    for (seeds, photos), values in sorted(spans.items()):
        if seeds:
            print(f"{seeds}, {photos}: ({math.floor(min(values))}, {math.ceil(max(values))})")


if __name__ == "__main__":
    main()
