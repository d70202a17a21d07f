"""What the readers share: which files are images, listings read once, and rows that cannot be used."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from harmonygen.data.headers import Header
from harmonygen.errors import StorageError, UsageError
from harmonygen.records import Quarantined

MAX_TEXT = 512 * 2**20  # bytes of a list or table, unpacked
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


def is_image(name: str) -> bool:
    """Tell by its suffix, in any case, whether a file is taken for an image; hidden files are not."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def bad(name: str, message: str, kind: str = "InputError") -> Quarantined:
    """Return the quarantine row of an input that could not be read."""
    return Quarantined(name, "read", kind, message)


def subfolders(folder: Path) -> list[Path]:
    """Return the folders directly in ``folder``, sorted, hidden ones left out."""
    return [folder / entry.name for entry in entries(folder) if entry.is_dir()]


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder, sorted, hidden entries left out; raise StorageError if it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise StorageError(f"cannot list '{folder}': {error.strerror or error}: check its permissions") from error


def walk_images(folder: Path, inside: str = "") -> Iterator[tuple[str, Path]]:
    """Yield (folder relative to the top, path) of every image under ``folder``, sorted within each folder."""
    for entry in entries(folder):
        path = folder / entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from walk_images(path, f"{inside}{entry.name}/")
        elif is_image(entry.name):
            yield inside, path


def has_image(folder: Path) -> bool:
    """Tell whether a folder holds an image, at any depth."""
    return next(walk_images(folder), None) is not None


def read_text(path: Path) -> str:
    """Read a UTF-8 text file (``.gz`` is unpacked), without a byte-order mark.

    Raises:
        UsageError: not UTF-8, not gzip though named so, or over ``MAX_TEXT`` bytes.
        StorageError: it cannot be read.
    """
    import gzip

    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as opened:
            raw = opened.read(MAX_TEXT + 1)
        if len(raw) > MAX_TEXT:
            raise UsageError(f"'{path}' holds over {MAX_TEXT} bytes of text: cut it into several")
        return raw.decode("utf-8-sig")
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UsageError(f"'{path}' is not UTF-8 text ({error}): save it as UTF-8") from error
    except OSError as error:
        raise StorageError(f"cannot read '{path}': {error.strerror or error}: check the path") from error


def photo_sizes(path: Path) -> tuple[tuple[int, int], ...]:
    """Return a photo's (height, width) from its header alone: as it is in the file, then upright if that differs.

    Raises:
        InputError: it is missing or its header is not an image's.
    """
    head = Header.read(path)
    return (head.stored, head.upright) if head.on_its_side else (head.stored,)


class Listing:
    """The images of one folder by stem, listed once and only when asked; a missing folder is empty."""

    def __init__(self, folder: Path, preferred: tuple[str, ...]) -> None:
        self.folder = folder
        self._preferred = preferred

    @cached_property
    def _names(self) -> dict[str, str]:
        found: dict[str, str] = {}
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        for name in sorted(filter(is_image, names), key=self._order):
            found.setdefault(os.path.splitext(name)[0], name)
        return found

    def _order(self, name: str) -> tuple[int, str]:
        suffix = os.path.splitext(name)[1].lower()
        return (self._preferred.index(suffix) if suffix in self._preferred else len(self._preferred), name)

    def __iter__(self) -> Iterator[str]:
        """Yield the stems, sorted."""
        return iter(sorted(self._names))

    def path(self, stem: str) -> Path:
        """Return the image with this stem; if there is none, the path it ought to have."""
        return self.folder / self._names.get(stem, f"{stem}{self._preferred[0]}")
