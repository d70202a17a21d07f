"""Files that hold the same bytes, and photos that look the same, under several ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import numpy as np

from harmonygen.data.split import near_duplicate_groups
from harmonygen.inspection.check import Checked
from harmonygen.inspection.headers import Headers
from harmonygen.records import FileSource, ImageSource

Groups = tuple[tuple[str, ...], ...]
"""Names that belong together, each group sorted, the largest first."""

_ENDS = 64 * 2**10  # bytes at either end of a file that are compared before all of it is
_PIECE = 2**20
_T = TypeVar("_T")


def same_bytes(files: Mapping[str, ImageSource], headers: Headers) -> Groups:
    """Return the names whose files hold the same bytes; only files of one size are read.

    A file that stands under two names itself, by a link or by its path, is not read at all.
    """
    first: dict[tuple[int, int], str] = {}
    sizes: dict[int, list[str]] = defaultdict(list)
    linked: dict[str, list[str]] = defaultdict(list)
    for name, source in files.items():
        header = headers.get(source)
        if header is not None and isinstance(source, FileSource):
            own = first.setdefault(header.file, name)
            linked[own].append(name)
            if own == name:
                sizes[header.bytes].append(name)
    groups = []
    for names in sizes.values():
        groups += [list(group) for group in _alike(names, files)] if len(names) > 1 else [names]
    return _ordered([[name for own in group for name in linked[own]] for group in groups])


def _alike(names: Iterable[str], files: Mapping[str, ImageSource]) -> Iterator[Sequence[str]]:
    """Split names of files of one size into those of the same bytes: by their ends, then by all."""
    for ends in _grouped((_digest(_path(files[name]), whole=False), name) for name in names):
        if len(ends) == 1:
            yield ends
        else:
            yield from _grouped((_digest(_path(files[name]), whole=True), name) for name in ends)


def _path(source: ImageSource) -> Path:
    return source.path


def _digest(path: Path, whole: bool) -> bytes:
    """Return a hash of a file, or of its ends; of one that cannot be read, a hash that no other has."""
    hashed = blake2b(digest_size=16)
    try:
        with open(path, "rb") as opened:
            if whole:
                while piece := opened.read(_PIECE):
                    hashed.update(piece)
            else:
                hashed.update(opened.read(_ENDS))
                opened.seek(-min(_ENDS, path.stat().st_size), 2)
                hashed.update(opened.read(_ENDS))
    except OSError:
        return str(path).encode()
    return hashed.digest()


def _grouped(keyed: Iterable[tuple[Hashable, _T]]) -> list[list[_T]]:
    groups: dict[Hashable, list[_T]] = defaultdict(list)
    for key, value in keyed:
        groups[key].append(value)
    return list(groups.values())


def _ordered(groups: Iterable[Sequence[str]]) -> Groups:
    several = [tuple(sorted(group)) for group in groups if len(group) > 1]
    return tuple(sorted(several, key=lambda group: (-len(group), group)))


def same_digest(photos: Mapping[str, Checked]) -> Groups:
    """Return the ids of checked photos that hold the same bytes; for photos that are not files of their own."""
    return _ordered(_grouped((found.digest, name) for name, found in photos.items() if found.digest))


def look_alike(photos: Mapping[str, Checked], same: Groups) -> Groups:
    """Return the ids of checked photos that look the same, leaving out groups that are of the same bytes."""
    hashed = [(name, found.phash) for name, found in photos.items() if found.phash]
    groups = near_duplicate_groups(np.array([value for _, value in hashed], dtype=np.uint64))
    known = {name: place for place, group in enumerate(same) for name in group}
    found = _ordered(_grouped((group, name) for group, (name, _) in zip(groups, hashed, strict=True)))
    return tuple(group for group in found if len({known.get(name, name) for name in group}) > 1)
