"""The base set and the test set of a gain study, as one iHarmony4 tree with both lists.

Data that have composites are taken as their lists have them. Photos without composites are split first, by photo and
with near-duplicates on one side, and given composites by colour transfer, each side from its own photos.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harmonygen.augmentation import leak_guard
from harmonygen.augmentation import pick as picks
from harmonygen.augmentation.dataset import Originals, read_originals, refuse_missing
from harmonygen.augmentation.export import refuse_names, wanted, write_pairs_and_composites
from harmonygen.augmentation.gamma import count_pairs, plan_gamma
from harmonygen.augmentation.write import Mix, write_tree
from harmonygen.data import SAMPLE, detect_layout, read_pairs
from harmonygen.data import write_tree as tree
from harmonygen.data.split import near_duplicate_groups, split_groups
from harmonygen.errors import UsageError
from harmonygen.gain.settings import GainSettings
from harmonygen.pictures.copies import copies, look_at
from harmonygen.pictures.images import encode, read_image
from harmonygen.pictures.masks import read_mask
from harmonygen.records import AS_STATED, FileSource, Pair, PairSet
from harmonygen.runs.job_folder import PLAN
from harmonygen.runs.read import Run
from harmonygen.storage import shards
from harmonygen.storage.bounded import check_file
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.synthesize import synthesize

Say = Callable[[str], None]
SUMMARY = "summary.json"
SIDES = ("train", "test")


def base_folder(settings: GainSettings) -> Path:
    """Return the tree of the base set and the test set."""
    return settings.out / "data" / "base"


def has_composites(settings: GainSettings) -> bool:
    """Return whether the data come with composites of their own."""
    return settings.data != SAMPLE and (settings.layout or detect_layout(settings.data)) == "iharmony4"


def make_base(settings: GainSettings, say: Say) -> Path:
    """Write the tree of the base set and the test set, unless it is there.

    Raises:
        UsageError: no test list, too few photos, or test photos that look like training photos.
    """
    out = base_folder(settings)
    if (out / SUMMARY).is_file():
        return out
    shards.make_folder(out)
    counts = _from_lists(settings, out) if has_composites(settings) else _from_photos(settings, out, say)
    shards.write_json(out / SUMMARY, counts)
    say(f"base set: {counts['train']} composites, test set: {counts['test']}")
    return out


def refuse_changed_runs(settings: GainSettings) -> None:
    """Refuse to continue with a study whose photos or masks changed since candidates were made of them.

    Raises:
        UsageError: naming the run and its first pairs.
    """
    for plan in sorted((settings.out / "candidates").glob(f"*/{PLAN}")):
        Run.look(plan.parent).refuse_changed()


def _from_lists(settings: GainSettings, out: Path) -> dict[str, Any]:
    """Link the data as its lists have it."""
    dataset = _listed(settings)
    train = {pair.real_id: pair.real for pair in dataset.train}
    leak_guard.refuse_test_ids(train, dataset.guarded)
    compared = 0
    if settings.leak_guard == "hash":
        compared = leak_guard.refuse_near_duplicates(train, dataset.guarded_photos())
    run = Run(out, {}, ())  # no run: nothing is mixed in
    nothing, gamma = picks.Picks({}, 0, (), 0), plan_gamma(0.0, pairs_and_composites(dataset))
    write_tree(Mix(out, "iharmony4", "sym", dataset, dataset.test, gamma, run, nothing))
    counts = {"train": _count(dataset.train), "test": _count(dataset.test), "made": False}
    return {**counts, "leak_guard": leak_guard.told(dataset.guarded, compared)}


def _listed(settings: GainSettings) -> Originals:
    """Read data that have composites, whose files are all there."""
    if settings.mask_values:
        raise UsageError(f"--mask-values are for photos with masks; '{settings.data}' has composites: drop them")
    dataset = read_originals(Path(settings.data), settings.list_file, settings.subset, settings.test_list)
    if not dataset.test:
        raise UsageError(f"'{settings.data}' has no test list: name one with test_list=...")
    refuse_missing(replace(dataset, train=(*dataset.train, *dataset.test)))
    return dataset


def _count(pairs: Sequence[Pair]) -> int:
    return sum(len(pair.originals) for pair in pairs)


def _from_photos(settings: GainSettings, out: Path, say: Say) -> dict[str, Any]:
    """Split the photos, make composites of each side by colour transfer, and write them as one tree."""
    sides = split_pairs(settings)[: len(SIDES)]
    counts: dict[str, Any] = {"made": True}
    manifest: list[dict[str, Any]] = []
    for side, pairs in zip(SIDES, sides, strict=True):
        table = write_table(pairs, settings.out / "photos" / side)
        run = settings.out / "candidates" / f"originals-{side}"
        say(f"{side}: {settings.originals.k} composites ({settings.originals.generator}) of each of {len(pairs)} masks")
        synthesize(transfers(settings, table, run, settings.per_photo))
        made = Run.open(run)
        rows, gated = wanted(made, "selected")
        refuse_names(made)
        written = write_pairs_and_composites(out, "sym", made, rows)
        tree.write_lists(out, [row["composite"] for row in written], side)
        manifest += written
        short = settings.per_photo * len(pairs) - len(rows)
        counts |= {side: len(rows), f"{side}_gated": gated, f"{side}_short": short}
        counts[f"{side}_photos"] = len({pair.real_id for pair in pairs})
    tree.write_manifest(out, manifest, "gain")
    return counts


def transfers(settings: GainSettings, data: Path, out: Path, keep: int, seed: int = 0) -> SynthesizeSettings:
    """Return the settings of a run of colour transfers that selects ``keep`` of each pair."""
    made = settings.originals.model_dump() | {"seed": settings.originals.seed + seed} | settings.reading_of_copies()
    return SynthesizeSettings(**made, data=str(data), out=out, keep=str(keep))


def study_inputs(settings: GainSettings) -> PairSet:
    """Read the pairs of a study, of data that have composites those of both lists; no picture is opened.

    Raises:
        UsageError: no layout fits, no test list, or too few photos.
        StorageError: files of the lists are missing.
    """
    if not has_composites(settings):
        return study_pairs(settings)
    dataset = _listed(settings)
    return PairSet((*dataset.train, *dataset.test), "iharmony4", dataset.root)


def foreseen(settings: GainSettings) -> tuple[int, int]:
    """Return the masks and the composites of the base set before it is made: by the lists, or about.

    Raises:
        UsageError: as :func:`study_inputs`.
    """
    if has_composites(settings):
        train = _listed(settings).train
        return len(train), _count(train)
    pairs = study_pairs(settings)
    masks = round(settings.base_photos * len(pairs) / len({pair.real_id for pair in pairs}))
    return masks, masks * settings.per_photo


class Sides(NamedTuple):
    """The pairs of a study: of the base set, of the test set, and of photos that are in neither."""

    base: list[Pair]
    test: list[Pair]
    left: list[Pair]


def split_pairs(settings: GainSettings) -> Sides:
    """Split the photos into ``base_photos`` and ``test_photos``, by seed, and those that are left over.

    Near-duplicates, and photos of one source (column ``source_photo`` of the split file), stay on one side.

    Raises:
        UsageError: too few photos.
    """
    rows, pairs = _split_rows(settings), study_pairs(settings)
    photos: dict[str, Pair] = {}
    for pair in pairs:
        photos.setdefault(pair.real_id, pair)
    names = sorted(photos)
    groups = _groups([photos[name] for name in names], rows)
    test = _take(names, groups, settings.test_photos, settings.seed)
    places = [place for place, name in enumerate(names) if name not in test]
    rest = [names[place] for place in places]
    base = _take(rest, [groups[place] for place in places], settings.base_photos, settings.seed + 1)
    left = set(rest) - base
    return Sides(*([pair for pair in pairs if pair.real_id in side] for side in (base, test, left)))


def study_pairs(settings: GainSettings) -> PairSet:
    """Read the photos without composites that a study may take, those of its split.

    Raises:
        UsageError: too few photos.
    """
    rows, found = _split_rows(settings), read_pairs(settings.data, reading=settings.reading())
    found = replace(found, pairs=tuple(pair for pair in found if rows is None or _key(pair) in rows))
    photos, needed = len({pair.real_id for pair in found}), settings.base_photos + settings.test_photos
    if photos < needed:
        raise UsageError(f"'{settings.data}' has {photos} photos, {needed} are asked for: lower base_photos")
    return found


def _take(names: Sequence[str], groups: Sequence[int], count: int, seed: int) -> set[str]:
    """Draw ``count`` photos in whole groups."""
    sides = split_groups(names, groups, seed, count / len(names))
    return {name for name, side in zip(names, sides, strict=True) if side == "test"}


def _key(pair: Pair) -> tuple[str, str]:
    return pair.subset, pair.real_id.rpartition("/")[2]


def _split_rows(settings: GainSettings) -> dict[tuple[str, str], str] | None:
    """Return the source photo of each (subset, name) that the split file puts into the split; None without a file."""
    if settings.split_file is None:
        return None
    try:
        with open(settings.split_file, newline="", encoding="utf-8-sig") as opened:
            rows = [row for row in csv.DictReader(opened) if row["split"] == settings.split]
        found = {(row["kind"], row["name"]): row.get("source_photo") or row["name"] for row in rows}
    except (OSError, KeyError, csv.Error) as error:
        raise UsageError(
            f"cannot use split_file '{settings.split_file}' ({error!r}): a CSV with kind, name and split is needed"
        ) from error
    return found


def _groups(photos: Sequence[Pair], sources: Mapping[tuple[str, str], str] | None) -> list[int]:
    """Return the group of each photo: near-duplicates by hash and copies, joined with photos of one source."""
    files = [pair.real for pair in photos]
    looks = look_at(files)
    linked = [(copy.left, copy.right) for copy in copies(looks, looks, files, files)]
    groups = near_duplicate_groups(looks.hashes, linked=linked)
    if sources is None:
        return groups
    first: dict[tuple[str, str], int] = {}
    for pair, group in zip(photos, groups, strict=True):
        own = first.setdefault((pair.subset, sources[_key(pair)]), group)
        if own != group:
            groups = [own if other == group else other for other in groups]
            first = {name: own if other == group else other for name, other in first.items()}
    return groups


@dataclass(frozen=True)
class _Files:
    folder: Path

    def photo(self, pair: Pair) -> Path:
        """Return the pair's photo as a file; one inside a table or archive is written out."""
        if isinstance(pair.real, FileSource):
            check_file(pair.real.path, str(pair.real), pair.real.within)
            return pair.real.path.absolute()
        path = self.folder / "images" / f"{pair.real_id.replace('/', '--')}.png"
        if not path.is_file():
            shards.write_bytes(path, encode(read_image(pair.real).image_u8))
        return path

    def mask(self, pair: Pair) -> Path:
        """Return the pair's mask as a file; one that is read by more than the stated rule is written as it was read."""
        if isinstance(pair.mask, FileSource) and pair.mask.rule == AS_STATED:
            check_file(pair.mask.path, str(pair.mask), pair.mask.within)
            return pair.mask.path.absolute()
        path = self.folder / "masks" / f"{pair.pair_id.replace('/', '--')}.png"
        if not path.is_file():
            mask = read_mask(pair.mask, read_image(pair.real))
            shards.write_bytes(path, encode(np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255))
        return path


