"""The form in which a photo is stored for other people's trainers: its own bytes where they serve, else converted."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from harmonygen.pictures.images import ImageU8, decode_plainly, encode

PhotoForm = Literal["jpg", "png"]
JPEG_QUALITY = 100  # with 4:4:4, the best that JPEG has

_SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png"}
_KEPT: dict[PhotoForm, tuple[str, ...]] = {"jpg": (".jpg",), "png": (".jpg", ".png")}


class Stored(NamedTuple):
    """An encoded photo and what its conversion costs: levels in the mean, and at most, of 255."""

    encoded: bytes
    mean: float
    most: int


def kept_suffix(head: bytes, form: PhotoForm) -> str:
    r"""Return the suffix of a photo whose own bytes serve as they are, "" if it has to be converted.

    Args:
        head: the first bytes of its file.
        form: ``jpg`` keeps JPEG alone, ``png`` keeps JPEG and PNG.

    >>> kept_suffix(b"\xff\xd8\xff\xe0", "jpg"), kept_suffix(b"\x89PNG", "jpg"), kept_suffix(b"\x89PNG", "png")
    ('.jpg', '', '.png')
    """
    found = next((suffix for magic, suffix in _SUFFIXES.items() if head.startswith(magic)), "")
    return found if found in _KEPT[form] else ""


def convert(image_u8: ImageU8, form: PhotoForm, name: str) -> Stored:
    """Encode a photo (H, W, 3) uint8 as PNG, or as JPEG of quality 100 with 4:4:4; ``name`` is for messages."""
    if form == "png":
        return Stored(encode(image_u8), 0.0, 0)
    encoded = encode(image_u8, "jpeg", JPEG_QUALITY)
    off = np.abs(decode_plainly(encoded, name).astype(np.int16) - image_u8)
    return Stored(encoded, float(off.mean()), int(off.max()))
