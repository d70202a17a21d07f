"""The heuristic product filter: a foreground alone on a plain ground, without skin, is taken for a product.

No weights are needed. The photo is reduced to 256 px on its long side; its *ground* is a quadratic in x and y fitted
to the colours of the border (a frame outside the mask), so a gradient or a vignette is plain too. Five measures, each
with a limit in :class:`~harmonygen.human_harmony.settings.ProductRule`; a photo that keeps all five is dropped:

- ``edge``: share of the picture's rim that the mask covers: a product is shown whole;
- ``border``: share of the border that has the ground's colour: a studio;
- ``skin``: skin-coloured regions near the mask that are not the ground, as a share of the mask: a face, arms, legs;
- ``touching``: share of a ring around the mask that is not the ground: hair, hands or legs touch clothes that are worn;
- ``other``: what else is in the picture, outside the mask and not the ground, as a share of the mask: a head.

Inside the mask skin is not looked for: it is clothing, and beige, brown and red cloth is skin-coloured (counting it
kept 78 of 108 made product pictures). Grey photos have no skin colour; for them the last two measures decide alone.
Skin-coloured is 77 <= Cb <= 127 and 133 <= Cr <= 173 of JPEG's YCbCr (Chai and Ngan's rule), for Y from 40 to 250;
dark or hidden faces are seen worse by it. Error rates and their limits: benchmarks/RESULTS.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from harmonygen.human_harmony.settings import ProductRule
from harmonygen.human_harmony.verdict import Verdict
from harmonygen.pictures.images import ImageU8, Mask, resize
from harmonygen.pictures.photo import output_size, shrink_mask

SIDE = 256
"""Long side, in pixels, at which photos are measured."""
_FRAME = 0.04  # width of the border, share of the shorter side
_CLOSE = 2  # pixels around the mask that are left out: masks are not exact, edges are blended
_RING = 5  # pixels beyond them that make the ring
_NEAR = 0.05  # reach of "near the mask", share of the long side
_REGION = 0.002  # skin-coloured regions under this share of the mask are noise
_FIT_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class HeuristicFilter:
    """Drop photos that look like a product on a plain ground (see this module's rule)."""

    rule: ProductRule = field(default_factory=ProductRule)

    def __call__(self, image_u8: ImageU8, mask: Mask, real_id: str) -> Verdict:
        """Judge one photo (H, W, 3) by its clothing mask (H, W)."""
        return judge(measure(image_u8, mask, self.rule.tolerance), self.rule)


def judge(measures: dict[str, float], rule: ProductRule) -> Verdict:
    """Return the verdict on measures: the first limit that speaks for a person is the reason to keep."""
    checks = (
        (measures["edge"] > rule.max_edge, f"the clothing runs out of the picture ({measures['edge']:.1%} of its rim)"),
        (measures["border"] < rule.min_border, f"only {measures['border']:.0%} of the border is one plain ground"),
        (
            measures["skin"] > rule.max_skin,
            f"skin-coloured regions beside the clothing are {measures['skin']:.1%} of its area",
        ),
        (
            measures["touching"] > rule.max_touching,
            f"{measures['touching']:.0%} of the clothing's surrounding is not the plain ground",
        ),
        (
            measures["other"] > rule.max_other,
            f"beside the clothing there is more on the plain ground ({measures['other']:.1%} of the clothing's area)",
        ),
    )
    for against, words in checks:
        if against:
            return Verdict(True, detail=words, measures=measures)
    words = (
        f"a product alone: {measures['border']:.0%} of the border is one plain ground, nothing touches the clothing "
        f"({measures['touching']:.0%} of its surrounding), no skin ({measures['skin']:.1%} of its area)"
    )
    return Verdict(False, "product:heuristic", words, measures)


def measure(image_u8: ImageU8, mask: Mask, tolerance: float) -> dict[str, float]:
    """Return the five measures of a photo (H, W, 3) and its clothing mask (H, W) that is not empty."""
    from scipy import ndimage

    height, width = output_size(mask.shape[0], mask.shape[1], SIDE)
    image, mask = resize(image_u8, height, width), shrink_mask(mask, height, width)
    apart = ndimage.distance_transform_edt(~mask)  # pixels to the mask
    border = _frame(height, width) & (apart > _CLOSE)
    ground = is_ground(image, border, tolerance)
    ring = (apart > _CLOSE) & (apart <= _CLOSE + _RING)
    area = float(mask.sum())
    skin = is_skin(image) & ~ground & (apart > _CLOSE) & (apart <= _NEAR * max(height, width))
    return {
        "edge": float(mask[_rim(height, width)].mean()),
        "border": _share(ground, border, 0.0),
        "skin": _large(skin, _REGION * area) / area,
        "touching": _share(~ground, ring, 1.0),
        "other": _large(~ground & (apart > _CLOSE), _REGION * area) / area,
    }


def is_ground(image_u8: ImageU8, border: Mask, tolerance: float) -> Mask:
    """Tell which pixels have the ground's colour: a quadratic of the border's, fitted again to what it explains."""
    if not border.any():
        return np.zeros_like(border)
    y, x = np.mgrid[-1 : 1 : border.shape[0] * 1j, -1 : 1 : border.shape[1] * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)
    used, away = border, np.zeros(border.shape)
    for _ in range(_FIT_ROUNDS):
        weights, *_rest = np.linalg.lstsq(terms[used], image_u8[used].astype(np.float64), rcond=None)
        away = np.abs(image_u8 - np.clip(terms @ weights, 0, 255)).max(axis=-1)
        used = border & (away <= max(tolerance, float(np.median(away[border]))))
    near: Mask = away <= tolerance
    return near


def is_skin(image_u8: ImageU8) -> Mask:
    """Tell which pixels are skin-coloured (see this module's rule)."""
    values = np.asarray(Image.fromarray(image_u8).convert("YCbCr"))
    luma, blue, red = values[..., 0], values[..., 1], values[..., 2]
    skin: Mask = (luma >= 40) & (luma <= 250) & (blue >= 77) & (blue <= 127) & (red >= 133) & (red <= 173)
    return skin


def _large(region: Mask, limit: float) -> float:
    """Return the area of the connected parts of ``region`` that have at least ``limit`` pixels."""
    from scipy import ndimage

    labels, _ = ndimage.label(region)
    sizes = np.bincount(labels.ravel())[1:]
    return float(sizes[sizes >= limit].sum())


def _share(chosen: Mask, among: Mask, otherwise: float) -> float:
    return float(chosen[among].mean()) if among.any() else otherwise


def _rim(height: int, width: int) -> Mask:
    rim = np.ones((height, width), dtype=np.bool_)
    rim[1:-1, 1:-1] = False
    return rim


def _frame(height: int, width: int) -> Mask:
    frame: npt.NDArray[np.bool_] = np.ones((height, width), dtype=np.bool_)
    wide = max(2, round(_FRAME * min(height, width)))
    frame[wide:-wide, wide:-wide] = False
    return frame
