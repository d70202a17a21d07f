"""Read foreground masks (True = foreground) from files, polygons and run-length codes, and check them.

A mask is (H, W) bool. Soft masks are thresholded at 0.5, never dithered (REFERENCE section 9, mistake 3).
"""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from harmonygen.errors import InputError
from harmonygen.images import (
    MAX_PIXELS,
    Decoded,
    Mask,
    has_alpha,
    load_upright,
    open_checked,
    read_bytes,
    to_rgb,
    to_rgba,
)
from harmonygen.records import MaskSource, SegmentSource

MaskResize = Literal["refuse", "nearest"]

_TRANSPOSES: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_mask(
    source: MaskSource, photo: Decoded, mask_resize: MaskResize = "refuse", max_pixels: int = MAX_PIXELS
) -> Mask:
    """Read the mask of an upright photo and check it.

    A mask file of the photo's size before its EXIF rotation is turned the same way.

    Raises:
        InputError: damaged, empty, full, over the pixel limit, or of another size and ``mask_resize`` is ``refuse``.
    """
    if isinstance(source, SegmentSource):
        mask = decode_segmentation(source)
    else:
        opened = open_checked(read_bytes(source), str(source), max_pixels)
        upright, _ = load_upright(opened, str(source))
        mask = to_mask(upright)
    return check_mask(fit_mask(mask, photo, str(source), mask_resize), str(source))


def to_mask(image: Image.Image) -> Mask:
    """Threshold a mask image of any mode at 0.5 of its range; a mask of only 0 and 1 counts 1 as foreground.

    Where anything is transparent, opacity is the mask: a cut-out on a transparent ground stands for its opaque part.

    >>> to_mask(Image.new("L", (1, 1), 128))[0, 0], to_mask(Image.new("L", (1, 1), 127))[0, 0]
    (np.True_, np.False_)
    """
    if has_alpha(image) and not image.mode.startswith("I"):
        rgba = np.asarray(to_rgba(image), dtype=np.float64)
        opaque = bool((rgba[..., 3] == 255).all())
        values = rgba[..., :3].mean(axis=2) if opaque else rgba[..., 3]
    elif image.mode == "L" or image.mode == "1":
        values = np.asarray(image.convert("L"), dtype=np.float64)
    else:
        values = to_rgb(image).mean(axis=2)
    highest = values.max(initial=0)
    return np.asarray(values >= (127.5 if highest != 1 else 0.5))


def fit_mask(mask: Mask, photo: Decoded, name: str, mask_resize: MaskResize) -> Mask:
    """Bring a mask to the upright photo's size: as it is, turned as the photo was, or resized if allowed."""
    height, width = photo.image_u8.shape[:2]
    if mask.shape == (height, width):
        return mask
    if photo.orientation > 4 and mask.shape == photo.file_size[::-1]:
        turned = Image.fromarray(mask.astype(np.uint8) * 255).transpose(_TRANSPOSES[photo.orientation])
        return np.asarray(turned) > 0
    found = f"mask '{name}' is {mask.shape[1]}x{mask.shape[0]} but its photo is {width}x{height}"
    if mask_resize != "nearest":
        raise InputError(f"{found}: re-export it, or pass --mask-resize nearest")
    return resize_mask(mask, height, width)


def check_mask(mask: Mask, name: str) -> Mask:
    """Return the mask if it has both foreground and background; raise InputError if it is empty or full."""
    if not mask.any():
        raise InputError(f"mask '{name}' is empty (no pixel at 0.5 or above): draw the foreground in white")
    if mask.all():
        raise InputError(f"mask '{name}' is full (every pixel is foreground): a composite needs a background")
    return mask


def resize_mask(mask: Mask, height: int, width: int) -> Mask:
    """Resize a (H, W) bool mask to (height, width) by nearest neighbour."""
    if mask.shape == (height, width):
        return mask
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(image.resize((width, height), Image.Resampling.NEAREST)) > 0


def fg_ratio(mask: Mask) -> float:
    """Return the foreground's share of the image, in [0, 1]."""
    return float(mask.mean())


def decode_segmentation(source: SegmentSource) -> Mask:
    """Decode a COCO segmentation (polygons, uncompressed or compressed RLE) through pycocotools.

    Raises:
        InputError: malformed polygons or runs, or a size that is not the photo's.
    """
    from pycocotools import mask as coco

    try:
        segmentation = json.loads(source.segmentation)
        if isinstance(segmentation, list):
            rle = coco.merge(coco.frPyObjects(_checked_polygons(segmentation, source), source.height, source.width))
        else:
            rle = _checked_rle(segmentation, source)
        return np.asarray(coco.decode(rle)).astype(bool)
    except InputError:
        raise
    except Exception as error:  # pycocotools raises bare Exception, TypeError and ValueError
        raise InputError(f"segmentation of '{source}' cannot be decoded ({error}): fix or drop it") from error


