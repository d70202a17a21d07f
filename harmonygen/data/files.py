"""What the readers share: which files are images, listings read once, and rows that cannot be used."""

from __future__ import annotations

import os
import re
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harmonygen.data.headers import read_header
from harmonygen.errors import HarmonygenError, StorageError, UsageError, told
from harmonygen.pictures.formats import readable_suffixes
from harmonygen.records import FileSource, PassedOver, Quarantined

UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # byte-order marks
MAX_TEXT = 512 * 2**20  # bytes of a list or table, unpacked
_OTHER_PICTURES = re.compile(
    r"\.(avif|hei[cf]|jxl|jp2|j2k|p[pgbn]m|tga|exr|hdr|dds|psd|svg|ico|npy|npz|mat|dng|cr[23]|nef|arw|raf|orf|rw2)"
)
"""Suffixes of pictures that are not read; other files are no pictures."""
_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")


def is_image(name: str) -> bool:
    """Tell by its suffix, in any case, whether a file is taken for an image; hidden files are not."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in readable_suffixes()


def escaped(name: object) -> str:
    r"""Return a name as it can be printed and stored: bytes that are not UTF-8, and control characters, as ``\xNN``.

    >>> print(escaped("caf\udce9.png"), escaped("a\nb"))
    caf\xe9.png a\x0ab
    """
    return _NOT_TEXT.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", str(name))


def bad(name: str, message: str, kind: str = "InputError") -> Quarantined:
    """Return the quarantine row of an input that could not be read."""
    return Quarantined(escaped(name), "read", kind, escaped(message))


def passed_over(name: object, reason: str, message: str) -> PassedOver:
    """Return the row of a file that is not read; the message is about the name, which comes first in it."""
    return PassedOver(escaped(name), reason, f"'{escaped(name)}' {message}")


def subfolders(folder: Path) -> list[Path]:
    """Return the folders directly in ``folder``, sorted, hidden ones left out."""
    return [folder / entry.name for entry in entries(folder) if is_folder(entry)]


def entries(folder: Path, hidden: bool = False) -> list[os.DirEntry[str]]:
    """List a folder, sorted, hidden entries left out; raise StorageError if it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            kept = (entry for entry in found if hidden or not entry.name.startswith("."))
            return sorted(kept, key=lambda entry: entry.name)
    except OSError as error:
        raise StorageError(
            f"cannot list '{escaped(folder)}': {error.strerror or error}: check its permissions"
        ) from error


def cannot_read(data: object, error: OSError) -> HarmonygenError:
    """Return the error of data that cannot be read: trouble of the disk or network, or a file that is damaged.

    Arrow raises a bare OSError, without a number, for a Parquet file whose content is damaged.
    """
    if type(error) is OSError and error.errno is None:
        return UsageError(f"'{data}' is damaged ({told(error)}): export or download it again")
    return StorageError(f"cannot read '{data}': {error.strerror or told(error)}: check the path and permissions")


def is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a plain file, links followed; one that leads round in a circle is none."""
    try:
        return entry.is_file()
    except OSError:
        return False


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, links followed; one that leads round in a circle is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def home_of(path: Path) -> Path:
    """Return the folder of the data set that an instances file belongs to: above ``annotations/``, else its own."""
    return path.parent.parent if path.parent.name == "annotations" else path.parent


@dataclass(frozen=True)
class Inside:
    """Where links may lead: into ``root`` alone, or anywhere (``anywhere``)."""

    root: Path
    anywhere: bool = False

    @cached_property
    def _real(self) -> str:
        return os.path.realpath(self.root)

    def holds(self, path: Path | str) -> bool:
        """Return whether a path, once its links are followed, lies in the root."""
        real = os.path.realpath(path)
        return self.anywhere or real == self._real or real.startswith(self._real.rstrip(os.sep) + os.sep)


class FolderWalk:
    """The images below a folder, and the other files there.

    Links to files and folders are followed as ``inside`` allows; a linked folder that holds itself is not entered.
    ``passed`` fills while the walk continues: hidden files, links, pictures of kinds that are not read, other files.
    """

    def __init__(self, folder: Path, inside: Inside | None = None) -> None:
        self._folder, self._inside = folder, inside or Inside(folder, anywhere=True)
        self.passed: list[PassedOver] = []

    def __iter__(self) -> Iterator[tuple[str, Path]]:
        """Yield (folder relative to the top, path) of every image, sorted within each folder."""
        if self._allowed(self._folder, os.path.islink(self._folder)):
            yield from self._below(self._folder, "", (os.path.realpath(self._folder),))

    def _below(self, folder: Path, inside: str, above: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
        for entry in entries(folder, hidden=True):
            path, linked = folder / entry.name, entry.is_symlink()
            if entry.name.startswith("."):
                self.passed.append(not_read(path))
            elif is_folder(entry):
                if self._allowed(path, linked):
                    yield from self._entered(path, f"{inside}{entry.name}/", above, linked)
            elif not is_image(entry.name):
                self.passed.append(not_read(path))
            elif self._allowed(path, linked):
                yield inside, path

    def _entered(self, path: Path, inside: str, above: tuple[str, ...], linked: bool) -> Iterator[tuple[str, Path]]:
        real = os.path.realpath(path) if linked else os.path.join(above[-1], path.name)
        if real in above:
            self.passed.append(passed_over(path, "link", "is a link to a folder that it lies in: it is not entered"))
        else:
            yield from self._below(path, inside, (*above, real))

    def _allowed(self, path: Path, linked: bool) -> bool:
        if not linked or self._inside.holds(path):
            return True
        self.passed.append(leads_out(path, self._inside.root))
        return False


def leads_out(path: Path, root: Path) -> PassedOver:
    """Return the row of a link that leads out of the data's folder."""
    return passed_over(
        path,
        "link",
        f"is a link to '{escaped(os.path.realpath(path))}', out of '{escaped(root)}': copy the files, or allow it with "
        "--allow-outside",
    )


