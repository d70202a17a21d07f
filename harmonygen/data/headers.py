"""Photos with an EXIF orientation, found by the first bytes of each file; nothing is decoded."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harmonygen.data.first_bytes import (
    EXIF_CHUNK,
    ORIENTATION,
    START,
    NotPlainError,
    Opened,
    fields_of,
    last_bytes,
)
from harmonygen.errors import InputError
from harmonygen.pictures.formats import prepare_file
from harmonygen.records import FileSource
from harmonygen.storage.bounded import check_file

if TYPE_CHECKING:
    from PIL import Image

_WIDTH, _HEIGHT = 0x0100, 0x0101  # TIFF's, as it is stored; Pillow's size is that of the upright picture
_THREADS, _CHUNK = 8, 256
_PNG_KEYS = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}


@dataclass(frozen=True, slots=True)
class Header:
    """A picture's size as it is stored, (height, width), and its EXIF orientation 1..8."""

    stored: tuple[int, int]
    orientation: int

    @classmethod
    def read(cls, path: Path) -> Header:
        """Read a file's header; raise InputError if it is not a picture's."""
        from PIL import Image

        try:
            with (
                warnings.catch_warnings(action="ignore"),
                Image.open(path) as opened,
            ):
                tags = getattr(opened, "tag_v2", {}) if opened.format == "TIFF" else {}
                width, height = tags.get(_WIDTH) or opened.width, tags.get(_HEIGHT) or opened.height
                orientation = orientation_of(opened, end_of(path) if opened.format == "PNG" else b"")
        except Image.DecompressionBombError as error:
            raise InputError(f"'{path}' is over the pixel limit: {error}: shrink it first") from error
        except OSError as error:
            why = error.strerror or "not an image that Pillow can read"
            raise InputError(f"cannot read the photo '{path}': {why}: check the path and the file") from error
        except Exception as error:  # headers raise SyntaxError, ValueError, struct.error ...
            raise InputError(f"the header of '{path}' is damaged ({error}): export it again") from error
        return cls((height, width), orientation)

    @property
    def upright(self) -> tuple[int, int]:
        """The (height, width) that it is seen in."""
        return self.stored[::-1] if self.orientation > 4 else self.stored

    @property
    def on_its_side(self) -> bool:
        """Whether it is stored on its side and not square, so that a size tells which way it is."""
        return self.stored != self.upright

    def size(self, way: Literal["stored", "upright"]) -> tuple[int, int]:
        """Return the (height, width) one way."""
        return self.stored if way == "stored" else self.upright

    def way_of(self, size: tuple[int, int]) -> Literal["stored", "upright"] | None:
        """Return which way has a size; None if neither has, or both have."""
        if not self.on_its_side or size not in (self.stored, self.upright):
            return None
        return "stored" if size == self.stored else "upright"


def turned_photos(photos: Iterable[FileSource]) -> dict[Path, Header]:
    """Return the headers of those files that have an EXIF orientation other than 1.

    Files that are missing, no pictures, or outside the folder that they are bound to, are left to whoever reads them.

    >>> turned_photos([FileSource(Path("not there.jpg"))])
    {}
    """
    by_path = {photo.path: photo for photo in photos}
    files = [by_path[path] for path in sorted(by_path)]
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    if len(chunks) < 2:
        return dict(pair for chunk in chunks for pair in _turned(chunk))
    with ThreadPoolExecutor(_THREADS) as threads:
        return dict(pair for found in threads.map(_turned, chunks) for pair in found)


def _turned(photos: Sequence[FileSource]) -> list[tuple[Path, Header]]:
    found = ((photo.path, _header(photo)) for photo in photos)
    return [(path, head) for path, head in found if head is not None and head.orientation != 1]


def _header(photo: FileSource) -> Header | None:
    """Return a header; None where the first bytes rule out that there is an orientation, or there is no picture."""
    try:
        check_file(photo.path, str(photo), photo.within)
        return _first(photo)
    except (InputError, OSError, ValueError, IndexError):
        return None  # whoever reads the photo says so


def _first(photo: FileSource) -> Header | None:
    number = os.open(photo.path, os.O_RDONLY)
    try:
        opened = Opened(number, os.read(number, START))
        with suppress(NotPlainError):
            fields = fields_of(opened)
            return Header((fields.height, fields.width), fields.orientation)
    finally:
        os.close(number)
    return read_header(photo) if _may_turn(opened.start) else None


def read_header(picture: FileSource) -> Header:
    """Read the header of a picture; raise InputError if it may not be read, or is not a picture's."""
    check_file(picture.path, str(picture), picture.within)
    prepare_file(picture.path)
    return Header.read(picture.path)


def orientation_of(opened: Image.Image, end: bytes) -> int:
    """Return the EXIF orientation 1..8 of an image that Pillow has opened; ``end`` are the last bytes of its file.

    A PNG is decoded for it only where its last bytes say that EXIF stands after the pixels.
    """
    if opened.format == "PNG" and not _PNG_KEYS & set(opened.info):
        if EXIF_CHUNK not in end:
            return 1
        opened.load()
    stated = opened.getexif().get(ORIENTATION, 1)
    return stated if isinstance(stated, int) and 1 <= stated <= 8 else 1


def end_of(path: Path) -> bytes:
    """Return the last bytes of a file."""
    with path.open("rb") as opened:
        return last_bytes(opened.fileno())


def _may_turn(start: bytes) -> bool:
    """Tell by a file's first bytes whether it may state an orientation: a WebP says so, bitmaps and GIF cannot."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return start[12:16] == b"VP8X" and bool(start[20] & 0b1100)
    return not start.startswith((b"BM", b"GIF8"))
