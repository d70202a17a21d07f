"""Look for photos that are in a run under several ids: by the leak guard's hash, and by its look at parts.

Photos are compared as :mod:`harmonygen.pictures.copies` does: the same pixels, re-encoded, resized, mirrored, cropped,
framed or slightly turned. Photos of equal pixels are looked at once. Legend: P pairs, L looks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from harmonygen.data.split import near_duplicate_groups
from harmonygen.errors import UsageError
from harmonygen.pictures.copies import Copy, Looks, copies, look_at
from harmonygen.records import CellSource
from harmonygen.review.array_file import Arrays
from harmonygen.review.columns import Columns
from harmonygen.review.measure import Kind, Tick
from harmonygen.review.within_pair import Ints
from harmonygen.runs.read import Run
from harmonygen.runs.tables import read_light

SAME_PIXELS, SAME_HASH = "the same pixels", "re-encoded or resized"
_LOOKS = ("hashes", "readable", "windows", "small")


class CopiesMeasurement:
    """Which photos of a run are one photo."""

    kind: Kind = "copies"
    digest = "copies-1"

    def __init__(self, run: Run, columns: Columns) -> None:
        """Read the ids of the run's photos, and which of them have equal pixels."""
        ids, pixels = _photos(run, columns)
        self.ids, self.looks = _in_order(ids), _in_order(pixels)  # numbers (P,)
        _, self.first = np.unique(self.looks, return_index=True)  # the first pair of each look (L,)
        self._part = columns.part
        self._names = columns.pair_ids
        self._sources = lru_cache(maxsize=4)(run.pair_sources)

    def chunk(self, pairs: range, tick: Tick) -> Arrays:
        """Look at the photos that are first seen in a range of pairs."""
        own = [pair for pair in pairs if self.first[self.looks[pair]] == pair]
        found = look_at([self._source(pair) for pair in own])
        for _ in pairs:
            tick()
        return {name: getattr(found, name) for name in _LOOKS}

    def whole(self, chunks: Sequence[Arrays]) -> tuple[Arrays, Mapping[str, Any]]:
        """Return the arrays of a :class:`harmonygen.review.photo_copies.PhotoCopies`."""
        held = list(chunks)
        looks = Looks(*(np.concatenate([chunk[name] for chunk in held]) for name in _LOOKS))
        found = self._copies(looks)
        groups = _groups(looks, found)
        arrays, kinds = grouped(self.ids, self.looks, groups, looks.hashes, found)
        return arrays, {"kinds": kinds, "photos": int(looks.readable.sum()), "unreadable": int((~looks.readable).sum())}

    def _copies(self, looks: Looks) -> list[Copy]:
        """Return the looks that are copies of each other."""
        seen = np.flatnonzero(looks.readable)
        shown, sources = looks[seen], [self._source(int(self.first[look])) for look in seen]
        found = copies(shown, shown, sources, sources)
        return [Copy(int(seen[each.left]), int(seen[each.right]), each.kind, each.alike) for each in found]

    def _source(self, pair: int) -> CellSource:
        return self._sources(int(self._part[pair]))[self._names[pair]][0]


def _photos(run: Run, columns: Columns) -> tuple[list[str], list[str]]:
    """Return the photo's id of each pair, and a text that two photos share if their pixels are equal."""
    found: dict[str, tuple[str, str]] = {}
    for part in range(len(run.parts)):
        try:
            table = read_light(run.pair_file(part), ("pair_id", "real_id", "real_digest"))
        except UsageError:  # a run of an older version has no digests
            table = read_light(run.pair_file(part), ("pair_id", "real_id"))
        for row in table.to_pylist():
            found[row["pair_id"]] = row["real_id"], row.get("real_digest") or f"of {row['real_id']}"
    ids, pixels = zip(*(found[pair_id] for pair_id in columns.pair_ids), strict=True)
    return list(ids), list(pixels)


def _in_order(texts: Iterable[str]) -> Ints:
    """Number texts in the order in which they first stand."""
    places: dict[str, int] = {}
    return np.array([places.setdefault(text, len(places)) for text in texts], np.int32)