def write_table(pairs: Sequence[Pair], folder: Path) -> Path:
    """Write a table of pairs, which `synthesize` reads, and return its path.

    Raises:
        InputError: a file that the data may not name.
    """
    for name in ("images", "masks"):
        shards.make_folder(folder / name)
    files, text = _Files(folder), io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["real", "mask", "pair_id", "real_id", "mask_id", "subset"])
    for pair in pairs:
        mask_id = pair.mask_id.replace("_", "-")
        pair_id = f"{pair.real_id}_{mask_id}"
        writer.writerow([files.photo(pair), files.mask(pair), pair_id, pair.real_id, mask_id, pair.subset])
    path = folder / "pairs.csv"
    shards.write_bytes(path, text.getvalue().encode())
    return path


def pairs_and_composites(dataset: Originals) -> dict[str, tuple[int, int]]:
    """Return pairs and composites of the base set by subset."""
    return count_pairs((pair.subset, len(pair.originals)) for pair in dataset.train)


def link_tree(dataset: Originals, out: Path, train: Sequence[str]) -> None:
    """Link the files of the base set and the test set into ``out``, and list ``train`` and the test set there."""
    for name in dataset.files((*dataset.train, *dataset.test)):
        link(dataset.root / name, out / name)
    tree.write_lists(out, train, "train")
    tree.write_lists(out, [name for pair in dataset.test for name in pair.originals], "test")


def link(source: Path, target: Path) -> None:
    """Link a file, with the folder it goes to."""
    shards.make_folder(target.parent)
    tree.place(source, target, "sym")
