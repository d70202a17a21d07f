"""``manifest.json``: every file of a built dataset that is published, with its size, rows and SHA-256.

It is written last: a folder with a manifest is a finished one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import harmonygen
from harmonygen.errors import StorageError, UsageError
from harmonygen.storage import shards

NAME = "manifest.json"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One published file: POSIX path below the folder; ``config`` and ``split`` are "" unless it is a data file."""

    path: str
    config: str
    split: str
    rows: int
    bytes: int
    sha256: str


def entry(folder: Path, path: Path, config: str = "", split: str = "") -> PublishedFile:
    """Return a file's entry: its size and SHA-256 are read, and a Parquet file's rows.

    Raises:
        UsageError: the file is not below the folder, or a Parquet file without a footer.
        StorageError: it cannot be read.
    """
    if not path.is_relative_to(folder):
        raise UsageError(f"'{path}' is not in '{folder}': only files of the folder can be published")
    with shards.storage_errors(f"the manifest's entry of '{path}'"):
        size, digest = path.stat().st_size, sha256(path)
        rows = _rows(path) if path.suffix == ".parquet" else 0
    return PublishedFile(path.relative_to(folder).as_posix(), config, split, rows, size, digest)


def sha256(path: Path) -> str:
    """Return a file's SHA-256 as 64 hex digits, read a megabyte at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _rows(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except pa.ArrowException as error:
        raise UsageError(f"'{path}' is not a complete Parquet file ({error}): build it again") from error


def write_manifest(folder: Path, entries: Iterable[PublishedFile]) -> Path:
    """Write ``folder/manifest.json`` whole or not at all, entries sorted by path; return its path.

    Raises:
        UsageError: a path is listed twice.
        StorageError: the disk is full or not writable.
    """
    listed = sorted(entries, key=lambda each: each.path)
    twice = [one.path for one, two in itertools.pairwise(listed) if one.path == two.path]
    if twice:
        raise UsageError(f"the manifest of '{folder}' lists '{twice[0]}' twice: list each file once")
    path = folder / NAME
    shards.write_json(path, {"harmonygen": harmonygen.__version__, "files": [asdict(each) for each in listed]})
    return path


def read_manifest(folder: Path) -> tuple[PublishedFile, ...] | None:
    """Return the entries of ``folder/manifest.json``, or None if there is no such file.

    Raises:
        UsageError: it is not a manifest.
        StorageError: it cannot be read.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        text = path.read_bytes()
    except OSError as error:
        raise StorageError(f"cannot read '{path}': {error.strerror or error}: check the permissions") from error
    try:
        return tuple(_entry_of(row) for row in json.loads(text)["files"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"'{path}' is not a manifest ({error}): remove it and build the dataset again") from error


def _entry_of(row: dict[str, Any]) -> PublishedFile:
    kinds = {"rows": int, "bytes": int}
    for field in fields(PublishedFile):
        kind = kinds.get(field.name, str)
        if not isinstance(row[field.name], kind):
            raise TypeError(f"'{field.name}' of a file is {row[field.name]!r}")
    return PublishedFile(**row)
