"""Split photos into training and test: by photo, seeded, near-duplicates on one side (DESIGN guarantee 7)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from harmonygen.errors import UsageError, listed, shown
from harmonygen.pictures.phash import MAX_DISTANCE, Hashes, near_pairs
from harmonygen.seeds import stable_seed

Split = Literal["train", "test"]

TEST_FRACTION = 7404 / 73146
"""iHarmony4's test composites of all its composites, 65,742 + 7,404 (REFERENCE section 1)."""
_BLOCK = 256  # rows compared at a time: 256 x 45,000 distances, 12 MB, and their matches


def near_duplicate_groups(
    hashes: Hashes, max_distance: int = MAX_DISTANCE, linked: Iterable[tuple[int, int]] = ()
) -> list[int]:
    """Return a group id for each hash (N,): photos linked by hashes at most ``max_distance`` bits apart share one.

    ``linked`` are places of photos that are one for another reason. Links chain: of a~b and b~c all three are one
    group. Ids count from 0 in order of first appearance. Equal hashes are joined before any are compared, a block at a
    time: 45,000 hashes take seconds and tens of megabytes.

    >>> near_duplicate_groups(np.array([0b1, 0xFFFF00, 0b11], np.uint64))
    [0, 1, 0]
    """
    unique, places = np.unique(np.asarray(hashes, dtype=np.uint64), return_inverse=True)
    parents = list(range(len(unique)))
    for start in range(0, len(unique), _BLOCK):
        for row, column, _ in near_pairs(unique[start : start + _BLOCK], unique[start:], max_distance):
            _join(parents, start + row, start + column)
    for one, other in linked:
        _join(parents, int(places[one]), int(places[other]))
    numbers: dict[int, int] = {}
    return [numbers.setdefault(_root(parents, place), len(numbers)) for place in places.tolist()]


def _root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index


def _join(parents: list[int], left: int, right: int) -> None:
    left, right = _root(parents, left), _root(parents, right)
    parents[max(left, right)] = min(left, right)


def target_count(photos: int, test_fraction: float = TEST_FRACTION) -> int:
    """Return the number of test photos, rounded to the nearest.

    >>> target_count(29106)  # the paper's Human Harmony: 29,106 x 7,404 / 73,146 = 2,946.1
    2946
    """
    return int(photos * test_fraction + 0.5)


@dataclass(frozen=True, slots=True)
class Conflict:
    """A group of near-duplicate photos that a given split puts on both sides."""

    train: tuple[str, ...]
    test: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.train[0]} (train) = {self.test[0]} (test)"


def conflicts(real_ids: Sequence[str], groups: Sequence[int], given: Mapping[str, Split]) -> list[Conflict]:
    """Return the groups of near-duplicates that ``given`` puts on both sides, photos sorted."""
    found = []
    for members in _members(real_ids, groups).values():
        train = tuple(name for name in members if given.get(name) == "train")
        test = tuple(name for name in members if given.get(name) == "test")
        if train and test:
            found.append(Conflict(train, test))
    return sorted(found, key=lambda conflict: conflict.train)


def split_groups(
    real_ids: Sequence[str],
    groups: Sequence[int],
    seed: int = 0,
    test_fraction: float = TEST_FRACTION,
    given: Mapping[str, Split] | None = None,
) -> list[Split]:
    """Return the split of each photo: whole groups, in an order drawn from (seed, ids), until the test share is met.

    A group is skipped when the test photos still wanted could not be made up exactly without it; where no choice
    of groups gives the number (:func:`target_count`), the nearest that one does is taken, the lower of two. The split
    of a photo does not depend on the order of the photos.

    Args:
        real_ids: a unique id per photo.
        groups: the group of each photo (:func:`near_duplicate_groups`).
        seed: another seed gives another split.
        test_fraction: share of all photos that become test photos, in [0, 1].
        given: the split of some or all photos; their groups follow them, and they count toward the test share. Ids
            that are not among ``real_ids`` are of no effect.

    Raises:
        UsageError: ids that are not unique, or a given split with near-duplicates on both sides.
    """
    if len(set(real_ids)) != len(real_ids):
        raise UsageError(f"{len(real_ids) - len(set(real_ids))} photo ids come twice: split photos, not their masks")
    given = given or {}
    _refuse_conflicts(conflicts(real_ids, groups, given))
    members = _members(real_ids, groups)
    sides = {group: given[name] for group, names in members.items() for name in names if name in given}
    free = sorted((group for group in members if group not in sides), key=lambda group: _rank(seed, members[group]))
    taken = sum(len(members[group]) for group, side in sides.items() if side == "test")
    wanted = max(0, target_count(len(real_ids), test_fraction) - taken)
    chosen = {free[index] for index in _choose([len(members[group]) for group in free], wanted)}
    return ["test" if group in chosen or sides.get(group) == "test" else "train" for group in groups]


def _members(real_ids: Sequence[str], groups: Sequence[int]) -> dict[int, list[str]]:
    members: dict[int, list[str]] = {}
    for name, group in sorted(zip(real_ids, groups, strict=True)):
        members.setdefault(group, []).append(name)
    return members


