"""Colour jitter of a foreground: brightness, contrast, saturation and hue at random, as torchvision's ``ColorJitter``.

The plain augmentation that every trainer has; here it makes composites, as a control for learnt ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from harmonygen.recolor.foreground import ImageU8, Mask, foreground_pixels, paste_pixels

BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.4, 0.4, 0.4, 0.1
_LUMA = np.array([0.299, 0.587, 0.114])
Pixels = npt.NDArray[np.floating[Any]]


def jitter_foreground(real_u8: ImageU8, mask: Mask, rng: np.random.Generator) -> ImageU8:
    """Return a copy of the photo (H, W, 3) whose foreground is jittered; the background stays bit for bit.

    Brightness, contrast and saturation are scaled by factors of 0.6 to 1.4, the hue turns by up to a tenth of the
    circle, in an order that is drawn too.

    Args:
        real_u8: (H, W, 3) ``uint8`` RGB.
        mask: (H, W) bool, true inside the foreground.
        rng: draws everything; the same state gives the same picture.
    """
    pixels01: Pixels = foreground_pixels(real_u8, mask)
    for step in rng.permutation(4):
        pixels01 = _STEPS[step](pixels01, rng)
    return paste_pixels(real_u8, mask, pixels01)


def brightness(pixels01: Pixels, factor: float) -> Pixels:
    """Scale pixels (N, 3), cut at 1.

    >>> brightness(np.array([[0.2, 0.4, 0.8]]), 2.0).tolist()
    [[0.4, 0.8, 1.0]]
    """
    return np.asarray(np.clip(pixels01 * factor, 0, 1))


def contrast(pixels01: Pixels, factor: float) -> Pixels:
    """Scale the distance of pixels (N, 3) from their mean grey."""
    grey = float((pixels01 @ _LUMA).mean())
    return np.asarray(np.clip(grey + factor * (pixels01 - grey), 0, 1))


def saturation(pixels01: Pixels, factor: float) -> Pixels:
    """Scale the distance of pixels (N, 3) from their own grey; 0 leaves none."""
    grey = (pixels01 @ _LUMA)[:, None]
    return np.asarray(np.clip(grey + factor * (pixels01 - grey), 0, 1))


def hue(pixels01: Pixels, turn: float) -> Pixels:
    """Turn the hue of pixels (N, 3) by ``turn`` of the circle, in HSV.

    >>> hue(np.array([[1.0, 0.0, 0.0]]), 1 / 3).round(6).tolist()
    [[0.0, 1.0, 0.0]]
    """
    top, low = pixels01.max(axis=1), pixels01.min(axis=1)
    spread = top - low
    safe = np.where(spread > 0, spread, 1.0)
    red, green, blue = pixels01.T
    sector = np.select(
        [top == red, top == green], [(green - blue) / safe, 2 + (blue - red) / safe], 4 + (red - green) / safe
    )
    turned = (sector[:, None] + 6 * turn + np.array([5.0, 3.0, 1.0])) % 6
    return np.asarray(top[:, None] - spread[:, None] * np.clip(np.minimum(turned, 4 - turned), 0, 1))


def _scaled(step: Any, reach: float) -> Any:
    return lambda pixels01, rng: step(pixels01, float(rng.uniform(1 - reach, 1 + reach)))


_STEPS = (
    _scaled(brightness, BRIGHTNESS),
    _scaled(contrast, CONTRAST),
    _scaled(saturation, SATURATION),
    lambda pixels01, rng: hue(pixels01, float(rng.uniform(-HUE, HUE))),
)
