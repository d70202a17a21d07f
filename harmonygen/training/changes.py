"""How a composite is made from a photo: a method drawn by weight, brought to a strength that is drawn too."""

from __future__ import annotations

import numpy as np

from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.recolor import grade_foreground, lut_foreground, random_lut, transfer_foreground
from harmonygen.training.photos import TrainingPhoto
from harmonygen.training.settings import CompositeSettings

_DRAWS = 4
_LUT_SIZE = 17
_METHODS = ("reinhard", "xiao", "fecker", "pitie", "lut", "ycbcr", "photometric")
_MOST_BLEND = 1.25  # a transfer is carried no further than this past its own colours


def make_composite(
    real: ImageU8, mask: Mask, reference: TrainingPhoto, settings: CompositeSettings, rng: np.random.Generator
) -> ImageU8:
    """Make one composite by a method drawn by weight; a change too weak or too strong is drawn again."""
    weights = np.array([getattr(settings, name) for name in _METHODS], dtype=float)
    composite, wanted = real, drawn_fmse(settings, rng)
    for _ in range(_DRAWS):
        method = _METHODS[int(rng.choice(len(_METHODS), p=weights / weights.sum()))]
        composite = _recolour(real, mask, reference, method, wanted, settings, rng)
        if settings.min_fmse <= foreground_change(real, composite, mask) <= settings.max_fmse:
            break
    return composite


def drawn_fmse(settings: CompositeSettings, rng: np.random.Generator) -> float:
    """Draw how much a foreground is to change, in squared 8-bit units; 0, and nothing drawn, if that is left open."""
    if not settings.median_fmse:
        return 0.0
    drawn = settings.median_fmse * float(np.exp(settings.fmse_spread * rng.standard_normal()))
    return float(np.clip(drawn, settings.min_fmse, settings.max_fmse))


def foreground_change(real: ImageU8, composite: ImageU8, mask: Mask) -> float:
    """Return the mean squared change inside the mask, in squared 8-bit units (fMSE)."""
    return float(((composite[mask].astype(np.float32) - real[mask]) ** 2).mean())


def _recolour(
    real: ImageU8,
    mask: Mask,
    reference: TrainingPhoto,
    method: str,
    wanted: float,
    settings: CompositeSettings,
    rng: np.random.Generator,
) -> ImageU8:
    """Change the foreground by one method, to an fMSE of ``wanted`` if that is not 0."""
    if method == "photometric":
        return grade_foreground(real, mask, rng, wanted)
    if method == "lut":
        moved = lut_foreground(real, mask, random_lut(rng, size=_LUT_SIZE, strength=settings.lut_strength))
        return _blended(real, moved, _share(real, moved, mask, wanted)) if wanted else moved
    moved = transfer_foreground(real, mask, reference.image_u8, reference.mask, method, rng)
    share = _share(real, moved, mask, wanted) if wanted else rng.uniform(settings.min_strength, 1)
    return _blended(real, moved, share)


def _share(real: ImageU8, moved: ImageU8, mask: Mask, wanted: float) -> float:
    """Return how far to go to ``moved``: the error grows with the square of the way."""
    return min(float(np.sqrt(wanted / max(foreground_change(real, moved, mask), 1e-6))), _MOST_BLEND)


def _blended(real: ImageU8, moved: ImageU8, share: float) -> ImageU8:
    blended = np.rint(real + np.float32(share) * (moved.astype(np.float32) - real))
    return np.clip(blended, 0, 255).astype(np.uint8)
