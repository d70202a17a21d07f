"""Intervals of means, of shares, and of the difference of two methods: every interval of harmonygen is made here.

What is resampled is images or, with ``groups``, whole groups of them: composites of one photo are not independent.
Values that are not finite are left out, and ``n`` says how many were not. Means and differences have bootstrap-t
intervals (:mod:`harmonygen.evaluation.pivots`), shares have Wilson's, medians and other statistics percentiles. How
often each holds is in :mod:`harmonygen.evaluation.measured`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harmonygen.errors import UsageError
from harmonygen.evaluation.pivots import Floats, normal, pivots, student

RESAMPLES, LEVEL = 10_000, 0.95
METHOD = "bootstrap-t over photos, wider where tails are heavy"
"""What the intervals of means and differences are, in words."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean of ``n`` values with its interval; ``low`` and ``high`` are NaN where fewer than two were resampled."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Paired:
    """Method a against method b on the same images: the mean of a - b, and the share of images a wins and ties."""

    difference: Interval
    wins: float
    ties: float


def interval(
    values: Sequence[float] | Floats,
    seed: int = 0,
    n: int = RESAMPLES,
    level: float = LEVEL,
    groups: Sequence[Any] | None = None,
) -> Interval:
    """Return the mean of ``values`` with its bootstrap-t interval over ``n`` resamples.

    >>> found = interval([1.0, 2.0, 3.0, 4.0])
    >>> found.mean, found.low < 2.5 < found.high
    (2.5, True)
    """
    return intervals(np.asarray(values, dtype=np.float64)[:, None], seed, n, level, groups)[0]


def intervals(
    columns: Floats,
    seed: int = 0,
    n: int = RESAMPLES,
    level: float = LEVEL,
    groups: Sequence[Any] | None = None,
) -> list[Interval]:
    """Return the :func:`interval` of each column of (N, C), all from the same resamples.

    Raises:
        UsageError: no resamples, or a level outside (0, 1).
    """
    sums, counts = _per_group(columns, groups)
    return _ratios(sums, counts, np.isfinite(columns).sum(axis=0), seed, n, level)


def relative_changes(
    after: Floats,
    before: Floats,
    seed: int = 0,
    n: int = RESAMPLES,
    level: float = LEVEL,
    groups: Sequence[Any] | None = None,
) -> list[Interval]:
    """Return the relative change of the mean of each column (N, C) of errors of 0 or more, on the same images.

    Raises:
        UsageError: different numbers of values, no resamples, or a level outside (0, 1).

    >>> found = relative_changes(np.array([[2.0], [3.0]]), np.array([[4.0], [6.0]]))[0]
    >>> found.mean, found.low, found.high
    (-0.5, -0.5, -0.5)
    """
    _refuse_unlike(after, before)
    both = np.isfinite(after) & np.isfinite(before)
    (new, _), (old, _) = (_per_group(np.where(both, values, np.nan), groups) for values in (after, before))
    found = _ratios(new, old, both.sum(axis=0), seed, n, level)
    return [Interval(one.mean - 1, max(one.low - 1, -1.0), one.high - 1, one.n) for one in found]


def _ratios(
    sums: Floats, counts: Floats, used: npt.NDArray[np.intp], seed: int, n: int, level: float
) -> list[Interval]:
    """Return the intervals of ratios of sums (G, C); ``used`` values count in each column."""
    if n < 1 or not 0 < level < 1:
        raise UsageError(
            f"a bootstrap of {n} resamples at level {level} is none: take 1 or more, and a level in (0, 1)"
        )
    found = pivots(sums, counts, seed, n, level)
    low, high = found.bounds
    return [Interval(float(found.value[c]), float(low[c]), float(high[c]), int(used[c])) for c in range(len(used))]


