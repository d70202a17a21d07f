"""Which photos a run trains on: a split of the data, further data, and photos that have no masks of their own.

What a split file keeps out of training stays out whichever source brings it.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harmonygen.data import read_pairs
from harmonygen.data.composites import held_out_of
from harmonygen.data.files import walk_images
from harmonygen.data.lists import HeldOut
from harmonygen.errors import UsageError
from harmonygen.records import FileSource, Pair
from harmonygen.training.settings import TrainSettings

Log = Callable[[str], None]


def extra_pairs(data: str, settings: TrainSettings, log: Log, test: HeldOut) -> list[Pair]:
    """Read one more data set: its ids get its folder's name in front, and its own test photos are left out.

    Of photos that ``split_file`` names, those of the split are kept; a data set of which it names none is kept whole.

    Raises:
        UsageError: no layout fits, or nothing is left.
    """
    own, name = held_out_of(data), Path(data).name
    log(f"leak guard of '{data}': {own.told}")
    pairs = [
        pair
        for pair in read_pairs(data, reading=settings.reading(layout=None))
        if pair.real_id not in own.photos | test.photos
    ]
    if settings.split_file is not None:
        pairs = _not_in_another_split(pairs, settings.split_file, settings.split)
    if not pairs:
        raise UsageError(f"--extra-data '{data}' has no photo that may be trained on: check it and the split file")
    return [replace(pair, pair_id=f"{name}/{pair.pair_id}", real_id=f"{name}/{pair.real_id}") for pair in pairs]


def borrowing_pairs(settings: TrainSettings, log: Log, test: HeldOut) -> list[Pair]:
    """Read the photos of the folder ``borrowers``, at any depth: pairs without a mask (:attr:`Pair.borrows`).

    Raises:
        UsageError: it is not a folder, or holds no photo that may be trained on.
    """
    if not settings.borrowers:
        return []
    folder = Path(settings.borrowers)
    if not folder.is_dir():
        raise UsageError(f"--borrowers '{folder}' is not a folder: name one of photos (unpack an archive first)")
    sources = [FileSource(path) for _, path in walk_images(folder)]
    pairs = [_without_mask(source, folder) for source in sources]
    pairs = [pair for pair in pairs if _short(pair.real_id) not in test.photos]
    if settings.split_file is not None:
        pairs = _not_in_another_split(pairs, settings.split_file, settings.split)
    if not pairs:
        raise UsageError(f"--borrowers '{folder}' has no photo that may be trained on: check the folder")
    log(f"{len(pairs)} photos without masks borrow those of others")
    return pairs


def _without_mask(source: FileSource, folder: Path) -> Pair:
    real_id = f"{folder.name}/{source.path.relative_to(folder).with_suffix('').as_posix()}"
    return Pair(real_id, real_id, "", source, source)


def _not_in_another_split(pairs: Sequence[Pair], split_file: Path, split: str) -> list[Pair]:
    """Keep the pairs in the split, and those whose photo's name the file does not have, of whatever kind."""
    by_split = split_names(split_file)
    named = {name for names in by_split.values() for _, name in names}
    wanted = by_split.get(split, set())
    return [
        pair for pair in pairs if (pair.subset, _short(pair.real_id)) in wanted or _short(pair.real_id) not in named
    ]


def _short(real_id: str) -> str:
    return real_id.rpartition("/")[2]


def select_split(pairs: Sequence[Pair], split_file: Path | None, split: str) -> list[Pair]:
    """Keep the pairs that a CSV (columns ``kind name split``; kind is the subset) puts into ``split``.

    Raises:
        UsageError: a column is missing, or nothing is left.
    """
    if split_file is None:
        return list(pairs)
    wanted = split_names(split_file).get(split, set())
    kept = [pair for pair in pairs if (pair.subset, _short(pair.real_id)) in wanted]
    if not kept:
        raise UsageError(
            f"no photo of the data is in split {split!r} of '{split_file}' ({len(wanted)} names): check both"
        )
    return kept


def split_names(split_file: Path) -> dict[str, set[tuple[str, str]]]:
    """Return the (kind, name) of each split of a CSV with the columns ``kind name split``.

    Raises:
        UsageError: it cannot be read, or a column is missing.
    """
    try:
        with open(split_file, newline="", encoding="utf-8-sig") as opened:
            table = csv.DictReader(opened)
            missing = {"kind", "name", "split"} - set(table.fieldnames or ())
            if missing:
                raise ValueError(f"no column {', '.join(sorted(missing))}")
            found: dict[str, set[tuple[str, str]]] = defaultdict(set)
            for row in table:
                found[row["split"]].add((row["kind"], row["name"]))
            return dict(found)
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(
            f"cannot use --split-file '{split_file}' ({error}): a CSV with kind, name and split is needed"
        ) from error
