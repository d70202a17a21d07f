"""Bootstrap intervals of means, and of the paired difference of two methods.

What is resampled is images or, with ``groups``, whole groups of them: composites of one photo are not independent.
Values that are not finite are left out, and ``n`` says how many were not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harmonygen.errors import UsageError

Floats = npt.NDArray[np.float64]
RESAMPLES, LEVEL = 10_000, 0.95
_CELLS = 4_000_000  # of the weights in memory at a time


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
    """Return the mean of ``values`` with its percentile bootstrap interval over ``n`` resamples.

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
    if n < 1 or not 0 < level < 1:
        raise UsageError(
            f"a bootstrap of {n} resamples at level {level} is none: take 1 or more, and a level in (0, 1)"
        )
    sums, counts = _per_group(columns, groups)
    used = counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums.sum(axis=0) / used
    tails = [50 * (1 - level), 50 * (1 + level)]
    bounds = np.full((2, columns.shape[1]), math.nan)
    if len(sums) > 1:
        bounds = _percentiles(_resampled(sums, counts, seed, n), tails)
    return [Interval(float(means[c]), float(bounds[0, c]), float(bounds[1, c]), int(used[c])) for c in range(len(used))]


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


def _resampled(sums: Floats, counts: Floats, seed: int, n: int) -> Floats:
    """Return the means (n, C) of ``n`` resamples of the groups: weights times sums, over weights times counts."""
    rng, size = np.random.default_rng(seed), len(sums)
    step = max(1, _CELLS // size)
    means = []
    for start in range(0, n, step):
        rows = min(step, n - start)
        drawn = rng.integers(size, size=(rows, size)) + np.arange(rows)[:, None] * size
        weights = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append((weights @ sums) / (weights @ counts))
    return np.concatenate(means)


def _percentiles(means: Floats, tails: Sequence[float]) -> Floats:
    """Return percentiles of each column; resamples that hold no finite value of it do not count."""
    found = np.full((2, means.shape[1]), math.nan)
    for column in range(means.shape[1]):
        finite = means[np.isfinite(means[:, column]), column]
        if finite.size:
            found[:, column] = np.percentile(finite, tails)
    return found


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
    if a.shape != b.shape:
        raise UsageError(f"{len(a)} values against {len(b)}: a paired comparison needs the same images")
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


def crossed_interval(
    values: Floats, photos: Sequence[str], seed: int = 0, n: int = RESAMPLES, level: float = LEVEL
) -> Interval:
    """Return the mean of ``values`` (images, seeds) with its percentile interval over ``n`` resamples.

    Args:
        values: a figure of each image under each seed; an image with a value that is not finite is left out.
        photos: the photo of each image.
        seed: of the resampling.
        n: resamples.
        level: of the interval.

    Raises:
        UsageError: sizes that do not fit.

    >>> found = crossed_interval(np.array([[1.0, 3.0], [2.0, 4.0]]), ["a", "b"])
    >>> found.mean, found.low, found.high, found.n
    (2.5, 1.0, 4.0, 2)
    """
    if values.ndim != 2 or len(photos) != len(values):
        raise UsageError(f"values are {values.shape} for {len(photos)} photos: (images, seeds) is needed")
    known = np.isfinite(values).all(axis=1)
    used = values[known]
    if not len(used):
        return Interval(math.nan, math.nan, math.nan, 0)
    _, places = np.unique(np.asarray(photos)[known], return_inverse=True)
    sums = np.zeros((int(places.max()) + 1, values.shape[1]))
    np.add.at(sums, places, used)
    counts = np.bincount(places).astype(np.float64)
    low, high = math.nan, math.nan
    if len(sums) > 1 or values.shape[1] > 1:
        means = _resampled_both(sums, counts, seed, n)
        low, high = (float(bound) for bound in np.percentile(means, [50 * (1 - level), 50 * (1 + level)]))
    return Interval(float(used.mean()), low, high, len(used))


def _resampled_both(sums: Floats, counts: Floats, seed: int, n: int) -> Floats:
    """Return the means (n,) of resamples of the rows and the columns of ``sums`` (photos, seeds)."""
    rng, (photos, seeds) = np.random.default_rng(seed), sums.shape
    means, step = [], max(1, _CELLS // photos)
    for start in range(0, n, step):
        rows = min(step, n - start)
        weights = rng.multinomial(photos, np.full(photos, 1 / photos), size=rows).astype(np.float64)
        drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=rows) / seeds
        means.append(((weights @ sums) * drawn).sum(axis=1) / (weights @ counts))
    return np.concatenate(means)
