"""Read foreground masks (True = foreground) from files, polygons and run-length codes, and check them.

A mask is (H, W) bool. What its values mean gets by :mod:`harmonygen.pictures.mask_values`; soft masks are cut at
0.5, never dithered (REFERENCE section 9, mistake 3).
"""

from __future__ import annotations

import json
import logging
import math
import re
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from harmonygen.errors import InputError
from harmonygen.pictures.images import MAX_PIXELS, Decoded, Mask, load_upright, open_checked, read_bytes
from harmonygen.pictures.mask_reading import MaskReading as MaskReading
from harmonygen.pictures.mask_reading import Understood
from harmonygen.pictures.mask_values import to_mask as to_mask
from harmonygen.pictures.mask_values import understand as understand
from harmonygen.records import CellSource, MaskRule, MaskSource, SegmentSource
from harmonygen.storage.content import Read

MaskResize = Literal["refuse", "nearest"]
Rle = dict[str, Any]
"""A compressed COCO RLE as pycocotools has it: ``size`` [height, width] and ``counts`` in bytes."""

_DIGITS = re.compile("[0-9 ]*")
_LARGEST = np.iinfo(np.int64).max
_TOLD = 120  # characters of an error that holds what was found

_PAGED, _PAGES = ("TIFF", "GIF", "PNG", "WEBP"), 64
_assumed: list[CellSource] = []


def read_mask(
    source: MaskSource,
    photo: Decoded,
    mask_resize: MaskResize | None = None,
    max_pixels: int = MAX_PIXELS,
    read: Read = read_bytes,
) -> Mask:
    """Read the mask of an upright photo, by the rule that its source has, and check it.

    Raises:
        InputError: damaged, empty, full, over the pixel limit, of values that could mean several things, or of another
            size and ``mask_resize`` is not ``nearest``.
    """
    return check_mask(load_mask(source, photo, mask_resize, max_pixels, read), str(source))


def load_mask(
    source: MaskSource,
    photo: Decoded,
    mask_resize: MaskResize | None = None,
    max_pixels: int = MAX_PIXELS,
    read: Read = read_bytes,
) -> Mask:
    """Read the mask of an upright photo, by the rule that its source has; it may be empty or full.

    Raises:
        InputError: as :func:`read_mask` does.
    """
    return load_understood(source, photo, mask_resize, max_pixels, read)[0]


def load_understood(
    source: MaskSource,
    photo: Decoded,
    mask_resize: MaskResize | None = None,
    max_pixels: int = MAX_PIXELS,
    read: Read = read_bytes,
) -> Understood:
    """Read the mask of an upright photo as :func:`load_mask` does, and tell how it was understood.

    Raises:
        InputError: as :func:`read_mask` does.
    """
    mask, reading, own = understand_source(source, max_pixels, read)
    turned, assumed = (False, False) if own else _way(mask, photo, source.rule)
    if assumed and isinstance(source, CellSource):
        _say_assumed(source)
    if turned:
        mask = turn(mask, photo.orientation)
    return fit_mask(mask, photo, str(source), mask_resize), replace(reading, turned=turned, assumed=assumed)


def understand_source(
    source: MaskSource, max_pixels: int = MAX_PIXELS, read: Read = read_bytes
) -> tuple[Mask, MaskReading, bool]:
    """Read a mask without its photo: its foreground, how it was understood, and whether EXIF of its own turned it.

    Raises:
        InputError: damaged, over the pixel limit, several pages, or of values that could mean several things.
    """
    if isinstance(source, SegmentSource):
        return decode_segmentation(source), MaskReading("segmentation", ("0", "1"), ("1",)), False
    name = str(source)
    opened = open_checked(read(source), name, max_pixels)
    _refuse_pages(opened, name)
    upright, orientation = load_upright(opened, name)
    upright.format = opened.format
    mask, reading = understand(upright, source.rule, name)
    return mask, reading, orientation != 1


def _refuse_pages(opened: Image.Image, name: str) -> None:
    """Raise InputError if a file has several pages of one size; smaller ones (previews) are skipped."""
    if opened.format not in _PAGED:
        return
    try:
        size, pages = opened.size, 1
        for page in range(1, min(getattr(opened, "n_frames", 1), _PAGES)):
            opened.seek(page)
            pages += opened.size == size
        opened.seek(0)
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError ...
        raise InputError(f"'{name}' is damaged or truncated ({error}): export it again") from error
    if pages > 1:
        raise InputError(f"mask '{name}' has {pages} pages or frames of one size: save the one that is meant alone")


