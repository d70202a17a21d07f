"""Files that hold the same bytes, and photos that look the same, under several ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from hashlib import file_digest
from pathlib import Path
from typing import TypeVar

import numpy as np

from harmonygen.data.first_bytes import START
from harmonygen.data.split import near_duplicate_groups
from harmonygen.inspection.check import Checked
from harmonygen.inspection.headers import Headers
from harmonygen.records import FileSource, ImageSource

Groups = tuple[tuple[str, ...], ...]
"""Names that belong together, each group sorted, the largest first."""

_T = TypeVar("_T")


def same_bytes(files: Mapping[str, ImageSource], headers: Headers) -> Groups:
    """Return the names whose files hold the same bytes; only files of one size and one start are read.

    A file that stands under two names itself, by a link or by its path, is not read at all.
    """
    first: dict[tuple[int, ...], str] = {}
    starts: dict[tuple[int, int], list[str]] = defaultdict(list)
    linked: dict[str, list[str]] = defaultdict(list)
    for name, source in files.items():
        header = headers.get(source)
        if header is not None and isinstance(source, FileSource):
            own = first.setdefault(header.file, name)
            linked[own].append(name)
            if own == name:
                starts[header.bytes, header.file[-1]].append(name)
    groups = []
    for (size, _), names in starts.items():
        several = len(names) > 1 and size > START  # of a smaller file the start is all
        groups += _grouped((_digest(files[name].path), name) for name in names) if several else [names]
    return _ordered([[name for own in group for name in linked[own]] for group in groups])


def _digest(path: Path) -> bytes:
    """Return a hash of a file; of one that cannot be read, a hash that no other has."""
    try:
        with open(path, "rb") as opened:
            return file_digest(opened, "blake2b").digest()
    except OSError:
        return str(path).encode()


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
