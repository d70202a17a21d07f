"""The distinct values of a mask image, how often each stands there, and whether it fills areas or only edges.

Everything goes over strips of rows, so that a mask of 100 megapixels needs one byte per pixel beside the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from harmonygen.errors import InputError
from harmonygen.pictures.images import Mask

Codes = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
_STRIP = 2**20  # pixels looked at together
_MOST = 4096  # values that a mask of whole numbers over 65535 may have


@dataclass(frozen=True)
class Levels:
    """A mask image (H, W) of ``codes``; ``values[i]`` is what code ``used[i]`` stands for, ``counts[i]`` its pixels."""

    codes: Codes
    used: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]

    @cached_property
    def solid(self) -> npt.NDArray[np.int64]:
        """How many pixels of each value have the same value to the right, below and between: areas, not edges."""
        found = np.zeros(int(self.used[-1]) + 1, dtype=np.int64)
        for rows in strips(self.codes.shape):
            part = self.codes[rows.start : rows.stop + 1]
            same = (part[:-1, :-1] == part[1:, :-1]) & (part[:-1, :-1] == part[:-1, 1:])
            same &= part[:-1, :-1] == part[1:, 1:]
            found += np.bincount(part[:-1, :-1][same], minlength=found.size)
        return found[self.used]

    def share(self, chosen: Mask) -> float:
        """Return the share of all pixels that have a chosen value; ``chosen`` is a flag per value."""
        return float(self.counts[chosen].sum() / self.codes.size)

    def solidity(self, chosen: Mask) -> float:
        """Return the share of the pixels of chosen values that fill areas, 0 if there are none."""
        return float(self.solid[chosen].sum() / max(1, self.counts[chosen].sum()))

    def where(self, chosen: Mask) -> Mask:
        """Return where the values are that are chosen, (H, W) bool."""
        if int(chosen.sum()) == 1:
            return np.asarray(self.codes == self.codes.dtype.type(self.used[chosen][0]))
        table = np.zeros(int(self.used[-1]) + 1, dtype=bool)
        table[self.used] = chosen
        mask = np.empty(self.codes.shape, dtype=bool)
        for rows in strips(mask.shape):
            mask[rows] = table[self.codes[rows]]
        return mask


def strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Cut the rows of an image (H, W) into strips of about a million pixels."""
    height, width = shape
    step = max(1, _STRIP // max(1, width))
    for start in range(0, height, step):
        yield slice(start, min(height, start + step))


def levels_of_codes(codes: Codes, table: npt.NDArray[np.float64] | None = None) -> Levels:
    """Count the codes of an image (H, W); ``table`` says what each code stands for, itself if not given."""
    counts = np.zeros(np.iinfo(codes.dtype).max + 1, dtype=np.int64)
    for rows in strips(codes.shape):
        counts += np.bincount(codes[rows].ravel(), minlength=counts.size)
    used = np.flatnonzero(counts)
    return Levels(codes, used, used.astype(np.float64) if table is None else table[used], counts[used])


def levels_of_array(array: npt.NDArray[Any], name: str) -> Levels:
    """Count the values of a grey image (H, W) of any number type.

    Values of 8 and 16 bits are their own codes. Fractions are rounded to 1/255 of the range (0 to 1, or to 255 if any
    is over 1), other numbers are numbered.

    Raises:
        InputError: values that are not numbers, or over 4096 of them that do not fit into 16 bits.
    """
    if array.dtype in (np.uint8, np.uint16):
        return levels_of_codes(array)
    if array.dtype == np.bool_:
        return levels_of_codes(array.view(np.uint8))
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"mask '{name}' holds values that are not numbers: export it again")
    whole = all(bool((array[rows] % 1 == 0).all()) for rows in strips(array.shape))
    if whole and low >= 0 and high <= np.iinfo(np.uint16).max:
        return levels_of_codes(array.astype(np.uint8) if high <= np.iinfo(np.uint8).max else array.astype(np.uint16))
    if not whole and low >= 0 and high <= 255:
        return _of_fractions(array, 255 if high <= 1 else 1)
    return _numbered(array, name)


def _of_fractions(array: npt.NDArray[Any], scale: int) -> Levels:
    codes = np.empty(array.shape, dtype=np.uint8)
    for rows in strips(codes.shape):
        codes[rows] = np.rint(array[rows].astype(np.float64) * scale)
    return levels_of_codes(codes)


def _numbered(array: npt.NDArray[Any], name: str) -> Levels:
    values: npt.NDArray[Any] = np.empty(0, dtype=array.dtype)
    for rows in strips(array.shape):
        values = np.union1d(values, array[rows])
        if values.size > _MOST:
            raise InputError(
                f"mask '{name}' holds over {_MOST} values from {array.min()} to {array.max()}: if it is a mask, "
                "export it in 8 bits"
            )
    codes = np.empty(array.shape, dtype=np.uint16)
    for rows in strips(codes.shape):
        codes[rows] = np.searchsorted(values, array[rows])
    return levels_of_codes(codes, values.astype(np.float64))


def levels_of_colours(image: Image.Image, colours: npt.NDArray[np.int64]) -> Levels:
    """Number the pixels of an RGB image by ``colours``, all that it has, packed as 0xRRGGBB and sorted."""
    codes = np.empty((image.height, image.width), dtype=np.uint16)
    for rows in strips(codes.shape):
        codes[rows] = np.searchsorted(colours, packed(image, rows))
    return levels_of_codes(codes, colours.astype(np.float64))


def packed(image: Image.Image, rows: slice) -> npt.NDArray[np.int64]:
    """Return rows of an RGB image as (rows, W) numbers 0xRRGGBB."""
    part = np.asarray(image.crop((0, rows.start, image.width, rows.stop)), dtype=np.int64)
    return np.asarray(part[..., 0] << 16 | part[..., 1] << 8 | part[..., 2])