def _groups(looks: Looks, found: Sequence[Copy]) -> Ints:
    """Return the group of each look (L,); one that could not be read is alone."""
    seen = np.flatnonzero(looks.readable)
    place = {int(look): number for number, look in enumerate(seen)}
    linked = [(place[each.left], place[each.right]) for each in found]
    groups = np.arange(len(looks.readable), dtype=np.int32) + len(seen)
    groups[seen] = near_duplicate_groups(looks.hashes[seen], linked=linked)
    return groups


def grouped(
    ids: Ints, looks: Ints, groups: Ints, hashes: npt.NDArray[np.uint64], found: Sequence[Copy]
) -> tuple[Arrays, list[str]]:
    """Number the groups that hold several photo ids, and say what each pair's photo is like.

    Args:
        ids: number of each pair's photo id (P,).
        looks: number of each pair's look (P,).
        groups: group of each look (L,).
        hashes: perceptual hash of each look (L,).
        found: looks that are copies of each other.
    """
    of_group: dict[int, list[int]] = defaultdict(list)
    for pair, look in enumerate(looks.tolist()):
        of_group[int(groups[look])].append(pair)
    count, kinds = len(ids), [""]
    arrays: Arrays = {name: np.zeros(count, np.int32) for name in ("group", "kind")}
    arrays |= {"like": np.full(count, -1, np.int32), "again": np.zeros(count, np.bool_)}
    several = [pairs for pairs in of_group.values() if len(set(ids[pairs].tolist())) > 1]
    linked = _by_look(found)
    for number, pairs in enumerate(several, 1):
        arrays["group"][pairs] = number
        arrays["again"][pairs] = ids[pairs] != ids[pairs[0]]
        for pair, (like, kind) in _alike(pairs, ids, looks, hashes, linked).items():
            kinds += [kind] if kind not in kinds else []
            arrays["like"][pair], arrays["kind"][pair] = like, kinds.index(kind)
    return arrays, kinds


def _by_look(found: Sequence[Copy]) -> dict[int, dict[int, str]]:
    """Return the kind of copy by look, and by the other look."""
    linked: dict[int, dict[int, str]] = defaultdict(dict)
    for each in found:
        linked[each.left][each.right] = linked[each.right][each.left] = each.kind
    return linked


def _alike(
    pairs: Sequence[int],
    ids: Ints,
    looks: Ints,
    hashes: npt.NDArray[np.uint64],
    linked: Mapping[int, Mapping[int, str]],
) -> dict[int, tuple[int, str]]:
    """Return for each pair of a group another one that has its photo under another id, and how the two differ."""
    firsts: dict[int, dict[int, int]] = defaultdict(dict)  # look -> photo id -> first pair
    for pair in pairs:
        firsts[int(looks[pair])].setdefault(int(ids[pair]), pair)
    found: dict[int, tuple[int, str]] = {}
    of_look: dict[tuple[int, int], tuple[int, str]] = {}
    for pair in pairs:
        key = int(looks[pair]), int(ids[pair])
        if key not in of_look:
            of_look[key] = _other(*key, firsts, hashes, linked)
        found[pair] = of_look[key]
    return found


def _other(
    look: int,
    own: int,
    firsts: Mapping[int, Mapping[int, int]],
    hashes: npt.NDArray[np.uint64],
    linked: Mapping[int, Mapping[int, str]],
) -> tuple[int, str]:
    """Return the pair that is most like a look under another id: of equal pixels, a copy, or the nearest by hash."""
    kinds = linked.get(look, {})

    def distance(other: int) -> int:
        return -2 if other == look else -1 if other in kinds else int(np.bitwise_count(hashes[look] ^ hashes[other]))

    nearest = sorted(firsts, key=distance)
    for other in nearest:
        pair = next((first for photo, first in firsts[other].items() if photo != own), None)
        if pair is not None:
            return pair, SAME_PIXELS if other == look else kinds.get(other, SAME_HASH)
    raise ValueError("a group of one photo id")
