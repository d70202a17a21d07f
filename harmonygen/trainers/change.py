"""Measure what was done to a foreground, in the terms of a photographer: EV, kelvin, saturation, contrast, tint.

Photo and composite show the same pixels, so the change is fitted to them: five numbers that turn the photo's colours
into the composite's (``_Foreground.changed``), by Gauss-Newton steps on coded values. All five are solved for at once:
a vivid foreground that is brightened is not called warmer, nor one of more contrast brighter. A number that the pixels
do not tell from another (a grey foreground has no saturation, an even one no contrast) is 0.

Shape legend: H W pixels, N foreground pixels; a change is (ev, warmth, tint, saturation, contrast), (5,).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harmonygen.pictures.images import ImageU8, Mask

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

MOST_PIXELS = 1000
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_WARM, _GREEN = np.array([0.5, 0.0, -0.5]), np.array([-1 / 3, 2 / 3, -1 / 3])
_RIDGE = np.array([0.0, 1e-5, 1e-5, 1e-5, 1e-5])  # of mean squared coded values a squared unit
_STEPS = 4
_NUDGE = 1e-2
_AGREEING = 60.0  # independent pixels that a foreground is worth: what the fit leaves over is no noise
_SURE = 2.0  # standard errors
_LIMIT = np.array([4.0, 3.0, 2.0, 2.0, 1.5])  # of the five, in stops
_CODED = np.arange(256) / 255
_LINEAR = np.where(_CODED <= 0.04045, _CODED / 12.92, ((_CODED + 0.055) / 1.055) ** 2.4)
_FLOOR = 1e-4  # linear light
_STOPS = np.log2(np.maximum(_LINEAR, _FLOOR)).astype(np.float32)
_TOE = np.float32(np.log2(0.0031308))  # stops, below which sRGB is linear


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

        >>> round(ForegroundChange(0.5, 0.0, 0.25, 0.0, 0.0).undone().saturation, 3)
        -0.2
        """
        saturation, contrast = (1 / (1 + part) - 1 for part in (self.saturation, self.contrast))
        return ForegroundChange(-self.ev, kelvin_of(-warmth_of(self.kelvin)), saturation, contrast, -self.tint)


def measure_foreground_change(real_u8: ImageU8, composite_u8: ImageU8, mask: Mask) -> ForegroundChange:
    """Measure the change from a photo to its composite, both (H, W, 3) ``uint8`` RGB, in a mask (H, W) bool."""
    real, composite = some(real_u8[mask]), some(composite_u8[mask])
    change, errors = fit(real, composite)
    ev, warmth, tint, saturation, contrast = np.where(np.abs(change) > _SURE * errors, change, 0.0).tolist()
    if saturation and not _shows(saturation, real, composite):
        saturation = 0.0
    return ForegroundChange(ev, kelvin_of(warmth), 2**saturation - 1, 2**contrast - 1, tint)


def _shows(saturation: float, real_u8: npt.NDArray[np.uint8], composite_u8: npt.NDArray[np.uint8]) -> bool:
    """Return whether a change of saturation can be seen: a colour cast may hide it, or turn it round.

    A grey foreground that is warmed and then dulled has more colour than before. What is seen is the mean of CIE Lab's
    saturation, the share of chroma in a colour.
    """
    seen = [float(np.mean(_lab_saturation(pixels))) for pixels in (real_u8, composite_u8)]
    return (seen[1] - seen[0]) * saturation > 0


def _lab_saturation(pixels_u8: npt.NDArray[np.uint8]) -> Floats:
    from skimage.color import rgb2lab

    lightness, *ab = rgb2lab(pixels_u8[None])[0].T
    chroma = np.hypot(*ab)
    share: Floats = chroma / np.maximum(np.hypot(chroma, lightness), 1e-3)
    return share


