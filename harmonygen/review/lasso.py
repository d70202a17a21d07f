"""A lasso: the candidates inside a polygon that was drawn on the map, as it stands in the page's address."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harmonygen.errors import UsageError
from harmonygen.review.columns import Bools
from harmonygen.review.within_pair import Floats

MOST_POINTS = 100
"""Most corners of a polygon."""
_MOST_TEXT = 4000  # characters: what an address may hold
LOGARITHMIC = frozenset({"fmse"})
"""Columns with a long tail, which lie on the map by the logarithm of 1 plus their value."""


def on_axis(column: str, values: Any) -> Floats:
    """Return where the values of a column lie on its axis: as they are, or as logarithms."""
    found = np.asarray(values, dtype=np.float64)
    return np.log1p(np.maximum(found, 0)) if column in LOGARITHMIC else found


@dataclass(frozen=True)
class Lasso:
    """A polygon on two columns: its ``points`` are (x, y) in their units, and its edges straight on their axes.

    A place is inside by the even-odd rule, so the crossing parts of a polygon that crosses itself are outside.
    """

    x: str
    y: str
    points: Sequence[tuple[float, float]]

    @classmethod
    def parse(cls, text: str, numbers: Sequence[str]) -> Lasso:
        """Read ``x,y,x1,y1,x2,y2,...``; ``numbers`` are the columns that there are.

        Raises:
            UsageError: it is no polygon, one of too many points, or on columns that are not there.
        """
        if len(text) > _MOST_TEXT:
            raise UsageError(f"lasso has {len(text)} characters: give a polygon of at most {MOST_POINTS} points")
        names, values = text.split(",")[:2], [_finite(part) for part in text.split(",")[2:]]
        if unknown := [name for name in names if name not in numbers]:
            raise UsageError(
                f"lasso names the column {unknown[0][:40]!r}, which is not there or not measured: give two of "
                f"{', '.join(numbers)}"
            )
        if any(value is None for value in values) or len(values) % 2 or not 3 <= len(values) // 2 <= MOST_POINTS:
            raise UsageError(
                f"lasso is no polygon: give two columns, then 3 to {MOST_POINTS} points, each as two numbers"
            )
        points = [value for value in values if value is not None]
        return cls(names[0], names[1], list(zip(points[::2], points[1::2], strict=True)))

    def inside(self, values: Mapping[str, Floats]) -> Bools:
        """Return which rows (N,) lie inside; a row without one of the two values does not."""
        x, y = (on_axis(name, values[name]) for name in (self.x, self.y))
        corners = np.array(self.points)
        across, down = on_axis(self.x, corners[:, 0]), on_axis(self.y, corners[:, 1])
        with np.errstate(invalid="ignore"):
            near = (x >= across.min()) & (x <= across.max()) & (y >= down.min()) & (y <= down.max())
        rows = np.flatnonzero(near)
        found = np.zeros(len(x), dtype=bool)
        found[rows] = _within(x[rows], y[rows], across, down)
        return found


def _within(x: Floats, y: Floats, across: Floats, down: Floats) -> Bools:
    """Tell which places (N,) a ray to the right leaves the polygon an odd number of times from."""
    odd = np.zeros(len(x), dtype=bool)
    for (x1, y1), (x2, y2) in zip(
        zip(across, down, strict=True), zip(np.roll(across, -1), np.roll(down, -1), strict=True), strict=True
    ):
        if y1 != y2:
            crossed = ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
            odd ^= crossed
    return odd


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
