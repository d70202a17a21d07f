"""Bootstrap of figures that have two sources of chance: which photos are in the test set, and the training's seed.

Every seed's model is scored on every image, so both are resampled at once: photos (with all their composites, which
are not independent) and seeds, each with replacement. Seeds inside photos would take one seed's luck for many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harmonygen.errors import UsageError
from harmonygen.evaluation.bootstrap import LEVEL, RESAMPLES, Interval

Floats = npt.NDArray[np.float64]
_CELLS = 4_000_000  # of the weights in memory at a time


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
        means = _resampled(sums, counts, seed, n)
        low, high = (float(bound) for bound in np.percentile(means, [50 * (1 - level), 50 * (1 + level)]))
    return Interval(float(used.mean()), low, high, len(used))


def _resampled(sums: Floats, counts: Floats, seed: int, n: int) -> Floats:
    """Return the means (n,) of resamples of the rows and the columns of ``sums`` (photos, seeds)."""
    rng, (photos, seeds) = np.random.default_rng(seed), sums.shape
    means, step = [], max(1, _CELLS // photos)
    for start in range(0, n, step):
        rows = min(step, n - start)
        weights = rng.multinomial(photos, np.full(photos, 1 / photos), size=rows).astype(np.float64)
        drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=rows) / seeds
        means.append(((weights @ sums) * drawn).sum(axis=1) / (weights @ counts))
    return np.concatenate(means)
