"""Cubic colour maps: each output channel is a polynomial of red, green and blue up to the third degree.

Exposure, contrast, white balance, tone curves and saturation all lie close to this family. A map is a (20, 3) array
of coefficients: one row per monomial of :data:`EXPONENTS`, one column per output channel. Colours are sRGB-coded RGB
in ``[0, 1]``. Legend: N pixels, H W image pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from harmonygen.errors import NOT_FINITE, InputError, UsageError
from harmonygen.recolor.foreground import Floats, ImageU8

Coefficients: TypeAlias = npt.NDArray[np.floating[Any]]

EXPONENTS: tuple[tuple[int, int, int], ...] = (
    (0, 0, 0),
    *((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    *((2, 0, 0), (1, 1, 0), (1, 0, 1), (0, 2, 0), (0, 1, 1), (0, 0, 2)),
    *((3, 0, 0), (2, 1, 0), (2, 0, 1), (1, 2, 0), (1, 1, 1), (1, 0, 2)),
    *((0, 3, 0), (0, 2, 1), (0, 1, 2), (0, 0, 3)),
)
"""The powers of red, green and blue of each monomial: the constant, then degree 1, 2 and 3."""
TERMS = len(EXPONENTS)
RIDGE = 1e-4
_STRIP_PIXELS = 1 << 12
"""20 terms of 4 bytes each: 0.3 MB, which stay in a core's cache. 3 x 20 x 4,096 products are few enough (2^18) that
OpenBLAS computes them in the calling thread: its pool serves one caller at a time, and image threads would wait for it.
"""

# Each monomial from degree 2 on is an earlier one times one colour: (the earlier one's place, the colour).
_STEPS = tuple(
    (EXPONENTS.index(tuple(power - (axis == first) for axis, power in enumerate(powers))), first)  # type: ignore[arg-type]
    for powers in EXPONENTS[4:]
    for first in [next(axis for axis in range(3) if powers[axis])]
)


def identity_cubic() -> npt.NDArray[np.float64]:
    """Return the (20, 3) map that changes nothing."""
    coefficients = np.zeros((TERMS, 3))
    coefficients[1:4] = np.eye(3)
    return coefficients


def cubic_terms(rgb01: Floats) -> Floats:
    """Return the monomials (..., 20) of colours (..., 3), in the order of :data:`EXPONENTS` and in their number type.

    >>> cubic_terms(np.array([2.0, 3.0, 5.0]))[[0, 1, 2, 3, 4, 5, 19]].tolist()
    [1.0, 2.0, 3.0, 5.0, 4.0, 6.0, 125.0]
    """
    terms = _planes(np.moveaxis(rgb01, -1, 0))
    return np.moveaxis(terms, 0, -1)


def _planes(colours: Floats) -> Floats:
    """Return the monomials (20, ...) of colour planes (3, ...)."""
    terms = np.empty((TERMS, *colours.shape[1:]), colours.dtype)
    terms[0] = 1
    terms[1:4] = colours
    for place, (earlier, colour) in enumerate(_STEPS, 4):
        np.multiply(terms[earlier], colours[colour], out=terms[place, ...])
    return terms


class CubicFit:
    """Least squares from one set of source colours: what does not depend on the target is computed once."""

    def __init__(self, source01: Floats, ridge: float = RIDGE, weights: Floats | None = None) -> None:
        """Prepare the fit.

        Args:
            source01: (N, 3) colours in [0, 1].
            ridge: pull toward the identity map, per pixel: the sum of the squared coefficients of the change, times
                ``ridge`` times the pixels' number (or the sum of their weights), is added to the squared error. The
                constant is not pulled, so that one colour alone tells a shift of all colours.
            weights: (N,) weights, 0 or more; all 1 by default.

        Raises:
            UsageError: no pixels, pixels that are not (N, 3), or a ridge that is not above 0.
        """
        if source01.ndim != 2 or source01.shape[1] != 3 or not len(source01) or ridge <= 0:
            raise UsageError(
                f"a cubic map cannot be fitted to colours of shape {source01.shape} with ridge {ridge}: "
                "give (N, 3), N at least 1, and a ridge above 0"
            )
        self.source = source01.astype(np.float64)
        terms = _planes(self.source.T)
        self.weighted = terms if weights is None else terms * weights
        self.total = float(len(source01) if weights is None else np.sum(weights))
        pull = np.r_[1e-12, np.full(TERMS - 1, ridge)]
        self.gram = self.weighted @ terms.T + np.diag(pull * max(self.total, 1e-9))

    def __call__(self, target01: Floats) -> npt.NDArray[np.float64]:
        """Return the map (20, 3) that brings the source colours nearest to ``target01`` (N, 3)."""
        change = np.linalg.solve(self.gram, self.weighted @ (target01 - self.source))
        return identity_cubic() + change


def fit_cubic(
    source01: Floats, target01: Floats, ridge: float = RIDGE, weights: Floats | None = None
) -> npt.NDArray[np.float64]:
    """Return the cubic map (20, 3) that brings source colours (N, 3) nearest to target colours (N, 3).

    The squared error is weighted by ``weights`` (N,), and ``ridge`` pulls toward the identity (:class:`CubicFit`).

    Raises:
        UsageError: no pixels, sets of different sizes, or a ridge that is not above 0.

    >>> source = np.random.default_rng(0).random((500, 3))
    >>> bool(np.allclose(apply_cubic(fit_cubic(source, source**2, 1e-9), source), source**2, atol=1e-4))
    True
    """
    if source01.shape != target01.shape:
        raise UsageError(f"source colours are {source01.shape}, target colours {target01.shape}: give one each")
    return CubicFit(source01, ridge, weights)(target01)


def apply_cubic(coefficients: Coefficients, rgb01: Floats) -> Floats:
    """Return the mapped colours (..., 3) of colours (..., 3); they are not clipped.

    >>> apply_cubic(identity_cubic(), np.array([0.25, 0.5, 1.0])).tolist()
    [0.25, 0.5, 1.0]
    """
    mapped: Floats = cubic_terms(rgb01) @ coefficients.astype(rgb01.dtype)
    return mapped


def cubic_levels(coefficients: Coefficients, image_u8: ImageU8) -> npt.NDArray[np.float32]:
    """Return the mapped colours of a picture (H, W, 3) uint8 as planes (3, H, W), 255 for white, not clipped.

    It is worked on in strips: besides the result it takes a few MB, whatever the picture's size.

    Raises:
        InputError: the map holds NaN or infinite values.
    """
    pixels = image_u8.reshape(-1, 3)
    return levels_of(coefficients, term_strips(pixels), len(pixels)).reshape(3, *image_u8.shape[:-1])


def term_strips(pixels_u8: ImageU8) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the monomials (20, n) of colours (N, 3) uint8, some thousand at a time, in order."""
    for start in range(0, len(pixels_u8), _STRIP_PIXELS):
        colours = pixels_u8[start : start + _STRIP_PIXELS].T.astype(np.float32)
        colours /= np.float32(255)
        yield _planes(colours)


