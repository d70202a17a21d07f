"""The model: a dictionary of what the folders have to hold, and the comparison of the folders with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image, ImageChops

from machine.choices import Choice, Key, outcomes
from machine.commands import snapshot
from machine.world import CHOSEN, Reference, World, read_part, sha

FOLDERS = ("candidates", "pairs")
_TOP = ("summary.json", "quarantine.parquet", "report.html")


class Book:
    """The model of one sequence, ``model``, and what is on disk.

    ``model`` holds ``settings`` (names of those that the run may have been begun with), ``choices`` (the last
    completed selection, then those that were struck: a part's rows follow one of them), ``damaged`` (content of each
    injured file, by its path in the run), ``places`` (where it is injured), ``changed`` (pair of each changed input, by
    its path in the dataset), ``trees`` (what each augmented tree was made of) and ``remade`` (whether a shard was made
    again since the last selection: it does not state that selection yet, though its rows may be the same).
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.model: dict[str, Any] = {"settings": set(), "choices": [], "damaged": {}, "changed": {}}
        self.model |= {"trees": {}, "places": {}, "remade": False}
        self.outside = snapshot(world.data, hidden=True)
        self._read: dict[str, tuple[tuple[int, int, int], Any]] = {}

    # What is done to the inputs

    def exchange(self, name: str, pair_id: str) -> None:
        """Put another picture in the place of an input, under its name."""
        path = self.world.data / name
        aside = self.world.place / "aside" / name
        aside.parent.mkdir(parents=True, exist_ok=True)
        path.rename(aside)
        with Image.open(aside) as before:
            turned = before.transpose(Image.Transpose.ROTATE_180)
            ImageChops.offset(turned, 3, 0).save(path)
        self.model["changed"][name] = pair_id
        self.outside = snapshot(self.world.data, hidden=True)

    def put_back(self) -> None:
        """Put all inputs back as they were, the files themselves."""
        for name in self.model["changed"]:
            (self.world.place / "aside" / name).replace(self.world.data / name)
        self.model["changed"] = {}
        self.outside = snapshot(self.world.data, hidden=True)

    # What is on disk

    def settings(self) -> str:
        """Return the name of the settings that the run's plan states; empty if there is no plan."""
        path = self.world.run / "plan.json"
        if not path.is_file():
            return ""
        digest = json.loads(path.read_text())["plan_digest"]
        return next(name for name in self.model["settings"] if self.world.references[name].digest == digest)

    @property
    def reference(self) -> Reference:
        """The undisturbed run of the run's settings."""
        return self.world.references[self.settings()]

    def missing(self) -> list[str]:
        """Return the parts that the run does not have yet, or not any more."""
        names = [f"{folder}/{part}" for folder in FOLDERS for part in self.reference.parts]
        return [name for name in names if not (self.world.run / name).is_file()]

    def remade(self) -> bool:
        """Tell whether `synthesize` would make a shard again, from a changed input that its lost record knew."""
        gone = {name.partition("/")[2] for name in [*self.missing(), *self.model["damaged"]]}
        return any({*self.reference.parts[part]} & {*self.model["changed"].values()} for part in gone)

    def summed_up(self) -> bool:
        """Tell whether the run has its summary, its page and its quarantine."""
        return all((self.world.run / name).is_file() for name in _TOP)

    def may_crash(self) -> bool:
        """Tell whether a footer is injured: Arrow may crash on one, pages are told apart by their checksums."""
        return any(self._in_footer(name) for name in self.model["damaged"])

    def _in_footer(self, name: str) -> bool:
        content = self.model["damaged"][name]
        place, size = self.model["places"][name], int.from_bytes(content[-8:-4], "little")
        return place >= len(content) - 8 - size or place >= len(content) - 8

    def last(self) -> Choice:
        """Return the choice that the run states that it holds.

        Raises:
            AssertionError: nobody made it.
        """
        path = self.world.run / "selection.json"
        if not path.is_file():
            return self.reference.first
        held = json.loads(path.read_text())
        made = [choice for choice in self.model["choices"] if self._as_json(choice) == held]
        assert made, f"selection.json holds a choice that nobody made: {held}"
        return made[0]

    def _as_json(self, choice: Choice) -> dict[str, Any]:
        made = [
            {"pair_id": pair_id, "k": k, "decision": word} for (pair_id, k), word in sorted(choice.decisions.items())
        ]
        digest = self.world.digest_of(choice.classifier)
        held = {"rule": choice.rule, "gates": dict(choice.gates), "count": choice.count, "seed": choice.seed}
        return {**held, "classifier_digest": digest, **({"decisions": made} if made else {})}

    def rows(self) -> dict[Key, dict[str, Any]] | None:
        """Return all rows as they are on disk, None if a file of them is missing or injured."""
        names = [f"candidates/{part}" for part in self.reference.parts]
        if self.model["damaged"] or any(not (self.world.run / name).is_file() for name in names):
            return None
        return {key: row for name in names for key, row in self._part(name).items()}

    def follows_what_it_states(self, rows: Mapping[Key, Mapping[str, Any]]) -> bool:
        """Tell whether rows are selected as the run states."""
        expected = self._expected([pair_id for own in self.reference.parts.values() for pair_id in own], self.last())
        return all(_agree(rows[key], expected[key]) for key in rows)

    def _part(self, name: str) -> dict[Key, dict[str, Any]]:
        path = self.world.run / name
        state = path.stat()
        mark = (state.st_mtime_ns, state.st_size, state.st_ino)
        if self._read.get(name, ((), None))[0] != mark:
            self._read[name] = mark, read_part(path) if name.startswith("candidates") else _scores(path)
        return self._read[name][1]

    # What is wrong

    def faults(self) -> Iterator[str]:
        """Yield where the run differs from the model, and what changed outside of it."""
        yield from self._outside_faults()
        if self.settings():
            for name in self._whole_parts():
                yield from self._part_faults(name)
            yield from self._summary_faults()

    def _outside_faults(self) -> Iterator[str]:
        if snapshot(self.world.data, hidden=True) != self.outside:
            yield "the dataset was changed"
        known = {"data", "run", "decisions.json", "tree-0", "tree-1"}
        if strange := {path.name for path in self.world.now.iterdir()} - known:
            yield f"{strange} came to be beside the run"

    def _whole_parts(self) -> list[str]:
        """Return the parts that are there and that nobody injured; forget injuries of files that were made again."""
        damaged = self.model["damaged"]
        for name in [*damaged]:
            path = self.world.run / name
            if not path.is_file() or path.read_bytes() != damaged[name]:
                del damaged[name]
        gone = {*self.missing(), *damaged}
        return [
            f"{folder}/{part}" for folder in FOLDERS for part in self.reference.parts if f"{folder}/{part}" not in gone
        ]

    def _part_faults(self, name: str) -> Iterator[str]:
        pair_ids = self.reference.parts[name.partition("/")[2]]
        expected = [self._expected(pair_ids, choice) for choice in self.model["choices"]]
        rows = self._part(name)
        if rows.keys() != expected[0].keys():
            yield f"{name} holds {sorted(rows)}, {sorted(expected[0])} are expected"
        elif not any(all(_agree(rows[key], each[key]) for key in rows) for each in expected):
            held = [_chosen(row) for row in rows.values()]
            yield f"{name} holds {held}, which follows none of {self.model['choices']}"

    def _expected(self, pair_ids: list[str], choice: Choice) -> dict[Key, dict[str, Any]]:
        reference = self.reference.rows
        made: dict[Key, dict[str, Any]] = {}
        for pair_id in pair_ids:
            own = [row for key, row in reference.items() if key[0] == pair_id]
            made |= {key: {**reference[key], **each} for key, each in outcomes(own, choice).items()}
        return made

    def _summary_faults(self) -> Iterator[str]:
        if not self.summed_up() or len(self.model["choices"]) > 1 or (rows := self.rows()) is None:
            return
        summary = json.loads((self.world.run / "summary.json").read_text())
        counts = len(rows), sum(row["selected"] for row in rows.values())
        stated = summary["candidates"], summary["selected"]
        if stated != counts or sum(summary["dropped"].values()) != counts[0] - counts[1]:
            yield f"summary.json states {stated} candidates and selected ({summary['dropped']}), there are {counts}"
        last = self.last()
        if last != self.model["choices"][0]:
            yield f"selection.json states {last}, {self.model['choices'][0]} was made"

    def strays(self) -> list[str]:
        """Return the files in the run's folder that an undisturbed run does not have."""
        allowed = self.reference.files | {"selection.json"}
        names = (str(path.relative_to(self.world.run)) for path in self.world.run.rglob("*") if path.is_file())
        return [name for name in names if name not in allowed and not name.endswith(".lock")]


def _scores(path: Path) -> dict[Key, dict[str, Any]]:
    """Return what a file of pairs holds of every candidate."""
    pairs = pq.read_table(path, columns=["pair_id", "scores"], use_threads=False).to_pylist()
    return {(pair["pair_id"], row["k"]): row for pair in pairs for row in json.loads(pair["scores"])}


def _agree(row: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Tell whether a row holds what is expected, in all columns that it has."""
    return all(value == expected[name] for name, value in row.items() if name in expected)


def _chosen(row: Mapping[str, Any]) -> list[Any]:
    return [row["k"], row.get("sha", ""), *(row[name] for name in CHOSEN)]


__all__ = ["FOLDERS", "Book", "sha"]
