"""The four classical colour transfers iHarmony4's composites were made with (Cong et al. 2020), and one more.

Each gives a foreground the colour statistics of a reference foreground. Shape legend: N source pixels,
M reference pixels, H W image pixels, P projection axes. Colours are sRGB-coded RGB in ``[0, 1]``.

The four agree with the iHarmony4 authors' own example to within their JPEG compression
(``tests/recolor/test_color_transfer.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from harmonygen.errors import UsageError
from harmonygen.recolor.foreground import Floats, ImageU8, Mask, foreground_pixels, paste_pixels
from harmonygen.recolor.regrain import regrain_foreground

Float64s: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.integer[Any]]
TransferFunction: TypeAlias = Callable[[Floats, Floats, np.random.Generator], Float64s]

# Reinhard et al. 2001, equation 4 (RGB to LMS) and equation 6 (log LMS to lαβ). The inverses are computed:
# the RGB matrix printed as equation 9 is not the inverse of equation 4.
RGB_TO_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
LMS_TO_LAB = np.diag(1 / np.sqrt([3.0, 6.0, 2.0])) @ np.array([[1.0, 1, 1], [1, 1, -2], [1, -1, 0]])
LMS_TO_RGB = np.linalg.inv(RGB_TO_LMS)
LAB_TO_LMS = np.linalg.inv(LMS_TO_LAB)
LMS_FLOOR = 1e-5  # below 0.0241 / 255, the least cone response of any 8-bit colour but black
LOG_LMS_CEILING = 2.0  # white is 0: anything near 2 is far outside the gamut, and 10**2 still subtracts safely

# ITU-R BT.601 for 8-bit codes: Y in [16, 235], Cb and Cr in [16, 240].
RGB_TO_YCBCR = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]])
YCBCR_TO_RGB = np.linalg.inv(RGB_TO_YCBCR)
YCBCR_OFFSET = np.array([16.0, 128.0, 128.0])

QUANTIZATION_VARIANCE = 1 / (12 * 255**2)  # of rounding to 8 bits: less than this is no colour variation
PITIE_ITERATIONS = 10
PITIE_BINS = 300
PITIE_REFERENCE_PIXELS = 16384  # 55 samples a bin
# Three colour axes and three between them: six projections an iteration converge more steadily than three.
PITIE_AXES = np.array([[3.0, 0, 0], [0, 3, 0], [0, 0, 3], [2, 2, -1], [2, -1, 2], [-1, 2, 2]]) / 3


def reinhard(source01: Floats, reference01: Floats, rng: np.random.Generator) -> Float64s:
    """Match mean and standard deviation of each lαβ channel (Reinhard et al. 2001).

    Args:
        source01: (N, 3) RGB in ``[0, 1]``.
        reference01: (M, 3) RGB in ``[0, 1]``.
        rng: unused, the method is not random.

    Returns:
        (N, 3) RGB in ``[0, 1]``.

    >>> grey, red = np.full((4, 3), 0.5), np.full((2, 3), [0.8, 0.2, 0.1])
    >>> reinhard(grey, red, np.random.default_rng(0))[0].round(3).tolist()
    [0.8, 0.2, 0.1]
    """
    source_lab, source_mean, source_std = _lab_statistics(source01)
    _, reference_mean, reference_std = _lab_statistics(reference01)
    matched = (source_lab - source_mean) * (reference_std / np.maximum(source_std, 1e-6)) + reference_mean
    log_lms = np.minimum(matched @ LAB_TO_LMS.T, LOG_LMS_CEILING)
    recoloured01: Float64s = np.clip(10.0**log_lms @ LMS_TO_RGB.T, 0.0, 1.0)
    return recoloured01


def _lab_statistics(pixels01: Floats) -> tuple[Float64s, Float64s, Float64s]:
    """Return lαβ (N, 3) with its mean (3,) and deviation (3,); pure black has no logarithm and is not counted."""
    lms = pixels01 @ RGB_TO_LMS.T
    lab = np.log10(np.maximum(lms, LMS_FLOOR)) @ LMS_TO_LAB.T
    counted = lab[lms.max(axis=1) > LMS_FLOOR]
    if len(counted) == 0:
        counted = lab
    return lab, counted.mean(axis=0), counted.std(axis=0)


def xiao(source01: Floats, reference01: Floats, rng: np.random.Generator) -> Float64s:
    """Match the mean and the RGB covariance by principal axes (Xiao and Ma 2006).

    An axis has no sign of its own. The main one is turned to within 90 degrees of the source's, or light and dark
    would change places; the signs of the other two are drawn, since they were left to chance in iHarmony4 too
    (the authors' example has both mirrored).

    Args:
        source01: (N, 3) RGB in ``[0, 1]``.
        reference01: (M, 3) RGB in ``[0, 1]``.
        rng: draws whether each of the two minor axes is mirrored.

    Returns:
        (N, 3) RGB in ``[0, 1]``.

    >>> grey, red = np.full((4, 3), 0.5), np.full((2, 3), [0.8, 0.2, 0.1])
    >>> xiao(grey, red, np.random.default_rng(0))[0].round(3).tolist()
    [0.8, 0.2, 0.1]
    """
    source_mean, source_variance, source_axes = _principal_axes(source01)
    reference_mean, reference_variance, reference_axes = _principal_axes(reference01)
    sign = np.where(np.sum(source_axes * reference_axes, axis=0) < 0, -1.0, 1.0)
    sign[:2] *= rng.choice([-1.0, 1.0], size=2)
    gain = sign * np.sqrt(reference_variance / np.maximum(source_variance, QUANTIZATION_VARIANCE))
    turn_and_scale = (reference_axes * gain) @ source_axes.T
    recoloured01: Float64s = np.clip((source01 - source_mean) @ turn_and_scale.T + reference_mean, 0.0, 1.0)
    return recoloured01


def _principal_axes(pixels01: Floats) -> tuple[Float64s, Float64s, Float64s]:
    """Return the mean (3,), and variances (3,) and axes (3, 3; one a column) from least to greatest variance."""
    mean = pixels01.mean(axis=0, dtype=np.float64)
    centred = pixels01 - mean
    covariance = centred.T @ centred / max(len(pixels01) - 1, 1)
    variances, axes = np.linalg.eigh(covariance)
    return mean, np.maximum(variances, 0.0), axes


def fecker(source01: Floats, reference01: Floats, rng: np.random.Generator) -> Float64s:
    """Match the cumulative histograms of Y, Cb and Cr (Fecker et al. 2008).

    Args:
        source01: (N, 3) RGB in ``[0, 1]``.
        reference01: (M, 3) RGB in ``[0, 1]``.
        rng: unused, the method is not random.

    Returns:
        (N, 3) RGB in ``[0, 1]``.

    >>> grey, red = np.full((4, 3), 0.5), np.full((2, 3), [0.8, 0.2, 0.1])
    >>> fecker(grey, red, np.random.default_rng(0))[0].round(2).tolist()
    [0.8, 0.2, 0.1]
    """
    source_codes, reference_codes = _to_ycbcr_u8(source01), _to_ycbcr_u8(reference01)
    matched = np.empty(source01.shape)
    for channel in range(3):
        code_map = _histogram_map(source_codes[:, channel], reference_codes[:, channel])
        matched[:, channel] = code_map[source_codes[:, channel]]
    recoloured01: Float64s = np.clip((matched - YCBCR_OFFSET) @ YCBCR_TO_RGB.T, 0.0, 1.0)
    return recoloured01


def _to_ycbcr_u8(pixels01: Floats) -> npt.NDArray[np.intp]:
    """Return (N, 3) 8-bit Y, Cb, Cr codes."""
    codes: npt.NDArray[np.intp] = np.rint(pixels01 @ RGB_TO_YCBCR.T + YCBCR_OFFSET).astype(np.intp)
    return codes


def _histogram_map(source_codes: Ints, reference_codes: Ints) -> Ints:
    """Return (256,): for each code the greatest reference code whose cumulative share does not exceed its own."""
    source_share = np.cumsum(np.bincount(source_codes, minlength=256)) / len(source_codes)
    reference_share = np.cumsum(np.bincount(reference_codes, minlength=256)) / len(reference_codes)
    last = np.searchsorted(reference_share, source_share + 1e-12, side="right") - 1
    code_map: Ints = np.clip(last, reference_codes.min(), reference_codes.max())
    return code_map


def pitie(source01: Floats, reference01: Floats, rng: np.random.Generator) -> Float64s:
    """Match the whole RGB distribution by matching its projections on random axes (Pitié et al. 2007).

    The grain this leaves is taken out in ``transfer_foreground``, which knows where the pixels lie.

    Args:
        source01: (N, 3) RGB in ``[0, 1]``.
        reference01: (M, 3) RGB in ``[0, 1]``; of more than ``PITIE_REFERENCE_PIXELS``, a random part is used.
        rng: draws the axes.

    Returns:
        (N, 3) RGB in ``[0, 1]``.

    >>> grey, red = np.full((4, 3), 0.5), np.full((2, 3), [0.8, 0.2, 0.1])
    >>> pitie(grey, red, np.random.default_rng(0))[0].round(2).tolist()
    [0.8, 0.2, 0.1]
    """
    moved = source01.T.astype(np.float64)
    if len(reference01) > PITIE_REFERENCE_PIXELS:
        reference01 = reference01[rng.integers(len(reference01), size=PITIE_REFERENCE_PIXELS)]
    axes = PITIE_AXES
    for _ in range(PITIE_ITERATIONS):
        step = _match_projections(axes @ moved, axes @ reference01.T)
        moved += np.linalg.pinv(axes) @ step
        axes = PITIE_AXES @ np.linalg.qr(rng.standard_normal((3, 3)))[0]
    return np.clip(moved.T, 0.0, 1.0)


def _match_projections(source: Float64s, reference: Float64s) -> Float64s:
    """Return the (P, N) moves that give each row of ``source`` (P, N) the histogram of that row of ``reference``."""
    lowest = np.minimum(source.min(axis=1), reference.min(axis=1))[:, None]
    highest = np.maximum(source.max(axis=1), reference.max(axis=1))[:, None]
    bin_width = np.maximum(highest - lowest, 1e-9) / (PITIE_BINS - 1)
    position = (source - lowest) / bin_width
    target = _inverse_share(_cumulative_shares(position), _cumulative_shares((reference - lowest) / bin_width))
    left = np.minimum(position.astype(np.intp), PITIE_BINS - 2)
    at = left + PITIE_BINS * np.arange(len(source))[:, None]
    slope = np.diff(target, axis=1, append=0.0)
    step: Float64s = (target.ravel()[at] + slope.ravel()[at] * (position - left) - position) * bin_width
    return step


def _cumulative_shares(position: Float64s) -> Float64s:
    """Return (P, bins) cumulative histograms, read at the middle of each bin, of (P, N) positions in bins."""
    rows = len(position)
    nearest = (position + 0.5).astype(np.intp) + PITIE_BINS * np.arange(rows)[:, None]
    counts = np.bincount(nearest.ravel(), minlength=rows * PITIE_BINS).reshape(rows, PITIE_BINS)
    filled = counts / position.shape[1] + 1e-9  # no bin is quite empty, so the inverse is single-valued
    # At the middle, a source of one colour meets the middle of the reference and not its far end.
    shares: Float64s = np.cumsum(filled, axis=1) - filled / 2
    return shares


def _inverse_share(source_shares: Float64s, reference_shares: Float64s) -> Float64s:
    """Return (P, bins): the reference position with the same cumulative share as each source bin."""
    target = np.empty_like(source_shares)
    for row, (wanted, shares) in enumerate(zip(source_shares, reference_shares, strict=True)):
        target[row] = np.interp(wanted, shares, np.arange(PITIE_BINS))
    return target


def ycbcr(source01: Floats, reference01: Floats, rng: np.random.Generator) -> Float64s:
    """Match mean and standard deviation of Y, Cb and Cr: a gain and an offset for light and two for colour.

    Not one of iHarmony4's four; unlike Reinhard's it takes no logarithm, so it stays tame in the shadows.

    Args:
        source01: (N, 3) RGB in ``[0, 1]``.
        reference01: (M, 3) RGB in ``[0, 1]``.
        rng: unused, the method is not random.

    Returns:
        (N, 3) RGB in ``[0, 1]``.

    >>> grey, red = np.full((4, 3), 0.5), np.full((2, 3), [0.8, 0.2, 0.1])
    >>> ycbcr(grey, red, np.random.default_rng(0))[0].round(3).tolist()
    [0.8, 0.2, 0.1]
    """
    source, reference = source01 @ RGB_TO_YCBCR.T, reference01 @ RGB_TO_YCBCR.T
    gain = reference.std(axis=0) / np.maximum(source.std(axis=0), 1.0)
    matched = (source - source.mean(axis=0)) * gain + reference.mean(axis=0)
    recoloured01: Float64s = np.clip(matched @ YCBCR_TO_RGB.T, 0.0, 1.0)
    return recoloured01


METHODS: dict[str, TransferFunction] = {"reinhard": reinhard, "xiao": xiao, "fecker": fecker, "pitie": pitie}
TRANSFERS: dict[str, TransferFunction] = {**METHODS, "ycbcr": ycbcr}


def transfer_foreground(
    real_u8: ImageU8,
    mask: Mask,
    reference_u8: ImageU8,
    reference_mask: Mask,
    method: str,
    rng: np.random.Generator,
) -> ImageU8:
    """Make a composite: the photo, its foreground given the colours of a reference photo's foreground.

    Args:
        real_u8: (H, W, 3) ``uint8`` RGB.
        mask: (H, W) bool.
        reference_u8: ``uint8`` RGB of any size.
        reference_mask: bool, the size of the reference.
        method: a key of ``TRANSFERS``: one of ``METHODS``, iHarmony4's four, or ``ycbcr``.
        rng: used by ``xiao`` and ``pitie``.

    Returns:
        (H, W, 3) ``uint8`` RGB; outside the mask it equals ``real_u8`` bit for bit.

    Raises:
        UsageError: an unknown method.
        InputError: a wrong shape or type, or an empty mask.
    """
    if method not in TRANSFERS:
        raise UsageError(f"colour transfer {method!r} is unknown: use one of {', '.join(TRANSFERS)}")
    source01 = foreground_pixels(real_u8, mask, "photo")
    reference01 = foreground_pixels(reference_u8, reference_mask, "reference")
    recoloured01: Floats = TRANSFERS[method](source01, reference01, rng)
    if method == "pitie":
        recoloured01 = regrain_foreground(source01, recoloured01, mask)
    return paste_pixels(real_u8, mask, recoloured01)
