"""Fill the small holes of a mask and remove its specks, by a stated rule.

Hand-drawn segments leave seams of a few pixels between garments and crumbs beside them. The rule, in this order:

1. A **hole** is a 4-connected region of background that does not reach the image's edge. It is filled if it has less
   than ``max_hole`` of the photo's pixels. A mask that would become full by this is returned as it is.
2. A **speck** is an 8-connected region of foreground. It is removed if it has less than ``max_speck`` of the photo's
   pixels *and* less than :data:`SPECK_OF_LARGEST` of the largest region's, so that what is small only because the
   whole foreground is small stays. The largest region always stays: no mask is emptied.

Cleaning a clean mask changes nothing. Measured on 216 unions of clothing segments (340 x 512 px): half of their 311
holes are under 0.0001 of the photo, and so are 2 % of their 349 detached regions; earrings and watches are over 0.0002.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harmonygen.pictures.images import Mask

MAX_HOLE = 2e-4
"""Holes under this share of the photo are filled: 35 pixels of 340 x 512, 210 of 1024 x 1024."""
MAX_SPECK = 2e-4
"""Regions under this share of the photo are removed."""
SPECK_OF_LARGEST = 0.05
"""A speck is also under this share of the largest region."""


def clean_mask(mask: Mask, max_hole: float = MAX_HOLE, max_speck: float = MAX_SPECK) -> Mask:
    """Return a mask (H, W) with small holes filled and specks removed; never empty, full or changed twice.

    Args:
        mask: (H, W) bool, True = foreground.
        max_hole: share of the photo's pixels under which a hole is filled, in [0, 1]; 0 fills none.
        max_speck: share of the photo's pixels under which a region is removed, in [0, 1]; 0 removes none.

    >>> ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)
    >>> clean_mask(ring, max_hole=0.2).astype(int).tolist()
    [[1, 1, 1], [1, 1, 1], [1, 1, 0]]
    """
    filled = mask | _holes(mask, max_hole * mask.size)
    if filled.all():
        return mask.copy()
    return filled & ~_specks(filled, max_speck * mask.size)


def _holes(mask: Mask, limit: float) -> Mask:
    from scipy import ndimage

    labels, _ = ndimage.label(~mask)
    sizes = np.bincount(labels.ravel())
    small = sizes < limit
    small[0] = False
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        small[edge] = False
    return _picked(small, labels)


def _specks(mask: Mask, limit: float) -> Mask:
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count < 2:
        return np.zeros_like(mask)
    sizes = np.bincount(labels.ravel())
    small = sizes < min(limit, SPECK_OF_LARGEST * sizes[1:].max())
    small[0] = False
    return _picked(small, labels)


def _picked(chosen: npt.NDArray[np.bool_], labels: npt.NDArray[np.int32]) -> Mask:
    picked: Mask = chosen[labels]
    return picked
