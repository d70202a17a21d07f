"""Two arms for a harmonization trainer beside an augmented tree: base and augmented, of equal steps.

The trainer's scripts (:mod:`harmonygen.trainers.issam`) train for a fixed number of passes over the training lists; so
the base arm's lists name its composites again and again, until they are as long as the augmented ones. Photos, masks
and composites of an arm are links to the tree's folders. Predictions are made from pictures of the test composites at
256 px, resized as the protocol ``paper`` of ``evaluate`` does it, so that no other resizing counts as an error. They
are PNG, since a trainer that names results like their inputs stores JPEG with losses.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from posixpath import basename, dirname

import numpy as np

from harmonygen import seeds
from harmonygen.augmentation.settings import AugmentSettings
from harmonygen.data.composites import CompositeSet, composites_of
from harmonygen.data.lists import read_lines
from harmonygen.data.write_tree import COMPOSITES, MASKS, REALS
from harmonygen.pictures.images import encode, read_image, resize
from harmonygen.pictures.masks import load_mask, resize_mask
from harmonygen.records import Composite, FileSource
from harmonygen.runs.job_folder import PLAN, SUMMARY, JobPlan, job_folder
from harmonygen.storage import shards
from harmonygen.trainers.issam import CONFIG, FOLDERS, NAME, SIDE, START, config, folders_of, start

Progress = Callable[[int, int], None]

BASE, AUGMENTED = "base", "augmented"
_THREADS = 4


@dataclass(frozen=True)
class Arms:
    """What was written: ``epoch`` training lines in each of ``arms``, ``test`` pictures, the commands that train."""

    folder: Path
    arms: tuple[str, ...]
    epoch: int
    test: int
    commands: tuple[str, ...]
    finished_before: bool


@dataclass(frozen=True)
class _Tree:
    """An augmented tree as it lies on disk: its training lists by subset, and its test composites."""

    root: Path
    seed: int

    @cached_property
    def rows(self) -> list[tuple[str, str, bool]]:
        """(subset, bare name, whether it is new) of each training composite, in the list's order."""
        import pyarrow.parquet as pq

        table = pq.read_table(self.root / "manifest.parquet", columns=["composite", "source"])
        sources = dict(zip(table["composite"].to_pylist(), table["source"].to_pylist(), strict=True))
        listed = read_lines(self.root / "IHD_train.txt")
        return [(dirname(dirname(line)), basename(line), sources[line] != "original") for line in listed]

    @cached_property
    def test(self) -> CompositeSet:
        """The test composites, sorted by name."""
        return composites_of(self.root, role="test").by_name()

    @cached_property
    def keys(self) -> dict[str, str]:
        """The subset of each key of ``config.yml``."""
        return folders_of({subset for subset, *_ in self.rows} | {each.subset for each in self.test})

    def names(self, arm: str) -> dict[str, list[str]]:
        """Return an arm's training names by subset: as many in each arm."""
        found: dict[str, list[str]] = {}
        for subset, name, _ in self.rows if arm == AUGMENTED else self._repeated():
            found.setdefault(subset, []).append(name)
        return found

    def _repeated(self) -> list[tuple[str, str, bool]]:
        """Return the originals, all of them as often as fits, and some, drawn at random, once more."""
        own = [row for row in self.rows if not row[2]]
        times, rest = divmod(len(self.rows), len(own))
        drawn = seeds.numpy_rng(NAME, self.seed).permutation(len(own))[:rest]
        return own * times + [own[index] for index in np.sort(drawn)]

    @cached_property
    def test_names(self) -> dict[str, list[str]]:
        """The files' names of the test composites by subset."""
        found: dict[str, list[str]] = {}
        for each in self.test:
            assert isinstance(each.composite, FileSource), "a tree has files"
            found.setdefault(each.subset, []).append(each.composite.path.name)
        return found

    def folder(self, key: str) -> str:
        """Return the name of a key's folder in an arm."""
        return self.keys.get(key, FOLDERS[key]) or "all"


