"""What stands between the candidates of one pair: how near its best two scores are, and its nearest two colours."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]

_CHUNK = 4096  # pairs whose candidates are compared with each other at once


def _matrices(starts: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield pairs with equally many candidates, some at a time: their numbers (M,) and their rows (M, K)."""
    counts = np.diff(starts)
    for size in np.unique(counts):
        pairs = np.flatnonzero(counts == size).astype(np.int32)
        for begin in range(0, len(pairs), _CHUNK):
            some = pairs[begin : begin + _CHUNK]
            yield some, starts[some][:, None] + np.arange(size, dtype=np.int32)


def margins_of(scores: Floats, starts: Ints) -> Floats:
    """Return each pair's best score minus its second best (P,), of scores (N,) that are not NaN; else NaN."""
    found = np.full(len(starts) - 1, np.nan)
    for pairs, rows in _matrices(starts):
        if rows.shape[1] > 1:
            ordered = np.sort(np.nan_to_num(scores[rows], nan=-np.inf), axis=1)
            with np.errstate(invalid="ignore"):
                gap = ordered[:, -1] - ordered[:, -2]
            found[pairs] = np.where(np.isfinite(gap), gap, np.nan)
    return found


def nearest_of(points: Floats, starts: Ints) -> Floats:
    """Return each row's distance to the nearest other row of its pair (N,), NaN where there is none."""
    found = np.full(len(points), np.nan)
    for _, rows in _matrices(starts):
        if rows.shape[1] > 1:
            apart = np.linalg.norm(points[rows][:, :, None] - points[rows][:, None], axis=3)
            apart[:, np.arange(rows.shape[1]), np.arange(rows.shape[1])] = np.inf
            found[rows] = apart.min(axis=2)
    return np.where(np.isfinite(found), found, np.nan)
