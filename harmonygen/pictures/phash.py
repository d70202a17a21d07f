"""Perceptual hashes: 64 bits that survive resizing and re-encoding, to find the same photo under another name.

The hash is the classic DCT one: the photo in grey at 32 x 32, its 8 x 8 lowest frequencies, each bit telling whether
a coefficient is over their median (the mean brightness, which says nothing about content, left out of the median).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image

from harmonygen.errors import InputError
from harmonygen.pictures.images import load_upright, open_checked, read_bytes, to_rgb
from harmonygen.records import ImageSource

Hashes = npt.NDArray[np.uint64]

MAX_DISTANCE = 4
"""Hashes that differ in at most this many of 64 bits are taken for the same photo."""

_SIDE = 32  # pixels a side that the DCT sees
_LOW = 8  # frequencies a side that are kept: 8 x 8 = 64 bits
_DRAFT = (256, 256)  # JPEG decodes straight to an eighth, quarter or half when that is no smaller than this
_LUMA = np.array([0.299, 0.587, 0.114])
_ROWS = 64  # rows of the distance matrix at a time: 64 x 30,000 x 8 bytes = 15 MB


def _cosines() -> npt.NDArray[np.float64]:
    """Return the first 8 rows of the 32-point DCT-II, (8, 32)."""
    frequency, position = np.arange(_LOW)[:, None], np.arange(_SIDE)[None, :]
    cosines: npt.NDArray[np.float64] = np.cos(np.pi * frequency * (2 * position + 1) / (2 * _SIDE))
    return cosines


_COSINES = _cosines()


def phash(image: Image.Image) -> int:
    """Return the 64-bit perceptual hash of an upright image of any mode that harmonygen reads.

    >>> phash(Image.new("L", (40, 30), 200)) == 1 << 63  # of a flat image only the mean is over 0
    True
    """
    small = Image.fromarray(grey_of(image)).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    frequencies = (_COSINES @ np.asarray(small, dtype=np.float64) @ _COSINES.T).ravel().round(3)
    bits = frequencies > np.median(frequencies[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def grey_of(image: Image.Image) -> npt.NDArray[np.float32]:
    """Return the luminance (H, W), 0..255, of an image of any mode that harmonygen reads."""
    return np.asarray(to_rgb(image).astype(np.float64) @ _LUMA, dtype=np.float32)


def hash_source(source: ImageSource) -> int:
    """Return the hash of an image source (:func:`decode_small`)."""
    return phash(decode_small(source))


def decode_small(source: ImageSource) -> Image.Image:
    """Decode an image source, upright; JPEG files at reduced size, of 256 px or more where there are as many.

    Raises:
        InputError: missing, damaged, or over the pixel limit.
    """
    opened = open_checked(read_bytes(source), str(source))
    opened.draft("RGB", _DRAFT)
    return load_upright(opened, str(source))[0]


def hash_sources(
    sources: Sequence[ImageSource], progress: Callable[[int, int], None] | None = None
) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    """Hash images in threads: ``(hashes (N,) uint64, readable (N,) bool)``; an unreadable image hashes to 0.

    ``progress`` is called with (done, total).
    """
    hashes = np.zeros(len(sources), dtype=np.uint64)
    readable = np.zeros(len(sources), dtype=np.bool_)
    with ThreadPoolExecutor(max_workers=min(16, (os.cpu_count() or 1) + 2)) as threads:
        for index, value in enumerate(threads.map(_hash_or_none, sources)):
            if value is not None:
                hashes[index], readable[index] = value, True
            if progress is not None:
                progress(index + 1, len(sources))
    return hashes, readable


def _hash_or_none(source: ImageSource) -> int | None:
    try:
        return hash_source(source)
    except InputError:
        return None


def near_pairs(left: Hashes, right: Hashes, max_distance: int = MAX_DISTANCE) -> list[tuple[int, int, int]]:
    """Return every ``(i, j, distance)`` with ``left[i]`` and ``right[j]`` at most ``max_distance`` bits apart.

    Exact: all distances are computed, a block of rows at a time (7,000 x 30,000 hashes in about half a second and
    25 MB), so neither skewed bits nor many equal hashes slow it down as they do an index of bands.

    >>> near_pairs(np.array([0b1011], np.uint64), np.array([0b0011, 0xFFFF], np.uint64))
    [(0, 0, 1)]
    """
    found: list[tuple[int, int, int]] = []
    for start in range(0, len(left), _ROWS):
        distances = np.bitwise_count(left[start : start + _ROWS, None] ^ right[None, :])
        for row, column in np.argwhere(distances <= max_distance):
            found.append((start + int(row), int(column), int(distances[row, column])))
    return found
