"""Shards: how a run is cut into parts, written whole or not at all, resumed and locked.

A shard's Parquet file under its final name *is* the record that the shard is done: it is written to a temporary
file, synced, its footer read back, and renamed (DESIGN guarantees 3 and 4). What could not be used in the shard
travels in the same file's metadata, so that one rename commits both.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import filelock
import pyarrow as pa
import pyarrow.parquet as pq

from harmonygen.errors import StorageError, UsageError
from harmonygen.records import Quarantined

QUARANTINE_KEY = b"harmonygen.quarantine"
PLAN_KEY = b"harmonygen.plan"
_TEMPORARY = re.compile(r"\.(.+)\.\d+\.hg-tmp")
_OLD_TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp")

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


def shard_files(folder: Path) -> list[Path]:
    """Return the shards' files in a folder, in order; none if there is no such folder."""
    return sorted(folder.glob("part-*-of-*.parquet"))


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
    """Create a folder with its parents, so that the new entries outlive a power cut.

    Raises:
        UsageError: the path was a URL.
        StorageError: it cannot be a folder.
    """
    refuse_files(path)
    with storage_errors(f"folder '{path}'"):
        new = [each for each in (path, *path.parents) if not each.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for each in new:
            with suppress(PermissionError):  # a parent that may be written and not read
                sync(each.parent)
    return path


def refuse_files(path: Path) -> None:
    """Refuse a path that cannot be made a folder; nothing is written.

    Raises:
        UsageError: the path was a URL.
        StorageError: it is a file.
    """
    if re.fullmatch(r"[a-z][a-z0-9+.-]+:", path.parts[0] if path.parts else ""):
        raise UsageError(f"'{path}' was a URL: only synthesize writes to URLs, give another --out")
    if path.exists() and not path.is_dir():
        raise StorageError(f"'{path}' is a file, a folder is needed: choose another --out")


def sync(path: Path) -> None:
    """Sync a file's content, or a folder's entries, to disk: a rename is safe once its folder is synced."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name(name: str) -> str:
    """Return the name of a file or folder ``name`` while it is being written; nobody else gives such names.

    >>> temporary_name("plan.json").startswith(".plan.json."), temporary_name("plan.json").endswith(".hg-tmp")
    (True, True)
    """
    return f".{name}.{os.getpid()}.hg-tmp"


def final_name(name: str) -> str | None:
    """Return the name that a temporary file or folder of ours was to get, None if the name is not one of ours.

    >>> final_name(".plan.json.77.hg-tmp"), final_name(".plan.json.77.tmp")
    ('plan.json', None)
    """
    found = _TEMPORARY.fullmatch(name)
    return found[1] if found else None


def commit(temporary: Path, final: Path, *, sync_entry: bool = True) -> None:
    """Sync a finished temporary file and give it its final name.

    Without ``sync_entry``, the caller syncs the folder of several files once.
    """
    sync(temporary)
    temporary.replace(final)
    if sync_entry:
        sync(final.parent)


@contextmanager
def whole_file(final: Path, *, sync_entry: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``final``: if the block ends well, that file is synced and renamed, else removed.

    This and :func:`whole_folder` are the only places where anything gets its final name.
    """
    temporary = final.with_name(temporary_name(final.name))
    try:
        yield temporary
        commit(temporary, final, sync_entry=sync_entry)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(final: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a new temporary folder beside ``final``: if the block ends well, it is synced and renamed, else removed.

    With ``replace``, an older folder gives way at the end; without, an older one that is not empty raises OSError.
    """
    temporary = final.with_name(temporary_name(final.name))
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        for path in (*temporary.rglob("*"), temporary):
            if not path.is_symlink():
                sync(path)
        if replace:
            remove_folder(final)
        temporary.rename(final)
        sync(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder so that a kill never leaves half of it under its name."""
    if folder.is_dir():
        retired = folder.with_name(temporary_name(f"{folder.name}.old"))
        shutil.rmtree(retired, ignore_errors=True)
        folder.rename(retired)
        sync(folder.parent)  # else a power cut may keep the removals and lose the name
        shutil.rmtree(retired)


def write_bytes(path: Path, content: bytes, *, sync_entry: bool = True) -> None:
    """Write a whole file under its final name, or none."""
    with storage_errors(f"'{path}'"), whole_file(path, sync_entry=sync_entry) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write JSON (sorted as given, indented) under its final name, or nothing."""
    write_bytes(path, _json(value))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n").encode()


def write_json_once(path: Path, value: Any) -> bool:
    """Write JSON as :func:`write_json`, unless a file has the name already; tell whether it was written."""
    temporary = path.with_name(temporary_name(path.name))
    with storage_errors(f"'{path}'"):
        try:
            temporary.write_bytes(_json(value))
            sync(temporary)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links
                temporary.replace(path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    return True


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one if there is no such file.

    Raises:
        StorageError: the file cannot be read or is damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read '{path}' ({error}): repeat the command that wrote the folder") from error
    return value if isinstance(value, dict) else {}


def write_parquet(path: Path, table: pa.Table, metadata: Mapping[bytes, bytes] | None = None, **options: Any) -> None:
    """Write a Parquet file whole: temporary file, footer and row count checked, synced, renamed."""
    if metadata:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    with storage_errors(f"'{path}'"), whole_file(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True, **options)
        written = pq.read_metadata(temporary).num_rows
        if written != table.num_rows:
            raise OSError(f"{written} of {table.num_rows} rows were written")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file of a job is read into StorageError."""
    try:
        yield
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        raise StorageError(f"cannot read '{path}': {error}: remove it and repeat the command that made it") from error


def open_parquet(path: Path | BinaryIO, **options: Any) -> pq.ParquetFile:
    """Open a Parquet file whose pages are compared with their checksums when they are read, if they have any."""
    return pq.ParquetFile(path, page_checksum_verification=True, **options)


def read_parquet(path: Path, needed: Iterable[str] = ()) -> pa.Table:
    """Read a Parquet file of a job.

    Raises:
        StorageError: it cannot be read, is not what was written, or lacks one of the columns that are ``needed``.
    """
    with reading(path):
        table = open_parquet(path).read()
        if missing := [name for name in needed if name not in table.column_names]:
            raise OSError(f"it lacks the columns {', '.join(missing)}")
        return table


def file_metadata(path: Path) -> dict[bytes, bytes]:
    """Return the key-value metadata of a Parquet file's footer.

    Raises:
        StorageError: it cannot be read.
    """
    with reading(path):
        return dict(pq.read_metadata(path).metadata or {})


def is_whole(path: Path, plan_digest: str | None = None) -> bool:
    """Return whether a Parquet file has a readable footer (and, if given, belongs to the plan of ``plan_digest``)."""
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
    with reading(path):
        return unpack_rows(metadata)


def unpack_rows(metadata: Mapping[bytes, bytes]) -> list[Quarantined]:
    """Read the quarantine rows out of a shard file's metadata that was read before."""
    return [Quarantined(**row) for row in json.loads(metadata.get(QUARANTINE_KEY, b"[]"))]


def quarantine_table(rows: Sequence[Quarantined]) -> pa.Table:
    """Return quarantine rows as a table with the columns ``id stage error message``."""
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=QUARANTINE_SCHEMA)


def strays(folder: Path, finals: Container[str] | None = None, old: Container[str] = ()) -> list[Path]:
    """Return what killed runs left half written in ``folder``, not below it; a link to a folder is not followed.

    ``finals`` are the names that were being written (all if None). ``old`` are names of files whose temporary
    files an older version of harmonygen named ``.<name>.<process>.tmp``.
    """
    if folder.is_symlink() or not folder.is_dir():
        return []
    return [Path(entry.path) for entry in os.scandir(folder) if is_stray(entry.name, finals, old)]


def is_stray(name: str, finals: Container[str] | None, old: Container[str]) -> bool:
    """Return whether a name is one that :func:`strays` returns."""
    final = final_name(name)
    if final is not None:
        return finals is None or final in finals
    before = _OLD_TEMPORARY.fullmatch(name)
    return before is not None and before[1] in old


def remove_strays(found: Iterable[Path]) -> None:
    """Remove temporary files and folders that :func:`strays` found; hold the folder's lock while you do."""
    for stray in found:
        if stray.is_dir() and not stray.is_symlink():
            shutil.rmtree(stray, ignore_errors=True)
        else:
            stray.unlink(missing_ok=True)


def lives(pid: int) -> bool:
    """Return whether this machine has a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_abandoned(stray: Path) -> bool:
    """Return whether the process that was writing a temporary file is gone: for who holds no lock of its folder."""
    return not lives(int(stray.name.split(".")[-2]))


@contextmanager
def locked(folder: Path, name: str, refusal: str = "") -> Iterator[None]:
    """Hold ``folder``'s lock ``name``; raise UsageError (``refusal``) at once if another process holds it.

    The lock's file is removed at the end, while it is held: who waited on it finds it unlinked, and takes a new one.
    """
    path = _lock_of(folder, name)
    lock = filelock.FileLock(path)
    with storage_errors(f"the lock of '{folder}'"):
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            usual = f"another run is writing to '{folder}': wait for it, or choose another --out"
            raise UsageError(refusal or usual) from error
    try:
        yield
    finally:
        try:
            with suppress(OSError):
                path.unlink()
        finally:
            lock.release()


def has_lock(folder: Path, name: str) -> bool:
    """Return whether the file of a lock is there: it is held, or whoever held it was killed."""
    return _lock_of(folder, name).exists()


def _lock_of(folder: Path, name: str) -> Path:
    return folder / f".{name}.lock"


def refuse_others(folder: Path, kin: str) -> None:
    """Raise UsageError if a lock of ``folder`` is held whose name does not match the pattern ``kin``.

    Parts of one job array are kin and work side by side; any other run on the folder is not.
    """
    for path in folder.glob(".*.lock"):
        if not path.match(f".{kin}.lock"):
            with locked(folder, path.name[1 : -len(".lock")]):
                pass
