"""Small pictures for a report: decoded, turned upright and shrunk in threads, encoded as WebP."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from PIL import Image

from harmonygen.errors import InputError
from harmonygen.pictures.images import load_upright, open_checked, to_rgb
from harmonygen.pictures.masks import to_mask
from harmonygen.records import ImageSource
from harmonygen.pictures.outline import outline, svg_path
from harmonygen.report.pictures import Found, stream

QUALITY = 70
_WIDEST = 3  # a panorama is no wider than three heights
_CHUNK = 64  # pictures in memory at a time

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture: WebP bytes, width and height in pixels."""

    webp: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SmallMask:
    """A mask's outline as an SVG path in a picture of ``width`` x ``height``, and its foreground ratio in [0, 1]."""

    path: str
    width: int
    height: int
    fg_ratio: float


def small_picture(encoded: bytes, name: str, height: int) -> Image.Image:
    """Decode a photo upright and shrink it (never enlarge) to ``height`` pixels, RGB.

    Raises:
        InputError: not an image, damaged, or over the pixel limit.
    """
    opened = open_checked(encoded, name)
    opened.draft("RGB", (2 * height, 2 * height))  # JPEG alone: decoded at a fraction of its size
    upright, _ = load_upright(opened, name)
    rgb = upright if upright.mode == "RGB" else Image.fromarray(to_rgb(upright))
    return _shrink(rgb, height, Image.Resampling.LANCZOS)


def small_coverage(encoded: bytes, name: str, height: int) -> tuple[Image.Image, float]:
    """Decode a mask, and return the coverage of each pixel of its small picture (``L``) and its foreground ratio."""
    upright, _ = load_upright(open_checked(encoded, name), name)
    mask = to_mask(upright)
    return _shrink(Image.fromarray(mask.astype(np.uint8) * 255), height, Image.Resampling.BOX), float(mask.mean())


def _shrink(image: Image.Image, height: int, method: Image.Resampling) -> Image.Image:
    scale = min(1.0, height / image.height, _WIDEST * height / image.width)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image if size == image.size else image.resize(size, method, reducing_gap=3.0)


def thumbnail(encoded: bytes, name: str, height: int) -> Thumbnail:
    """Make a photo's thumbnail."""
    small = small_picture(encoded, name, height)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=QUALITY, method=2)
    return Thumbnail(buffer.getvalue(), *small.size)


def small_mask(encoded: bytes, name: str, height: int) -> SmallMask:
    """Make a mask's outline."""
    coverage, ratio = small_coverage(encoded, name, height)
    return SmallMask(svg_path(outline(coverage)), *coverage.size, ratio)


def each(
    sources: Sequence[ImageSource],
    make: Callable[[bytes, str, int], _T],
    height: int,
    done: Callable[[int], None] | None = None,
) -> dict[ImageSource, _T]:
    """Make something small of each source, in threads; a source that cannot be read or decoded is left out."""
    made: dict[ImageSource, _T] = {}

    def one(found: Found) -> tuple[ImageSource, _T] | None:
        source, encoded = found
        try:
            return None if isinstance(encoded, InputError) else (source, make(encoded, str(source), height))
        except InputError:
            return None

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for chunk in _chunks(stream(sources)):
            made.update(pair for pair in threads.map(one, chunk) if pair is not None)
            if done is not None:
                done(len(chunk))
    return made


def _chunks(found: Iterable[Found]) -> Iterator[list[Found]]:
    iterator = iter(found)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk
