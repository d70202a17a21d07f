"""Gates: what a candidate must keep to count at all; each failure has a name, so drop reasons are data."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.pictures.structure import StructureMeter
from harmonygen.records import GateValues
from harmonygen.synthesis.settings import GateSettings


class GateMeter:
    """Measures the candidates of one photo; what depends on the photo alone is computed once."""

    def __init__(self, real_u8: ImageU8, mask: Mask) -> None:
        """Take the photo (H, W, 3) uint8 and its mask (H, W) bool, at the composites' size."""
        self.real, self.outside, self.places = real_u8, ~mask, np.flatnonzero(mask)
        self.foreground_u8 = self._inside(real_u8)
        self.foreground = self.foreground_u8.astype(np.float32)
        self.between = ~_at_ends(self.foreground_u8)
        self.structure = StructureMeter(real_u8, mask)

    def __call__(self, composite_u8: ImageU8) -> GateValues:
        """Measure one composite (H, W, 3) uint8."""
        foreground_u8 = self._inside(composite_u8)
        change = foreground_u8.astype(np.float32) - self.foreground
        newly = _at_ends(foreground_u8) & self.between
        shift = change.mean(axis=0)
        return GateValues(
            clipped=float(newly.mean()),
            fmse=float((change.astype(np.float64) ** 2).mean()),
            structure=self.structure(composite_u8),
            drift=self._drift(composite_u8, foreground_u8),
            shift=(float(shift[0]), float(shift[1]), float(shift[2])),
        )

    def _inside(self, image_u8: ImageU8) -> ImageU8:
        """Return an image's foreground (N, 3)."""
        return np.take(image_u8.reshape(-1, 3), self.places, axis=0)

    def _drift(self, composite_u8: ImageU8, foreground_u8: ImageU8) -> float:
        """Return the share of background pixels that are not the photo's."""
        differs = composite_u8 != self.real
        if np.count_nonzero(differs) == np.count_nonzero(foreground_u8 != self.foreground_u8):
            return 0.0  # all of it is foreground, as nearly always
        red, green, blue = np.moveaxis(differs, 2, 0)  # ten times as fast as any(axis=2)
        return float(((red | green | blue) & self.outside).sum() / max(1, self.outside.sum()))


def _at_ends(values_u8: ImageU8) -> npt.NDArray[np.bool_]:
    ends: npt.NDArray[np.bool_] = (values_u8 == 0) | (values_u8 == 255)
    return ends


DUPLICATE = "duplicate"
"""The gate that a candidate fails whose pixels an earlier one of its pair has."""


def gate_checks(values: GateValues, score: Any, limits: GateSettings) -> list[tuple[str, Any]]:
    """Return each gate's name and whether it is kept: the one place where values are compared with limits.

    The fields of ``values``, and ``score``, are numbers, or arrays of one shape; the answers are of that shape. A score
    that is NaN passes its gate: :data:`harmonygen.synthesis.select.NO_SCORE` refuses it under its own name.
    """
    return [
        ("clipped", values.clipped <= limits.max_clipped),
        ("fmse-low", values.fmse >= limits.min_fmse),
        ("fmse-high", values.fmse <= limits.max_fmse),
        ("structure", values.structure >= limits.min_structure),
        ("drift", values.drift <= limits.max_drift),
        ("score-low", np.logical_not(score < limits.min_p_composite)),
    ]


def first_failure(values: GateValues, score: float, limits: GateSettings, duplicate: bool = False) -> str:
    """Return the name of the first gate a candidate fails, or an empty string.

    >>> first_failure(GateValues(clipped=0.5, fmse=900, structure=0.99, drift=0), 0.9, GateSettings())
    'clipped'
    """
    if duplicate:
        return DUPLICATE
    return next((name for name, kept in gate_checks(values, score, limits) if not kept), "")
