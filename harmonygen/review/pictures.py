"""The pictures of a run as a browser is given them: read when they are looked at, by row group, and kept for a while.

Only cells of the run's own files are read, and the photos that these name; what is sent has been decoded as a picture.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image

from harmonygen.errors import InputError
from harmonygen.pictures.images import decode, encode, open_checked
from harmonygen.records import CellSource, ImageSource
from harmonygen.report.thumbnails import SmallMask, small_coverage, small_mask, small_picture, stream
from harmonygen.review.columns import Columns
from harmonygen.runs.read import Run

Kind = Literal["candidate", "real", "mask"]
_KEPT = 96 * 2**20  # bytes of encoded pictures in memory
_AT_ONCE = 48 * 2**20  # decoded bytes of a pair's candidates up to which all of them are read when one is asked for
_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_OUTLINE = 512  # pixels
_COLOUR_NOTES = ("icc_profile", "gamma", "chromaticity", "srgb", "transparency")
_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Sent:
    """An encoded picture and its media type."""

    content: bytes
    media_type: str


class Pictures:
    """Reads and keeps the pictures of one run. May be called from several threads."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._kept: OrderedDict[object, Sent] = OrderedDict()
        self._size, self._lock = 0, threading.Lock()
        self._sources = lru_cache(maxsize=64)(run.pair_sources)
        self._outlines = lru_cache(maxsize=1024)(self._outline)

    def get(self, kind: Kind, columns: Columns, row: int, height: int | None = None) -> Sent:
        """Return a candidate, or the photo or mask of its pair: as large as it is, or shrunk to ``height`` pixels.

        A mask is white, with the foreground as its opacity.

        Raises:
            InputError: it cannot be read, or is not a picture.
        """
        pair = int(columns.pair[row])
        tall = int(columns.height[pair])
        height = None if height is None or height >= tall else height
        key = kind, row if kind == "candidate" else pair, height
        found = self._look(key)
        if found is None:
            found = self._made(kind, columns, row, height)
            self._keep(key, found)
        return found

    def outline(self, columns: Columns, pair: int) -> SmallMask:
        """Return the outline of a pair's mask.

        Raises:
            InputError: it cannot be read, or is not a mask.
        """
        return self._outlines(self._source("mask", columns, pair))

    def _outline(self, source: CellSource) -> SmallMask:
        return small_mask(self._read(source), str(source), _OUTLINE)

    def _made(self, kind: Kind, columns: Columns, row: int, height: int | None) -> Sent:
        pair = int(columns.pair[row])
        if kind == "candidate":
            return self._candidate(columns, row, height)
        source = self._source(kind, columns, pair)
        encoded = self._read(source)
        if kind == "mask":
            return _opacity(encoded, str(source), height or int(columns.height[pair]))
        return _shrunk(encoded, str(source), height) if height else _photo(encoded, str(source))

    def _candidate(self, columns: Columns, row: int, height: int | None) -> Sent:
        if height is None:
            return self._whole(columns, row)
        source = self._cell(columns, row)
        return _shrunk(self._whole(columns, row).content, str(source), height)

    def _whole(self, columns: Columns, row: int) -> Sent:
        """Return a candidate as it is stored; small ones are read with the others of their pair."""
        found = self._look(("candidate", row, None))
        if found is not None:
            return found
        pair = int(columns.pair[row])
        rows = columns.rows_of(pair)
        decoded = int(columns.width[pair]) * int(columns.height[pair]) * 3 * len(rows)
        wanted = {self._cell(columns, one): one for one in (rows if decoded <= _AT_ONCE else (row,))}
        for source, encoded in stream(wanted):
            if not isinstance(encoded, InputError):
                self._keep(("candidate", wanted[source], None), _as_stored(encoded, str(source)))  # type: ignore[index]
            elif wanted[source] == row:  # type: ignore[index]
                raise encoded
        return self._look(("candidate", row, None)) or _as_stored(self._read(self._cell(columns, row)), str(row))

    def _cell(self, columns: Columns, row: int) -> CellSource:
        pair = int(columns.pair[row])
        place = int(columns.place[row])
        return CellSource(self.run.parts[columns.part[pair]], "composite", place, as_stored=True)

    def _source(self, kind: Kind, columns: Columns, pair: int) -> CellSource:
        real, mask = self._sources(int(columns.part[pair]))[columns.pair_ids[pair]]
        return real if kind == "real" else mask

    def _read(self, source: ImageSource) -> bytes:
        for _, encoded in stream([source]):
            if isinstance(encoded, InputError):
                raise encoded
            return encoded
        raise InputError(f"'{source}' is not there: reload the page")

    def _look(self, key: object) -> Sent | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: object, sent: Sent) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = sent
                self._size += len(sent.content)
            while self._size > _KEPT and len(self._kept) > 1:
                _, old = self._kept.popitem(last=False)
                self._size -= len(old.content)


def _as_stored(encoded: bytes, name: str) -> Sent:
    """Return a candidate's bytes, once it is sure that they are a picture which browsers show."""
    opened = open_checked(encoded, name)
    if opened.format in _TYPES:
        return Sent(encoded, _TYPES[opened.format])
    return _photo(encoded, name)


def _photo(encoded: bytes, name: str) -> Sent:
    """Return a photo with the values that it holds: no browser is to apply its profile or orientation once more."""
    opened = open_checked(encoded, name)
    told = any(name in opened.info for name in _COLOUR_NOTES) or opened.getexif().get(_ORIENTATION, 1) != 1
    if opened.format in _TYPES and opened.mode in ("L", "RGB") and not told:
        return Sent(encoded, _TYPES[opened.format])
    return Sent(encode(decode(encoded, name, as_stored=True).image_u8), "image/png")


def _shrunk(encoded: bytes, name: str, height: int) -> Sent:
    buffer = io.BytesIO()
    small_picture(encoded, name, height).save(buffer, "WEBP", quality=88, method=1)
    return Sent(buffer.getvalue(), "image/webp")


def _opacity(encoded: bytes, name: str, height: int) -> Sent:
    coverage, _ = small_coverage(encoded, name, height)
    alpha = np.asarray(coverage)
    buffer = io.BytesIO()
    Image.fromarray(np.stack([np.full_like(alpha, 255), alpha], axis=2)).save(buffer, "PNG", compress_level=3)
    return Sent(buffer.getvalue(), "image/png")
