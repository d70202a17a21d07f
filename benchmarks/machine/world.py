"""The small world of a sequence: three photos with masks and a test photo, two classifiers, two sets of settings.

Everything lies at the same paths for every sequence of a process, so that undisturbed runs can be compared with it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from faults import samples

from machine.choices import Choice, Key
from machine.commands import command

SETTINGS: dict[str, tuple[object, ...]] = {
    "plain": ("--k", 3),
    "other": ("--k", 2, "--seed", 5, "gates.min_fmse=300"),
}
"""Two sets of options that a run may be begun with."""
CLASSIFIERS = ("first", "second")
ORIGINALS = 2
"""Composites that the dataset already has of each pair."""
CHOSEN = ("selected", "gate", "reason", "p_composite")
"""The columns that a selection or a scoring changes."""
_GATES = ("max_clipped", "min_fmse", "max_fmse", "min_structure", "max_drift")
_SIDES = (40, 56)


@dataclass(frozen=True)
class Reference:
    """An undisturbed run: its rows by candidate, which pairs each part holds, its files, and its first choice."""

    rows: dict[Key, dict[str, Any]]
    parts: dict[str, list[str]]
    files: frozenset[str]
    first: Choice
    digest: str


@dataclass(frozen=True)
class World:
    """Where a process works: ``data``, ``run`` and ``tree-0`` lie in ``now``, copies of undisturbed runs beside it."""

    place: Path

    @property
    def now(self) -> Path:
        """The folder that a sequence works in."""
        return self.place / "now"

    @property
    def run(self) -> Path:
        """The folder of the synthesis run."""
        return self.now / "run"

    @property
    def data(self) -> Path:
        """The dataset, a tree in iHarmony4's layout."""
        return self.now / "data"

    def classifier(self, name: str) -> Path:
        """Return a classifier's folder."""
        return self.place / "classifiers" / name

    def synthesize(self, name: str, *more: object) -> tuple[object, ...]:
        """Return the command that makes the run with a set of settings."""
        fixed = ("--generator", "color-jitter", "--shard-size", 1, "--classifier", self.classifier(CLASSIFIERS[0]))
        words = ("synthesize", "--data", self.data, "--out", self.run, "--quiet")
        return (*words, *fixed, *SETTINGS[name], *more)

    def augment(self, tree: str, gamma: float, pick: str, *more: object) -> tuple[object, ...]:
        """Return the command that mixes the run into a tree."""
        words = ("augment", "--data", self.data, "--candidates", self.run, "--out", self.now / tree, "--quiet")
        return (*words, "--gamma", gamma, "--pick", pick, *more)

    @cached_property
    def references(self) -> dict[str, Reference]:
        """The undisturbed runs by the name of their settings."""
        return {name: self._reference(name) for name in SETTINGS}

    def reset(self, finished: str = "") -> None:
        """Begin anew: the dataset as it was, and a finished run if one is named."""
        shutil.rmtree(self.now, ignore_errors=True)
        shutil.copytree(self.place / "fresh", self.now)
        if finished:
            shutil.copytree(self.place / finished, self.run)

    def digest_of(self, classifier: str) -> str:
        """Return the digest that a run states of a classifier."""
        return self._digests[classifier]

    @cached_property
    def _digests(self) -> dict[str, str]:
        from harmonygen.models.checkpoints import weights_digest

        return {name: weights_digest(self.classifier(name)) for name in CLASSIFIERS}

    def _reference(self, name: str) -> Reference:
        self.reset()
        _succeed(self.synthesize(name))
        shutil.copytree(self.run, self.place / name)
        scores = {CLASSIFIERS[0]: _column(self.run, "p_composite")}
        _succeed(("score", self.run, "--classifier", self.classifier(CLASSIFIERS[1]), "--quiet"))
        scores[CLASSIFIERS[1]] = _column(self.run, "p_composite")
        rows = read_rows(self.place / name)
        for key, row in rows.items():
            row |= {
                "scores": {each: scores[each][key] for each in CLASSIFIERS},
                "duplicate": row["gate"] == "duplicate",
            }
        plan = json.loads((self.place / name / "plan.json").read_text())
        return Reference(rows, _parts(self.place / name), _files(self.place / name), _first(plan), plan["plan_digest"])


def build(place: Path) -> World:
    """Make a world below ``place``: inputs and undisturbed runs."""
    fresh = place / "fresh"
    for index in range(4):
        _photo(fresh / "data" / "HSmall", index)
    names = [f"HSmall/composite_images/p{index}_1_{variant}.jpg" for index in range(4) for variant in (1, 2)]
    (fresh / "data" / "IHD_train.txt").write_text("".join(f"{name}\n" for name in names[:6]))
    (fresh / "data" / "IHD_test.txt").write_text("".join(f"{name}\n" for name in names[6:]))
    for seed, name in enumerate(CLASSIFIERS):
        samples.classifier(place / "classifiers" / name, seed)
    world = World(place)
    assert set(world.references) == set(SETTINGS)
    return world


def _photo(home: Path, index: int) -> None:
    """Write a photo, its mask and its composites, of a size of its own."""
    height, width = _SIDES[0] + 4 * index, _SIDES[1] - 4 * index
    real, mask = samples.picture(index, height, width), samples.ellipse(height, width)
    samples.save(real, home / "real_images" / f"p{index}.jpg")
    samples.save(mask, home / "masks" / f"p{index}_1.png")
    for variant in range(1, ORIGINALS + 1):
        changed = np.where(mask[..., None], real // 2 + 40 * variant, real)
        samples.save(changed, home / "composite_images" / f"p{index}_1_{variant}.jpg")


def _succeed(words: tuple[object, ...]) -> None:
    end = command(words)
    if end.code:
        raise RuntimeError(f"'{words[0]}' does not work at all: exit {end.code}: {end.said[-2000:]}")


def read_rows(run: Path) -> dict[Key, dict[str, Any]]:
    """Return every candidate row of a run by pair and k; ``sha`` stands for the composite's bytes."""
    parts = sorted((run / "candidates").glob("part-*.parquet"))
    return {key: row for path in parts for key, row in read_part(path).items()}


def read_part(path: Path) -> dict[Key, dict[str, Any]]:
    """Return the rows of one file of candidates by pair and k; a row that comes twice gets a key that no pair has."""
    rows = pq.read_table(path, use_threads=False).to_pylist()
    keyed: dict[Key, dict[str, Any]] = {}
    for row in rows:
        row["sha"] = sha(row.pop("composite")["bytes"])
        key = row["pair_id"], row["k"]
        keyed[key if key not in keyed else (f"{key[0]} again", key[1])] = row
    return keyed


def sha(content: bytes) -> str:
    """Return 16 hex digits of a file's content."""
    return hashlib.sha256(content).hexdigest()[:16]


def _column(run: Path, name: str) -> dict[Key, Any]:
    return {key: row[name] for key, row in read_rows(run).items()}


def _parts(run: Path) -> dict[str, list[str]]:
    files = sorted((run / "candidates").glob("part-*.parquet"))
    return {path.name: pq.read_table(path, columns=["pair_id"])["pair_id"].unique().to_pylist() for path in files}


def _files(run: Path) -> frozenset[str]:
    return frozenset(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())


def _first(plan: dict[str, Any]) -> Choice:
    """Return the choice that a run is made with."""
    settings = plan["settings"]
    gates = {name: settings["gates"][name] for name in _GATES}
    return Choice(settings["rule"], 1, settings["seed"], gates, CLASSIFIERS[0])
