"""Write a planned mix of originals and candidates, as an iHarmony4 tree or as Parquet; both continue after a kill."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from posixpath import basename, dirname, splitext
from typing import Any, Literal

from harmonygen.augmentation import pick as picks
from harmonygen.augmentation.dataset import Originals
from harmonygen.augmentation.gamma import GammaPlan
from harmonygen.augmentation.leak_guard import LookAlikes
from harmonygen.data import manifest
from harmonygen.data import write_tree as tree
from harmonygen.data.lists import read_lines
from harmonygen.data.plain_names import PairName, plain_pairs
from harmonygen.data.write_parquet import ShardedParquetWriter, SplitInfo, card_metadata, write_readme
from harmonygen.errors import StorageError
from harmonygen.pictures.images import encode, read_image
from harmonygen.pictures.masks import read_mask
from harmonygen.pictures.stored import PhotoForm, convert
from harmonygen.records import Pair
from harmonygen.runs.read import PairImages, Run, in_file_order
from harmonygen.storage import shards
from harmonygen.storage.parquet_cells import IMAGE, image_cell, image_schema

Progress = Callable[[int, int], None]
Row = dict[str, Any]

_THREADS = 32  # composites synced to disk at a time: the disk takes the waits of many together
_PROVENANCE = ("k", "seed", "p_composite", "model_digest", "clipped", "fmse", "structure", "drift")

PARQUET_COLUMNS = {
    "real": IMAGE,
    "mask": IMAGE,
    "composite": IMAGE,
    "name": "string",
    **{name: kind for name, kind in tree.MANIFEST.items() if name not in ("real", "mask", "composite", *tree.WAY_BACK)},
}
"""Columns of the Parquet dataset: the triplet, then the manifest's (``name`` is the composite's path there)."""


@dataclass(frozen=True)
class Mix:
    """Everything that is going to be written, decided: dataset, test split on disk, arithmetic, run and picks.

    ``converted`` are the photos (their ids) that a tree gets as PNG of the pixels that the composites were made from,
    since plain decoding of their files gives others. ``options`` are the settings that decide the result.
    ``photos`` is the form of a tree's photos and names; ``own`` leaves those of the dataset. ``look_alikes`` of test
    photos are in neither split.
    """

    out: Path
    format: Literal["iharmony4", "parquet"]
    link: tree.Link
    dataset: Originals
    test: tuple[Pair, ...]
    gamma: GammaPlan
    run: Run
    picks: picks.Picks
    converted: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)
    photos: Literal["jpg", "png", "own"] = "own"
    look_alikes: LookAlikes = field(default_factory=LookAlikes)

    @cached_property
    def digest(self) -> str:
        """The digest of the options, the run, and every composite that is written, in order (32 hex digits)."""
        options = dict(self.options)
        if all(name == target for name, target in self.targets.items()):
            options.pop("photos", None)  # nothing depends on it
        digest = hashlib.blake2b(json.dumps([options, self.run.plan_digest], sort_keys=True).encode(), digest_size=16)
        for pair in self.dataset.train:
            for name in pair.originals:
                digest.update(json.dumps([name, pair.pair_id, None, None]).encode())
        for picked, name in zip(self.picked, self.new_names, strict=True):
            digest.update(json.dumps([name, picked["pair_id"], picked["k"], picked["seed"]]).encode())
        for pair in self.test:
            digest.update(json.dumps(pair.originals).encode())
        return digest.hexdigest()

    @cached_property
    def prefix(self) -> str:
        """What the variants of new composites start with: one that no original uses."""
        return tree.new_variant(name for pair in self.dataset.train for name in pair.originals)

    @cached_property
    def picked(self) -> list[Mapping[str, Any]]:
        """All picked candidates in the order of the run's files."""
        return in_file_order(row for rows in self.picks.by_pair.values() for row in rows)

    @cached_property
    def pairs(self) -> dict[str, Pair]:
        """Training pairs by id."""
        return {pair.pair_id: pair for pair in self.dataset.train}

    @cached_property
    def targets(self) -> dict[str, str]:
        """Return the new name of each file of the dataset, by its old name; both are relative to the root."""
        pairs = (*self.dataset.train, *self.test)
        if self.photos == "own":
            named = {name: name for name in self.dataset.files(pairs)}
            return named | {name: str(PurePosixPath(name).with_suffix(".png")) for name in self._to_convert}
        return plain_targets(self.dataset, pairs, self.photos, self._to_convert)

    @cached_property
    def inside(self) -> dict[str, tuple[str, str]]:
        """Photo and mask of each pair, by its id, relative to the new root: asked for several times a file."""
        return {pair.pair_id: self._inside(pair) for pair in (*self.dataset.train, *self.test)}

    def _inside(self, pair: Pair) -> tuple[str, str]:
        photo, mask = self.dataset.inside(pair)
        return self.targets[photo], self.targets[mask]

    @cached_property
    def _to_convert(self) -> frozenset[str]:
        """The photos that have to be written converted, by their file in the dataset, relative to its root."""
        return frozenset(self.dataset.inside(pair)[0] for pair in self.dataset.train if pair.real_id in self.converted)

    @cached_property
    def rewritten(self) -> dict[str, Pair]:
        """The photos and masks that are written again and not linked, by their file in the dataset, with their pair."""
        found: dict[str, Pair] = {}
        for pair in (*self.dataset.train, *self.test):
            photo, mask = self.dataset.inside(pair)
            for name in (photo, mask):
                if name in self._to_convert or not _same_kind(name, self.targets[name]):
                    found[name] = pair
        return found

    @cached_property
    def new_names(self) -> list[str]:
        """The paths that the picked candidates get, in their order, relative to the dataset's root."""
        return [self._new_name(picked) for picked in self.picked]

    def _new_name(self, picked: Mapping[str, Any]) -> str:
        suffix = splitext(picked["composite"]["path"] or "")[1].lower().replace(".jpeg", ".jpg") or ".png"
        return tree.new_composite(self.inside[picked["pair_id"]][1], self.prefix, picked["k"], suffix)

    def originals_rows(self, pairs: Iterable[Pair]) -> Iterator[Row]:
        """Yield the manifest's row of every original composite."""
        for pair in pairs:
            for name in pair.originals:
                way_back = {"real_id": pair.real_id, "named_before": name}
                yield {**self._row(pair, self.targets[name]), **way_back, "source": "original"}

    def new_row(self, picked: Mapping[str, Any], name: str) -> Row:
        """Return the manifest's row of a picked candidate that gets this name."""
        row = self._row(self.pairs[picked["pair_id"]], name)
        provenance = {name: picked[name] for name in _PROVENANCE}
        way_back = {"real_id": picked["real_id"]}
        return {**row, **way_back, "source": "harmonygen", "run": self.run.plan_digest, **provenance}

    def manifest(self) -> Iterator[Row]:
        """Yield the manifest's rows: originals, then new composites."""
        yield from self.originals_rows(self.dataset.train)
        yield from map(self.new_row, self.picked, self.new_names)

    def _row(self, pair: Pair, composite: str) -> Row:
        real, mask = self.inside[pair.pair_id]
        subset = dirname(dirname(mask))
        return {"composite": composite, "real": real, "mask": mask, "subset": subset, "pair_id": pair.pair_id}