def _rank(seed: int, names: Sequence[str]) -> tuple[int, str]:
    return stable_seed("split", seed, names[0]), names[0]


def _choose(sizes: Sequence[int], wanted: int) -> Iterator[int]:
    """Yield indices of sizes that add up to ``wanted``, or to the nearest sum there is; the first ones that can."""
    within = (1 << 2 * wanted + 1) - 1  # the empty sum is as near as any over twice the number
    sums = [1]  # bit s of sums[i]: the last i sizes have a choice that adds up to s
    for size in reversed(sizes):
        sums.append(sums[-1] | sums[-1] << size & within if size <= 2 * wanted else sums[-1])
    left = next(total for off in range(wanted + 1) for total in (wanted - off, wanted + off) if sums[-1] >> total & 1)
    for index, size in enumerate(sizes):
        if left >= size and sums[len(sizes) - index - 1] >> (left - size) & 1:
            left -= size
            yield index


def _refuse_conflicts(found: Sequence[Conflict]) -> None:
    if found:
        raise UsageError(
            f"the given split puts near-duplicate photos on both sides in {len(found)} groups: "
            f"{listed([*map(str, found)])}: move them to one side, or take them out of the data"
        )


def read_split(train: Path | None, test: Path | None) -> dict[str, Split]:
    """Return the given split of files of photo ids (see :func:`harmonygen.data.split.read_ids`).

    Raises:
        UsageError: a file that cannot be read, or a photo in both.
    """
    given: dict[str, Split] = dict.fromkeys(read_ids(train), "train") if train else {}
    tests = read_ids(test) if test else []
    both = [name for name in tests if name in given]
    if both:
        raise UsageError(
            f"{len(both)} photos are in '{train}' and in '{test}': {shown(both, 'photos')}: take them out of one"
        )
    return {**given, **dict.fromkeys(tests, "test")}


@dataclass(frozen=True, slots=True)
class Leak:
    """A photo that is also a test photo: by id, by hashes that differ in ``bits`` of 64, or as a ``kind`` of copy."""

    photo: str
    test: str
    bits: int | None = None
    kind: str = "same id"

    def __str__(self) -> str:
        return f"{self.photo} = {self.test} ({self.kind if self.bits is None else f'{self.bits} bits'})"


def leaks(
    photos: Mapping[str, int | None], tests: Mapping[str, int | None], max_distance: int = MAX_DISTANCE
) -> list[Leak]:
    """Return photos that are test photos of another list (iHarmony4's, say), by id and by perceptual hash.

    Args:
        photos: hash by photo id; None where there is none.
        tests: hash by id of the test photos; None where only the list is at hand: then ids alone can tell.
        max_distance: bits of 64 that hashes of one photo may differ in.

    >>> [str(leak) for leak in leaks({"a": 7, "b": 7, "c": None}, {"c": None, "x": 6})]
    ['c = c (same id)', 'a = x (1 bits)', 'b = x (1 bits)']
    """
    found = [Leak(name, name) for name in photos if name in tests]
    names, hashes = _hashed(photos.items())
    test_names, test_hashes = _hashed(tests.items())
    near = near_pairs(hashes, test_hashes, max_distance)
    return found + [Leak(names[i], test_names[j], bits) for i, j, bits in near if names[i] != test_names[j]]


def _hashed(photos: Iterable[tuple[str, int | None]]) -> tuple[list[str], Hashes]:
    known = [(name, value) for name, value in photos if value is not None]
    return [name for name, _ in known], np.array([value for _, value in known], dtype=np.uint64)


HEADERS = ("imageid", "image_id", "real_id", "id", "file_name", "image")
"""First cells, in any case, by which a CSV file's header is known."""


SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def read_ids(path: Path) -> list[str]:
    """Return the ids of a text or CSV file, each once, in its order.

    Blank lines and lines that start with ``#`` are left out, as are a header (:data:`HEADERS`), folders before a file
    name and an image's suffix: ``train/0a1b.jpg`` is the id ``0a1b``.

    Raises:
        UsageError: no such file, not text, or no id in it.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as opened:
            cells = [row[0].strip() for row in csv.reader(opened) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"cannot read the list of ids '{path}' ({error}): give a text file, one id per line"
        ) from error
    cells = [cell for cell in cells if cell and not cell.startswith("#")]
    if cells and cells[0].lower() in HEADERS:
        cells = cells[1:]
    if not cells:
        raise UsageError(f"the list of ids '{path}' is empty: write one photo id per line")
    return list(dict.fromkeys(bare_id(cell) for cell in cells))


def bare_id(cell: str) -> str:
    """Return a photo's id without folders or subset before it, and without an image's suffix.

    >>> bare_id("train/0a1b.jpg"), bare_id("Sample/astronaut"), bare_id("v1.2")
    ('0a1b', 'astronaut', 'v1.2')
    """
    name = cell.replace("\\", "/").rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return stem if f"{dot}{suffix}".lower() in SUFFIXES else name
