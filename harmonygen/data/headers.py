"""Photos with an EXIF orientation, found by the first bytes of each file; nothing is decoded."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harmonygen.errors import InputError
from harmonygen.pictures.formats import prepare_file
from harmonygen.records import FileSource
from harmonygen.storage.bounded import check_file

ORIENTATION = 0x0112  # EXIF
EXIF = b"Exif\0\0"
_WIDTH, _HEIGHT = 0x0100, 0x0101  # TIFF's, as it is stored; Pillow's size is that of the upright picture
_UNKNOWN = 99
_START, _END = 4096, 65536  # bytes that are read of a file; EXIF that stands after a PNG's pixels is short
_THREADS, _CHUNK = 8, 256
_PNG_KEYS = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}


@dataclass(frozen=True, slots=True)
class Header:
    """A picture's size as it is stored, (height, width), and its EXIF orientation 1..8."""

    stored: tuple[int, int]
    orientation: int

    @classmethod
    def read(cls, path: Path) -> Header:
        """Read a file's header; raise InputError if it is no picture's."""
        from PIL import Image

        try:
            with (
                warnings.catch_warnings(action="ignore"),
                Image.open(path) as opened,
            ):
                tags = getattr(opened, "tag_v2", {}) if opened.format == "TIFF" else {}
                width, height = tags.get(_WIDTH) or opened.width, tags.get(_HEIGHT) or opened.height
                if opened.format == "PNG" and not _PNG_KEYS & set(opened.info):
                    orientation = _after_the_pixels(path)  # asked for it, Pillow decodes the whole file
                else:
                    orientation = opened.getexif().get(ORIENTATION, 1)
        except Image.DecompressionBombError as error:
            raise InputError(f"'{path}' is over the pixel limit: {error}: shrink it first") from error
        except OSError as error:
            why = error.strerror or "not an image that Pillow can read"
            raise InputError(f"cannot read the photo '{path}': {why}: check the path and the file") from error
        except Exception as error:  # headers raise SyntaxError, ValueError, struct.error ...
            raise InputError(f"the header of '{path}' is damaged ({error}): export it again") from error
        known = isinstance(orientation, int) and 1 <= orientation <= 8
        return cls((height, width), orientation if known else 1)

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
    """Return a header if the first bytes leave it open that there is an orientation."""
    try:
        check_file(photo.path, str(photo), photo.within)
        return read_header(photo) if _may_turn(photo.path) else None
    except (InputError, OSError, ValueError, IndexError):
        return None  # whoever reads the photo says so


def read_header(picture: FileSource) -> Header:
    """Read the header of a picture; raise InputError if it may not be read, or is no picture's."""
    check_file(picture.path, str(picture), picture.within)
    prepare_file(picture.path)
    return Header.read(picture.path)


def _may_turn(path: Path) -> bool:
    """Tell whether a file may hold EXIF or XMP: whether the bytes before its pixels, or a PNG's last ones, do."""
    opened = os.open(path, os.O_RDONLY)
    try:
        start = os.read(opened, _START)
        if start.startswith(b"\xff\xd8"):
            return _jpeg_may(start)
        if start.startswith(b"\x89PNG"):
            return _png_may(start, opened)
    finally:
        os.close(opened)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return start[12:16] == b"VP8X" and bool(start[20] & 0b1100)
    return not start.startswith((b"BM", b"GIF8"))


def exif_orientation(content: bytes) -> int:
    r"""Return the orientation in the first directory of EXIF (a TIFF header and what follows), 0 if it states none.

    Raises:
        ValueError: it is damaged, cut off before the directory's end, or states something else than 1..8.

    >>> exif_orientation(b"II*\0\x08\0\0\0\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0")
    6
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
    if order is None:
        raise ValueError("no TIFF header")
    try:
        (place,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, place)
        entries = [struct.unpack_from(f"{order}HHIH", content, place + 2 + 12 * entry) for entry in range(count)]
    except struct.error as error:
        raise ValueError("cut off") from error
    found = [(kind, number, value) for tag, kind, number, value in entries if tag == ORIENTATION]
    if not found:
        return 0
    kind, number, value = found[0]
    if (kind, number) != (3, 1) or not 1 <= value <= 8:
        raise ValueError("no orientation")
    return int(value)


def _jpeg_may(start: bytes) -> bool:
    """Walk the segments of a JPEG up to its picture; what lies beyond the bytes at hand may be anything."""
    place = 2
    while place + 4 <= len(start) and start[place] == 0xFF:
        marker = start[place + 1]
        if marker == 0xE1 and (stated := _stated(start[place + 4 :])):  # APP1: EXIF or XMP
            return stated > 1
        if marker in (0xDB, 0xC0, 0xC2, 0xC4, 0xDA):  # tables and the picture
            return False
        place += 2 + int.from_bytes(start[place + 2 : place + 4], "big")
    return True


def _stated(app1: bytes) -> int:
    """Return the orientation that an APP1 segment's EXIF states, 0 if none, and a large number if it cannot be told."""
    try:
        return exif_orientation(app1[len(EXIF) :]) if app1.startswith(EXIF) else _UNKNOWN
    except ValueError:
        return _UNKNOWN


def _png_may(start: bytes, opened: int) -> bool:
    words = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
    return any(word in start for word in words) or b"IDAT" not in start or b"eXIf" in _last_bytes(opened)


def _last_bytes(opened: int) -> bytes:
    return os.pread(opened, _END, max(0, os.fstat(opened).st_size - _END))


def _after_the_pixels(path: Path) -> int:
    """Return the orientation that a PNG states after its pixels, 1 if it states none."""
    from PIL import Image

    with path.open("rb") as opened:
        if b"eXIf" not in _last_bytes(opened.fileno()):
            return 1
    with Image.open(path) as image:
        image.load()
        return int(image.getexif().get(ORIENTATION, 1))