_JPEG = (".jpg", ".jpeg")


def _same_kind(name: str, target: str) -> bool:
    """Return whether a file may have the target's name with its own bytes."""
    before, after = (splitext(each)[1].lower() for each in (name, target))
    return before == after or {before, after} <= set(_JPEG)


def plain_targets(
    dataset: Originals, pairs: Sequence[Pair], form: PhotoForm, to_convert: Collection[str]
) -> dict[str, str]:
    """Return the names that a dataset's files get in a tree that every loader reads, by their names in the dataset.

    Photos in ``to_convert``, and those of other formats than the form's, get its suffix; masks get ``.png``. Data that
    keep the rule keep their names.
    """
    given = {pair.pair_id: _given(dataset, pair) for pair in pairs}
    named = plain_pairs(given.items())
    targets: dict[str, str] = {}
    for pair in pairs:
        (photo, mask), before, after = dataset.inside(pair), given[pair.pair_id], named[pair.pair_id]
        home = f"{after.subset}/" if before.subset else ""
        stem = f"{after.photo}_{after.mask}"
        suffix = "" if photo in to_convert else _suffix_of(photo, form)
        targets[photo] = f"{home}{tree.REALS}/{after.photo}{suffix or f'.{form}'}"
        targets[mask] = f"{home}{tree.MASKS}/{stem}.png"
        cut = len(f"{before.photo}_{before.mask}")
        for name in pair.originals:
            targets[name] = f"{home}{tree.COMPOSITES}/{stem}{basename(name)[cut:]}"
    return targets


