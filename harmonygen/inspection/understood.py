"""Read a mask as a run reads it, and say how it was understood."""

from __future__ import annotations

import io

from PIL import Image

from harmonygen.inspection.headers import Header, header_of_bytes
from harmonygen.pictures.images import Decoded, Mask, has_alpha, read_bytes
from harmonygen.pictures.masks import load_mask
from harmonygen.records import MaskSource, SegmentSource
from harmonygen.settings import MaskResize

SEGMENTATION = "segmentation"
_MANY = 12  # values of a label image that are told one by one


def understood(
    source: MaskSource, photo: Decoded, mask_resize: MaskResize, max_pixels: int
) -> tuple[Mask, str, tuple[str, ...], Header | None]:
    """Return a mask, the kind that it was taken for, the values found in it, and its file's header.

    Raises:
        InputError: the mask cannot be used.
    """
    if isinstance(source, SegmentSource):
        return load_mask(source, photo, mask_resize, max_pixels), SEGMENTATION, (), None
    encoded = read_bytes(source)
    mask = load_mask(source, photo, mask_resize, max_pixels, lambda _source: encoded)
    kind, values = _kind(encoded)
    return mask, kind, values, header_of_bytes(encoded)


def _kind(encoded: bytes) -> tuple[str, tuple[str, ...]]:
    image = Image.open(io.BytesIO(encoded))
    if has_alpha(image):
        return "alpha", ()
    values = sorted(image.getcolors(256) or [])
    shown = tuple(str(value) for _, value in values[:_MANY])
    return ("two-valued" if 0 < len(values) <= 2 else "soft"), shown