def _say_assumed(source: CellSource) -> None:
    """Warn once of a process; of photos in files, the data set's notes speak (:mod:`harmonygen.data.orientation`)."""
    if not _assumed:
        _assumed.append(source)
        logging.getLogger("harmonygen").warning(
            "the photo of '%s' has an EXIF orientation, and the size of its mask does not tell what this follows: that "
            "masks are drawn on the upright photo is assumed, --mask-orientation decides",
            source,
        )


def _way(mask: Mask, photo: Decoded, rule: MaskRule) -> tuple[bool, bool]:
    """Return whether a mask follows the stored photo and has to be turned, and whether upright is but assumed.

    Its size tells, or its shape if it is resized; else the rule.
    """
    if photo.orientation == 1:
        return False, False
    (height, width), (tall, broad) = photo.image_u8.shape[:2], mask.shape
    if photo.orientation > 4 and height != width:
        upright, stored = (abs(math.log(tall / broad) - way * math.log(height / width)) for way in (1, -1))
        if not math.isclose(upright, stored, abs_tol=1e-3):
            return stored < upright, False
    return rule.orientation == "stored", rule.orientation == "auto"


def turn(mask: Mask, orientation: int) -> Mask:
    """Turn a mask as a picture with an EXIF orientation is turned to be upright.

    >>> turn(np.array([[True, False]]), 6).tolist()
    [[True], [False]]
    """
    if orientation in (5, 6, 7, 8):
        mask = mask.T
    if orientation in (2, 3, 6, 7):
        mask = mask[:, ::-1]
    if orientation in (3, 4, 7, 8):
        mask = mask[::-1]
    return np.ascontiguousarray(mask)


def fit_mask(mask: Mask, photo: Decoded, name: str, mask_resize: MaskResize | None) -> Mask:
    """Bring a mask to the upright photo's size: as it is, or resized if allowed.

    None refuses as ``refuse`` does, for verbs that have no such option.
    """
    height, width = photo.image_u8.shape[:2]
    if mask.shape == (height, width):
        return mask
    found = f"mask '{name}' is {mask.shape[1]}x{mask.shape[0]} but its photo is {width}x{height}"
    if mask_resize != "nearest":
        remedy = ", or pass --mask-resize nearest" if mask_resize else ""
        raise InputError(f"{found}: re-export it at that size{remedy}")
    return resize_mask(mask, height, width)


def check_mask(mask: Mask, name: str) -> Mask:
    """Return the mask if it has both foreground and background; raise InputError if it is empty or full."""
    if not mask.any():
        raise InputError(f"mask '{name}' is empty (no pixel is foreground): draw the foreground in white")
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
    except (ValueError, RecursionError) as error:
        raise InputError(f"segmentation of '{source}' is not JSON ({error}): fix or drop it") from error
    rle = to_rle(segmentation, source.height, source.width, source.name)
    return np.asarray(coco.decode(rle)).view(np.bool_)  # 0 and 1 only, so no copy is needed


def to_rle(segmentation: Any, height: int, width: int, name: str) -> Rle:
    """Return a COCO segmentation of an image ``height`` x ``width`` as a compressed RLE, checked.

    Raises:
        InputError: malformed polygons or runs, or a size that is not the photo's.
    """
    from pycocotools import mask as coco

    try:
        if isinstance(segmentation, list):
            _check_polygons(segmentation, height, width, name)
            return dict(coco.merge(coco.frPyObjects(segmentation, height, width)))
        counts = _checked_counts(segmentation, height, width, name)
        return dict(coco.frPyObjects({"size": [height, width], "counts": counts}, height, width))
    except InputError:
        raise
    except Exception as error:  # pycocotools raises bare Exception, TypeError and ValueError
        raise InputError(f"segmentation of '{name}' cannot be decoded ({error}): fix or drop it") from error


def _check_polygons(polygons: list[Any], height: int, width: int, name: str) -> None:
    reach = 2 * max(height, width)  # pycocotools crashes on coordinates far outside, and on NaN
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise InputError(
                f"segmentation of '{name}' has a polygon of {len(polygon)} numbers: x y pairs, 3 or more, are needed"
            )
        outside = [value for value in polygon if not -reach <= value <= reach]
        if outside:
            raise InputError(
                f"segmentation of '{name}' has a point at {outside[0]}, far outside its photo of "
                f"{width}x{height}: fix or drop it"
            )
    if not polygons:
        raise InputError(f"segmentation of '{name}' is empty: fix or drop it")


def _checked_counts(segmentation: dict[str, Any], height: int, width: int, name: str) -> npt.NDArray[np.int64]:
    stated = tuple(segmentation["size"])
    if stated != (height, width):
        raise InputError(
            f"RLE of '{name}' is {stated[1]}x{stated[0]} but its photo is {width}x{height}: fix or drop it"
        )
    given = segmentation["counts"]
    if isinstance(given, str):
        counts = unpack_counts(given)  # pycocotools leaves memory as it was where a string's runs end too early
    elif all(type(count) is int and 0 <= count <= height * width for count in given):
        counts = np.array(given, dtype=np.int64)
    else:
        counts = np.array([-1])
    if (counts < 0).any() or counts.sum() != height * width:
        raise InputError(
            f"RLE of '{name}' covers {max(0, int(counts.sum()))} pixels of {height * width}: counts must be whole, "
            "not negative, and add up to height x width"
        )
    return counts