def _given(dataset: Originals, pair: Pair) -> PairName:
    """Return the names of a pair as its files have them."""
    photo, mask = dataset.inside(pair)
    stem = splitext(basename(photo))[0]
    return PairName(dirname(dirname(mask)), stem, splitext(basename(mask))[0][len(stem) + 1 :])


def _suffix_of(photo: str, form: PhotoForm) -> str:
    suffix = splitext(photo)[1].lower()
    return ".jpg" if suffix in _JPEG else suffix if suffix == f".{form}" else ""


def write_mix(mix: Mix, progress: Progress | None = None) -> None:
    """Write a mix in its format; what an earlier, killed run has written already is not written again."""
    write = write_parquet if mix.format == "parquet" else write_tree
    write(mix, progress)


def writes(mix: Mix) -> list[str]:
    """Return the files that a mix comes to, relative to its folder; those of ``data/`` sweep themselves."""
    if mix.format == "parquet":
        return ["README.md", manifest.NAME]
    pairs = (*mix.dataset.train, *mix.test)
    subsets = (dirname(dirname(mix.inside[pair.pair_id][1])) for pair in pairs)
    return [*tree.summed_up(subsets), *mix.targets.values(), *mix.new_names]


def write_tree(mix: Mix, progress: Progress | None = None) -> None:
    """Write the iHarmony4 layout: originals linked, new composites beside them, lists and manifest last.

    Raises:
        StorageError: a file cannot be linked or written.
    """
    sources = mix.dataset.files((*mix.dataset.train, *mix.test))
    total, done = len(sources) + len(mix.picked), 0
    made = [shards.make_folder(mix.out / folder) for folder in sorted(set(map(dirname, mix.targets.values())))]
    for done, name in enumerate(sources, 1):
        target = mix.out / mix.targets[name]
        if pair := mix.rewritten.get(name):
            shards.write_bytes(target, _rewritten(pair, name == mix.dataset.inside(pair)[0], target))
        else:
            tree.place(mix.dataset.root / name, target, mix.link)
        if progress is not None:
            progress(done, total)
    for folder in made:
        shards.sync(folder)  # links are durable before the lists and the summary tell of them
    for done in _write_composites(mix):
        if progress is not None:
            progress(len(sources) + done, total)
    _write_lists(mix)
    tree.write_manifest(mix.out, list(mix.manifest()), mix.digest)


def _rewritten(pair: Pair, is_photo: bool, target: Path) -> bytes:
    """Return a photo, or the mask, of a pair in the format of the target's suffix."""
    photo = read_image(pair.real)
    if not is_photo:
        mask: Any = read_mask(pair.mask, photo)
        return encode(mask)
    return convert(photo.image_u8, "jpg" if target.suffix in _JPEG else "png", str(pair.real)).encoded


def _write_composites(mix: Mix) -> Iterator[int]:
    """Write the new composites with their bytes untouched, a few at a time; yield how many are done."""
    there = [os.path.isfile(os.path.join(mix.out, name)) for name in mix.new_names]
    left = [picked for picked, is_there in zip(mix.picked, there, strict=True) if not is_there]
    names = [name for name, is_there in zip(mix.new_names, there, strict=True) if not is_there]
    done = sum(there)
    running: deque[Future[None]] = deque()
    with ThreadPoolExecutor(_THREADS) as threads:
        for (_, encoded), name in zip(mix.run.composites(left), names, strict=True):
            running.append(threads.submit(_write_composite, mix.out / name, encoded))
            if len(running) >= 2 * _THREADS:
                running.popleft().result()
                done += 1
                yield done
        for future in running:
            future.result()
    for folder in set(map(dirname, mix.new_names)):
        shards.sync(mix.out / folder)  # once each: what tells of the files is written after it
    yield len(there)


def _write_composite(target: Path, encoded: bytes) -> None:
    found = tree.image_suffix(encoded, target.name)
    if found != target.suffix:
        raise StorageError(f"'{target.name}' holds a {found} image: run synthesize again for this pair")
    shards.write_bytes(target, encoded, sync_entry=False)


def _write_lists(mix: Mix) -> None:
    originals = [mix.targets[name] for pair in mix.dataset.train for name in pair.originals]
    _write_all_lists(mix, [*originals, *mix.new_names], "train")
    if not mix.test:
        return
    composites = [mix.targets[name] for pair in mix.test for name in pair.originals]
    _write_all_lists(mix, composites, "test")
    if len(mix.dataset.test_lists) == 1 and mix.dataset.test_lists[0].suffix == ".txt":
        (listed,) = mix.dataset.test_lists
        if sorted(read_lines(listed)) == sorted(composites):  # of these very paths: kept in the order that it has
            tree.place(listed, mix.out / "IHD_test.txt", "copy")


