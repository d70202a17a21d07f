"""Composites of photos that the base set does not have: the arms that ask what more photos are worth.

A photo with a mask needs no composite of its own to become training data; that is what an inverse model is for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from harmonygen.pictures import phash
from harmonygen import seeds
from harmonygen.storage import shards
from harmonygen.settings import GainSettings
from harmonygen.data.split import leaks
from harmonygen.data import read_pairs
from harmonygen.errors import UsageError
from harmonygen.records import Pair
from harmonygen.augmentation import pick as picks
from harmonygen.augmentation.export import refuse_names, write_pairs_and_composites
from harmonygen.gain.sets import SUMMARY, base_folder, has_composites, link_tree, split_pairs, write_table
from harmonygen.augmentation.dataset import Originals, read_originals

_SUBSET = "extra"
_SPARE = 2


def table_path(settings: GainSettings) -> Path:
    """Return the table of the extra photos, which `synthesize` reads."""
    return settings.out / "photos" / "extra" / "pairs.csv"


def extra_pairs(settings: GainSettings) -> list[Pair]:
    """Read the pairs that may become extra: those of ``extra_data``, else those that base and test set leave over.

    Raises:
        UsageError: there is none.
    """
    if settings.extra_data:
        pairs = list(read_pairs(settings.extra_data))
    elif has_composites(settings):
        raise UsageError(f"'{settings.data}' has no photos without composites: name some with extra_data=...")
    else:
        pairs = split_pairs(settings).left
    if not pairs:
        raise UsageError(
            f"'{settings.extra_data or settings.data}' has no photos for the extra arms: lower base_photos or "
            "test_photos, or name other photos with extra_data=..."
        )
    return pairs


def write_extra_table(settings: GainSettings) -> Path:
    """Write the table of the extra photos, unless it is there; the base set has to be.

    Photos of ``extra_data`` that look like one of the base set or the test set are left out.

    Raises:
        UsageError: none is left.
    """
    path = table_path(settings)
    if path.is_file():
        return path
    pairs = extra_pairs(settings)
    if settings.extra_data:
        pairs = _unlike(pairs, read_originals(base_folder(settings)))
    names = sorted({pair.real_id for pair in pairs})
    drawn = seeds.numpy_rng("extra photos", settings.seed).permutation(len(names))[: settings.extra_photos or None]
    wanted = {names[place] for place in drawn}
    kept = [replace(pair, subset=_of(pair.subset)) for pair in pairs if pair.real_id in wanted]
    return write_table(kept, path.parent)


def _of(subset: str) -> str:
    """Name the subset of extra photos: its own, so that no file of theirs is one of the base set's."""
    return f"{_SUBSET}-{subset}" if subset else _SUBSET


def _unlike(pairs: Sequence[Pair], dataset: Originals) -> list[Pair]:
    """Leave out photos that look like one of the dataset's, whatever they are called."""
    photos = {f"{_SUBSET} {pair.real_id}": pair.real for pair in pairs}
    known = {pair.real_id: pair.real for pair in (*dataset.train, *dataset.test)}
    hashes, readable = phash.hash_sources([*photos.values(), *known.values()])
    found = [int(value) if seen else None for value, seen in zip(hashes, readable, strict=True)]
    near = leaks(
        dict(zip(photos, found[: len(photos)], strict=True)), dict(zip(known, found[len(photos) :], strict=True))
    )
    alike = {leak.photo for leak in near}
    left = [pair for pair in pairs if f"{_SUBSET} {pair.real_id}" not in alike]
    if not left:
        raise UsageError("all photos of extra_data look like photos of the base set or the test set: give others")
    return left


def per_extra_pair(settings: GainSettings, count: int) -> int:
    """Return how many composites of a pair make ``count`` in all, with some to spare for pairs that pass no gate."""
    return math.ceil(count / len(read_pairs(write_extra_table(settings)))) + _SPARE


def mix(settings: GainSettings, run: Path, pick: Literal["random", "selected"], count: int, out: Path) -> None:
    """Write the base set with ``count`` of the run's candidates, as evenly over its pairs as the gates let them be.

    There are fewer if fewer passed.

    Raises:
        UsageError: none passed, or photos of one name.
    """
    made = picks.read_run(run)
    refuse_names(made)
    rows = _even(made, pick, count, settings.seed)
    if not rows:
        raise UsageError(f"no candidate of the extra photos passed the gates ('{run}'): loosen them")
    dataset = read_originals(base_folder(settings))
    written = write_pairs_and_composites(out, "sym", made, rows)
    listed = [name for pair in dataset.train for name in pair.originals]
    link_tree(dataset, out, [*listed, *(row["composite"] for row in written)])
    photos = len({row["real"] for row in written})
    shards.write_json(out / SUMMARY, {"extra_photos": photos, "composites": len(listed) + len(written)})


def _even(run: picks.Run, pick: Literal["random", "selected"], count: int, seed: int) -> list[dict[str, Any]]:
    """Pick ``count`` rows: one of every pair, then a second, and so on while there are any; the last round by lot."""
    pairs = list(picks.rows_by_pair(run.candidates))
    taken: dict[tuple[str, int], dict[str, Any]] = {}
    for each in range(1, run.candidates.num_rows + 1):
        picked = picks.pick_all(run, dict.fromkeys(pairs, each), 1.0, pick, seed, allow_fewer=True)
        new = {(row["pair_id"], row["k"]): row for rows in picked.by_pair.values() for row in rows}
        fresh = [key for key in new if key not in taken]
        lots = seeds.numpy_rng("extra", seed, each).permutation(len(fresh))[: count - len(taken)]
        taken |= {fresh[lot]: new[fresh[lot]] for lot in sorted(lots.tolist())}
        if not fresh or len(taken) == count:
            break
    return list(taken.values())