def shares(flags: npt.NDArray[np.bool_], level: float = LEVEL, groups: Sequence[Any] | None = None) -> list[Interval]:
    """Return the share of true values in each column of (N, C), with Wilson's interval.

    The number of values that it is of is that of independent ones: what the spread between groups allows.

    Raises:
        UsageError: no rows.

    >>> found = shares(np.ones((10, 1), dtype=bool))[0]
    >>> found.mean, round(found.low, 2), found.high
    (1.0, 0.72, 1.0)
    """
    if not len(flags):
        raise UsageError("a share needs at least one row, found none")
    sums, counts = _per_group(flags.astype(np.float64), groups)
    share, squared = sums.sum(axis=0) / counts.sum(axis=0), normal(level) ** 2
    spread = ((sums - share * counts) ** 2).sum(axis=0) / counts.sum(axis=0) ** 2
    independent = np.where(spread > 0, share * (1 - share) / np.where(spread > 0, spread, 1), len(sums))
    middle = (share + squared / (2 * independent)) / (1 + squared / independent)
    half = np.sqrt(squared * (share * (1 - share) / independent + squared / (4 * independent**2)))
    half /= 1 + squared / independent
    bounds = zip(share, np.maximum(middle - half, 0), np.minimum(middle + half, 1), strict=True)
    return [Interval(float(value), float(low), float(high), len(flags)) for value, low, high in bounds]


def intervals_of(
    columns: Floats,
    statistic: Callable[[Floats], Floats],
    seed: int = 0,
    n: int = 2000,
    level: float = LEVEL,
    groups: Sequence[Any] | None = None,
) -> list[Interval]:
    """Return the percentile bootstrap intervals of any statistic of rows (N, C), whole groups resampled.

    ``statistic`` takes some of the rows and returns its values (S,); an interval's ``mean`` is the statistic's value
    of all rows.

    Raises:
        UsageError: no rows.

    >>> found = intervals_of(np.arange(9.0)[:, None], lambda rows: np.median(rows, axis=0))[0]
    >>> found.mean, found.low < 4 < found.high, found.n
    (4.0, True, 9)
    """
    if not len(columns):
        raise UsageError("a bootstrap needs at least one row, found none")
    _, places = np.unique(np.arange(len(columns)) if groups is None else np.asarray(groups), return_inverse=True)
    members = np.split(np.argsort(places, kind="stable"), np.cumsum(np.bincount(places))[:-1])
    rng, whole = np.random.default_rng(seed), np.atleast_1d(statistic(columns))
    low, high = np.full(whole.shape, math.nan), np.full(whole.shape, math.nan)
    if len(members) > 1:
        draws = rng.integers(len(members), size=(n, len(members)))
        drawn = [statistic(columns[np.concatenate([members[place] for place in draw])]) for draw in draws]
        low, high = np.percentile(np.array(drawn), [50 * (1 - level), 50 * (1 + level)], axis=0)
    bounds = zip(whole, low, high, strict=True)
    return [Interval(float(value), float(least), float(most), len(columns)) for value, least, most in bounds]


def medians(columns: Floats, seed: int = 0, groups: Sequence[Any] | None = None) -> list[Interval]:
    """Return the median of each column of (N, C), as an interval's ``mean``, with its bounds (:func:`intervals_of`)."""
    return intervals_of(columns, lambda rows: np.asarray(np.median(rows, axis=0)), seed, groups=groups)


def _per_group(columns: Floats, groups: Sequence[Any] | None) -> tuple[Floats, Floats]:
    """Return the sums and the numbers of finite values, (G, C) each; every row is its own group if none are given."""
    valid = np.isfinite(columns)
    clean = np.where(valid, columns, 0.0)
    if groups is None:
        return clean, valid.astype(np.float64)
    _, places = np.unique(np.asarray(groups), return_inverse=True)
    shape = (int(places.max(initial=-1)) + 1, columns.shape[1])
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, places, clean)
    np.add.at(counts, places, valid)
    return sums, counts


def paired(
    a: Sequence[float] | Floats,
    b: Sequence[float] | Floats,
    seed: int = 0,
    n: int = RESAMPLES,
    level: float = LEVEL,
    groups: Sequence[Any] | None = None,
    higher_is_better: bool = True,
) -> Paired:
    """Compare two methods on the same images: the mean of a - b with its interval, and who wins.

    Raises:
        UsageError: different numbers of values.

    >>> paired([2.0, 3.0, 4.0], [1.0, 3.0, 5.0]).wins
    0.3333333333333333
    """
    first, second = (np.asarray(values, dtype=np.float64)[:, None] for values in (a, b))
    return paired_columns(first, second, [higher_is_better], seed, n, level, groups)[0]