def unpack_counts(packed: str) -> npt.NDArray[np.int64]:
    """Unpack the counts of a compressed COCO RLE.

    A character holds 5 bits, lowest first, above ``0``; its sixth bit says that more follow and the last fifth bit is
    the sign. From the fourth on, a count is the difference to the one two before it.

    Raises:
        ValueError: a character out of range, a count over 34 bits, or an end within a count.

    >>> unpack_counts("52203").tolist()
    [5, 2, 2, 2, 5]
    """
    digits = np.frombuffer(packed.encode("utf-8"), dtype=np.uint8).astype(np.int64) - 48
    strange = digits[(digits < 0) | (digits > 63)]
    if strange.size:
        raise ValueError(f"byte {strange[0] + 48} is not a character of compressed counts")
    ends = np.flatnonzero(digits < 32)
    if digits.size and digits[-1] >= 32:
        raise ValueError("the compressed counts end within a count")
    if not ends.size:
        return digits
    starts = np.concatenate([[0], ends[:-1] + 1])
    places = np.arange(digits.size) - np.repeat(starts, ends - starts + 1)
    if places.max() > 6:  # 7 x 5 bits: pycocotools' counts are of 32
        raise ValueError("the compressed counts hold a number over 34 bits")
    values = np.add.reduceat((digits & 31) << (5 * places), starts)
    values -= (digits[ends] & 16) << (5 * places[ends] + 1)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


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
    numbers = _whole_numbers(encoded, name)
    if numbers.size == 0 or numbers.size % 2:
        raise InputError(f"RLE of '{name}' has {numbers.size} numbers: 'start length' pairs are needed")
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    if starts.min() < 0 or lengths.min() <= 0:
        raise InputError(f"RLE of '{name}' has a start below 1 or a length below 1: starts are 1-based")
    if numbers.max() > size:  # also before a sum that could overflow
        raise InputError(
            f"RLE of '{name}' holds {numbers.max()}, past the end of {size} pixels: check Height and Width"
        )
    ends = starts + lengths
    if (starts[1:] < ends[:-1]).any():
        raise InputError(f"RLE of '{name}' is not sorted or its runs overlap: sort it by start")
    if ends[-1] > size:
        raise InputError(f"RLE of '{name}' ends at {ends[-1]}, past the end of {size} pixels: check Height and Width")
    return starts, lengths


def _whole_numbers(encoded: str, name: str) -> npt.NDArray[np.int64]:
    """Split text into whole numbers: digits and blanks by NumPy's own scanner, five times as fast as the plain way."""
    if _DIGITS.fullmatch(encoded):
        numbers = np.fromstring(encoded, dtype=np.int64, sep=" ")
        if not numbers.size or numbers.max() < _LARGEST:  # which also stands for anything over it
            return numbers
    try:
        return np.array(encoded.split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        found = str(error)[:_TOLD]
        raise InputError(f"RLE of '{name}' has a value that is not a whole number ({found}): drop the row") from error


def runs_to_rle(encoded: str, height: int, width: int, name: str) -> Rle:
    """Return iMaterialist runs, checked as :func:`runs_to_mask` checks them, as a compressed COCO RLE.

    >>> runs_to_rle("2 2 5 1", 2, 3, "m")
    {'size': [2, 3], 'counts': b'121O0'}
    """
    from pycocotools import mask as coco

    starts, lengths = parse_runs(encoded, height * width, name)
    edges = np.empty(2 * starts.size + 2, dtype=np.int64)
    edges[0], edges[1:-1:2], edges[2:-1:2], edges[-1] = 0, starts, starts + lengths, height * width
    counts = np.diff(edges if edges[-2] < edges[-1] else edges[:-1])
    return dict(coco.frPyObjects({"size": [height, width], "counts": counts}, height, width))


def mask_to_runs(mask: Mask) -> str:
    """Encode a mask as iMaterialist runs, the inverse of :func:`runs_to_mask`.

    >>> mask_to_runs(runs_to_mask("2 2 5 1", 2, 3, "m"))
    '2 2 5 1'
    """
    flat = np.concatenate([[0], mask.T.ravel().astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(flat))
    starts, ends = edges[::2], edges[1::2]
    return " ".join(f"{start + 1} {end - start}" for start, end in zip(starts, ends, strict=True))
