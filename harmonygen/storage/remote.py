"""Folders and files at URLs (``s3://``, ``gs://``, ``file://`` ...) by fsspec: what harmonygen asks of them.

It is on floor 2, beside the readers: inputs are copied into the cache and read there as any folder, and the cache's
place is known here. Every exception of a store ends here, as a StorageError or UsageError.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harmonygen.errors import HarmonygenError, StorageError, UsageError
from harmonygen.records import FileSource, ImageSource, MaskSource, Pair, PairSet
from harmonygen.storage.shards import commit, temporary_name, whole_file

_ATOMIC_PUT = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"})
"""Stores where an object appears whole or not at all; in others a file is put under a temporary name and renamed."""
_STAMPS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "mtime", "created")
"""What stores tell of a file, beside its size, that changes with its content."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a store: its size in bytes and a text that changes when the file does."""

    size: int
    stamp: str


class Remote:
    """A folder (or one file) at a URL. Names are relative to it, with ``/``.

    Raises:
        UsageError: the protocol is not known or its package is missing, or the URL holds a password.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        if urlsplit(url).password:
            raise UsageError(
                f"the URL of '{urlsplit(url).hostname}' holds a password, which would be written to plan.json: "
                "give it by the store's own configuration or environment"
            )
        self.url = url.rstrip("/")
        try:
            self.fs, self.root = fsspec.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"'{url}' cannot be opened: {error}: install the package of the protocol (s3fs for s3://, gcsfs for "
                "gs://, adlfs for abfs://), or use a path"
            ) from error
        self.protocols = {self.fs.protocol} if isinstance(self.fs.protocol, str) else set(self.fs.protocol)

    def listing(self, inside: str = "") -> dict[str, StoredFile]:
        """Return the files below the folder (or below ``inside``) by name; hidden ones are among them.

        A URL that is one file gives the empty name. Where there is nothing, nothing is returned.
        """
        with self._faults(f"list '{self.url}/{inside}'"):
            self.fs.invalidate_cache()
            top = self._path(inside)
            try:
                found: dict[str, Any] = self.fs.find(top, detail=True)
            except FileNotFoundError:
                return {}
        return {
            _relative(path, self.root): _entry(info)
            for path, info in found.items()
            if info.get("type", "file") == "file" and not path.endswith("/")
        }

    def get(self, name: str, local: Path) -> None:
        """Copy a file to a local path: whole, or not at all."""
        with self._faults(f"read '{self.url}/{name}'"):
            local.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(local) as temporary:
                self.fs.get_file(self._path(name), str(temporary))

    def put(self, local: Path, name: str) -> None:
        """Copy a local file to ``name``, where it appears whole or not at all; an older one is replaced."""
        with self._faults(f"write '{self.url}/{name}'"):
            final = self._path(name)
            if self.protocols & _ATOMIC_PUT:
                self.fs.put_file(str(local), final)
            else:
                self._put_and_rename(local, final)
            self.fs.invalidate_cache()
            size, written = local.stat().st_size, self.fs.info(final)["size"]
            if size != written:
                raise OSError(f"{written} of {size} bytes arrived")

    def _put_and_rename(self, local: Path, final: str) -> None:
        folder, _, name = final.rpartition("/")
        temporary = f"{folder}/{temporary_name(name)}"
        self.fs.makedirs(folder, exist_ok=True)
        try:
            self.fs.put_file(str(local), temporary)
            if "file" in self.protocols:
                commit(Path(temporary), Path(final))
                return
            with suppress(FileNotFoundError):
                self.fs.rm_file(final)  # SFTP renames to new names only
            self.fs.mv(temporary, final)
        except BaseException:
            with suppress(Exception):
                self.fs.rm_file(temporary)
            raise

    def read(self, name: str) -> bytes | None:
        """Return a small file's content, None if it is missing."""
        with self._faults(f"read '{self.url}/{name}'"):
            try:
                return bytes(self.fs.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes, *, new: bool = False) -> bool:
        """Write a small file; with ``new`` only if there is none yet. Return whether it was written.

        Object stores refuse the second of two that create one name; where a store cannot, the later one wins.
        """
        with self._faults(f"write '{self.url}/{name}'"):
            path = self._path(name)
            if not self.protocols & _ATOMIC_PUT:
                self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            try:
                if new and "file" in self.protocols:
                    with open(path, "xb") as opened:
                        opened.write(content)
                else:
                    self.fs.pipe_file(path, content, mode="create" if new else "overwrite")
            except FileExistsError:
                return False
            return True

    def remove(self, name: str) -> None:
        """Remove a file; that it is gone already is no fault."""
        with self._faults(f"remove '{self.url}/{name}'"), suppress(FileNotFoundError):
            self.fs.rm_file(self._path(name))

    @contextmanager
    def opened(self, name: str) -> Iterator[Any]:
        """Open a file for reading parts of it."""
        with self._faults(f"read '{self.url}/{name}'"), self.fs.open(self._path(name), "rb") as opened:
            yield opened

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}" if name else self.root

    @contextmanager
    def _faults(self, what: str) -> Iterator[None]:
        """Turn whatever a store raises inside the block into StorageError that says ``what`` could not be done."""
        try:
            yield
        except HarmonygenError:
            raise
        except Exception as error:  # each store has exceptions of its own
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise StorageError(
                f"cannot {what}: {said}: check the network, the address and your permissions, then repeat the command"
            ) from error


def _entry(info: dict[str, Any]) -> StoredFile:
    return StoredFile(int(info.get("size") or 0), "|".join(str(info[name]) for name in _STAMPS if info.get(name)))


def _relative(path: str, root: str) -> str:
    """Return a name relative to ``root``; raise UsageError if it would leave the folder it is copied to."""
    name = path[len(root.rstrip("/")) :].lstrip("/")
    if "\0" in name or "\\" in name or ".." in name.split("/"):
        raise UsageError(f"'{path}' is a name that cannot be copied safely: rename it in the store")
    return name


def place_of(url: str, kind: str) -> Path:
    """Return the cache folder that stands for a URL; ``kind`` is ``inputs`` or ``runs``."""
    url = url.rstrip("/")
    name = re.sub(r"[^A-Za-z0-9._-]", "_", url.rpartition("/")[2]) or "root"
    return cache_folder().absolute() / kind / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def by_url(found: PairSet, copy: Path, url: str) -> PairSet:
    """Return pairs whose files name the URL they were copied from, so that rows and messages do."""
    top = copy if copy.is_dir() else copy.parent
    base = url.rstrip("/") if copy.is_dir() else url.rpartition("/")[0]

    def named(source: ImageSource | MaskSource) -> Any:
        if isinstance(source, FileSource) and source.path.is_relative_to(top):
            return replace(source, url=f"{base}/{source.path.relative_to(top).as_posix()}")
        return source

    def moved(pair: Pair) -> Pair:
        return replace(pair, real=named(pair.real), mask=named(pair.mask))

    return replace(found, pairs=tuple(map(moved, found.pairs)))


def read_state(path: Path) -> dict[str, list[Any]]:
    """Read which files a copy holds: name -> [size, stamp], a JSON line each; a torn last line is skipped."""
    state: dict[str, list[Any]] = {}
    with suppress(FileNotFoundError), path.open(encoding="utf-8") as lines:
        for line in lines:
            with suppress(ValueError):
                name, size, stamp = json.loads(line)
                state[name] = [size, stamp]
    return state


def cache_folder() -> Path:
    """Return where the sample is laid out: ``$HARMONYGEN_CACHE``, else ``harmonygen`` in the user's cache folder."""
    named = os.environ.get("HARMONYGEN_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "harmonygen"
