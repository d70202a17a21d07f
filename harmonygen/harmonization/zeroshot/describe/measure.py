"""Measure the look of a foreground and of its background: light, colour, contrast and haze.

Light is in stops (log2 of linear light), so that differences between the two sides stay when the whole picture is
made brighter or is given another white balance. Everything is measured on a picture of at most 384 pixels a side.

Shape legend: H W pixels, N pixels of one side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from harmonygen.pictures.images import ImageU8, Mask, resize
from harmonygen.pictures.masks import check_mask
from harmonygen.pictures.photo import output_size, shrink_mask

MAX_SIDE = 384  # pixels
_FLOOR = 2.0**-11  # linear light; an 8-bit 1 is 2**-11.7
_KEY_SHARES = (0.4, 0.6, 0.8, 0.95)
_WINDOW = 9  # pixels: the side of the dark channel's window
_FLAT = 2.0  # 8-bit units: a pixel that differs less from its neighbours is flat

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Look:
    """What is measured on one side of a picture.

    Attributes:
        brightness: mean of four quantiles of luminance, stops below white (0 = white, -2.5 = mid grey).
        warmth: red over blue of the light, stops; over 0 is warm, the mean of three estimates.
        warmth_spread: half the range of the three estimates, stops.
        greenness: green over red and blue of the light, stops; over 0 is green, under 0 is pink.
        saturation: colour over light, in [0, 1].
        contrast: luminance of the lightest 5 % over that of the darkest 5 %, stops.
        lights: luminance of the lightest 0.5 % over the middle one, stops.
        veil: the darkest colour near a pixel over the lightest light, in [0, 1]: haze lifts it.
        flat: share of pixels that are like their neighbours, in [0, 1].
    """

    brightness: float
    warmth: float
    warmth_spread: float
    greenness: float
    saturation: float
    contrast: float
    lights: float
    veil: float
    flat: float


def measure(image_u8: ImageU8, mask: Mask) -> tuple[Look, Look]:
    """Measure the foreground and the background.

    Args:
        image_u8: (H, W, 3) ``uint8`` RGB.
        mask: (H, W) bool, true in the foreground; neither empty nor full.

    Raises:
        InputError: the mask is empty or full.
    """
    check_mask(mask, "the photo to describe")
    size = output_size(mask.shape[0], mask.shape[1], MAX_SIDE)
    small_u8, small = resize(image_u8, *size), shrink_mask(mask, *size)
    if small.all():  # a sliver of background
        small_u8, small = image_u8, mask
    light = linear(small_u8)
    return look(small_u8, light, small), look(small_u8, light, ~small)


def linear(image_u8: ImageU8) -> Floats:
    """Return (H, W, 3) linear light in [0, 1] of sRGB."""
    steps = np.arange(256) / 255
    table = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    light: Floats = table[image_u8]
    return light


def look(image_u8: ImageU8, light: Floats, side: Mask) -> Look:
    """Measure one side: ``light`` is the linear light (H, W, 3) of ``image_u8``, ``side`` says which pixels."""
    pixels = light[side]
    luminance = pixels @ np.array([0.2126, 0.7152, 0.0722])
    low, middle, high, top = stops(np.quantile(luminance, (0.05, 0.5, 0.95, 0.995)))
    warm, green = _casts(light, side)
    steps = _steps(image_u8, side)
    return Look(
        brightness=float(np.mean(stops(np.quantile(luminance, _KEY_SHARES)))),
        warmth=float(np.mean(warm)),
        warmth_spread=float(np.ptp(warm) / 2),
        greenness=float(np.mean(green)),
        saturation=float(np.ptp(pixels, axis=1).sum() / max(pixels.max(axis=1).sum(), _FLOOR)),
        contrast=float(high - low),
        lights=float(top - middle),
        veil=_veil(light, side, float(np.quantile(pixels.max(axis=1), 0.99))),
        flat=float((steps < _FLAT).mean()) if len(steps) else 1.0,
    )


def stops(light: npt.ArrayLike) -> Floats:
    """Return log2 of linear light, bounded below."""
    bounded: Floats = np.log2(np.maximum(np.asarray(light, dtype=np.float64), _FLOOR))
    return bounded


def _casts(light: Floats, side: Mask) -> tuple[Floats, Floats]:
    """Estimate the light's colour as grey world, white patch and grey edge do: (3,) red over blue, (3,) green, stops.

    Each follows a gain of a channel exactly, as long as nothing clips.
    """
    pixels = light[side]
    world = stops(pixels.mean(axis=0))
    patch = stops(np.quantile(pixels, 0.95, axis=0))
    edges = [np.abs(np.diff(light, axis=axis))[_both(side, axis)] for axis in (0, 1)]
    differences = np.concatenate(edges)
    edges_are_seen = len(differences) > 0 and differences.mean(axis=0).min() > _FLOOR
    edge = stops(differences.mean(axis=0)) if edges_are_seen else world
    colours = np.stack([world, patch, edge])
    warm: Floats = colours[:, 0] - colours[:, 2]
    green: Floats = colours[:, 1] - (colours[:, 0] + colours[:, 2]) / 2
    return warm, green


def _both(side: Mask, axis: int) -> Mask:
    """Return where a pixel and the next along ``axis`` are both of the side."""
    both: Mask = side[1:] & side[:-1] if axis == 0 else side[:, 1:] & side[:, :-1]
    return both


def _steps(image_u8: ImageU8, side: Mask) -> Floats:
    """Return (N,) differences between neighbours of the side, 8-bit units of grey."""
    grey = image_u8.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    found: Floats = np.concatenate([np.abs(np.diff(grey, axis=axis))[_both(side, axis)] for axis in (0, 1)])
    return found


def _veil(light: Floats, side: Mask, lightest: float) -> float:
    """Return the median dark channel of a side over its lightest light, in [0, 1]."""
    from scipy.ndimage import minimum_filter

    darkest = minimum_filter(np.where(side, light.min(axis=2), np.inf), _WINDOW)
    return float(min(1.0, np.median(darkest[side]) / max(lightest, _FLOOR)))
