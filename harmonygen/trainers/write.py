"""Write the rows of a format to files, or into archives: whole files, hard links where bytes allow."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harmonygen.data import write_tree as tree
from harmonygen.storage import shards
from harmonygen.trainers.formats.shape import Format
from harmonygen.trainers.rows import EditRow, EncodedPicture

_THREADS = 16  # files synced to disk at a time: the disk takes the waits of many together
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the time of every member of a zip


def files_of(row: EditRow, places: Mapping[str, str], harmonize: bool) -> dict[str, tuple[str, EncodedPicture]]:
    """Return what a row is written to: role -> path relative to the root, and content.

    ``composite`` and ``real`` are also called ``source`` and ``target``, or the reverse if not ``harmonize``.
    """
    source, target = (row.composite, row.pair.real) if harmonize else (row.pair.real, row.composite)
    pictures = {"composite": row.composite, "real": row.pair.real, "source": source, "target": target}
    texts = {"text": row.text, "json": json.dumps(row.record(), ensure_ascii=False)}
    found = {}
    for role, place in places.items():
        name = place.format(key=row.key)
        if role in pictures:
            found[role] = (f"{name}{pictures[role].suffix}", pictures[role])
        elif role == "mask":
            found[role] = (name, EncodedPicture(row.pair.mask, None, ".png"))
        else:
            found[role] = (name, EncodedPicture(texts[role].encode(), None, ""))
    return found


class FolderWriter:
    """Writes rows as files. What is the same for a pair's rows is written once and linked after that."""

    def __init__(self, root: Path, made: Format, harmonize: bool, link: tree.Link) -> None:
        self._root, self._places, self._harmonize, self._link = root, made.places, harmonize, link
        self._own: tree.Link = "copy" if link == "copy" else "hard"  # links within the folder never lead out of it
        for place in made.places.values():
            shards.make_folder((root / place).parent)

    def write(self, rows: Iterable[EditRow]) -> Iterator[dict[str, Any]]:
        """Write rows and yield the record of each, once its files are there; folders are synced at the end."""
        running: deque[tuple[list[Future[None]], dict[str, Any]]] = deque()
        pair, first = "", dict[str, Path]()
        with ThreadPoolExecutor(_THREADS) as threads:
            for row in rows:
                if row.pair.pair_id != pair:
                    while running:
                        yield _done(running.popleft())  # what is linked to is there
                    pair, first = row.pair.pair_id, {}
                files = files_of(row, self._places, self._harmonize)
                jobs = [threads.submit(*job) for job in self._jobs(row, files, first)]
                record = {**row.record(), "files": {role: name for role, (name, _) in files.items()}}
                running.append((jobs, record))
                if not first or len(running) >= _THREADS:
                    yield _done(running.popleft())
                first = first or {role: self._root / name for role, (name, _) in files.items()}
            while running:
                yield _done(running.popleft())
        for folder in {(self._root / place).parent for place in self._places.values()}:
            shards.sync(folder)

    def _jobs(
        self, row: EditRow, files: Mapping[str, tuple[str, EncodedPicture]], first: Mapping[str, Path]
    ) -> Iterator[Any]:
        for role, (name, picture) in files.items():
            target = self._root / name
            if first and (role == "mask" or picture is row.pair.real):
                yield tree.place, first[role], target, self._own
            elif picture.path is not None:
                yield tree.place, picture.path, target, self._link
            else:
                yield write_once, target, picture.read()


def write_once(target: Path, content: bytes) -> None:
    """Write a whole file, unless a file with this content is there; the caller syncs the folder."""
    if target.is_symlink() or target.is_file():
        if not target.is_symlink() and target.stat().st_size == len(content) and target.read_bytes() == content:
            return
        target.unlink()
    shards.write_bytes(target, content, sync_entry=False)


def _done(entry: tuple[list[Future[None]], dict[str, Any]]) -> dict[str, Any]:
    for job in entry[0]:
        job.result()
    return entry[1]


def write_tar(
    path: Path, rows: Iterable[EditRow], places: Mapping[str, str], harmonize: bool
) -> Iterator[dict[str, Any]]:
    """Write rows as one tar shard; it gets its name when it is whole."""
    with shards.whole_file(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
        for row in rows:
            files = files_of(row, places, harmonize)
            for name, picture in files.values():
                content = picture.read()
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), 0o644
                archive.addfile(member, io.BytesIO(content))
            yield {**row.record(), "files": {role: f"{path.name}/{name}" for role, (name, _) in files.items()}}


def write_zips(
    root: Path, rows: Iterable[EditRow], places: Mapping[str, str], harmonize: bool
) -> Iterator[dict[str, Any]]:
    """Write rows into zips that are named by the first part of their places, each whole at the end."""
    with ExitStack() as stack:
        archives = {}
        for name in dict.fromkeys(place.partition("/")[0] for place in places.values()):
            temporary = stack.enter_context(shards.whole_file(root / name))
            archives[name] = stack.enter_context(zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED))
        for row in rows:
            files = files_of(row, places, harmonize)
            for path, picture in files.values():
                archive, _, name = path.partition("/")
                archives[archive].writestr(zipfile.ZipInfo(name, _EPOCH), picture.read())
            yield {**row.record(), "files": {role: path for role, (path, _) in files.items()}}
