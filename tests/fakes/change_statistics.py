"""What a composite changed in its foreground, by the measures of REFERENCE section 13."""

from __future__ import annotations

import itertools

import numpy as np
from skimage.color import rgb2lab

NEAR_ENDS = 3  # 8-bit units from 0 and 255 that count as clipped


def measure(real_u8, composite_u8, mask) -> dict[str, float]:
    """Return fMSE, contrast, what maps leave over (root mean square, of the change's), clipping and Lab shifts."""
    real, composite = real_u8[mask] / 255.0, composite_u8[mask] / 255.0
    size = rms(composite - real)
    lab = [rgb2lab(pixels[None])[0] for pixels in (real, composite)]
    shift = np.abs((lab[1] - lab[0]).mean(axis=0))
    return {
        "fmse": (size * 255) ** 2,
        "contrast": abs(np.log2(max(lab[1][:, 0].std(), 0.1) / max(lab[0][:, 0].std(), 0.1))),
        "constant": rms(composite - real - (composite - real).mean(axis=0)) / size,
        "affine": left_over(real, composite, 1) / size,
        "cubic": left_over(real, composite, 3) / size,
        "clipped": clipped(composite_u8[mask], real_u8[mask]),
        "lightness": shift[0],
        "colour": float(np.hypot(*shift[1:])),
    }


def rms(values) -> float:
    return float(np.sqrt(np.square(values).mean()))


def left_over(real, composite, degree: int) -> float:
    """Fit composite colours as polynomials of the real ones; return the root mean square that is left."""
    powers = [e for e in itertools.product(range(degree + 1), repeat=3) if sum(e) <= degree]
    terms = np.stack([np.prod(real ** np.array(e), axis=1) for e in powers], axis=1)
    weights, *_ = np.linalg.lstsq(terms, composite, rcond=None)
    return rms(composite - terms @ weights)


def clipped(composite, real) -> float:
    """Return the share of values that are at an end and were not near it."""
    ends = [(composite <= 1) & (real > NEAR_ENDS), (composite >= 254) & (real < 255 - NEAR_ENDS)]
    return float((ends[0] | ends[1]).mean())
