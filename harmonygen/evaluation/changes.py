"""What kind of change a composite is: its size, and how much of it simple colour maps explain.

A composite is compared with its real photo inside the mask. Authentic composites are global but curved changes of
colour; these figures tell whether made ones are alike. Legend: N foreground pixels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from harmonygen.evaluation.bootstrap import Interval, medians, shares
from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.pictures.structure import StructureMeter
from harmonygen.recolor.cubic import apply_cubic, fit_cubic
from harmonygen.recolor.foreground import check_foreground
from harmonygen.recolor.lab_shift import lab_shift, to_lab

Floats = npt.NDArray[np.float64]
MANY_CLIPPED = 0.05
LITTLE_STRUCTURE = 0.85
_AT_END, _OFF_END = 3, 10  # levels: JPEG moves a value by a few, which is no clipping
_RIDGE = 1e-9  # only keeps the equations solvable


@dataclass(frozen=True, slots=True)
class Change:
    """Figures of one composite against its real photo, inside the mask.

    ``fmse`` is in squared 8-bit units, ``structure`` the SSIM of luminance after matching mean and variance.
    ``lightness`` and ``chroma`` are the absolute shifts of mean L and of mean (a, b) in CIE Lab. ``contrast`` is the
    absolute base-2 logarithm of the ratio of L's standard deviations. ``left_offset``, ``left_affine`` and
    ``left_cubic`` are the shares (0 to 1) of the root mean square change that the best constant colour offset, 3 x 4
    affine map and cubic map of the photo leave; their squares are shares of ``fmse``. ``clipped`` is the share of
    values at an end of the range that were well off it in the photo.
    """

    fmse: float
    structure: float
    lightness: float
    chroma: float
    contrast: float
    left_offset: float
    left_affine: float
    left_cubic: float
    clipped: float

    @property
    def clips_much(self) -> bool:
        """Whether over 5 % of the foreground's values newly clip."""
        return self.clipped > MANY_CLIPPED


def measure_change(
    composite_u8: ImageU8, real_u8: ImageU8, mask: Mask, structure: StructureMeter | None = None
) -> Change:
    """Return the figures of a composite (H, W, 3) uint8 against its photo, in a mask (H, W) bool.

    ``structure`` is the photo's own meter, for several composites of one photo. A composite that changes nothing
    leaves shares of 0.

    Raises:
        InputError: pictures that do not fit, or an empty mask.
    """
    check_foreground(real_u8, mask)
    check_foreground(composite_u8, mask, "composite")
    real, composite = real_u8[mask], composite_u8[mask]
    shift = lab_shift(to_lab(real), to_lab(composite))
    return Change(
        float(((composite.astype(np.float64) - real) ** 2).mean()),
        (structure or StructureMeter(real_u8, mask))(composite_u8),
        abs(shift.lightness),
        shift.chroma,
        abs(shift.contrast),
        *left_over(real / 255.0, composite / 255.0),
        newly_clipped(real, composite),
    )


def left_over(real01: Floats, composite01: Floats) -> tuple[float, float, float]:
    """Return the shares of the root mean square change left by the best offset, affine map and cubic map.

    The colours are (N, 3); the photo's are mapped to the composite's.
    """
    change = composite01 - real01
    total = max(float((change**2).sum()), 1e-12)
    offset = change - change.mean(axis=0)
    ones = np.concatenate([np.ones((len(real01), 1)), real01], axis=1)
    gram = ones.T @ ones + _RIDGE * len(ones) * np.eye(4)
    affine = change - ones @ np.linalg.solve(gram, ones.T @ change)
    from_cubic = composite01 - apply_cubic(fit_cubic(real01, composite01, _RIDGE), real01)
    offset_left, affine_left, cubic_left = (
        float(np.sqrt((rest**2).sum() / total)) for rest in (offset, affine, from_cubic)
    )
    return offset_left, affine_left, cubic_left


def newly_clipped(real_u8: ImageU8, composite_u8: ImageU8) -> float:
    """Return the share of values that lie at an end in the composite and lay well off it in the photo.

    >>> real = np.array([[0, 100, 250]], np.uint8)
    >>> newly_clipped(real, np.array([[0, 1, 255]], np.uint8))
    0.3333333333333333
    """
    dark = (composite_u8 <= _AT_END) & (real_u8 > _OFF_END)
    light = (composite_u8 >= 255 - _AT_END) & (real_u8 < 255 - _OFF_END)
    return float((dark | light).mean())


@dataclass(frozen=True, slots=True)
class ChangeSummary:
    """Median of each figure of :class:`Change` by name, and shares of changes by what is notable; all intervals."""

    medians: dict[str, Interval]
    shares: dict[str, Interval]


def summarise_changes(changes: Sequence[Change], photos: Sequence[Any] | None = None) -> ChangeSummary:
    """Return medians and shares with intervals over ``photos`` (the photo of each change; each its own by default).

    Raises:
        UsageError: no changes.
    """
    columns = np.array([astuple(change) for change in changes], dtype=np.float64)
    found = medians(columns, groups=photos)
    flags = np.array([[change.clips_much, change.structure < LITTLE_STRUCTURE] for change in changes], np.bool_)
    clips, little = shares(flags, groups=photos)
    names = [field.name for field in fields(Change)]
    notable = {"newly clipped over 5 %": clips, f"structure under {LITTLE_STRUCTURE}": little}
    return ChangeSummary(dict(zip(names, found, strict=True)), notable)
