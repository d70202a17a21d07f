"""What an image file says about itself before its pixels: format, size, mode, depth, profile, EXIF orientation."""

from __future__ import annotations

import io
import os
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from PIL import Image

from harmonygen.data.first_bytes import START, Fields, NotPlainError, Opened, fields_of
from harmonygen.data.headers import orientation_of
from harmonygen.errors import InputError
from harmonygen.pictures import formats
from harmonygen.pictures.colour_profile import read_profile
from harmonygen.pictures.images import is_deep
from harmonygen.records import FileSource, ImageSource
from harmonygen.storage.bounded import check_file

Headers = dict[ImageSource, "FileHeader | None"]
"""The header of each source that was looked at; None where there is none that can be read."""

_CHUNK = 256  # files handed to a thread at a time
_END = 65536  # last bytes of a file, where a PNG may state EXIF
_TURNED = (5, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class FileHeader:
    """The header of an image: ``width`` and ``height`` as stored, ``bits`` per channel, ``profile`` by its name.

    ``file`` tells one file from another: device, inode and a checksum of its first bytes. ``bytes`` is its size.
    """

    format: str
    mode: str
    bits: int
    width: int
    height: int
    orientation: int
    profile: str
    bytes: int
    file: tuple[int, int, int] = (0, 0, 0)

    @property
    def stored(self) -> tuple[int, int]:
        """(Height, width) of the pixels as they are stored."""
        return self.height, self.width

    @property
    def upright(self) -> tuple[int, int]:
        """(Height, width) once the EXIF rotation is undone."""
        return (self.width, self.height) if self.orientation in _TURNED else self.stored


def read_headers(sources: Iterable[ImageSource], done: Callable[[int], None] = lambda _count: None) -> Headers:
    """Read the headers of files, in threads; ``done`` gets how many more were read. Cells are left out."""
    files = [source for source in dict.fromkeys(sources) if isinstance(source, FileSource)]
    found: Headers = {}
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    with (
        warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
        ThreadPoolExecutor(threads_here()) as threads,
    ):
        for chunk, headers in zip(chunks, threads.map(_read_all, chunks), strict=True):
            found.update(zip(chunk, headers, strict=True))
            done(len(chunk))
    return found


def threads_here() -> int:
    """Return how many threads decode side by side; decoders and the system's calls let others run."""
    return min(16, (os.cpu_count() or 1) + 2)


def _read_all(sources: Sequence[FileSource]) -> list[FileHeader | None]:
    return [file_header(source) for source in sources]


def file_header(source: FileSource) -> FileHeader | None:
    """Return a file's header, or None: a run would refuse the file, or it is not an image."""
    try:
        found = check_file(source.path, str(source), source.within)
        number = os.open(source.path, os.O_RDONLY)
    except (OSError, InputError):
        return None
    try:
        start = os.read(number, START)
        file = (found.st_dev, found.st_ino, zlib.crc32(start))
        with suppress(NotPlainError):
            return _of_fields(fields_of(Opened(number, start)), found.st_size, file)
        with open(number, "rb", closefd=False) as opened:
            return header_of(opened, found.st_size, file)
    except OSError:
        return None
    finally:
        os.close(number)


def _of_fields(fields: Fields, size: int, file: tuple[int, int, int]) -> FileHeader:
    return FileHeader(
        fields.format,
        fields.mode,
        fields.bits,
        fields.width,
        fields.height,
        fields.orientation,
        _profile(fields.icc),
        size,
        file,
    )


def header_of_bytes(encoded: bytes) -> FileHeader | None:
    """Return the header of an image in memory, or None if it is none."""
    return header_of(io.BytesIO(encoded), len(encoded))


def header_of(opened: Any, size: int, file: tuple[int, int, int] = (0, 0, 0)) -> FileHeader | None:
    """Return the header of an open binary file of ``size`` bytes, or None if it is not an image."""
    try:
        opened.seek(0)
        formats.prepare(opened.read(START), "")
        opened.seek(max(0, size - _END))
        end = opened.read(_END)
        opened.seek(0)
        with Image.open(opened) as image:
            return _header(image, size, file, end)
    except Exception:  # headers raise OSError, SyntaxError, ValueError, struct.error, DecompressionBombError ...
        return None


def _header(image: Image.Image, size: int, file: tuple[int, int, int], end: bytes) -> FileHeader:
    bits, profile = _bits(image), _profile(image.info.get("icc_profile"))
    return FileHeader(
        image.format or "",
        image.mode,
        bits,
        image.width,
        image.height,
        orientation_of(image, end),
        profile,
        size,
        file,
    )


def _bits(image: Image.Image) -> int:
    if is_deep(image) or image.mode.startswith("I;16"):
        return 16
    return {"1": 1, "I": 32, "F": 32}.get(image.mode, 8)


def _profile(icc: bytes | None) -> str:
    try:
        return read_profile(bytes(icc)).name if icc else ""
    except Exception:  # littlecms raises OSError, PyCMSError, TypeError ...
        return "a profile that cannot be read"
