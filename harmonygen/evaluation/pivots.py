"""How many standard errors an estimate may lie from the truth: bootstrap-t, with an allowance for heavy tails.

An estimate here is a ratio of sums over groups (photos): a mean is the sum of values over their number, a relative
change the sum of new values over that of old ones. Legend: G groups, C columns, R resamples.

Percentiles of resampled means are too narrow for few or skewed values. Bootstrap-t divides each resample's deviation
by its own standard error, so that the skewness and the spread of the error itself count. A small sample shows too
little of a heavy tail, so where one shows at all (:func:`tail_weight`) fewer resamples may lie outside: as few as hold
95 % of simulated samples like squared errors (``benchmarks/coverage.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

Floats = npt.NDArray[np.float64]
FEWEST = 5
"""Fewer groups than this are given Student's t: their resamples are too often all alike."""
LIGHT, HEAVY = 0.15, 0.35
"""Tail weights between which the allowance grows from none to all; the normal distribution has 0.12, MSE about 0.6."""
_CELLS = 4_000_000  # of the weights in memory at a time
_HALF, _POWER = 257.0, 0.8  # fitted: of the misses of light tails, heavy ones have half at 257 groups, a tenth at 16
_REACH = 40.0  # an error is taken for at most normal + 40 / sqrt(G) standard errors, whatever near-equal values say


@dataclass(frozen=True, slots=True)
class Pivots:
    """Estimates (C,), their standard errors, and how many errors the bounds lie below and above them."""

    value: Floats
    error: Floats
    below: Floats
    above: Floats

    @property
    def bounds(self) -> Floats:
        """The lower and the upper bounds (2, C)."""
        return np.stack([self.value - self.below * self.error, self.value + self.above * self.error])


def pivots(sums: Floats, counts: Floats, seed: int, n: int, level: float) -> Pivots:
    """Return the ratios of sums (G, C) over counts (G, C), with bounds at ``level`` from ``n`` resamples of the groups.

    A column with fewer than two groups that count has no error and no bounds (NaN).
    """
    used = (counts != 0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = sums.sum(axis=0) / counts.sum(axis=0)
        rest = np.where(counts != 0, sums - value * counts, 0.0)
        error = np.sqrt(used / (used - 1.0) * (rest**2).sum(axis=0)) / np.abs(counts.sum(axis=0))
    error[used < 2] = math.nan
    below, above = np.full_like(value, math.nan), np.full_like(value, math.nan)
    resampled = _studentised(rest, counts, error, seed, n) if (used >= FEWEST).any() else None
    for column, groups in enumerate(used):
        if resampled is None or groups < FEWEST:
            below[column] = above[column] = student(groups - 1, level)
        else:
            outside = misses(tail_weight(rest[counts[:, column] != 0, column]), int(groups), level)
            reach = normal(level) + _REACH / math.sqrt(groups)
            least, most = np.quantile(resampled[:, column], [outside / 2, 1 - outside / 2])
            below[column], above[column] = np.clip([most, -least], 0, reach)
    return Pivots(value, error, below, above)


def normal(level: float) -> float:
    """Return how many standard errors a normal value may be off.

    >>> round(normal(0.95), 2)
    1.96
    """
    return float(ndtri(0.5 + level / 2))


def student(freedom: npt.ArrayLike, level: float) -> Floats:
    """Return how many standard errors means of normal values may be off, by Student's t; NaN without freedom.

    >>> student([9, 0], 0.95).round(3).tolist()
    [2.262, nan]
    """
    return np.asarray(stdtrit(np.where(np.asarray(freedom) > 0, freedom, np.nan), 0.5 + level / 2))


def _studentised(rest: Floats, counts: Floats, error: Floats, seed: int, n: int) -> Floats:
    """Return the deviations (R, C) of resampled ratios in units of their own standard errors."""
    found = []
    for weights in resamples(len(rest), seed, n):
        total = weights @ counts
        with np.errstate(invalid="ignore", divide="ignore"):
            off = (weights @ rest) / total
            square = weights @ rest**2 - 2 * off * (weights @ (rest * counts)) + off**2 * (weights @ counts**2)
            own = np.sqrt(np.maximum(square * len(rest) / (len(rest) - 1), 0)) / np.abs(total)
            own[own < 1e-6 * error] = 0.0  # equal values, but for rounding
            found.append(off / own)
    return np.nan_to_num(np.concatenate(found), nan=0.0, posinf=1e9, neginf=-1e9)


def resamples(groups: int, seed: int, n: int) -> Iterator[Floats]:
    """Yield how often each group is in each of ``n`` resamples, (some of the resamples, G) at a time."""
    rng, step = np.random.default_rng(seed), max(1, _CELLS // groups)
    for start in range(0, n, step):
        rows = min(step, n - start)
        drawn = rng.integers(groups, size=(rows, groups)) + np.arange(rows)[:, None] * groups
        yield np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups).astype(np.float64)


def tail_weight(values: Floats) -> float:
    """Return how heavy the tails of values (N,) are: the larger of L-skewness, without sign, and L-kurtosis.

    >>> tail_weight(np.arange(100.0)) < 0.1, tail_weight(np.exp(np.arange(100.0) / 10)) > 0.5
    (True, True)
    """
    size = len(values)
    if size < 4:
        return 0.0
    ordered, place = np.sort(values), np.arange(size, dtype=np.float64)
    weights = [np.ones(size)]
    for order in range(1, 4):
        weights.append(weights[-1] * (place - order + 1) / (size - order))
    first, second, third, fourth = (float((weight * ordered).mean()) for weight in weights)
    scale = 2 * second - first
    if scale <= 0:
        return 0.0
    skewness = (6 * third - 6 * second + first) / scale
    return max(abs(skewness), (20 * fourth - 30 * third + 12 * second - first) / scale)


def misses(weight: float, groups: int, level: float) -> float:
    """Return the share of resamples that may lie outside, for tails of a weight.

    >>> round(misses(0.1, 30, 0.95), 4), round(misses(0.6, 30, 0.95), 4)
    (0.05, 0.0076)
    """
    seen = (groups / _HALF) ** _POWER
    heavy = min(1.0, max(0.0, (weight - LIGHT) / (HEAVY - LIGHT)))
    return float((1 - level) * (seen / (1 + seen)) ** heavy)