def not_read(path: Path) -> PassedOver:
    """Return the row of a file that is not an image by its name: hidden, of a kind that is not read, or no picture."""
    if path.name.startswith("."):
        return passed_over(path, "hidden", "is hidden: rename it to have it read")
    suffix = path.suffix.lower()
    if _OTHER_PICTURES.fullmatch(suffix):
        remedy = (
            "pip install 'harmonygen[heif]', or save it as PNG" if suffix in (".heic", ".heif") else "save it as PNG"
        )
        return passed_over(path, "suffix", f"is a picture of a kind ({suffix}) that is not read: {remedy}")
    return passed_over(path, "not a picture", "is not a picture by its suffix")


def walk_images(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield (folder relative to the top, path) of every image under ``folder``; links are followed."""
    return iter(FolderWalk(folder))


def has_image(folder: Path) -> bool:
    """Return whether a folder holds an image, at any depth."""
    return next(walk_images(folder), None) is not None


class OnDisk:
    """Finds files by names that a list or table spells: in another Unicode form, or with backslashes, if need be.

    Each folder is listed once, and only if a name asks for it.
    """

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, str]] = {}

    def path(self, folder: Path, name: str) -> Path:
        """Return the file that ``name`` stands for in ``folder``; if there is none, the path as it is spelled."""
        plain = name.isascii() and "\\" not in name
        if plain or os.path.lexists(folder / name):
            return folder / name
        place = folder
        for part in name.replace("\\", "/").split("/") if not os.path.isabs(name) else [name]:
            place = place / (part if part.isascii() else self._names(place).get(nfc(part), part))
        return place if os.path.lexists(place) else folder / name

    def _names(self, folder: Path) -> dict[str, str]:
        key = str(folder)
        if key not in self._folders:
            names = sorted(os.listdir(folder)) if folder.is_dir() else []
            self._folders[key] = {nfc(name): name for name in names if not name.isascii()}
        return self._folders[key]


def nfc(text: str) -> str:
    """Return a text in Unicode's composed form: macOS and some archives store names decomposed."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def read_text(path: Path) -> str:
    """Read a UTF-8 text file (``.gz`` is unpacked), without a byte-order mark; UTF-16 with one is read too.

    Raises:
        UsageError: not UTF-8, not gzip though named so, or over ``MAX_TEXT`` bytes.
        StorageError: it cannot be read.
    """
    import gzip

    if path.exists() and not path.is_file():
        raise UsageError(f"'{path}' is not a plain file (but a folder, a device or a FIFO): copy its content to a file")
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as opened:
            raw = opened.read(MAX_TEXT + 1)
        if len(raw) > MAX_TEXT:
            raise UsageError(f"'{path}' holds over {MAX_TEXT} bytes of text: cut it into several")
        return raw.decode("utf-16" if raw.startswith(UTF_16) else "utf-8-sig")
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UsageError(f"'{path}' is not UTF-8 text ({error}): save it as UTF-8") from error
    except OSError as error:
        raise StorageError(f"cannot read '{path}': {error.strerror or error}: check the path") from error


def photo_sizes(path: Path, within: Path | None = None) -> tuple[tuple[int, int], ...]:
    """Return a photo's (height, width) from its header alone: as it is in the file, then upright if that differs.

    Raises:
        InputError: it is missing, no plain file, outside ``within`` if that is given, or its header is not an image's.
    """
    head = read_header(FileSource(path, within=within))
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
            found.setdefault(nfc(os.path.splitext(name)[0]), name)
        return found

    def _order(self, name: str) -> tuple[int, str]:
        suffix = os.path.splitext(name)[1].lower()
        return (self._preferred.index(suffix) if suffix in self._preferred else len(self._preferred), name)

    def passed_over(self) -> tuple[PassedOver, ...]:
        """Return the files of the folder that are no images by their names."""
        names = sorted(os.listdir(self.folder)) if self.folder.is_dir() else []
        return tuple(not_read(self.folder / name) for name in names if not is_image(name))

    def __iter__(self) -> Iterator[str]:
        """Yield the stems, sorted."""
        return iter(sorted(self._names))

    def path(self, stem: str) -> Path:
        """Return the image with this stem; if there is none, the path it ought to have."""
        return self.folder / self._names.get(nfc(stem), f"{stem}{self._preferred[0]}")