def _write_all_lists(mix: Mix, composites: Sequence[str], split: str) -> None:
    tree.write_lists(mix.out, composites, split)
    if mix.photos != "own":
        tree.write_plain_lists(mix.out, composites, split)


def write_parquet(mix: Mix, progress: Progress | None = None) -> None:
    """Write the Parquet dataset: ``data/train-*``, ``data/test-*`` if there is a test split, README, manifest last.

    Raises:
        StorageError: a file cannot be read or written.
    """
    schema = image_schema(PARQUET_COLUMNS)
    total = sum(1 for _ in mix.manifest()) + sum(len(pair.originals) for pair in mix.test)
    splits: dict[str, SplitInfo] = {}
    before = 0
    for split, rows in (("train", train_rows), ("test", heldout_rows)):
        if split == "test" and not mix.test:
            continue
        with ShardedParquetWriter(mix.out, split, schema, mix.digest) as writer:
            for row in rows(mix, writer.rows):
                writer.write(row)
                if progress is not None:
                    progress(before + writer.rows, total)
        splits[split] = writer.close()
        before += writer.rows
    write_readme(mix.out, card_metadata(schema, splits), _readme(mix, splits))
    files = [(path, split) for split, info in splits.items() for path in info.files]
    entries = [manifest.entry(mix.out, path, "default", split) for path, split in files]
    manifest.write_manifest(mix.out, [*entries, manifest.entry(mix.out, mix.out / "README.md")])


def train_rows(mix: Mix, skip: int) -> Iterator[Row]:
    """Yield the training rows after the first ``skip``: originals pair by pair, then new composites."""
    count = sum(len(pair.originals) for pair in mix.dataset.train)
    yield from _original_rows(mix, mix.dataset.train, skip)
    yield from _new_rows(mix, max(0, skip - count))


def heldout_rows(mix: Mix, skip: int) -> Iterator[Row]:
    """Yield the test rows after the first ``skip``."""
    return _original_rows(mix, mix.test, skip)


def _original_rows(mix: Mix, pairs: Iterable[Pair], skip: int) -> Iterator[Row]:
    for row in islice(mix.originals_rows(pairs), skip, None):
        images = {name: _file_cell(mix.dataset.root / row[name]) for name in ("real", "mask", "composite")}
        yield {**row, **images, "name": row["composite"]}


def _new_rows(mix: Mix, skip: int) -> Iterator[Row]:
    part, images = -1, dict[str, PairImages]()
    for (candidate, encoded), name in zip(mix.run.composites(mix.picked[skip:]), mix.new_names[skip:], strict=True):
        if candidate["part"] != part:
            part = candidate["part"]
            images = dict(mix.run.images(part))
        row = mix.new_row(candidate, name)
        real, _, mask = images[candidate["pair_id"]]
        path = mix.dataset.root / row["real"]
        yield {
            **row,
            "real": _file_cell(path) if real is None else image_cell(real, f"{path.stem}.png"),
            "mask": image_cell(mask, f"{PurePosixPath(row['mask']).stem}.png"),
            "composite": image_cell(encoded, PurePosixPath(row["composite"]).name),
            "name": row["composite"],
        }


def _file_cell(path: Path) -> dict[str, Any]:
    try:
        return image_cell(path.read_bytes(), path.name)
    except OSError as error:
        raise StorageError(f"cannot read '{path}': {error.strerror or error}: check the dataset") from error


def _readme(mix: Mix, splits: Mapping[str, SplitInfo]) -> str:
    rows = "\n".join(
        f"| {row.subset or '(all)'} | {row.pairs} | {row.composites} | {float(row.ratio):.4g} | {row.per_pair} |"
        for row in mix.gamma.rows
    )
    held = ", ".join(f"{name} {info.rows:,}" for name, info in splits.items())
    return f"""# Harmonization data augmented at gamma = {mix.gamma.gamma:g}

Rows: {held}. Each row is a `real` photo, a foreground `mask` (white) and a `composite`; `source` is `original` or
`harmonygen`, and a harmonygen row carries its seed, score, gate values and weights digest.

To each pair were added ceil(gamma N2 / N1) candidates of inverse harmonization (N1 pairs, N2 original composites):

| subset | N1 | N2 | gamma N2/N1 | added a pair |
|---|---:|---:|---:|---:|
{rows}

Made with harmonygen from the synthesis run `{mix.run.plan_digest}`.
"""
