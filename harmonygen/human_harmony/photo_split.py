"""Split prepared photos into training and test, and keep out photos of another dataset's test split.

``work/split.parquet`` has one row a prepared pair: its photo, the photo's group of near-duplicates, its split
(``train``, ``test``, or "" for a photo that is left out) and the test photo it equals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harmonygen.augmentation.leak_guard import same_photos
from harmonygen.data import detect_layout, iharmony4, read_pairs
from harmonygen.data.lists import held_out, place_of
from harmonygen.data.parquet import read_parquet
from harmonygen.data.split import bare_id, near_duplicate_groups, read_split, split_groups
from harmonygen.errors import UsageError
from harmonygen.human_harmony import prepare
from harmonygen.human_harmony.settings import HumanHarmonySettings
from harmonygen.records import CellSource, ImageSource, Pair
from harmonygen.storage import shards

NAME = "split.parquet"
_SCHEMA = pa.schema(
    [
        ("pair_id", pa.string()),
        ("real_id", pa.string()),
        ("group", pa.int32()),
        ("split", pa.string()),
        ("leak", pa.string()),
    ]
)


@dataclass(frozen=True)
class SplitCounts:
    """Photos by split, how many were left out as leaks, and groups of more than one photo that look alike."""

    train: int
    test: int
    leaked: int
    look_alike_groups: int
    look_alike_photos: int


def split_photos(settings: HumanHarmonySettings, work: Path, digest: str) -> list[dict[str, Any]]:
    """Return the rows of ``split.parquet``; they are made if they are not there yet.

    Raises:
        UsageError: given lists that put look-alikes on both sides, or a leak list that cannot be read.
    """
    path = work / NAME
    if not shards.is_whole(path, digest):
        rows = _make(settings, _photos(work))
        mark = {shards.PLAN_KEY: digest.encode()}
        shards.write_parquet(path, pa.Table.from_pylist(rows, schema=_SCHEMA), mark)
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


def _photos(work: Path) -> list[dict[str, Any]]:
    """Return the prepared pairs: ``pair_id real_id phash``, and the ``source`` of each photo."""
    columns = ["pair_id", "real_id", "phash"]
    return [
        {**row, "source": CellSource(path, "real", number)}
        for path in prepare.files(work)
        for number, row in enumerate(pq.read_table(path, columns=columns).to_pylist())
    ]


def _make(settings: HumanHarmonySettings, pairs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    hashes = {row["real_id"]: int(row["phash"], 16) for row in pairs}
    named: dict[str, list[str]] = {}
    for name in hashes:
        named.setdefault(bare_id(name), []).append(name)
    leaked = _leaked(settings.leak_check, pairs, named) if settings.leak_check else {}
    names = [name for name in hashes if name not in leaked]
    groups = near_duplicate_groups(np.array([hashes[name] for name in names], dtype=np.uint64))
    group_of = dict(zip(names, groups, strict=True))
    lists = read_split(settings.train_list, settings.test_list)
    given = {name: split for listed, split in lists.items() for name in named.get(listed, ()) if name in group_of}
    splits = split_groups(names, groups, settings.seed, settings.test_fraction, given)
    split_of = dict(zip(names, splits, strict=True))
    return [
        {
            "pair_id": row["pair_id"],
            "real_id": row["real_id"],
            "group": group_of.get(row["real_id"], -1),
            "split": split_of.get(row["real_id"], ""),
            "leak": leaked.get(row["real_id"], ""),
        }
        for row in pairs
    ]


def _leaked(data: Path, pairs: Sequence[dict[str, Any]], named: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the photos that are test photos of other data, by id or by their pixels, and which test photo each is."""
    tests = {name: source for test, source in photos_of_test_split(data).items() for name in named.get(test, [test])}
    found, _ = same_photos({row["real_id"]: row["source"] for row in pairs}, tests)
    return {leak.photo: str(leak) for leak in reversed(found)}


def photos_of_test_split(data: Path) -> dict[str, ImageSource]:
    """Return the photos of a test list or folder, by their ids without the subset; an image need not be there.

    Raises:
        UsageError: not a list or dataset, or an iHarmony4 folder without a test list.
    """
    return {bare_id(pair.real_id): pair.real for pair in _test_pairs(data)}


def _test_pairs(data: Path) -> Sequence[Pair]:
    layout = detect_layout(data)
    if layout == "parquet":
        return read_parquet(data, "test")
    if data.is_dir() and layout == "iharmony4":
        test = held_out(place_of(data)[0])
        if not test.names:
            raise UsageError(f"--leak-check '{data}': {test.told}: name the list of its test composites")
        return iharmony4.pairs_on_disk(test.names, test.root)
    return read_pairs(data, split="test")


def count(rows: Sequence[dict[str, Any]]) -> SplitCounts:
    """Count the photos of a split."""
    photos = {row["real_id"]: row for row in rows}
    splits = Counter(row["split"] for row in photos.values())
    sizes = Counter(row["group"] for row in photos.values() if row["split"])
    alike = [size for size in sizes.values() if size > 1]
    return SplitCounts(splits["train"], splits["test"], splits[""], len(alike), sum(alike))
