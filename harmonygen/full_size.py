"""Bring a harmonized low-resolution picture to its composite's own size."""

from __future__ import annotations

import numpy as np

from harmonygen.settings import Detail
from harmonygen.pictures.detail import RADIUS, DetailTransfer, Floats
from harmonygen.pictures.images import ImageU8, paste, resize, to_u8
from harmonygen.pictures.photo import Photo


def full_size(
    photo: Photo,
    low_u8: ImageU8,
    harmonized01: Floats,
    detail: Detail,
    radius: int = RADIUS,
    floor: bool = False,
) -> ImageU8:
    """Return (H, W, 3) uint8: the composite with a harmonized foreground.

    Args:
        photo: the composite and its mask at (H, W).
        low_u8: (h, w, 3) the composite at the harmonized picture's size.
        harmonized01: (h, w, 3) in [0, 1].
        detail: ``transfer`` carries the colour change to the composite's own pixels; ``decode`` enlarges the
            harmonized pixels and pastes them.
        radius: the transfer's window, low-resolution pixels.
        floor: with ``decode``, floor to 8 bits as the authors' code does, to compare with its numbers.
    """
    if detail == "transfer":
        return DetailTransfer(low_u8 / np.float32(255), photo.image_u8, photo.mask, radius)(harmonized01)
    return paste(resize(to_u8(harmonized01, floor), *photo.mask.shape), photo.image_u8, photo.mask)
