"""MSE, PSNR and foreground MSE, as the papers define them (REFERENCE section 7).

Images are (H, W, 3) arrays in 0..255; sums are float64.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from harmonygen.errors import InputError
from harmonygen.images import Mask

Image255 = npt.NDArray[np.uint8] | npt.NDArray[np.floating]
PEAK = 255.0


def mse(image: Image255, real: Image255) -> float:
    """Mean squared error over all pixels and channels, squared 8-bit units.

    >>> mse(np.full((2, 2, 3), 10.0), np.full((2, 2, 3), 7.0))
    9.0
    """
    return float(np.mean(_squared_error(image, real)))


def psnr(image: Image255, real: Image255) -> float:
    """Peak signal-to-noise ratio in dB, data range 255, from :func:`mse`; infinite for equal images.

    >>> round(psnr(np.full((2, 2, 3), 10.0), np.full((2, 2, 3), 7.0)), 2)
    38.59
    """
    error = mse(image, real)
    return math.inf if error == 0 else 10 * math.log10(PEAK**2 / error)


def fmse(image: Image255, real: Image255, mask: Mask) -> float:
    """Squared error summed over the foreground, over (foreground pixels x 3).

    Raises:
        InputError: the mask (H, W) bool is empty or not of the images' size.

    >>> mask = np.array([[True, False], [False, False]])
    >>> fmse(np.full((2, 2, 3), 10.0), np.full((2, 2, 3), 7.0), mask)
    9.0
    """
    squared = _squared_error(image, real)
    if mask.shape != squared.shape[:2] or not mask.any():
        raise InputError(
            f"mask has shape {mask.shape} and {int(mask.sum())} pixels, the image {squared.shape[:2]}: check it"
        )
    return float(squared[mask].sum() / (int(mask.sum()) * 3))


def _squared_error(image: Image255, real: Image255) -> npt.NDArray[np.float64]:
    if image.shape != real.shape:
        raise InputError(f"images differ in size: {image.shape} and {real.shape}: resize neither, find out why")
    return (image.astype(np.float64) - real.astype(np.float64)) ** 2
