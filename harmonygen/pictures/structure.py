"""Structure: how much of a foreground's drawing a change of colour keeps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from harmonygen.pictures.images import ImageU8, Mask, resize
from harmonygen.pictures.masks import resize_mask

_STRUCTURE_SIDE = 256
_SSIM_REACH = 3  # of 7 x 7 windows
_SAMPLE = 49 / 48  # variances of a sample of 49
Floats = npt.NDArray[np.float64]
_LUMA = np.array([0.299, 0.587, 0.114])


class StructureMeter:
    """Measures the composites of one photo; what depends on the photo alone is computed once."""

    def __init__(self, real_u8: ImageU8, mask: Mask) -> None:
        """Take the photo (H, W, 3) uint8 and its mask (H, W) bool, at the composites' size."""
        scale = min(1.0, _STRUCTURE_SIDE / min(mask.shape))
        self.size = max(8, round(mask.shape[0] * scale)), max(8, round(mask.shape[1] * scale))
        small = resize_mask(mask, *self.size)
        small = small if small.any() else np.ones(self.size, dtype=bool)
        self.window = _window(small)
        self.small_mask = small[self.window]
        self.similarity = Similarity(self._luma(real_u8), data_range=8.0)

    def __call__(self, composite_u8: ImageU8) -> float:
        """SSIM of the foreground's luminance after matching mean and variance, averaged over the foreground."""
        return float(self.similarity(self._luma(composite_u8))[self.small_mask].mean())

    def _luma(self, image_u8: ImageU8) -> npt.NDArray[np.float64]:
        """Return an image's luminance around the foreground, which alone is looked at."""
        return _normalised(resize(image_u8, *self.size)[self.window] @ _LUMA, self.small_mask)


class Similarity:
    """SSIM of planes with one other, at each pixel: skimage's ``structural_similarity``, to the bit.

    What the one gives (two of the five averages over windows) is computed once.
    """

    def __init__(self, one: Floats, data_range: float) -> None:
        """Take a plane (H, W) float64, 7 pixels or more each way, and what its values range over."""
        self.one, self.mean, self.square = one, _windows(one), _windows(one * one)
        self.low, self.low_variance = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2

    def __call__(self, other: Floats) -> Floats:
        """Return the SSIM (H, W) with another plane (H, W) float64."""
        mean, square, product = _windows(other), _windows(other * other), _windows(self.one * other)
        variance = _SAMPLE * (self.square - self.mean * self.mean)
        other_variance = _SAMPLE * (square - mean * mean)
        covariance = _SAMPLE * (product - self.mean * mean)
        above = (2 * self.mean * mean + self.low) * (2 * covariance + self.low_variance)
        below = (self.mean**2 + mean**2 + self.low) * (variance + other_variance + self.low_variance)
        similarity: Floats = above / below
        return similarity


def _windows(values: Floats) -> Floats:
    averaged: Floats = uniform_filter(values, size=2 * _SSIM_REACH + 1)
    return averaged


def _window(mask: Mask) -> tuple[slice, slice]:
    """Return the rows and columns of a mask's foreground, wide enough for SSIM's windows over each of its pixels."""
    spans = []
    for axis in (1, 0):
        inside = np.flatnonzero(mask.any(axis=axis))
        first, last, size = int(inside[0]) - _SSIM_REACH, int(inside[-1]) + _SSIM_REACH + 1, mask.shape[1 - axis]
        spans.append(slice(max(0, min(first, size - 2 * _SSIM_REACH - 1)), max(last, 2 * _SSIM_REACH + 1)))
    return spans[0], spans[1]


def _normalised(luma: npt.NDArray[np.float64], mask: Mask) -> npt.NDArray[np.float64]:
    """Bring a luminance plane to foreground mean 0 and deviation 1; the background is set to 0."""
    inside = luma[mask]
    return np.where(mask, (luma - inside.mean()) / max(float(inside.std()), 1e-3), 0.0)
