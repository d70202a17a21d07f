"""What identifies the bytes of a photo or mask: their hash and, so that they need not be read again, the file's stamp.

A file whose size, time of change and inode are as noted is the same file and is not read. Otherwise the hash decides:
a file that was touched, copied or moved is still the same content. The inode is compared because files unpacked from
one archive often share a time of change, so that exchanging two of equal size would go unseen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

from harmonygen.errors import InputError
from harmonygen.records import AS_STATED, CellSource, FileSource, ImageSource, MaskRule, MaskSource, SegmentSource
from harmonygen.storage.parquet_cells import held_by

_DIGEST_BYTES = 16

Read = Callable[[ImageSource], bytes]
"""Reads the encoded bytes of an image source; raises InputError if it cannot."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells, without reading a file, that it is the one that was read before."""

    path: str
    size: int
    mtime_ns: int
    inode: int
    cell: str = ""

    def fits(self, path: Path) -> bool:
        """Return whether a file is the one that was read, unchanged, whatever its path; False if there is no file."""
        try:
            found = os.stat(path)
        except OSError:
            return False
        return (self.size, self.mtime_ns, self.inode) == (found.st_size, found.st_mtime_ns, found.st_ino)


@dataclass(frozen=True, slots=True)
class Content:
    """The BLAKE2b hash of a source's bytes (of a segmentation: of its text), and the stamp of the file they lie in.

    Of a mask, ``rule`` is what it was read by.
    """

    digest: str
    stamp: Stamp | None = None
    rule: MaskRule = AS_STATED

    def to_json(self) -> str:
        """Return compact JSON, as a run's ``real_file`` and ``mask_file`` columns hold it."""
        rule = {} if self.rule == AS_STATED else {"rule": asdict(self.rule)}
        stamp = asdict(self.stamp) if self.stamp else {}
        return json.dumps({"blake2b": self.digest, **stamp, **rule}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | None) -> Content | None:
        """Read what :meth:`to_json` wrote; None of an empty text or of one that is something else."""
        try:
            held = json.loads(text or "")
            digest, rule = str(held.pop("blake2b")), held.pop("rule", None)
            known = MaskRule(tuple(rule["values"]), rule["orientation"]) if rule else AS_STATED
            return cls(digest, Stamp(**held) if held else None, known)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    @property
    def source(self) -> ImageSource | None:
        """Where the bytes lay when they were read; None of a segmentation."""
        if self.stamp is None:
            return None
        column, colon, row = self.stamp.cell.rpartition(":")
        if colon:
            return CellSource(Path(self.stamp.path), column, int(row), rule=self.rule)
        return FileSource(Path(self.stamp.path), rule=self.rule)


def digest_of_bytes(content: bytes) -> str:
    """Return the BLAKE2b hash of bytes as 32 hex digits."""
    return blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def holds(source: MaskSource, content: Content, read: Read) -> bool:
    """Return whether a source still has the recorded content; its bytes are read only if its stamp differs.

    Raises:
        InputError: the source cannot be read.
    """
    if isinstance(source, SegmentSource):
        return _digest_of_text(source) == content.digest
    return _is_unread(source, content.stamp) or digest_of_bytes(read(source)) == content.digest


def _is_unread(source: ImageSource, noted: Stamp | None) -> bool:
    """Return whether a source's bytes lie in the very file that was noted, so that they need not be read."""
    if noted is None:
        return False
    if isinstance(source, FileSource):
        return not noted.cell and noted.fits(source.path)
    if noted.cell:
        return noted.cell == _cell(source) and noted.fits(source.path)
    return noted.fits(held_by(source))


def stamp_of(source: ImageSource) -> Stamp:
    """Return the stamp of the file that holds a source's bytes.

    Raises:
        InputError: there is no such file.
    """
    holder = source.path if isinstance(source, FileSource) else held_by(source)
    cell = _cell(source) if isinstance(source, CellSource) and holder == source.path else ""
    try:
        found = holder.stat()
    except OSError as error:
        raise InputError(f"cannot read '{holder}': {error.strerror or error}: check its path") from error
    return Stamp(str(holder.absolute()), found.st_size, found.st_mtime_ns, found.st_ino, cell)


def _cell(source: CellSource) -> str:
    return f"{source.column}:{source.row}"


def _digest_of_text(source: SegmentSource) -> str:
    return digest_of_bytes(f"{source.height} {source.width} {source.segmentation}".encode())


class NotingReader:
    """Reads sources and notes the content of each: the bytes that are hashed are the bytes that are decoded."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._noted: dict[MaskSource, Content] = {}

    def __call__(self, source: ImageSource) -> bytes:
        """Return a source's encoded bytes; raise InputError if it cannot be read."""
        stamp = None
        with suppress(InputError):  # a source that cannot be read says so below
            stamp = stamp_of(source)  # before the bytes: a file that is changed meanwhile does not fit its stamp later
        encoded = self._read(source)
        self._noted[source] = Content(digest_of_bytes(encoded), stamp, source.rule)
        return encoded

    def content_of(self, source: MaskSource) -> Content:
        """Return what was recorded about a source that was read."""
        return Content(_digest_of_text(source)) if isinstance(source, SegmentSource) else self._noted[source]
