"""The harmonization dataset that augment mixes candidates into: its pairs, its test split, and what is on disk."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from harmonygen.data import iharmony4, lists
from harmonygen.data.lists import HeldOut
from harmonygen.errors import InputError, StorageError, UsageError, shown
from harmonygen.pictures.images import is_deep, is_plain
from harmonygen.records import FileSource, ImageSource, Pair, PairSet

_ORIENTATION = 0x0112  # the EXIF tag


@dataclass(frozen=True)
class Originals:
    """The pairs to augment (of the wanted subset), the test split's pairs, and the lists that name the test split.

    ``real_ids`` are the photos of the whole training list, all subsets. ``guarded`` is what every test list names:
    the leak guard compares with all of it, also where the test split is read from one list alone.
    """

    root: Path
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]
    test_lists: tuple[Path, ...]
    real_ids: frozenset[str]
    guarded: HeldOut

    @cached_property
    def _prefix(self) -> str:
        return f"{self.root.as_posix()}/"

    def relative(self, path: Path) -> str:
        """Return a file's path relative to the root, with forward slashes."""
        name = path.as_posix()  # two hundred thousand files: pathlib's own comparison takes ten times as long
        return name.removeprefix(self._prefix) if name.startswith(self._prefix) else _relative(path, self.root)

    def inside(self, pair: Pair) -> tuple[str, str]:
        """Return a pair's photo and mask relative to the root."""
        return self.relative(photo_path(pair)), self.relative(mask_path(pair))

    def files(self, pairs: Iterable[Pair]) -> list[str]:
        """Return photos, masks and original composites relative to the root, each once, pair by pair."""
        return list(dict.fromkeys(name for pair in pairs for name in (*self.inside(pair), *pair.originals)))

    def missing(self, pairs: Iterable[Pair]) -> list[str]:
        """Return the :meth:`files` that are not on disk."""
        return [name for name in self.files(pairs) if not os.path.isfile(os.path.join(self.root, name))]

    def without(self, photos: Container[str]) -> Originals:
        """Return the dataset without the training pairs of some photos (their ids)."""
        return replace(self, train=tuple(pair for pair in self.train if pair.real_id not in photos))

    def guarded_photos(self) -> dict[str, ImageSource]:
        """Return the photos of all test lists that are on disk, by id."""
        pairs = iharmony4.pairs_on_disk(self.guarded.names, self.root)
        return {pair.real_id: pair.real for pair in pairs if photo_path(pair).is_file()}


def read_originals(
    data: Path, list_file: str | None = None, subset: str | None = None, test_list: str | None = None
) -> Originals:
    """Read an iHarmony4 dataset (or only a list of its composites) with its test split; opens no image.

    The test split is ``test_list``, else the test lists that :mod:`harmonygen.data.lists` finds: that of the whole
    dataset, else those of the subsets.

    Raises:
        UsageError: another layout, no such list or subset, lines that are not composites, or two spellings of one list
            that name different composites.
    """
    if not data.exists():
        raise UsageError(f"--data '{data}' does not exist: give a dataset in iHarmony4 layout, a list file, or sample")
    if not iharmony4.matches(data):
        raise UsageError(
            f"--data '{data}' is not in iHarmony4 layout: augment needs a harmonization dataset with its composites "
            "(<Subset>/composite_images, masks, real_images), or a .txt or .jsonl list of them"
        )
    root, own = lists.place_of(data)
    subset = subset or own
    whole = iharmony4.read_iharmony4(data, list_file)
    _refuse_bad_lines(whole)
    train = tuple(pair for pair in whole if subset in (None, pair.subset))
    if not train:
        found = ", ".join(sorted({pair.subset for pair in whole}))
        raise UsageError(f"--subset '{subset}' is not in '{data}', which has {found}: choose one of these")
    named = None if test_list is None else [_named_list(root, test_list)]
    to_read = lists.lists_to_read(root, "test") if named is None else named
    test = _read_test(root, to_read)
    return Originals(
        root=root,
        train=train,
        test=tuple(pair for pair in test if subset in (None, pair.subset)),
        test_lists=tuple(listed.path for listed in to_read),
        real_ids=frozenset(pair.real_id for pair in whole),
        guarded=lists.held_out(root, named),
    )


