"""Small pictures for a report: decoded, turned upright and shrunk in threads, encoded as WebP."""

from __future__ import annotations

import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from harmonygen.errors import InputError
from harmonygen.pictures.images import ImageU8, Mask, load_upright, open_checked, read_bytes, to_rgb
from harmonygen.pictures.masks import to_mask
from harmonygen.pictures.outline import outline, svg_path
from harmonygen.records import CellSource, ImageSource
from harmonygen.storage.parquet_cells import cell_bytes

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
    return _coverage(mask, height), float(mask.mean())


def _coverage(mask: Mask, height: int) -> Image.Image:
    return _shrink(Image.fromarray(mask.astype(np.uint8) * 255), height, Image.Resampling.BOX)


def _shrink(image: Image.Image, height: int, method: Image.Resampling) -> Image.Image:
    scale = min(1.0, height / image.height, _WIDEST * height / image.width)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image if size == image.size else image.resize(size, method, reducing_gap=3.0)


def thumbnail(encoded: bytes, name: str, height: int) -> Thumbnail:
    """Make a photo's thumbnail."""
    return _thumbnail(small_picture(encoded, name, height))


def thumbnail_of(image_u8: ImageU8, height: int) -> Thumbnail:
    """Make the thumbnail of a decoded photo (H, W, 3) uint8."""
    return _thumbnail(_shrink(Image.fromarray(image_u8), height, Image.Resampling.LANCZOS))


def _thumbnail(small: Image.Image) -> Thumbnail:
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=QUALITY, method=2)
    return Thumbnail(buffer.getvalue(), *small.size)


def small_mask(encoded: bytes, name: str, height: int) -> SmallMask:
    """Make a mask's outline."""
    return _small_mask(*small_coverage(encoded, name, height))


def small_mask_of(mask: Mask, height: int) -> SmallMask:
    """Make the outline of a decoded mask (H, W) bool."""
    return _small_mask(_coverage(mask, height), float(mask.mean()))


def _small_mask(coverage: Image.Image, ratio: float) -> SmallMask:
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


_BATCH_ROWS = 16


Found = tuple[ImageSource, bytes | InputError]


def stream(sources: Iterable[ImageSource]) -> Iterator[Found]:
    """Yield each source once with its encoded bytes, or with the error that kept them away.

    Cells come in the order of their file, and row groups without a wanted row are skipped.
    """
    cells: dict[Path, dict[int, list[CellSource]]] = defaultdict(lambda: defaultdict(list))
    for source in dict.fromkeys(sources):
        if isinstance(source, CellSource):
            cells[source.path][source.row].append(source)
        else:
            yield source, _bytes_or_error(source)
    for path, wanted in cells.items():
        try:
            yield from _stream_file(path, wanted)
        except (OSError, pa.ArrowException) as error:
            missing = InputError(f"cannot read '{path}': {error}: check that the Parquet file is whole")
            yield from ((source, missing) for group in wanted.values() for source in group)


def _bytes_or_error(source: ImageSource) -> bytes | InputError:
    try:
        return read_bytes(source)
    except InputError as error:
        return error


def _stream_file(path: Path, wanted: Mapping[int, list[CellSource]]) -> Iterator[Found]:
    file = pq.ParquetFile(
        path, pre_buffer=False, page_checksum_verification=True
    )  # a row group of large PNG would be held whole
    columns = sorted({source.column for group in wanted.values() for source in group})
    start = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if any(start <= row < start + rows for row in wanted):
            yield from _stream_group(file, group, start, columns, wanted)
        start += rows


def _stream_group(
    file: Any, group: int, start: int, columns: list[str], wanted: Mapping[int, list[CellSource]]
) -> Iterator[Found]:
    for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns):
        for offset in range(batch.num_rows):
            for source in wanted.get(start + offset, ()):
                yield source, _cell_or_error(batch.column(source.column)[offset].as_py(), source)
        start += batch.num_rows


def _cell_or_error(value: Any, source: CellSource) -> bytes | InputError:
    try:
        return cell_bytes(value, source)
    except InputError as error:
        return error
