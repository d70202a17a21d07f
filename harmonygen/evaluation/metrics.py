"""MSE, PSNR, SSIM, the same over the foreground, and bias in Lab, as the papers define them (REFERENCE section 7).

Images are (H, W, 3) arrays or (3, H, W) tensors in 0..255, masks (H, W) arrays or (H, W) / (1, H, W) tensors, True
(or at least half) in the foreground; all sums are float64. Each figure is a function of one image; :class:`Metric`
is its mean over a stream of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from harmonygen.errors import InputError, UsageError
from harmonygen.pictures.images import Mask

Floats = npt.NDArray[np.float64]
PEAK = 255.0
SSIM_SIGMA, SSIM_REACH = 1.5, 5  # a Gaussian window of 11 pixels, cut at 3.5 sigma
_STRIP = 512  # rows whose SSIM is in memory at a time


def mse(image: Any, real: Any) -> float:
    """Mean squared error over all pixels and channels, squared 8-bit units.

    >>> mse(np.full((2, 2, 3), 10.0), np.full((2, 2, 3), 7.0))
    9.0
    """
    return float(squared_error(image, real).mean())


def psnr(image: Any, real: Any) -> float:
    """Peak signal-to-noise ratio in dB, data range 255, from :func:`mse`; infinite for equal images.

    >>> round(psnr(np.full((2, 2, 3), 10.0), np.full((2, 2, 3), 7.0)), 2)
    38.59
    """
    return decibels(mse(image, real))


def fmse(image: Any, real: Any, mask: Any) -> float:
    """Squared error summed over the foreground, over (foreground pixels x 3).

    Raises:
        InputError: the mask is empty or not of the images' size.

    >>> mask = np.array([[True, False], [False, False]])
    >>> fmse(np.full((2, 2, 3), 10.0), np.full((2, 2, 3), 7.0), mask)
    9.0
    """
    squared = squared_error(image, real)
    inside = _foreground(mask, squared.shape)
    return float(squared[inside].sum() / (int(inside.sum()) * 3))


def fpsnr(image: Any, real: Any, mask: Any) -> float:
    """Peak signal-to-noise ratio in dB from :func:`fmse`, which raises as this does."""
    return decibels(fmse(image, real, mask))


def ssim(image: Any, real: Any) -> float:
    """Structural similarity: scikit-image's mean over the image, a Gaussian window's reach within its edges.

    Gaussian weights of sigma 1.5, data range 255, mean of the three channels.

    Raises:
        InputError: a side under 11 pixels, or images of two sizes.
    """
    return ssim_of_map(ssim_map(image, real))


def fssim(image: Any, real: Any, mask: Any) -> float:
    """Foreground structural similarity: the mean of the map behind :func:`ssim` over the mask's pixels.

    Raises:
        InputError: as for :func:`ssim` and :func:`fmse`.
    """
    similar = ssim_map(image, real)
    return float(similar[_foreground(mask, similar.shape)].mean())


def lab_bias(image: Any, real: Any, mask: Any) -> tuple[float, float, float]:
    """Mean difference from the real foreground in CIE Lab (D65): lighter, redder and yellower are positive.

    Raises:
        InputError: as for :func:`fmse`.
    """
    from skimage.color import rgb2lab

    first, second = _both(image, real)
    inside = _foreground(mask, first.shape)
    both = [rgb2lab(pixels[inside].astype(np.float64)[None] / PEAK)[0] for pixels in (first, second)]
    lightness, red, yellow = (both[0] - both[1]).mean(axis=0).tolist()
    return lightness, red, yellow


def decibels(error: float) -> float:
    """Return the PSNR of a mean squared error, data range 255.

    >>> decibels(0.0), round(decibels(1.0), 2)
    (inf, 48.13)
    """
    return math.inf if error == 0 else 10 * math.log10(PEAK**2 / error)


def squared_error(image: Any, real: Any) -> Floats:
    """Return the squared difference (H, W, 3), float64; raise InputError for images of two sizes."""
    first, second = _both(image, real)
    difference: Floats = first.astype(np.float64) - second
    difference *= difference
    return difference


def ssim_map(image: Any, real: Any) -> Floats:
    """Return the structural similarity (H, W, 3) at each pixel, worked out in strips of rows to bound memory.

    Raises:
        InputError: a side under 11 pixels, or images of two sizes.
    """
    from skimage.metrics import structural_similarity

    first, second = _both(image, real)
    height, least = first.shape[0], 2 * SSIM_REACH + 1
    if min(first.shape[:2]) < least:
        raise InputError(f"SSIM needs images of {least} pixels a side or more, found {first.shape[1]}x{height}")
    similar = np.empty(first.shape, dtype=np.float64)
    for top in range(0, height, _STRIP):
        end = min(height, top + _STRIP)
        low = max(0, min(top, height - least) - SSIM_REACH)
        high = min(height, max(end, low + least) + SSIM_REACH)
        _, strip = structural_similarity(
            first[low:high],
            second[low:high],
            channel_axis=2,
            data_range=PEAK,
            gaussian_weights=True,
            sigma=SSIM_SIGMA,
            use_sample_covariance=False,
            full=True,
        )
        similar[top:end] = strip[top - low : end - low]
    return similar


def ssim_of_map(similar: Floats) -> float:
    """Return the mean of :func:`ssim_map` within the edges, as scikit-image does."""
    return float(similar[SSIM_REACH:-SSIM_REACH, SSIM_REACH:-SSIM_REACH].mean())


FIGURES: dict[str, Callable[..., float]] = {
    "mse": mse,
    "psnr": psnr,
    "fmse": fmse,
    "fpsnr": fpsnr,
    "ssim": ssim,
    "fssim": fssim,
}
"""The figures of one image by name; those with an ``f`` before them look at the foreground alone."""
OF_FOREGROUND = ("fmse", "fpsnr", "fssim")


class Metric:
    """The mean of a figure over images: ``update`` takes one image or a batch (first axis), ``compute`` the mean.

    What has no finite figure (an empty foreground; PSNR of equal images) is left out of the mean and counted in
    ``left_out``.

    >>> metric = Metric("mse")
    >>> metric.update(np.full((2, 2, 3), 10.0), np.full((2, 2, 3), 7.0))
    >>> metric.update(np.full((4, 2, 2, 3), 10.0), np.full((4, 2, 2, 3), 8.0))
    >>> metric.compute(), metric.n
    (5.0, 5)
    """

    def __init__(self, figure: str) -> None:
        if figure not in FIGURES:
            raise UsageError(f"figure '{figure}' is not known: choose {', '.join(FIGURES)}")
        self.figure, self.total, self.n, self.left_out = figure, 0.0, 0, 0

    def update(self, images: Any, reals: Any, masks: Any = None) -> None:
        """Add one image, or a batch of them, with its real photo and (foreground figures) its mask.

        Raises:
            InputError: images or masks of different sizes.
            UsageError: a foreground figure without masks.
        """
        if self.figure in OF_FOREGROUND and masks is None:
            raise UsageError(f"{self.figure} is a figure of the foreground: give the masks")
        if images.ndim == 4:
            if len(images) != len(reals):
                raise InputError(f"{len(images)} images but {len(reals)} real photos: give one each")
            for index in range(len(images)):
                self.update(images[index], reals[index], None if masks is None else masks[index])
            return
        self._add(images, reals, masks)

    def _add(self, image: Any, real: Any, mask: Any) -> None:
        inside = (as_mask(mask),) if self.figure in OF_FOREGROUND else ()
        empty = any(not foreground.any() for foreground in inside)
        value = math.nan if empty else FIGURES[self.figure](image, real, *inside)
        if math.isfinite(value):
            self.total += value
            self.n += 1
        else:
            self.left_out += 1

    def merge(self, other: Metric) -> None:
        """Take in what another metric of the same figure has seen."""
        if other.figure != self.figure:
            raise UsageError(f"a metric of {other.figure} cannot be merged into one of {self.figure}")
        self.total, self.n, self.left_out = self.total + other.total, self.n + other.n, self.left_out + other.left_out

    def compute(self) -> float:
        """Return the mean.

        Raises:
            InputError: nothing finite was seen.
        """
        if not self.n:
            raise InputError(f"{self.figure} has no mean: {self.left_out} images were seen, none with a finite value")
        return self.total / self.n


def as_mask(mask: Any) -> Mask:
    """Return a mask array or tensor as (H, W) bool; numbers count from half of 1 (of 255 if any is over 1)."""
    array = mask.detach().cpu().numpy() if hasattr(mask, "detach") else np.asarray(mask)
    array = array[0] if array.ndim == 3 and array.shape[0] == 1 else array
    if array.ndim != 2:
        raise InputError(f"a mask has shape {array.shape}: (H, W) is needed")
    if array.dtype == np.bool_:
        return np.asarray(array)
    return np.asarray(array >= (127.5 if array.max(initial=0) > 1 else 0.5))


def _both(image: Any, real: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    first, second = _pixels(image), _pixels(real)
    if first.shape != second.shape:
        raise InputError(f"images differ in size: {first.shape} and {second.shape}: resize neither, find out why")
    return first, second


def _pixels(image: Any) -> npt.NDArray[Any]:
    array = image.detach().cpu().double().numpy().transpose(1, 2, 0) if hasattr(image, "detach") else np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3:
        raise InputError(f"an image has shape {array.shape}: an (H, W, 3) array or a (3, H, W) tensor is needed")
    return array if array.dtype == np.uint8 else array.astype(np.float64)


def _foreground(mask: Any, shape: tuple[int, ...]) -> Mask:
    inside = as_mask(mask)
    if inside.shape != shape[:2] or not inside.any():
        raise InputError(f"mask has shape {inside.shape} and {int(inside.sum())} pixels, the image {shape[:2]}: check")
    return inside