def paired_columns(
    a: Floats,
    b: Floats,
    higher_is_better: Sequence[bool],
    seed: int = 0,
    n: int = RESAMPLES,
    level: float = LEVEL,
    groups: Sequence[Any] | None = None,
) -> list[Paired]:
    """Return the :func:`paired` comparison of each column of (N, C), all from the same resamples."""
    _refuse_unlike(a, b)
    with np.errstate(invalid="ignore"):
        differences = a - b
    found = []
    means = intervals(differences, seed, n, level, groups)
    for column, (difference, higher) in enumerate(zip(means, higher_is_better, strict=True)):
        known = differences[np.isfinite(differences[:, column]), column]
        better = known > 0 if higher else known < 0
        total = max(1, known.size)
        found.append(Paired(difference, float(better.sum() / total), float((known == 0).sum() / total)))
    return found


def _refuse_unlike(a: Floats, b: Floats) -> None:
    if a.shape != b.shape:
        raise UsageError(f"{len(a)} values against {len(b)}: a paired comparison needs the same images")


def crossed_interval(
    values: Floats, photos: Sequence[str], seed: int = 0, n: int = RESAMPLES, level: float = LEVEL
) -> Interval:
    """Return the interval of one figure ``values`` (images, seeds) (:func:`crossed_intervals`)."""
    return crossed_intervals(values[..., None], photos, seed, n, level)[0]


def crossed_intervals(
    values: Floats, photos: Sequence[str], seed: int = 0, n: int = RESAMPLES, level: float = LEVEL
) -> list[Interval]:
    """Return the mean of each column of ``values`` (images, seeds, C), with an interval over photos and seeds.

    Photos are resampled (bootstrap-t). What seeds add is their variance beyond chance, with Student's t: three seeds
    tell little of how much seeds differ, and the interval is that much wider. With one seed it is over photos alone:
    of this one training.

    Args:
        values: figures of each image under each seed; an image with a value that is not finite is left out of a column.
        photos: the photo of each image.
        seed: of the resampling.
        n: resamples.
        level: of the interval.

    Raises:
        UsageError: sizes that do not fit.

    >>> values = np.arange(6.0)[:, None, None] + np.array([0.0, 0.1])[None, :, None]
    >>> found = crossed_intervals(values, list("abcdef"))[0]
    >>> round(found.mean, 2), found.low < 2.0, found.high > 3.0, found.n
    (2.55, True, True, 6)
    """
    if values.ndim != 3 or len(photos) != len(values):
        raise UsageError(f"values are {values.shape} for {len(photos)} photos: (images, seeds, figures) is needed")
    known = np.isfinite(values).all(axis=1)
    sums = np.stack([_per_group(np.where(known, column, np.nan), photos)[0] for column in values.swapaxes(0, 1)])
    counts = _per_group(np.where(known, 1.0, np.nan), photos)[0]
    found = pivots(sums.mean(axis=0), counts, seed, n, level)
    below, above = (_with_seeds(reach, found.error, sums, counts, level) for reach in (found.below, found.above))
    bounds = zip(found.value, found.value - below, found.value + above, known.sum(axis=0), strict=True)
    return [Interval(float(mean), float(low), float(high), int(used)) for mean, low, high, used in bounds]


def _with_seeds(reach: Floats, error: Floats, sums: Floats, counts: Floats, level: float) -> Floats:
    """Return how far bounds lie from the means (C,): ``reach`` standard errors over photos, and what seeds add.

    ``sums`` is (seeds, photos, C), ``counts`` (photos, C). Half widths of independent parts add in squares (Zou and
    Donner 2008). ``of_chance`` is what the seeds' means would differ by if photos met seeds by chance alone.
    """
    seeds, photos = len(sums), (counts != 0).sum(axis=0)
    if seeds == 1:
        return reach * error
    total = np.maximum(counts.sum(axis=0), 1)
    means = sums.sum(axis=1) / total
    chance = sums - sums.mean(axis=0) - counts * (means - means.mean(axis=0))[:, None]
    of_seeds, pairs = means.var(axis=0, ddof=1) / seeds, np.maximum((photos - 1) * (seeds - 1), 1)
    of_chance = (chance**2).sum(axis=(0, 1)) / pairs * photos / (seeds * total**2)
    added = student(seeds - 1, level) ** 2 * np.maximum(of_seeds - of_chance, 0)
    return np.asarray(np.sqrt((reach * error) ** 2 + added))