def some(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return an even part of pixels (N, 3), at most :data:`MOST_PIXELS`."""
    return pixels[:: -(-len(pixels) // MOST_PIXELS)]


@dataclass(frozen=True)
class _Foreground:
    """A photo's foreground (N, 3): log2 of linear light, and log2 luminance less its mean (N, 1)."""

    stops: Singles
    spread: Singles

    @classmethod
    def of(cls, real_u8: npt.NDArray[np.uint8]) -> _Foreground:
        luminance = np.log2(np.maximum(_LINEAR[real_u8] @ _LUMINANCE, _FLOOR))[:, None]
        return cls(_STOPS[real_u8], (luminance - luminance.mean()).astype(np.float32))

    def changed(self, change: Floats) -> Singles:
        """Return the sRGB-coded colours in [0, 1] that a change makes of it.

        Exposure, the light's warmth (red over blue) and tint (green over both) are gains in stops; contrast stretches
        the stops of luminance about their mean by ``2**contrast``; saturation stretches the coded colours about their
        luma by ``2**saturation``.
        """
        ev, warmth, tint, saturation, contrast = change
        gains = (ev + warmth * _WARM + tint * _GREEN).astype(np.float32)
        coded = _encode(self.stops + gains + np.float32(2**contrast - 1) * self.spread)
        grey = (coded @ _LUMA)[:, None]
        out: Singles = np.clip(grey + np.float32(2**saturation) * (coded - grey), 0, 1)
        return out


def _encode(stops: Singles) -> Singles:
    """Return the sRGB-coded value in [0, 1] of linear light in stops."""
    bounded = np.minimum(stops, 0)
    coded = np.float32(1.055) * np.exp2(bounded / np.float32(2.4)) - np.float32(0.055)
    return np.where(bounded > _TOE, coded, np.float32(12.92) * np.exp2(bounded))


def fit(real_u8: npt.NDArray[np.uint8], composite_u8: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Return the change (5,) between colours (N, 3), and the standard error of each of its numbers."""
    foreground, wanted = _Foreground.of(real_u8), composite_u8.astype(np.float32) / np.float32(255)
    before, after = (float(np.median(_LINEAR[colours] @ _LUMINANCE)) for colours in (real_u8, composite_u8))
    change = np.zeros(5)
    change[0] = np.log2(max(after, _FLOOR) / max(before, _FLOOR))
    for _ in range(_STEPS):
        left, slopes = _linearised(foreground, wanted, change)
        gram = slopes @ slopes.T / left.size
        step = np.linalg.solve(gram + np.diag(_RIDGE + 1e-9), slopes @ left / left.size - _RIDGE * change)
        change = np.clip(change + step, -_LIMIT, _LIMIT)
    left, slopes = _linearised(foreground, wanted, change)
    gram = slopes @ slopes.T / left.size + np.diag(_RIDGE + 1e-9)
    errors: Floats = np.sqrt(np.diag(np.linalg.inv(gram)) * (left**2).mean() / min(_AGREEING, len(real_u8)))
    return change, errors


def _linearised(foreground: _Foreground, wanted01: Singles, change: Floats) -> tuple[Floats, Floats]:
    """Return what a change leaves over, flat, and how the colours move with each of its numbers, (5, flat)."""
    made = foreground.changed(change)
    moved = [(foreground.changed(change + _NUDGE * unit) - made).ravel() / _NUDGE for unit in np.eye(5)]
    return (wanted01 - made).ravel().astype(np.float64), np.stack(moved).astype(np.float64)


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
    """Return the change of colour temperature, from 6500 K, for a change of red over blue in stops.

    >>> kelvin_of(0.0) == 0 and kelvin_of(0.5) < 0 < kelvin_of(-0.5)
    True
    """
    if abs(warmth) < 1e-9:
        return 0.0
    return float(np.interp(-warmth, -_WARMTHS, _KELVINS)) - _NEUTRAL


def warmth_of(kelvin: float) -> float:
    """Return the change of red over blue, in stops, of a change of colour temperature from 6500 K."""
    return float(np.interp(_NEUTRAL + kelvin, _KELVINS, _WARMTHS)) if kelvin else 0.0
