"""Measure what was done to a foreground, in the terms of a photographer: EV, kelvin, saturation, contrast, tint.

Photo and composite show the same pixels, so the change is fitted to them: five numbers that turn the photo's colours
into the composite's (:func:`changed`), by Gauss-Newton steps on 8-bit values. All five are solved for at once: a vivid
foreground that is brightened is not called warmer, nor one of more contrast brighter. A number that the pixels do not
tell from another (a grey foreground has no saturation, an even one no contrast) is 0.

Shape legend: H W pixels, N foreground pixels; a change is (ev, warmth, tint, saturation, contrast), (5,).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harmonygen.pictures.images import ImageU8, Mask

Floats = npt.NDArray[np.float64]

MOST_PIXELS = 1200
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
_LUMA = np.array([0.299, 0.587, 0.114])
_WARM, _GREEN = np.array([0.5, 0.0, -0.5]), np.array([-1 / 3, 2 / 3, -1 / 3])
_RIDGE = np.array([0.0, 1e-5, 1e-5, 1e-5, 1e-5])  # of mean squared coded values a squared unit
_STEPS = 5
_NUDGE = 1e-3
_AGREEING = 60.0  # independent pixels that a foreground is worth: what the fit leaves over is no noise
_SURE = 2.0  # standard errors
_LIMIT = np.array([4.0, 3.0, 2.0, 2.0, 1.5])  # of the five, in stops
_CODED = np.arange(256) / 255
_LINEAR = np.where(_CODED <= 0.04045, _CODED / 12.92, ((_CODED + 0.055) / 1.055) ** 2.4)
_FLOOR = 1e-4  # linear light


@dataclass(frozen=True, slots=True)
class ForegroundChange:
    """What turns the photo's foreground into the composite's.

    Attributes:
        ev: exposure in stops; over 0 is brighter.
        kelvin: colour temperature of the light, relative to daylight of 6500 K; over 0 is cooler (bluer).
        saturation: relative change of colourfulness, 0.2 is 20 % more.
        contrast: relative change of the contrast of luminance.
        tint: green over red and blue, in stops; over 0 is greener, under 0 more magenta.
    """

    ev: float
    kelvin: float
    saturation: float
    contrast: float
    tint: float

    def undone(self) -> ForegroundChange:
        """Return the change that leads back, to first order.

        >>> ForegroundChange(0.5, 0.0, 0.25, 0.0, 0.0).undone().saturation
        -0.2
        """
        saturation, contrast = (1 / (1 + part) - 1 for part in (self.saturation, self.contrast))
        return ForegroundChange(-self.ev, kelvin_of(-warmth_of(self.kelvin)), saturation, contrast, -self.tint)


def measure_foreground_change(real_u8: ImageU8, composite_u8: ImageU8, mask: Mask) -> ForegroundChange:
    """Measure the change from a photo to its composite, both (H, W, 3) ``uint8`` RGB, in a mask (H, W) bool."""
    real, composite = some(real_u8[mask]), some(composite_u8[mask])
    change, errors = fit(_LINEAR[real], composite / 255.0)
    ev, warmth, tint, saturation, contrast = np.where(np.abs(change) > _SURE * errors, change, 0.0).tolist()
    return ForegroundChange(ev, kelvin_of(warmth), 2**saturation - 1, 2**contrast - 1, tint)


def some(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return an even part of pixels (N, 3), at most :data:`MOST_PIXELS`."""
    return pixels[:: -(-len(pixels) // MOST_PIXELS)]


def changed(light: Floats, change: Floats) -> Floats:
    """Return the sRGB-coded colours in [0, 1] that a change makes of linear light (N, 3).

    Exposure, the light's warmth (red over blue) and tint (green over both) are gains in stops; contrast stretches the
    stops of luminance about their mean by ``2**contrast``; saturation stretches the coded colours about their luma by
    ``2**saturation``.
    """
    ev, warmth, tint, saturation, contrast = change
    stops = np.log2(np.maximum(light, _FLOOR))
    luminance = np.log2(np.maximum(light @ _LUMINANCE, _FLOOR))[:, None]
    gains = ev + warmth * _WARM + tint * _GREEN
    coded = _encode(2 ** (stops + gains + (2**contrast - 1) * (luminance - luminance.mean())))
    grey = (coded @ _LUMA)[:, None]
    out: Floats = np.clip(grey + 2**saturation * (coded - grey), 0, 1)
    return out


def _encode(light: Floats) -> Floats:
    bounded = np.clip(light, 0, 1)
    return np.where(bounded <= 0.0031308, 12.92 * bounded, 1.055 * bounded ** (1 / 2.4) - 0.055)


def fit(light: Floats, wanted01: Floats) -> tuple[Floats, Floats]:
    """Return the change (5,) from linear light to coded colours, both (N, 3), and the standard error of each number."""
    change = np.zeros(5)
    after = _LINEAR[np.rint(wanted01 * 255).astype(int)]
    before, made = (max(float(np.median(colours @ _LUMINANCE)), _FLOOR) for colours in (light, after))
    change[0] = np.log2(made / before)
    for _ in range(_STEPS):
        left, slopes = _linearised(light, wanted01, change)
        gram = slopes @ slopes.T / left.size
        step = np.linalg.solve(gram + np.diag(_RIDGE + 1e-9), slopes @ left / left.size - _RIDGE * change)
        change = np.clip(change + step, -_LIMIT, _LIMIT)
    left, slopes = _linearised(light, wanted01, change)
    gram = slopes @ slopes.T / left.size + np.diag(_RIDGE + 1e-9)
    errors: Floats = np.sqrt(np.diag(np.linalg.inv(gram)) * (left**2).mean() / min(_AGREEING, len(light)))
    return change, errors


def _linearised(light: Floats, wanted01: Floats, change: Floats) -> tuple[Floats, Floats]:
    """Return what a change leaves over, flat, and how the colours move with each of its numbers, (5, flat)."""
    made = changed(light, change)
    moved = [(changed(light, change + _NUDGE * unit) - made).ravel() / _NUDGE for unit in np.eye(5)]
    return (wanted01 - made).ravel(), np.stack(moved)


def _daylight_warmth(kelvin: Floats) -> Floats:
    """Return log2 of red over blue, in linear sRGB, of light on the CIE daylight locus or the Planckian one below."""
    t = 1000 / kelvin
    day = np.where(kelvin <= 7000, 0.244063 + t * (0.09911 + t * (2.9678 - 4.6070 * t)), 0)
    day = np.where(kelvin > 7000, 0.237040 + t * (0.24748 + t * (1.9018 - 2.0064 * t)), day)
    y = -3 * day**2 + 2.870 * day - 0.275
    xyz = np.stack([day / y, np.ones_like(y), (1 - day - y) / y])
    red = np.array([3.2406, -1.5372, -0.4986]) @ xyz
    blue = np.array([0.0557, -0.2040, 1.0570]) @ xyz
    warmth: Floats = np.log2(np.maximum(red, 1e-3) / np.maximum(blue, 1e-3))
    return warmth


_NEUTRAL = 6500.0
_KELVINS = np.geomspace(3000, 40_000, 400)
_WARMTHS = _daylight_warmth(_KELVINS) - _daylight_warmth(np.array([_NEUTRAL]))


def kelvin_of(warmth: float) -> float:
    """Return the change of colour temperature, from 6500 K, that a change of red over blue in stops comes to.

    >>> kelvin_of(0.0) == 0 and kelvin_of(0.5) < 0 < kelvin_of(-0.5)
    True
    """
    if abs(warmth) < 1e-9:
        return 0.0
    return float(np.interp(-warmth, -_WARMTHS, _KELVINS)) - _NEUTRAL


def warmth_of(kelvin: float) -> float:
    """Return the change of red over blue, in stops, of a change of colour temperature from 6500 K."""
    return float(np.interp(_NEUTRAL + kelvin, _KELVINS, _WARMTHS)) if kelvin else 0.0
