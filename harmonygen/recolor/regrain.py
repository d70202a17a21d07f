"""Keep the photo's own texture under a new grading (the grain reducer of Pitié et al. 2007).

Matching a distribution exactly stretches its noise. The regraining holds the new colours where the photo has
detail and smooths the colour change where it has none. Shape legend: N foreground pixels, C 3 channels, H W pixels.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from harmonygen.recolor.foreground import Floats, Mask

Float32s: TypeAlias = npt.NDArray[np.float32]

ITERATIONS = (4, 16, 32, 64, 64, 64)  # at full size, half, quarter, ...
SMALLEST_SIDE = 20
RELAXATION = np.float32(0.8)


def regrain_foreground(source01: Floats, graded01: Floats, mask: Mask) -> Float32s:
    """Return the graded foreground with the gradients of the original.

    Args:
        source01: (N, 3) original foreground, RGB in ``[0, 1]``.
        graded01: (N, 3) the same pixels, graded.
        mask: (H, W) bool with N true pixels; the surround counts as black and unchanged.

    Returns:
        (N, 3) RGB, about ``[0, 1]`` but not clipped.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    boxed = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    original = np.zeros((3, *boxed.shape), np.float32)
    original[:, boxed] = source01.T
    change = np.zeros_like(original)
    change[:, boxed] = (graded01 - source01).T
    smoothed: Float32s = original[:, boxed].T + _smooth_change(change, original, 0)[:, boxed].T
    return smoothed


def _smooth_change(change: Float32s, original: Float32s, level: int) -> Float32s:
    """Solve for the smoothed colour change (C, H, W), from coarse to fine."""
    height, width = original.shape[1:]
    start = change  # Pitié starts from none, and flat foregrounds then keep their old colours
    if level + 1 < len(ITERATIONS) and min(height, width) > 2 * SMALLEST_SIDE:
        coarse = _halve(original)
        regrained = coarse + _smooth_change(_halve(change), coarse, level + 1)
        # Pitié enlarges the picture, not its change: that blurs a little, and is what iHarmony4's example shows.
        start = _enlarge(regrained, height, width) - original
    return _relax(start, change, original, level)


def _relax(smoothed: Float32s, change: Float32s, original: Float32s, level: int) -> Float32s:
    """Run damped Jacobi steps on data term psi and smoothness term phi of the paper."""
    padded = _pad(original)
    gradient_x = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    gradient_y = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    slope = np.sqrt(np.sum(gradient_x**2 + gradient_y**2, axis=0))
    psi = np.minimum(256 / 5 * slope, 1)
    phi = _pad((30 * 2.0**-level / (1 + 10 * slope)).astype(np.float32)[None])
    weights = [(phi[0, 1:-1, 1:-1] + side[0]) / 2 for side in _sides(phi)]
    scale = RELAXATION / (psi + sum(weights))
    weights = [weight * scale for weight in weights]
    held = change * (psi * scale)
    for _ in range(ITERATIONS[level]):
        neighbours = _sides(_pad(smoothed))
        smoothed = smoothed * (1 - RELAXATION) + held
        for weight, neighbour in zip(weights, neighbours, strict=True):
            smoothed += weight * neighbour
    return smoothed


def _pad(planes: Float32s) -> Float32s:
    """Repeat the border of (C, H, W) once on each side: (C, H + 2, W + 2)."""
    return np.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")


def _sides(padded: Float32s) -> list[Float32s]:
    """Return the right, lower, left and upper neighbours (C, H, W) of padded planes."""
    return [padded[:, 1:-1, 2:], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, :-2, 1:-1]]


def _halve(planes: Float32s) -> Float32s:
    """Average 2 x 2 pixels, the odd last row or column repeated: (C, H, W) to (C, ceil(H/2), ceil(W/2))."""
    channels, height, width = planes.shape
    even = np.pad(planes, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    halved: Float32s = even.reshape(channels, -(-height // 2), 2, -(-width // 2), 2).mean(axis=(2, 4))
    return halved


def _enlarge(planes: Float32s, height: int, width: int) -> Float32s:
    """Double the size bilinearly and crop to (C, height, width)."""
    enlarged: Float32s = ndimage.zoom(planes, (1, 2, 2), order=1, mode="nearest", grid_mode=True)
    return enlarged[:, :height, :width]
