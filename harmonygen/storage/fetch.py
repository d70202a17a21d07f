"""Copy inputs at a URL into the cache: only what is missing or changed, every file whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import filelock

from harmonygen.errors import UsageError
from harmonygen.storage.remote import Remote, StoredFile, place_of, read_state
from harmonygen.storage.shards import make_folder, storage_errors, write_bytes

STATE = ".harmonygen-copy.jsonl"
_THREADS = 16


def fetch(url: str) -> Path:
    """Copy a folder or file into the cache and return where it is; what is there already is left as it is.

    Files that are gone from the URL are removed from the copy; hidden ones are not copied. Several processes may ask
    at once: the first copies, the others wait.

    Raises:
        UsageError: nothing is there.
        StorageError: it cannot be read, or the disk is full; rerun the same call to resume.
    """
    remote, copy = Remote(url), place_of(url, "inputs")
    make_folder(copy.parent)
    with filelock.FileLock(copy.parent / f".{copy.name}.lock"):
        wanted = {name: entry for name, entry in remote.listing().items() if not _hidden(name)}
        if not wanted:
            raise UsageError(f"'{url}' is not there or holds no file: check the address")
        make_folder(copy)
        single = remote.url.rpartition("/")[2] if "" in wanted else ""
        _copy(remote, {name or single: entry for name, entry in wanted.items()}, copy, single)
    return copy / single if single else copy


def _copy(remote: Remote, wanted: dict[str, StoredFile], copy: Path, single: str) -> None:
    """Get what differs, noting each file as it is done, and remove what is not wanted any more."""
    state = read_state(copy / STATE)
    waiting = [name for name, entry in wanted.items() if not _is_there(copy / name, entry, state.get(name))]
    lock = Lock()
    with storage_errors(f"the copy of '{remote.url}' in '{copy}'"):
        with (copy / STATE).open("a", encoding="utf-8") as notes:

            def get(name: str) -> None:
                remote.get("" if name == single else name, copy / name)
                with lock:
                    notes.write(json.dumps([name, wanted[name].size, wanted[name].stamp]) + "\n")
                    notes.flush()

            side_by_side(get, waiting)
        gone = state.keys() - wanted.keys()
        for name in gone:
            (copy / name).unlink(missing_ok=True)
    if waiting or gone:
        lines = (json.dumps([name, entry.size, entry.stamp]) for name, entry in wanted.items())
        write_bytes(copy / STATE, ("\n".join(lines) + "\n").encode())


def side_by_side(act: Callable[[str], None], names: Sequence[str]) -> None:
    """Call ``act`` for every name, several at once; after the first failure, or Ctrl-C, none is begun."""
    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            for done in [threads.submit(act, name) for name in names]:
                done.result()
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def _is_there(path: Path, entry: StoredFile, noted: list[object] | None) -> bool:
    return noted == [entry.size, entry.stamp] and path.is_file() and path.stat().st_size == entry.size


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