def _checked_polygons(polygons: list[Any], source: SegmentSource) -> list[list[float]]:
    reach = 2 * max(source.height, source.width)  # pycocotools crashes on coordinates far outside, and on NaN
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise InputError(
                f"segmentation of '{source}' has a polygon of {len(polygon)} numbers: x y pairs, 3 or more, are needed"
            )
        outside = [value for value in polygon if not -reach <= value <= reach]
        if outside:
            raise InputError(
                f"segmentation of '{source}' has a point at {outside[0]}, far outside its photo of "
                f"{source.width}x{source.height}: fix or drop it"
            )
    if not polygons:
        raise InputError(f"segmentation of '{source}' is empty: fix or drop it")
    return polygons


def _checked_rle(segmentation: dict[str, Any], source: SegmentSource) -> dict[str, Any]:
    from pycocotools import mask as coco

    height, width = segmentation["size"]
    if (height, width) != (source.height, source.width):
        raise InputError(
            f"RLE of '{source}' is {width}x{height} but its photo is {source.width}x{source.height}: fix or drop it"
        )
    counts = segmentation["counts"]
    if isinstance(counts, str):
        counts = unpack_counts(counts)  # pycocotools leaves memory as it was where a string's runs end too early
    if any(not isinstance(count, int) or count < 0 for count in counts) or sum(counts) != height * width:
        raise InputError(
            f"RLE of '{source}' covers {sum(counts)} pixels of {height * width}: counts must be whole, "
            "not negative, and add up to height x width"
        )
    return dict(coco.frPyObjects({"size": [height, width], "counts": counts}, height, width))


def unpack_counts(packed: str) -> list[int]:
    """Unpack the counts of a compressed COCO RLE.

    A character holds 5 bits, lowest first, above ``0``; its sixth bit says that more follow and the last fifth bit is
    the sign. From the fourth on, a count is the difference to the one two before it.

    Raises:
        ValueError: a character out of range, or an end within a count.

    >>> unpack_counts("52203")
    [5, 2, 2, 2, 5]
    """
    counts: list[int] = []
    value = shift = 0
    for digit in (ord(character) - 48 for character in packed):
        if not 0 <= digit < 64:
            raise ValueError(f"{chr(digit + 48)!r} is not a character of compressed counts")
        value, shift = value | (digit & 31) << shift, shift + 5
        if not digit & 32:
            value -= (digit & 16) << (shift - 4)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("the compressed counts end within a count")
    return counts


def runs_to_mask(encoded: str, height: int, width: int, name: str) -> Mask:
    """Decode iMaterialist runs: ``start length`` pairs, 1-based, column-major (REFERENCE section 1).

    Raises:
        InputError: an odd count, a number that is not whole, unsorted or overlapping runs, or a run past the end.

    >>> runs_to_mask("2 2 5 1", 2, 3, "m").astype(int).tolist()
    [[0, 1, 1], [1, 0, 0]]
    """
    starts, lengths = parse_runs(encoded, height * width, name)
    flat = np.zeros(height * width + 1, dtype=np.int8)
    np.add.at(flat, starts, 1)
    np.add.at(flat, starts + lengths, -1)
    return np.cumsum(flat[:-1], dtype=np.int8).astype(bool).reshape((width, height)).T


def parse_runs(encoded: str, size: int, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split runs into 0-based starts and lengths and check them against an image of ``size`` pixels."""
    try:
        numbers = np.array(encoded.split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise InputError(f"RLE of '{name}' has a value that is not a whole number ({error}): drop the row") from error
    if numbers.size == 0 or numbers.size % 2:
        raise InputError(f"RLE of '{name}' has {numbers.size} numbers: 'start length' pairs are needed")
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    if (starts < 0).any() or (lengths <= 0).any():
        raise InputError(f"RLE of '{name}' has a start below 1 or a length below 1: starts are 1-based")
    if numbers.max() > size:  # also before a sum that could overflow
        raise InputError(
            f"RLE of '{name}' holds {numbers.max()}, past the end of {size} pixels: check Height and Width"
        )
    if (starts[1:] < (starts + lengths)[:-1]).any():
        raise InputError(f"RLE of '{name}' is not sorted or its runs overlap: sort it by start")
    if starts[-1] + lengths[-1] > size:
        raise InputError(
            f"RLE of '{name}' ends at {starts[-1] + lengths[-1]}, past the end of {size} pixels: check Height and Width"
        )
    return starts, lengths


def mask_to_runs(mask: Mask) -> str:
    """Encode a mask as iMaterialist runs, the inverse of :func:`runs_to_mask`.

    >>> mask_to_runs(runs_to_mask("2 2 5 1", 2, 3, "m"))
    '2 2 5 1'
    """
    flat = np.concatenate([[0], mask.T.ravel().astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(flat))
    starts, ends = edges[::2], edges[1::2]
    return " ".join(f"{start + 1} {end - start}" for start, end in zip(starts, ends, strict=True))
