"""``--person``: widen a mask of clothing to the whole wearer, found by a segmenter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.segmentation.segmented import Segmented

MIN_OVERLAP = 0.10


def widen_to_people(image_u8: ImageU8, mask: Mask, segment: Callable[[ImageU8], Segmented]) -> Mask:
    """Return the clothing mask (H, W) of a photo with the people who wear it; see :func:`widen`."""
    found = segment(image_u8)
    people = found.masks(*mask.shape)
    return widen(mask, people if found.told_apart else people[0])


def widen(mask: Mask, person: Mask, min_overlap: float = MIN_OVERLAP) -> Mask:
    """Return the clothing mask (H, W) with the people who wear it.

    A person, which is a layer of ``person`` (N, H, W) or an 8-connected region of ``person`` (H, W), wears the clothing
    if at least ``min_overlap`` of the clothing lies in the person, or as much of the person is clothing. Passers-by
    stay outside. Nothing is taken from the clothing; where nobody wears it, the mask is returned as it is.
    """
    layers, areas, shared = (_of_layers if person.ndim == 3 else _of_regions)(mask, person)
    clothes = max(1, int(mask.sum()))
    worn = (shared > 0) & ((shared >= min_overlap * clothes) | (shared >= min_overlap * areas))
    return mask | layers(worn)


Draw = Callable[[npt.NDArray[np.bool_]], Mask]
People = tuple[Draw, npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""How to draw chosen people (N,), the area of each, and the area that each shares with the clothing."""


def _of_layers(mask: Mask, person: Mask) -> People:
    def draw(chosen: npt.NDArray[np.bool_]) -> Mask:
        return np.asarray(person[chosen].any(axis=0))

    return draw, person.sum(axis=(1, 2), dtype=np.int64), (person & mask).sum(axis=(1, 2), dtype=np.int64)


def _of_regions(mask: Mask, person: Mask) -> People:
    from scipy import ndimage

    labels, count = ndimage.label(person, structure=np.ones((3, 3)))

    def draw(chosen: npt.NDArray[np.bool_]) -> Mask:
        return np.asarray(np.concatenate([[False], chosen])[labels])

    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return draw, areas, np.bincount(labels[mask], minlength=count + 1)[1:]
