"""Random photometric changes of a foreground or a whole photo: what another light, camera or taste does to it.

A :class:`Grade` is a handful of amounts, each 0 where nothing is changed, so a change is made weaker or stronger by
scaling its amounts: half of an exposure is an exposure, while half of two blended pictures is not. Shape legend: N
pixels, H W image pixels. Colours are sRGB-coded RGB in ``[0, 1]``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from harmonygen.recolor.adjust import Float32s, bend, chroma, light
from harmonygen.recolor.foreground import Floats, ImageU8, Mask, foreground_pixels, paste_pixels

PIVOT = 0.45  # of the contrast curve: the mean of photos
LARGEST_AMOUNT = 2.0  # a draw is stretched no further than this
MEASURED_PIXELS = 768  # that a change is measured on: fMSE is then known to about 5 %
_APART = np.array([1, 0, -1], np.float32)  # red and blue
_HALVINGS = 6  # amounts to 2 / 2**6
_DRAWS = 4  # of grades, until one is strong enough
_STRONG_ENOUGH = 0.8  # of the change wanted
_FEW = 0.05  # of the values may be newly cut at black or white
_CUT_KEPT = 0.25  # of the draws that cut more: one in ten authentic changes does
# name: (how often the adjustment is part of a change, its standard deviation). Tuned until composites of photos change
# as authentic ones do (REFERENCE section 13): contrast, what constant and affine maps leave over, cut values.
_DRAWN = {
    "saturation": (0.6, 0.9),
    "hue": (0.35, 0.25),
    "exposure": (0.5, 0.9),
    "warmth": (0.7, 0.8),
    "tint": (0.4, 0.35),
    "gamma": (0.6, 1.0),
    "contrast": (0.75, 1.3),
    "black": (0.2, 0.08),
    "shadows": (0.7, 2.0),
    "highlights": (0.7, 2.0),
    "cross": (0.6, 1.8),
}


@dataclass(frozen=True, slots=True)
class Grade:
    """Amounts of the adjustments of :mod:`harmonygen.recolor.adjust`; all 0 is the identity.

    ``black`` lifts the black point or, under 0, cuts below it; ``shadows`` and ``highlights`` raise or lower the lower
    and the upper quarter of the tone curve, by a tenth of the range at 1; ``cross`` bends red and blue apart, warm
    shadows under cool highlights or the reverse, as cross-processed film and filters do.
    """

    saturation: float = 0.0
    hue: float = 0.0
    exposure: float = 0.0
    warmth: float = 0.0
    tint: float = 0.0
    gamma: float = 0.0
    contrast: float = 0.0
    black: float = 0.0
    shadows: float = 0.0
    highlights: float = 0.0
    cross: float = 0.0

    def scaled(self, amount: float) -> Grade:
        """Return the grade with all its amounts times ``amount``: 0 gives the identity.

        >>> Grade(exposure=1.0).scaled(0.5).exposure
        0.5
        """
        return Grade(*(amount * getattr(self, field.name) for field in fields(self)))

    def __call__(self, pixels01: Floats) -> Float32s:
        """Apply the grade to RGB (N, 3); the result is in ``[0, 1]``.

        >>> Grade()(np.array([[0.25, 0.5, 0.75]])).tolist()
        [[0.25, 0.5, 0.75]]
        """
        colours = np.asarray(pixels01, np.float32)
        if self.saturation or self.hue:  # before white balance, or saturation would blow up its cast
            vivid = chroma(colours, self.saturation, self.hue)
            if self.saturation > 0:  # as vibrance: colours that are vivid already are spared, or they would be cut
                vivid = colours + (1 - np.ptp(colours, axis=1, keepdims=True)) * (vivid - colours)
            colours = np.clip(vivid, 0, 1)
        if self.exposure or self.warmth or self.tint:
            colours = light(colours, self.exposure, self.warmth, self.tint)
        if self.gamma or self.contrast:
            colours = bend(colours, self.gamma, self.contrast, PIVOT)
        if self.shadows or self.highlights or self.cross:
            colours = colours + _curve(
                colours, self.shadows + self.cross * _APART, self.highlights - self.cross * _APART
            )
        if self.black:
            black = np.float32(self.black)
            colours = black + (1 - black) * colours if black > 0 else (colours + black) / (1 + black)
        graded: Float32s = np.clip(colours, 0, 1)
        return graded


def _curve(colours: Float32s, shadows: Float32s, highlights: Float32s) -> Float32s:
    """Return what tone curves (3,) add; their slopes stay over 0, so that no tones change places."""
    low, high = (np.float32(0.95 * np.clip(amount, -1, 1)) for amount in (shadows, highlights))
    rest = 1 - colours
    added: Float32s = colours * rest * (low * rest * rest + high * colours * colours)
    return added


def draw_grade(rng: np.random.Generator) -> Grade:
    """Draw a change: each adjustment is part of it by chance, at least one is, with a normal amount.

    >>> draw_grade(np.random.default_rng(1)) == draw_grade(np.random.default_rng(1))
    True
    """
    chances, spreads = np.array(list(_DRAWN.values())).T
    amounts = np.clip(rng.standard_normal(len(_DRAWN)), -2, 2) * spreads
    present = rng.random(len(_DRAWN)) < chances
    present[np.argmax(chances)] |= not present.any()
    return Grade(*np.where(present, amounts, 0.0).tolist())


def draw_fitted(rng: np.random.Generator, pixels01: Floats, fmse: float) -> Grade:
    """Draw a grade and scale it until it changes pixels by ``fmse``; one that cannot is drawn again.

    Args:
        rng: draws the grade.
        pixels01: (N, 3) RGB that it will be applied to; an even part of them is measured.
        fmse: mean squared change to reach, in squared 8-bit units.
    """
    some = np.asarray(pixels01[:: -(-len(pixels01) // MEASURED_PIXELS)], np.float32)
    for _ in range(_DRAWS):
        grade = draw_grade(rng)
        scaled = _scaled_to(grade, some, fmse)
        graded = scaled(some)
        strong = _change(graded, some) >= _STRONG_ENOUGH * fmse
        if strong and (_newly_cut(graded, some) <= _FEW or rng.random() < _CUT_KEPT):
            break
    return scaled


def _scaled_to(grade: Grade, pixels01: Float32s, fmse: float) -> Grade:
    low, high = 0.0, LARGEST_AMOUNT
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        weak = _change(grade.scaled(middle)(pixels01), pixels01) < fmse
        low, high = (middle, high) if weak else (low, middle)
    return grade.scaled((low + high) / 2)


def _change(graded: Float32s, pixels01: Float32s) -> float:
    return float(np.square(graded - pixels01).mean()) * 255**2


def _newly_cut(graded: Float32s, pixels01: Float32s) -> float:
    """Return the share of values that are at an end of the range and were not near it."""
    near, end = 3.5 / 255, 1.5 / 255
    return float((((graded < end) & (pixels01 > near)) | ((graded > 1 - end) & (pixels01 < 1 - near))).mean())


def grade_foreground(real_u8: ImageU8, mask: Mask, rng: np.random.Generator, fmse: float = 0.0) -> ImageU8:
    """Make a composite: the photo with its foreground changed by one random grade.

    Args:
        real_u8: (H, W, 3) ``uint8`` RGB.
        mask: (H, W) bool; all True changes the whole photo.
        rng: draws everything; the same state gives the same picture.
        fmse: mean squared change of the foreground, in squared 8-bit units; 0 leaves the grade as it is drawn.

    Returns:
        (H, W, 3) ``uint8`` RGB; outside the mask it equals ``real_u8`` bit for bit.

    Raises:
        InputError: a wrong shape or type, or an empty mask.
    """
    pixels01 = foreground_pixels(real_u8, mask)
    grade = draw_fitted(rng, pixels01, fmse) if fmse else draw_grade(rng)
    return paste_pixels(real_u8, mask, grade(pixels01))
