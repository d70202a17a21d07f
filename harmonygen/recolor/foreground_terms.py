"""A cubic colour map in terms of one foreground's own colours: sixty numbers whose squares add up to its change.

The monomials of :mod:`harmonygen.recolor.cubic` are combined so that they are orthonormal over the foreground's
colours, a small share of usual colours among them. The same numbers then change a dark coat and a bright wall by the
same amount, and a map made of numbers moves the colours that it is applied to as far as the numbers say: it was fitted
on no others. Legend: N foreground pixels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from harmonygen.errors import UsageError
from harmonygen.recolor.cubic import TERMS, cubic_terms, identity_cubic
from harmonygen.recolor.foreground import Floats, ImageU8, Mask

Doubles = npt.NDArray[np.float64]
NUMBERS = 3 * TERMS
_USUAL_SHARE = 0.003  # of usual colours beside the foreground's: there a map is pulled toward the identity
_PULL = 1e-5  # on the coefficients themselves, so that a foreground of one colour can be solved for
_PIXELS = 2048


class ForegroundTerms:
    """The terms of one foreground: maps from numbers, and the numbers of a change."""

    def __init__(self, colours01: Floats) -> None:
        """Take the foreground's colours (N, 3) in [0, 1].

        Raises:
            UsageError: there is none, or they are not (N, 3).
        """
        if colours01.ndim != 2 or colours01.shape[1] != 3 or not len(colours01):
            raise UsageError(f"colours of shape {colours01.shape} have no terms: give (N, 3), N at least 1")
        self.colours: Doubles = colours01.astype(np.float64)
        terms = cubic_terms(self.colours)
        gram = terms.T @ terms / len(terms) + _USUAL_SHARE * _usual_gram() + _PULL * np.eye(TERMS)
        self.mixing: Doubles = np.linalg.inv(np.linalg.cholesky(gram)).T
        self.values: Doubles = terms @ self.mixing

    @classmethod
    def of(cls, photo_u8: ImageU8, mask: Mask) -> ForegroundTerms:
        """Return the terms of a photo's foreground (H, W, 3) in a mask (H, W), of at most about 4,000 pixels of it."""
        return cls(_thinned(photo_u8[mask]) / 255.0)

    def numbers(self, changed01: Floats) -> Doubles:
        """Return the numbers (60,) of the map that brings the colours nearest to ``changed01`` (N, 3).

        Their squares add up to the mean over the pixels of the change's squared length, as far as the map explains it.
        """
        numbers: Doubles = (self.values.T @ (changed01 - self.colours) / len(self.colours)).ravel()
        return numbers

    def map(self, numbers: Floats) -> Doubles:
        """Return the cubic map (20, 3) that numbers (60,) stand for; zeros are the identity."""
        return identity_cubic() + self.mixing @ numbers.reshape(TERMS, 3)

    def changed(self, numbers: Floats) -> Doubles:
        """Return the foreground's colours (N, 3) under the map of numbers (60,); they are not clipped."""
        return self.colours + self.values @ numbers.reshape(TERMS, 3)


def change_numbers(real_u8: ImageU8, composite_u8: ImageU8, mask: Mask) -> Doubles:
    """Return the numbers (60,) of the change from a photo to its composite, (H, W, 3) each, inside a mask (H, W)."""
    return ForegroundTerms.of(real_u8, mask).numbers(_thinned(composite_u8[mask]) / 255.0)


def usual_colours() -> Doubles:
    """Return (8000, 3) colours of photos: greys of any lightness with a little colour, and some of all colours."""
    rng = np.random.default_rng(0)
    greys = rng.random((6000, 1)) + 0.12 * rng.standard_normal((6000, 3))
    colours: Doubles = np.clip(np.concatenate([greys, rng.random((2000, 3))]), 0, 1)
    return colours


@lru_cache(maxsize=1)
def _usual_gram() -> Doubles:
    terms = cubic_terms(usual_colours())
    gram: Doubles = terms.T @ terms / len(terms)
    return gram


def _thinned(pixels_u8: ImageU8) -> ImageU8:
    return pixels_u8[:: max(1, len(pixels_u8) // _PIXELS)]