def _read_test(root: Path, to_read: Sequence[lists.ListFile]) -> PairSet:
    names, faults = lists.read_lists(to_read)
    test = PairSet(iharmony4.pairs_on_disk(names, root), "iharmony4", root, tuple(faults))
    _refuse_bad_lines(test)
    if to_read and not names:
        raise UsageError(
            f"no composite is named in {shown(str(listed.path) for listed in to_read)}: name the test composites, one "
            "per line, or remove the list"
        )
    return test


def _refuse_bad_lines(pairs: PairSet) -> None:
    if pairs.bad:
        raise UsageError(f"{len(pairs.bad)} lines of the list are not composites; the first: {pairs.bad[0].message}")


def _named_list(root: Path, test_list: str) -> lists.ListFile:
    found = next((path for path in (Path(test_list), root / test_list) if path.is_file()), None)
    if found is None:
        raise UsageError(f"--test-list '{test_list}' is not a file, here or in '{root}': check its path")
    return lists.list_at(found, root)


def photo_path(pair: Pair) -> Path:
    """Return the file of a pair's photo."""
    assert isinstance(pair.real, FileSource), "the iHarmony4 reader gives files"
    return pair.real.path


def mask_path(pair: Pair) -> Path:
    """Return the file of a pair's mask."""
    assert isinstance(pair.mask, FileSource), "the iHarmony4 reader gives files"
    return pair.mask.path


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def refuse_missing(originals: Originals) -> None:
    """Refuse a training split with files missing.

    Raises:
        StorageError: naming the first files.
    """
    missing = originals.missing(originals.train)
    if missing:
        raise StorageError(
            f"{len(missing)} files of the training list are not in '{originals.root}': "
            f"{shown(missing, 'files')}: complete the dataset or correct the list"
        )


def heldout_on_disk(originals: Originals) -> tuple[Pair, ...]:
    """Return the test split if its files are all there, nothing if none of its composites is.

    Raises:
        StorageError: some files are there and some are not.
    """
    missing = originals.missing(originals.test)
    composites = [originals.root / name for pair in originals.test for name in pair.originals]
    if missing and any(path.is_file() for path in composites):
        raise StorageError(
            f"{len(missing)} files of the test split are not in '{originals.root}': "
            f"{shown(missing, 'files')}: complete the dataset or correct the test list"
        )
    return () if missing else originals.test


def refuse_other_sizes(pairs: Sequence[Pair], picked: Mapping[str, Sequence[Mapping[str, Any]]]) -> frozenset[str]:
    """Refuse picked composites that are not of their original photo's size: a trainer would read them as a pair.

    Returns:
        The photos (their ids) whose files other readers decode to other pixels than the composites were made from:
        they have transparency, 16 bits or a rare colour mode, and have to be written converted.

    Raises:
        UsageError: naming the first composites with both sizes.
        InputError: a photo cannot be read.
    """
    wanted = [pair for pair in pairs if picked.get(pair.pair_id)]
    photos = {pair.real_id: photo_path(pair) for pair in wanted}
    with ThreadPoolExecutor() as threads:
        headers_of = dict(zip(photos, threads.map(_header, photos.values()), strict=True))
    headers = [headers_of[pair.real_id] for pair in wanted]
    wrong = []
    for pair, header in zip(wanted, headers, strict=True):
        made = {(row["width"], row["height"]) for row in picked[pair.pair_id]}
        if made != {header.size} or header.orientation != 1:
            turned = f" (stored turned, EXIF orientation {header.orientation})" if header.orientation != 1 else ""
            made_names = ", ".join(f"{width}x{height}" for width, height in sorted(made))
            wrong.append(f"{pair.pair_id} is {made_names} but its photo is {header.size[0]}x{header.size[1]}{turned}")
    if wrong:
        raise UsageError(
            f"composites of {len(wrong)} pairs are not of their photo's size: {shown(wrong, 'pairs')}: "
            "synthesize without --max-side and --fit square, or pass --format parquet, which keeps the resized photos"
        )
    return frozenset(pair.real_id for pair, header in zip(wanted, headers, strict=True) if not header.plain)


class _Header(NamedTuple):
    """A photo's (width, height) in its file, its EXIF orientation, and whether plain decoding gives its pixels."""

    size: tuple[int, int]
    orientation: int
    plain: bool


def _header(path: Path) -> _Header:
    """Read a photo's header; its pixels are decoded only if it has transparency."""
    try:
        with Image.open(path) as opened:
            deep = is_deep(opened)
            orientation = int(opened.getexif().get(_ORIENTATION, 1) or 1)
            return _Header(opened.size, orientation, not deep and is_plain(opened))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read the size of '{path}' ({error}): export the photo again") from error
