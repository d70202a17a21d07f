"""Which split a file or folder belongs to by its name, as the Hugging Face Hub knows it, and which splits are read.

The one place for this: Parquet files, COCO files, folders of photos and lists of names all go by it. By default the
training split is read, or the only one; others are skipped and said. A model never trains on the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Literal, TypeVar

from harmonygen.data.files import passed_over
from harmonygen.errors import UsageError, shown
from harmonygen.records import PassedOver

Split = Literal["train", "test", "validation", ""]
PartT = TypeVar("PartT")

_SPLITS: dict[Split, frozenset[str]] = {
    "test": frozenset({"test", "testing", "eval", "evaluation"}),
    "validation": frozenset({"validation", "valid", "val", "dev"}),
    "train": frozenset({"train", "training"}),
}
"""The words by which the Hugging Face Hub knows the split of a file."""
_BESIDE = re.compile(r"(data)?sets?|splits?|data|images?|imgs?|photos?|masks?|labels?|annotations?|instances|coco")
"""Words that the name of a split's folder may have beside its own: ``val2017``, ``train_images``, ``test-set``."""
_ORDER: dict[Split, tuple[Split, ...]] = {
    "train": ("train", ""),
    "test": ("test", "validation", "train", ""),
    "validation": ("validation", "test", "train", ""),
}


def _words(name: str) -> set[str]:
    return set(filter(None, re.split(r"[-._ 0-9]+", name.lower())))


def split_of(name: str) -> Split:
    """Return the split that a file's name has, by the Hub's words between dots, dashes, ``_`` and digits.

    >>> split_of("train-00000-of-00002.parquet"), split_of("my_dev.parquet"), split_of("people-00000-of-00001.parquet")
    ('train', 'validation', '')
    """
    words = _words(Path(name).stem)
    return next((split for split, known in _SPLITS.items() if words & known), "")


def split_of_folder(name: str) -> Split:
    """Return the split that a folder's name is, and nothing else: ``train_station`` is a subset, not a split.

    >>> split_of_folder("val2017"), split_of_folder("train_images"), split_of_folder("train_station")
    ('validation', 'train', '')
    """
    words = _words(name)
    split: Split = next((split for split, known in _SPLITS.items() if words & known), "")
    return split if split and all(map(_BESIDE.fullmatch, words - _SPLITS[split])) else ""


def split_of_file(path: Path) -> Split:
    """Return the split that a file's name has, else that of the folder it lies in.

    >>> split_of_file(Path("default/test/0000.parquet")), split_of_file(Path("test/train.parquet"))
    ('test', 'train')
    """
    return split_of(path.name) or split_of_folder(path.parent.name)


def is_held_out(path: Path) -> bool:
    """Return whether a path is named as a Parquet file of a split that a model never trains on: test or validation."""
    return path.suffix.lower() == ".parquet" and split_of_file(path) in ("test", "validation")


def choose(
    parts: Sequence[PartT], split: Callable[[PartT], Split], wanted: Split = "train", where: str = ""
) -> tuple[list[PartT], list[PartT]]:
    """Return the parts of a data set that are read, and the others, both in their order.

    For ``train``: the training parts, or else those without a split, or else those of the only split. For
    ``test`` and ``validation``: those, else those of the other, else what ``train`` gives.

    Raises:
        UsageError: several splits, none of them for training.
    """
    found = {split(part) for part in parts}
    chosen = next((each for each in _ORDER[wanted or "train"] if each in found), None)
    if chosen is None and len(found) > 1:
        raise UsageError(
            f"'{where}' has the splits {shown(found)} and none to train on: name the file or folder of one of them"
        )
    kept = [part for part in parts if chosen is None or split(part) == chosen]
    return kept, [part for part in parts if chosen is not None and split(part) != chosen]


def passed(name: PurePath | str, split: Split, read: Split) -> PassedOver:
    """Return the row of a file or folder of a split that is not read."""
    what = f"is of the {split} split" if split else "bears no split's name"
    return passed_over(name, "split", f"{what}: what is of the {read or 'other'} split is read; name it to read it")


def note(others: Sequence[PassedOver], read: Split) -> tuple[str, ...]:
    """Say which split is read, if others are skipped."""
    if not others:
        return ()
    return (
        f"the {read} split is read, {shown((PurePath(row.name).name for row in others), 'files or folders')} "
        "not: name one of them to read it",
    )
