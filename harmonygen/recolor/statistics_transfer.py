"""Move a foreground's colour statistics toward its background's: no learning, and a baseline that is hard to beat.

Mean and standard deviation of CIE Lab (D65), as Reinhard et al. 2001 match them, but only part of the way and between
the two parts of one picture. Legend: N pixels, H W image pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from skimage.color import lab2rgb, rgb2lab

from harmonygen.errors import UsageError
from harmonygen.recolor.foreground import Floats, ImageU8, Mask, check_foreground

Vector = npt.NDArray[np.float64]
STRENGTH = 0.5
_MIN_STD = 1e-3  # of a flat foreground, in Lab units: its spread is left alone
_MAX_GAIN = 4.0
_STRIP_PIXELS = 1 << 18  # 8 bytes, 3 channels, about 6 copies: 40 MB


@dataclass(frozen=True, slots=True)
class LabMove:
    """A change of Lab colours: their distance from ``centre`` times ``gain``, then ``shift`` added; (3,) each."""

    centre: Vector
    gain: Vector
    shift: Vector

    def __call__(self, lab: Floats) -> Floats:
        """Return moved Lab colours (..., 3)."""
        moved: Floats = (lab - self.centre) * self.gain + (self.centre + self.shift)
        return moved


def lab_statistics(pixels_u8: ImageU8) -> tuple[Vector, Vector]:
    """Return mean and standard deviation (3,) each of the CIE Lab of pixels (N, 3) uint8, N at least 1."""
    total, squares = np.zeros(3), np.zeros(3)
    for strip in _strips(len(pixels_u8)):
        lab = rgb2lab(pixels_u8[strip] / 255.0)
        total += lab.sum(axis=0)
        squares += (lab**2).sum(axis=0)
    mean = total / len(pixels_u8)
    return mean, np.sqrt(np.maximum(squares / len(pixels_u8) - mean**2, 0))


def lab_move(composite_u8: ImageU8, mask: Mask, strength: float = STRENGTH) -> LabMove:
    """Return the move of the foreground's Lab mean and standard deviation toward the background's.

    Args:
        composite_u8: (H, W, 3) ``uint8`` RGB.
        mask: (H, W) bool.
        strength: share of the way, 0 (nothing changes) to 1 (the background's own statistics).

    Raises:
        UsageError: a strength outside 0 to 1.
        InputError: a wrong shape or type, or a mask that is empty.
    """
    if not 0 <= strength <= 1:
        raise UsageError(f"strength of the Lab transfer is {strength}: give a share from 0 to 1, 0.5 is usual")
    check_foreground(composite_u8, mask)
    if mask.all():
        return LabMove(np.zeros(3), np.ones(3), np.zeros(3))
    (mean, std), (goal_mean, goal_std) = lab_statistics(composite_u8[mask]), lab_statistics(composite_u8[~mask])
    gain = np.where(std > _MIN_STD, 1 + strength * (goal_std / np.maximum(std, _MIN_STD) - 1), 1.0)
    return LabMove(mean, np.minimum(gain, _MAX_GAIN), strength * (goal_mean - mean))


def lab_transfer(composite_u8: ImageU8, mask: Mask, strength: float = STRENGTH) -> ImageU8:
    """Return the composite with its foreground moved by :func:`lab_move`, which raises as this does.

    Outside the mask the result (H, W, 3) ``uint8`` equals the composite bit for bit; with a full mask there is no
    background to follow, and it equals it everywhere. It is worked on in strips, so memory stays small.
    """
    move = lab_move(composite_u8, mask, strength)
    harmonized_u8 = composite_u8.copy()
    pixels = composite_u8[mask]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-image tells of colours outside sRGB, which it clips
        for strip in _strips(len(pixels)):
            rgb = lab2rgb(move(rgb2lab(pixels[strip] / 255.0)))
            pixels[strip] = np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
    harmonized_u8[mask] = pixels
    return harmonized_u8


def _strips(pixels: int) -> Iterator[slice]:
    return (slice(start, start + _STRIP_PIXELS) for start in range(0, pixels, _STRIP_PIXELS))
