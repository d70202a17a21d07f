"""Choose the foreground among what a segmenter found, or say why a photo gets no mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harmonygen.pictures.images import Mask
from harmonygen.pictures.mask_cleaning import clean_mask
from harmonygen.pictures.masks import fg_ratio
from harmonygen.segmentation.segmented import Layers, Segmented, enlarge_probability
from harmonygen.segmentation.settings import ForegroundRules

OTHER = 0.25
"""Something else counts as a second one from this share of the largest's area."""
_CRUMB = 2e-4  # share of the map under which a region is nothing
_PLURAL = {"person": "people"}


@dataclass(frozen=True, eq=False)
class Foreground:
    """A photo's mask (H, W), how many people or objects were seen, and the mean probability inside it."""

    mask: Mask
    count: int
    sureness: float


@dataclass(frozen=True, slots=True)
class NoForeground:
    """Why a photo gets no mask: a ``reason`` to count by, and ``detail`` with the figures."""

    reason: str
    detail: str
    count: int = 0


def choose_foreground(
    found: Segmented, shape: tuple[int, int], rules: ForegroundRules, subject: str = "person"
) -> Foreground | NoForeground:
    """Return the foreground of a photo of ``shape`` (height, width) in pixels.

    1. What stands apart: the segmenter's layers, or the 8-connected regions of its one map.
    2. ``keep``: the largest of them, all of them, or none where there are several.
    3. The layer is enlarged, cut at ``threshold``, and cleaned (:mod:`harmonygen.pictures.mask_cleaning`).
    4. It has to cover between ``min_fg`` and ``max_fg`` of the photo.
    """
    several = _PLURAL.get(subject, f"{subject}s")
    layers = apart(found, rules.threshold)
    areas = [float((layer >= rules.threshold).mean()) for layer in layers]
    if not any(areas):
        return NoForeground(f"no {subject}", f"no {subject} was found{f': {found.note}' if found.note else ''}")
    largest = max(areas)
    count = max(sum(area >= OTHER * largest for area in areas), found.count)
    if rules.keep == "one" and count > 1:
        return NoForeground(f"several {several}", f"{count} {several} were found, --keep one allows one", count)
    kept = layers if rules.keep == "all" else [layers[int(np.argmax(areas))]]
    probability = kept[0] if len(kept) == 1 else np.max(np.stack(kept), axis=0)
    mask = enlarge_probability(probability, *shape) >= rules.threshold
    mask = clean_mask(mask) if rules.clean else mask
    ratio = fg_ratio(mask)
    if not rules.min_fg <= ratio <= rules.max_fg or ratio in (0.0, 1.0):
        small = ratio < rules.min_fg or ratio == 0
        option = f"--min-fg is {rules.min_fg:g}" if small else f"--max-fg is {rules.max_fg:g}"
        reason = f"{subject} too {'small' if small else 'large'}"
        return NoForeground(reason, f"the {subject} covers {ratio:.4f} of the photo, {option}", count)
    return Foreground(mask, count, float(probability[probability >= rules.threshold].mean()))


def apart(found: Segmented, threshold: float) -> Sequence[Layers]:
    """Return a layer for each thing that stands apart; crumbs of a map that is one layer are left out."""
    if found.told_apart or not len(found.layers):
        return list(found.layers)
    from scipy import ndimage

    whole = found.layers[0]
    labels, count = ndimage.label(whole >= threshold, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    large = [label for label in range(1, count + 1) if sizes[label] >= _CRUMB * whole.size]
    below = np.float32(threshold) - np.float32(1e-3)
    return [np.where((labels == label) | (labels == 0), whole, np.minimum(whole, below)) for label in large]
