"""What an augmented tree has to be: the originals, the picked candidates, lists and manifest, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from machine.choices import Key
from machine.world import World, sha

_TOP = {"plan.json", "summary.json", "manifest.parquet", "IHD_train.txt", "IHD_test.txt"}
_TOP |= {f"{split}.{suffix}" for split in ("train", "test") for suffix in ("txt", "jsonl")}


def faults(
    tree: Path,
    world: World,
    picked: Mapping[str, list[int]] | None,
    rows: Mapping[Key, Any],
    changed: Collection[str] = (),
) -> Iterator[str]:
    """Yield what is wrong with a finished tree.

    ``picked`` holds the k of the candidates that it has to hold by pair (None if they are not known), ``rows`` the
    reference's rows, whose ``sha`` stands for a composite's bytes. ``changed`` are files of the dataset that were
    exchanged: a tree that was finished before keeps the old ones.
    """
    manifest = pq.read_table(tree / "manifest.parquet", use_threads=False).to_pylist()
    new = [row for row in manifest if row["source"] == "harmonygen"]
    found = sorted((row["pair_id"], row["k"]) for row in new)
    expected = sorted((pair_id, k) for pair_id, own in (picked or {}).items() for k in own)
    if picked is not None and found != expected:
        yield f"the tree holds the candidates {found}, {expected} are to be picked"
    for row in new:
        yield from _composite_faults(tree, row, rows)
    yield from _list_faults(tree, world, [row["composite"] for row in manifest], [row["composite"] for row in new])
    yield from _original_faults(tree, world, changed)
    yield from _stray_faults(tree, world, {row["composite"] for row in new})


def _composite_faults(tree: Path, row: Mapping[str, Any], rows: Mapping[Key, Any]) -> Iterator[str]:
    path = tree / row["composite"]
    if not path.is_file() or sha(path.read_bytes()) != rows[row["pair_id"], row["k"]]["sha"]:
        yield f"'{path.name}' is not candidate {row['k']} of {row['pair_id']}"
        return
    composite, real, mask = (np.asarray(Image.open(tree / row[name])) for name in ("composite", "real", "mask"))
    if composite.shape != real.shape or (composite[mask < 128] != real[mask < 128]).any():
        yield f"the background of '{path.name}' is not its photo's"


def _list_faults(tree: Path, world: World, composites: list[str], new: list[str]) -> Iterator[str]:
    """Yield where the lists of the tree differ from the dataset's with the new composites behind them."""
    train = _lines(tree / "IHD_train.txt")
    if train != composites or sorted(train) != sorted([*_lines(world.data / "IHD_train.txt"), *new]):
        yield f"IHD_train.txt holds {train}"
    if _lines(tree / "IHD_test.txt") != _lines(world.data / "IHD_test.txt"):
        yield "IHD_test.txt is not the dataset's"


def _original_faults(tree: Path, world: World, changed: Collection[str]) -> Iterator[str]:
    for path in _originals(world):
        inside = tree / path.relative_to(world.data)
        whole = inside.is_file() and os.path.samefile(inside, path)
        if not whole and str(path.relative_to(world.data)) not in changed:
            yield f"'{inside}' is not the dataset's file"


def _stray_faults(tree: Path, world: World, new: set[str]) -> Iterator[str]:
    subset = {f"HSmall/HSmall_{split}.txt" for split in ("train", "test")}
    allowed = {*_TOP, *subset, *new, *(str(path.relative_to(world.data)) for path in _originals(world))}
    for path in tree.rglob("*"):
        name = str(path.relative_to(tree))
        if path.is_file() and name not in allowed and not name.endswith(".lock"):
            yield f"'{name}' does not belong into the tree"


def _originals(world: World) -> list[Path]:
    return [path for path in (world.data / "HSmall").rglob("*") if path.is_file()]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []
