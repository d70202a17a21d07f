"""Read a grey mask: two values, a soft edge, a trimap or labels; see :mod:`harmonygen.pictures.mask_values`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harmonygen.pictures.images import Mask
from harmonygen.pictures.levels import Levels
from harmonygen.pictures.mask_reading import MaskKind, MaskReading, Understood, labelled, refusal, told

_SMALL = 64  # labels below it may stand beside 255 = ignore; a brighter value could be one of a scale
_NEAR = 8  # of 255: as far as the noise of lossy files takes flat black and white
_FEW = 64  # more values than this are shades
_NOISY = 8  # more values than this may be noise, if most of them fill no area


def of_grey(levels: Levels, name: str, lossy: bool) -> Understood:
    """Return the foreground of a grey mask; ``lossy`` tells that it was stored with loss.

    Raises:
        InputError: what the values mean cannot be determined.
    """
    values, top = levels.values, _top(levels.values)
    if lossy and 0 < values[-1] < top / 2:
        raise refusal(levels, name, "all dark, in a file that keeps no exact values")
    if values.size == 1:
        return labelled(levels, values > 0, kind="two-valued")
    if values.size == 2:
        return _of_two(levels, name, top)
    if values.size == 3 and _is_trimap(values, top):
        return labelled(levels, values == values[2], values == values[1])
    if not lossy and _are_ids(levels, top):
        return _of_ids(levels, name, top)
    if _is_soft(levels, top):
        return _of_soft(levels, top)
    if not lossy and _are_large_labels(levels, top):
        return labelled(levels, values > 0)
    raise refusal(levels, name, "which is neither two values, nor a soft edge, nor labels beside 0")


def _top(values: npt.NDArray[np.float64]) -> float:
    """Return what white is: 255, 65535, or the highest value where that is higher."""
    return next((top for top in (255.0, 65535.0) if values[-1] <= top), float(values[-1]))


def _of_two(levels: Levels, name: str, top: float) -> Understood:
    low, high = levels.values
    if low and high - low < top / 4 and (low >= top / 2) == (high >= top / 2):
        raise refusal(levels, name, "neither of which is 0, the background")
    return labelled(levels, levels.values == high, kind="two-valued")


def _is_trimap(values: npt.NDArray[np.float64], top: float) -> bool:
    return bool(values[0] == 0 and values[2] == top and abs(values[1] - top / 2) < 1)


def _are_ids(levels: Levels, top: float) -> bool:
    """Return whether the values are small labels, alone or with 255 = ignore, rather than the noise of two values."""
    small, others = levels.values < _SMALL, levels.values[levels.values >= _SMALL]
    labels = small & (levels.values > 0)
    if not others.size or not labels.any():
        return not others.size
    return bool(
        others.size == 1
        and others[0] == top
        and (levels.solidity(labels) >= 0.5 or levels.counts[-1] < 2 * levels.counts[labels].sum())
    )


def _of_ids(levels: Levels, name: str, top: float) -> Understood:
    values = levels.values
    ignored = (values == top) | (values == -1)
    labels = (values > 0) & ~ignored
    if (values < -1).any() or not (values == 0).any():
        raise refusal(levels, name, "none of which is 0, the background")
    if _is_noisy(levels) or (ignored[-1] and levels.solidity(labels) < 0.25):
        raise refusal(levels, name, "of which the small ones may be labels or noise")
    return labelled(levels, labels, ignored)


def _are_large_labels(levels: Levels, top: float) -> bool:
    """Return whether values beside 0 are labels of areas, none of which is white and could be ignore."""
    if levels.values[0] != 0 or levels.values[-1] == top:
        return False
    return levels.solidity(levels.values > 0) >= 0.3 and not _is_noisy(levels)


def _is_noisy(levels: Levels) -> bool:
    """Return whether most of many values fill no area, as the noise of a label image that was stored with loss."""
    return bool(levels.values.size > _NOISY and (levels.solid < 0.2 * levels.counts).mean() > 0.5)


def _is_soft(levels: Levels, top: float) -> bool:
    """Return whether values are those of a soft mask: from black to white, with shades at edges only."""
    values = levels.values * 255 / top
    if values[0] < 0 or levels.share(values >= 191) < 0.2 * levels.share(values > _NEAR):
        return False
    shades = (values > _NEAR) & (values < 255 - _NEAR)
    if values.size <= _FEW:
        return bool(values[0] <= 64 and levels.solidity(shades) < 0.3)
    return levels.share((values <= 64) | (values >= 191)) >= 0.5 and not _has_plateau(levels, shades)


def _has_plateau(levels: Levels, shades: Mask) -> bool:
    """Return whether one shade among many fills an area, as the middle value of a trimap stored with loss does."""
    solid = levels.solid[shades]
    return bool(solid.size and solid.max() > 0.002 * levels.codes.size and solid.max() > 10 * np.median(solid))


def _of_soft(levels: Levels, top: float) -> Understood:
    values = levels.values
    shades = (values > top * _NEAR / 255) & (values < top - top * _NEAR / 255)
    kind: MaskKind = "soft" if shades.any() else "two-valued"
    return levels.where(values >= top / 2), MaskReading(kind, told(values[[0, -1]]), told(values[[-1]]))