def levels_of(
    coefficients: Coefficients, strips: Iterable[npt.NDArray[np.float32]], count: int
) -> npt.NDArray[np.float32]:
    """Return the mapped colours (3, N) of ``count`` colours, given their :func:`term_strips`, as :func:`cubic_levels`.

    Raises:
        InputError: the map holds NaN or infinite values.
    """
    if not np.isfinite(coefficients).all():
        raise InputError(NOT_FINITE)
    levels, start = np.empty((3, count), np.float32), 0
    scaled = np.ascontiguousarray(coefficients.T, np.float32) * np.float32(255)
    for terms in strips:
        np.matmul(scaled, terms, out=levels[:, start : start + terms.shape[1]])
        start += terms.shape[1]
    return levels


def cubic_u8(coefficients: Coefficients, image_u8: ImageU8) -> ImageU8:
    """Return a picture (H, W, 3) uint8 with its colours mapped, rounded and clipped; memory as :func:`cubic_levels`."""
    mapped = np.empty(image_u8.shape, np.uint8)
    pixels, out = image_u8.reshape(-1, 3), mapped.reshape(-1, 3)
    for start in range(0, len(pixels), _STRIP_PIXELS):
        strip = np.s_[start : start + _STRIP_PIXELS]
        levels = cubic_levels(coefficients, pixels[strip])
        out[strip] = np.clip(np.rint(levels, out=levels), 0, 255, out=levels).T
    return mapped
