"""How a foreground was changed, in CIE Lab: where its mean moved, and by how much its contrast grew or fell."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from skimage.color import rgb2lab

_LEAST = 1e-3  # of a standard deviation, so that an even foreground has a contrast to compare with


class LabShift(NamedTuple):
    """The change of mean L, a and b, and the base-2 logarithm of the ratio of L's standard deviations; all signed."""

    lightness: float
    a: float
    b: float
    contrast: float

    @property
    def chroma(self) -> float:
        """How far the mean of (a, b) moved."""
        return float(np.hypot(self.a, self.b))


def to_lab(pixels_u8: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return colours (N, 3) uint8 in CIE Lab (N, 3)."""
    lab: Any = rgb2lab(pixels_u8 / 255.0)
    return np.asarray(lab, dtype=np.float64)


def lab_shift(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> LabShift:
    """Return how the foreground changed between two lists of its colours in Lab (N, 3); N is 1 or more.

    >>> grey = to_lab(np.full((4, 3), 100, np.uint8))
    >>> [round(value, 3) + 0.0 for value in lab_shift(grey, grey)]
    [0.0, 0.0, 0.0, 0.0]
    """
    lightness, a, b = (float(value) for value in (after - before).mean(axis=0))
    spread = [max(float(lab[:, 0].std()), _LEAST) for lab in (before, after)]
    return LabShift(lightness, a, b, float(np.log2(spread[1] / spread[0])))
