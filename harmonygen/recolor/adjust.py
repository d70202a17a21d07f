"""The adjustments that photographers know, as functions of their amounts: light, tone curve, saturation and hue.

An amount of 0 changes nothing. Shape legend: N colours. Colours are sRGB-coded RGB in ``[0, 1]``, ``float32``.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Float32s: TypeAlias = npt.NDArray[np.float32]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Opponent axes for saturation and hue: luma, then B - luma and R - luma scaled as in YUV.
RGB_TO_YUV = np.array([[0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]], np.float32)
YUV_TO_RGB = np.linalg.inv(RGB_TO_YUV).astype(np.float32)


def light(colours: Float32s, exposure: float, warmth: float, tint: float) -> Float32s:
    """Scale linear light: exposure in stops, and white balance as warm against cool and green against magenta.

    Args:
        colours: (N, 3).
        exposure: stops; 1 is twice the light.
        warmth: stops that red gains and blue loses, luma kept.
        tint: stops that green gains, luma kept.
    """
    stops = np.array([warmth, tint, -warmth], np.float32)
    gain = np.exp2(np.float32(exposure) + stops - LUMA @ stops)
    linear = colours ** np.float32(2.2)  # stands for the sRGB curve
    # Less light scales; more light rolls off into white, as in a camera, rather than being cut.
    lit = linear * gain / (1 + np.maximum(gain - 1, 0) * linear)
    coded: Float32s = np.power(lit, 1 / 2.2, dtype=np.float32)
    return coded


def bend(colours: Float32s, gamma: float, contrast: float, pivot: float) -> Float32s:
    """Bend the tone curve: a gamma, then an S about ``pivot`` that keeps black and white.

    Args:
        colours: (N, 3), clipped to ``[0, 1]``.
        gamma: base-2 logarithm of the exponent; over 0 darkens.
        contrast: base-2 logarithm of the slope at the pivot.
        pivot: the value that the S keeps, between 0 and 1.
    """
    bent = np.clip(colours, 0.0, 1.0) ** np.float32(2.0**gamma)
    slope = 2.0**contrast
    below = pivot * (bent / pivot) ** slope
    above = 1 - (1 - pivot) * ((1 - bent) / (1 - pivot)) ** slope
    curved: Float32s = np.where(bent < pivot, below, above).astype(np.float32)
    return curved


def chroma(colours: Float32s, saturation: float, hue: float) -> Float32s:
    """Scale and turn colour about the grey axis; the result may leave ``[0, 1]``.

    Args:
        colours: (N, 3).
        saturation: base-2 logarithm of the factor.
        hue: the turn, in radians.
    """
    cosine, sine = 2.0**saturation * np.cos(hue), 2.0**saturation * np.sin(hue)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    matrix = (YUV_TO_RGB @ turn @ RGB_TO_YUV).astype(np.float32)
    turned: Float32s = colours @ matrix.T
    return turned
