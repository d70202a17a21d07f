"""Shards: how a run is cut into parts, written whole or not at all, resumed and locked.

A shard's Parquet file under its final name *is* the record that the shard is done: it is written to a temporary
file, synced, its footer read back, and renamed (DESIGN guarantees 3 and 4). What could not be used in the shard
travels in the same file's metadata, so that one rename commits both.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
import pyarrow as pa
import pyarrow.parquet as pq

from harmonygen.errors import StorageError, UsageError
from harmonygen.records import Quarantined

QUARANTINE_KEY = b"harmonygen.quarantine"
PLAN_KEY = b"harmonygen.plan"
SELECTION_KEY = b"harmonygen.selection"
"""Digest of the selection that a shard's rows follow, if it is not the one that the run was made with."""

QUARANTINE_SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "stage", "error", "message")])


@dataclass(frozen=True, slots=True)
class Shard:
    """Pairs ``start`` to ``stop`` (exclusive) of a plan: part ``index`` (0-based) of ``count``."""

    index: int
    count: int
    start: int
    stop: int

    @property
    def filename(self) -> str:
        """The shard's file name, the same in every folder of a run."""
        return f"part-{self.index:05d}-of-{self.count:05d}.parquet"


def cut(total: int, shard_size: int) -> list[Shard]:
    """Cut ``total`` items into shards of ``shard_size`` (the last may be smaller).

    >>> [(s.start, s.stop) for s in cut(5, 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    if shard_size < 1:
        raise UsageError(f"--shard-size is {shard_size}: it must be 1 or more")
    starts = range(0, total, shard_size)
    return [Shard(i, len(starts), start, min(start + shard_size, total)) for i, start in enumerate(starts)]


def part_of(shards: Sequence[Shard], part: int, parts: int) -> list[Shard]:
    """Return the shards of job-array part ``part`` (0-based) of ``parts``."""
    if not 0 <= part < parts:
        raise UsageError(f"--part {part}/{parts} is out of range: parts count from 0 to {parts - 1}")
    return [shard for shard in shards if shard.index % parts == part]


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn OSError inside the block into StorageError that names ``what`` and says that the run resumes."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {what}: {error.strerror or error}: free space or fix permissions, then repeat the command"
        ) from error


def make_folder(path: Path) -> Path:
    """Create a folder with its parents.

    Raises:
        UsageError: the path was a URL.
        StorageError: it cannot be a folder.
    """
    if re.fullmatch(r"[a-z][a-z0-9+.-]+:", path.parts[0] if path.parts else ""):
        raise UsageError(f"'{path}' was a URL: only synthesize writes to URLs, give another --out")
    if path.exists() and not path.is_dir():
        raise StorageError(f"'{path}' is a file, a folder is needed: choose another --out")
    with storage_errors(f"folder '{path}'"):
        path.mkdir(parents=True, exist_ok=True)
    return path


def sync_folder(path: Path) -> None:
    """Sync a folder's entries to disk, so that a rename in it outlives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def commit(temporary: Path, final: Path) -> None:
    """Sync a finished temporary file and give it its final name."""
    with open(temporary, "rb") as written:
        os.fsync(written.fileno())
    temporary.replace(final)
    sync_folder(final.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file under its final name, or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors(f"'{path}'"):
        try:
            temporary.write_bytes(content)
            commit(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON (sorted as given, indented) under its final name, or nothing."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n").encode())


def write_parquet(path: Path, table: pa.Table, metadata: Mapping[bytes, bytes] | None = None, **options: Any) -> None:
    """Write a Parquet file whole: temporary file, footer and row count checked, synced, renamed."""
    if metadata:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors(f"'{path}'"):
        try:
            pq.write_table(table, temporary, write_page_checksum=True, **options)
            written = pq.read_metadata(temporary).num_rows
            if written != table.num_rows:
                raise OSError(f"{written} of {table.num_rows} rows were written")
            commit(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read ``columns`` (all if None) of a part of a run and compare the checksums of its pages with what they hold.

    Raises:
        StorageError: the file cannot be read, lacks a column, or is not what was written.
    """
    with unreadable(path):
        wanted = None if columns is None else list(columns)
        table = pq.read_table(path, columns=wanted, page_checksum_verification=True)
        if missing := [name for name in wanted or () if name not in table.column_names]:
            raise OSError(f"it lacks the columns {', '.join(missing)}")
        return table


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Turn what reading a damaged Parquet file raises inside the block into StorageError."""
    try:
        yield
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        raise StorageError(f"cannot read '{path}': {error}: remove it and repeat the synthesize command") from error


def file_metadata(path: Path) -> dict[bytes, bytes]:
    """Return the key-value metadata of a Parquet file's footer; raise StorageError if it cannot be read."""
    with unreadable(path):
        return dict(pq.read_metadata(path).metadata or {})


def is_whole(path: Path, plan_digest: str | None = None) -> bool:
    """Tell whether a Parquet file has a readable footer (and, if given, belongs to the plan of ``plan_digest``)."""
    try:
        metadata = file_metadata(path)
    except StorageError:
        return False
    return plan_digest is None or metadata.get(PLAN_KEY) == plan_digest.encode()


def pack_quarantine(rows: Iterable[Quarantined]) -> bytes:
    """Serialise quarantine rows for a shard's metadata."""
    return json.dumps([asdict(row) for row in rows], ensure_ascii=False).encode()


def unpack_quarantine(path: Path) -> list[Quarantined]:
    """Read the quarantine rows out of a shard file's metadata."""
    metadata = file_metadata(path)
    with unreadable(path):
        return unpack_rows(metadata)


def unpack_rows(metadata: Mapping[bytes, bytes]) -> list[Quarantined]:
    """Read the quarantine rows out of a shard file's metadata that was read before."""
    return [Quarantined(**row) for row in json.loads(metadata.get(QUARANTINE_KEY, b"[]"))]


def quarantine_table(rows: Sequence[Quarantined]) -> pa.Table:
    """Return quarantine rows as a table with the columns ``id stage error message``."""
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=QUARANTINE_SCHEMA)


def sweep(folder: Path) -> None:
    """Remove the temporary files that a killed run left below ``folder``; hold its lock while you do."""
    for stray in folder.rglob(".*.tmp"):
        stray.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold ``folder``'s lock ``name``; raise UsageError at once if another process holds it."""
    lock = filelock.FileLock(folder / f".{name}.lock")
    with storage_errors(f"the lock of '{folder}'"):
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise UsageError(f"another run is writing to '{folder}': wait for it, or choose another --out") from error
    try:
        yield
    finally:
        lock.release()


def refuse_others(folder: Path, kin: str) -> None:
    """Raise UsageError if a lock of ``folder`` is held whose name does not match the pattern ``kin``.

    Parts of one job array are kin and work side by side; any other run on the folder is not.
    """
    for path in folder.glob(".*.lock"):
        if not path.match(f".{kin}.lock"):
            with locked(folder, path.name[1 : -len(".lock")]):
                pass