def write_arms(settings: AugmentSettings, progress: Progress | None = None) -> Arms:
    """Write the arms of the augmented tree at ``settings.out`` into its folder ``issam``; resumed by the same call.

    Raises:
        UsageError: a folder of that name that is not ours, or of another tree.
        InputError: a test composite cannot be read.
        StorageError: no links, disk full: rerun the same command to resume.
    """
    tree, out = _Tree(settings.out, settings.seed), settings.out / NAME
    arms = (BASE, AUGMENTED) if any(new for *_, new in tree.rows) else (BASE,)
    plan = JobPlan(NAME, settings, {"tree": shards.read_json(settings.out / PLAN)["plan_digest"]})
    texts = {name: text for arm in arms for name, text in _texts(tree, out.absolute(), arm).items()}
    tests = Counter(each.subset for each in tree.test)
    texts[START] = start(out.absolute(), arms, len(tree.rows), tests, tree.keys)

    def whole() -> bool:  # a tree that was moved gets other paths in its configs
        return (out / SUMMARY).is_file() and all(_read(out / name) == text for name, text in texts.items())

    writes = [*texts, *(name for mask, own in _pictures(tree.test).items() for name in (mask, *own))]
    remedy = f"remove '{out}', with what was trained there"
    with job_folder(out, plan, writes, finished=whole, remedy=remedy) as job:
        if not job.finished:
            _write(tree, out, arms, texts, progress)
            job.finish({"arms": arms, "epoch": len(tree.rows), "test": len(tree.test)})
    command = f"sh {shlex.quote(str(out.absolute() / START))}"
    return Arms(out, arms, len(tree.rows), len(tree.test), tuple(f"{command} {arm}" for arm in arms), job.finished)


def _texts(tree: _Tree, out: Path, arm: str) -> dict[str, str]:
    """Return the lists and the config of an arm by their names, relative to ``out`` (absolute)."""
    both = {"train": tree.names(arm), "test": tree.test_names}
    found = {}
    for key in FOLDERS:
        name, subset = tree.folder(key), tree.keys.get(key)
        for split, lists in both.items():
            names = lists.get(subset, []) if subset is not None else []
            found[f"{arm}/data/{name}/{name}_{split}.txt"] = "".join(f"{each}\n" for each in names)
    folders = {key: out / arm / "data" / tree.folder(key) for key in FOLDERS}
    return found | {f"{arm}/{CONFIG}": config(out / arm, folders)}


def _write(tree: _Tree, out: Path, arms: Sequence[str], texts: Mapping[str, str], progress: Progress | None) -> None:
    for arm in arms:
        for key in FOLDERS:
            folder = shards.make_folder(out / arm / "data" / tree.folder(key))
            if key in tree.keys:
                _link(tree.root / tree.keys[key], folder)
    _write_pictures(tree.test, out, progress)
    for name, text in texts.items():
        shards.write_bytes(out / name, text.encode())


def _link(subset: Path, folder: Path) -> None:
    """Link the folders of a subset, by relative paths."""
    with shards.storage_errors(f"links in '{folder}'"):
        for kind in (REALS, COMPOSITES, MASKS):
            link, target = folder / kind, os.path.relpath(subset.absolute() / kind, folder.absolute())
            if not link.is_symlink() or os.readlink(link) != target:
                link.unlink(missing_ok=True)
                link.symlink_to(target, target_is_directory=True)
        shards.sync(folder)


def _pictures(test: Iterable[Composite]) -> dict[str, dict[str, Composite]]:
    """Return the test composites by the names of their mask's picture and of their own, relative to the arms."""
    found: dict[str, dict[str, Composite]] = {}
    for each in test:
        home, stem = f"test/{each.subset or 'all'}", basename(each.name)
        own = found.setdefault(f"{home}/{MASKS}/{stem.rpartition('_')[0]}.png", {})
        own[f"{home}/{COMPOSITES}/{stem}.png"] = each
    return found


def _write_pictures(test: CompositeSet, out: Path, progress: Progress | None) -> None:
    """Write the test composites and their masks at 256 px, those that are missing."""
    pictures, done = _pictures(test), 0
    folders = {(out / name).parent for mask, own in pictures.items() for name in (mask, *own)}
    for folder in folders:
        shards.make_folder(folder)
    with ThreadPoolExecutor(_THREADS) as threads:
        for count in threads.map(lambda mask: _write_some(out, mask, pictures[mask]), pictures):
            done += count
            if progress is not None:
                progress(done, len(test))
    for folder in folders:
        shards.sync(folder)


def _write_some(out: Path, mask_name: str, composites: Mapping[str, Composite]) -> int:
    """Write the composites of a mask, then the mask; return how many there are."""
    if not (out / mask_name).is_file():
        for name, case in composites.items():
            composite = read_image(case.composite)
            mask = resize_mask(load_mask(case.mask, composite), SIDE, SIDE)
            small = resize(composite.image_u8, SIDE, SIDE, "bilinear")
            shards.write_bytes(out / name, encode(small), sync_entry=False)
        shards.write_bytes(out / mask_name, encode(mask.astype(np.uint8) * 255), sync_entry=False)
    return len(composites)


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
