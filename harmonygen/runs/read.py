"""Read a run of `synthesize`: its candidates, which of them may be used, and their pictures when they are needed.

Every verb that takes a run reads it here, so that all of them refuse the same folders and use the same candidates.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from harmonygen.errors import UsageError
from harmonygen.records import CellSource, Quarantined
from harmonygen.runs.decisions import Decision, Decisions, from_rows
from harmonygen.runs.identity import DIGEST_COLUMNS, Noted, changed, noted_of, of_noted, refuse_changed
from harmonygen.runs.job_folder import PLAN, QUARANTINE, SUMMARY, digest_of, read_plan
from harmonygen.runs.review_log import reviewed
from harmonygen.runs.tables import CANDIDATE_COLUMNS, judge_columns, read_cells, read_light
from harmonygen.storage.parquet_cells import IMAGE
from harmonygen.storage.shards import file_metadata, open_parquet, read_json, reading, shard_files, unpack_quarantine

if TYPE_CHECKING:
    import pandas as pd

VERB = "synthesize"
SELECTION = "selection.json"
"""What `select` and `score` chose by; a run that was never selected again has none."""
SELECTION_KEY = b"harmonygen.selection"
"""Footer key of a shard: the digest of the selection that it holds."""

JUDGES = "judges"
"""Key of a plan and of a selection: the digests of several judges by name; of one judge there is none."""

PAIRS, CANDIDATES = "pairs", "candidates"
_LIGHT = (
    *(name for name, kind in CANDIDATE_COLUMNS.items() if kind != IMAGE and name not in DIGEST_COLUMNS),
    "composite.path",
)
"""The columns that are read of all candidates: of ``composite`` the file name alone, since its bytes are the run.

Runs of older versions have no digests.
"""
_PAIR_LIGHT = ("pair_id", "real_id", "mask_id", "subset", "width", "height", "fg_ratio")


def is_run(folder: str | Path) -> bool:
    """Return whether a folder holds a run of `synthesize`, finished or not."""
    plan = Path(folder) / PLAN
    try:
        return plan.is_file() and bool(read_plan(plan.parent, VERB))
    except UsageError:
        return False


def look_inside(folder: Path) -> Run:
    """Read what exists of the run in a folder, or of the run inside a build.

    Raises:
        UsageError: there is none.
    """
    inside = folder / "work" / "synthesize"
    return Run.look(inside if is_run(inside) and not is_run(folder) else folder)


def is_usable(gate: str, review: str) -> bool:
    """Return whether a candidate may be used: it passed the gates or a reviewer accepted it, and none rejected it.

    Args:
        gate: the first gate that it failed, "" if it passed all.
        review: what a reviewer decided of it: ``accept``, ``reject`` or "".

    >>> is_usable("", ""), is_usable("fmse-low", "accept"), is_usable("fmse-low", ""), is_usable("", "reject")
    (True, True, False, False)
    """
    return review == "accept" or (not gate and review != "reject")


class PairImages(NamedTuple):
    """The encoded photo and mask of a pair.

    ``real`` is None if the photo is used as it is on disk, in the file ``path``; else ``path`` is a file name alone.
    """

    real: bytes | None
    path: Path
    mask: bytes


@dataclass(frozen=True, eq=False)
class Run:
    """A run of `synthesize` as it is on disk: its plan and the candidate files of its finished shards, in order."""

    folder: Path
    plan: Mapping[str, Any]
    parts: tuple[Path, ...]

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Read a finished run.

        Raises:
            UsageError: the folder holds no run of `synthesize`, one that is not finished, or one whose selection is
                half done.
        """
        run = cls.look(folder)
        run.refuse_unfinished()
        run._refuse_half_selected()
        run._tell_pending()
        return run

    @classmethod
    def look(cls, folder: str | Path) -> Run:
        """Read what exists of a run, finished or not.

        Raises:
            UsageError: the folder holds no run of `synthesize`, or its plan is cut short.
        """
        folder = Path(folder)
        plan = read_plan(folder, VERB)
        if missing := [name for name in ("settings", "shards") if name not in plan]:
            raise UsageError(f"'{folder / PLAN}' lacks {' and '.join(missing)}: repeat the {VERB} command")
        parts = shard_files(folder / CANDIDATES)
        return cls(folder, plan, tuple(part for part in parts if (folder / PAIRS / part.name).is_file()))

    @property
    def planned(self) -> int:
        """The number of shards that the run is cut into."""
        return len(self.plan["shards"])

    def refuse_unfinished(self) -> None:
        """Refuse a run that lacks shards or its summary.

        Raises:
            UsageError: saying what is there and how to finish the run.
        """
        lacking = "" if (self.folder / SUMMARY).is_file() else f", {SUMMARY} is not"
        if len(self.parts) < self.planned or lacking:
            raise UsageError(
                f"the run '{self.folder}' is not finished ({len(self.parts)} of {self.planned} shards are there"
                f"{lacking}): repeat its {VERB} command to resume it"
            )

    def _refuse_half_selected(self) -> None:
        allowed = {digest_of(self.selection).encode(), *(() if self.reselected else (None,))}
        others = 0
        for part in self.parts:
            others += file_metadata(part).get(SELECTION_KEY) not in allowed
        if others:
            raise UsageError(
                f"the selection of the run '{self.folder}' is half done ({others} of {len(self.parts)} shards hold "
                f"another one than {SELECTION}): repeat the select or score command to finish it"
            )

    def _tell_pending(self) -> None:
        if pending := self.pending():
            logging.getLogger("harmonygen").warning(
                "%d decisions of the review of '%s' are not in its selection yet, and do not count: run harmonygen "
                "select %s to apply them",
                pending,
                self.folder,
                self.folder,
            )

    @property
    def plan_digest(self) -> str:
        """The digest of everything that decides what the run makes."""
        return str(self.plan.get("plan_digest", ""))

    @cached_property
    def reselected(self) -> dict[str, Any]:
        """What `select` or `score` chose by, as :data:`SELECTION` says; empty if the run was never selected again."""
        return read_json(self.folder / SELECTION)

    @cached_property
    def selection(self) -> dict[str, Any]:
        """Rule, gates, count, seed, classifier and decisions in force, from the last `select` or else the plan."""
        if self.reselected:
            return self.reselected
        settings = self.plan["settings"]
        first = {"rule": settings["rule"], "gates": settings["gates"], "count": 1, "seed": settings["seed"]}
        return {**first, "classifier_digest": self.plan["classifier_digest"], **self._judged_by(self.plan)}

    def _judged_by(self, plan: Mapping[str, Any]) -> dict[str, Any]:
        """Return how several judges' scores are combined, if there are several."""
        if not plan.get(JUDGES):
            return {}
        return {JUDGES: plan[JUDGES], **{name: plan["settings"][name] for name in ("combine", "min_score")}}

    @property
    def judges(self) -> tuple[str, ...]:
        """The names of the judges in force, if there are several; of one judge, ``p_composite`` is the score."""
        return tuple(self.selection.get(JUDGES, ()))

    @cached_property
    def decisions(self) -> dict[tuple[str, int], Decision]:
        """What a reviewer decided, by pair id and k."""
        return from_rows(self.reselected.get("decisions", []), f"'{self.folder / SELECTION}'")

    def reviewed(self) -> Decisions | None:
        """Return the decisions of the review in the run's folder, None if there is no review.

        Raises:
            UsageError: it is the review of another run, or damaged.
        """
        made = reviewed(self.folder, self.plan_digest)
        return None if made is None else Decisions(self.folder.resolve().name, self.plan_digest, made)

    def pending(self) -> int:
        """Count the decisions by which the review in the run's folder and the run's selection differ.

        Raises:
            UsageError: as for :meth:`reviewed`.
        """
        made = self.reviewed()
        return 0 if made is None else len(dict(made.of.items() ^ self.decisions.items()))

    def rows(self) -> pa.Table:
        """Return every candidate that is kept, without its image.

        The columns are those of the candidate files (those of several judges too), with ``composite`` holding the file
        name alone, and ``part`` and ``row`` (where the candidate lies), ``review`` (``accept``, ``reject`` or "") and
        ``usable`` (:func:`is_usable`).

        Raises:
            UsageError: a file lacks columns.
            StorageError: a file cannot be read.
        """
        return self._rows

    @cached_property
    def _rows(self) -> pa.Table:
        parts = [self.part_rows(part) for part in range(len(self.parts))]
        return pa.concat_tables(parts, promote_options="default" if self.judges else "none")

    def part_rows(self, part: int) -> pa.Table:
        """Return the rows of one shard, as :meth:`rows` returns those of all."""
        table = read_light(self.parts[part], (*_LIGHT, *self.judge_columns_of(part)))
        keys = zip(table["pair_id"].to_pylist(), table["k"].to_pylist(), strict=True)
        review = [str(self.decisions.get(key, "")) for key in keys]
        usable = [is_usable(*both) for both in zip(table["gate"].to_pylist(), review, strict=True)]
        count = table.num_rows
        added = {
            "row": pa.array(range(count), pa.int64()),
            "part": pa.array([part] * count, pa.int32()),
            "review": pa.array(review, pa.string()),
            "usable": pa.array(usable, pa.bool_()),
        }
        for name, column in added.items():
            table = table.append_column(name, column)
        return table

    def judge_columns_of(self, part: int) -> list[str]:
        """Return the columns of several judges that a shard has: all of them, unless a scoring is half done."""
        wanted = judge_columns(self.judges)
        return [name for name in open_parquet(self.parts[part]).schema_arrow.names if name in wanted] if wanted else []

    def usable(self) -> pa.Table:
        """Return the rows of the candidates that may be used: by the one rule, :func:`is_usable`."""
        return self.rows().filter(self.rows()["usable"])

    def to_pandas(self) -> pd.DataFrame:
        """Return :meth:`rows` as a data frame; ``composite`` is the candidate's file name."""
        table = self.rows()
        names = pa.array([cell["path"] for cell in table["composite"].to_pylist()], pa.string())
        frame: pd.DataFrame = table.set_column(
            table.schema.get_field_index("composite"), "composite", names
        ).to_pandas()
        return frame

    def pairs(self, part: int) -> list[dict[str, Any]]:
        """Return ids, size and foreground ratio of a shard's pairs, in the order in which they are stored."""
        rows: list[dict[str, Any]] = read_light(self.pair_file(part), _PAIR_LIGHT).to_pylist()
        return rows

    def pair_scores(self, part: int) -> dict[str, list[dict[str, Any]]]:
        """Return score, gate values and outcome of every candidate that a shard made, kept or not, by pair id."""
        rows = read_light(self.pair_file(part), ("pair_id", "scores")).to_pylist()
        return {row["pair_id"]: json.loads(row["scores"]) for row in rows}

    def scores(self) -> Iterator[dict[str, Any]]:
        """Yield score, gate values and outcome of every candidate that the run made, kept or not."""
        for part in range(len(self.parts)):
            for scores in self.pair_scores(part).values():
                yield from scores

    def real_ids(self) -> set[str]:
        """Return the ids of the photos that have candidates."""
        return set(pc.unique(self.rows()["real_id"]).to_pylist())

    def emptied(self) -> set[str]:
        """Return the pairs none of whose candidates was kept (``--keep N``, and all failed a gate)."""
        made = {name for part in range(len(self.parts)) for name in self._column(part, "pair_id")}
        return made - set(pc.unique(self.rows()["pair_id"]).to_pylist())

    def quarantine(self) -> list[Quarantined]:
        """Return what could not be used; of an unfinished run, what its shards say."""
        path = self.folder / QUARANTINE
        if path.is_file():
            return [Quarantined(**row) for row in read_light(path, ("id", "stage", "error", "message")).to_pylist()]
        return [row for part in self.parts for row in unpack_quarantine(part)]

    def images(self, part: int, wanted: Collection[str] | None = None) -> Iterator[tuple[str, PairImages]]:
        """Yield photo and mask of the pairs of a shard by pair id, one pair in memory at a time.

        Args:
            part: the shard.
            wanted: pair ids; all by default.

        Raises:
            StorageError: the file cannot be read.
        """
        path = self.pair_file(part)
        with reading(path):
            batches = open_parquet(path, pre_buffer=False).iter_batches(
                batch_size=1, columns=["pair_id", "real", "mask"]
            )
            for row in (batch.to_pylist()[0] for batch in batches):
                if wanted is None or row["pair_id"] in wanted:
                    yield row["pair_id"], _images(row)

    def composites(self, picked: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], bytes]]:
        """Yield picked rows with their encoded composites in file order, a few in memory at a time."""
        by_part: dict[int, dict[int, Mapping[str, Any]]] = {}
        for row in picked:
            by_part.setdefault(row["part"], {})[row["row"]] = row
        for part in sorted(by_part):
            yield from read_cells(self.parts[part], by_part[part])

    def composite_source(self, row: Mapping[str, Any]) -> CellSource:
        """Return where the composite of a row is."""
        return CellSource(self.parts[row["part"]], "composite", row["row"], as_stored=True)

    def pair_sources(self, part: int) -> dict[str, tuple[CellSource, CellSource]]:
        """Return where the photo and the mask of each pair of a shard are."""
        path = self.pair_file(part)
        ids = enumerate(self._column(part, "pair_id"))
        return {
            pair_id: (CellSource(path, "real", row, as_stored=True), CellSource(path, "mask", row))
            for row, pair_id in ids
        }

    def noted(self, only: Collection[str] | None = None) -> list[Noted]:
        """Return what the run records about its photos and masks, for all pairs or for those in ``only``."""
        return noted_of(map(self.pair_file, range(len(self.parts))), only)

    def changed(self) -> dict[str, str]:
        """Return the pairs whose photo or mask changed on disk since, and which of the two it is."""
        noted = self.noted()
        return changed(noted, of_noted(noted))

    def refuse_changed(self, only: Collection[str] | None = None) -> None:
        """Refuse a run whose photos or masks changed on disk since it was made; ``only`` these pairs are looked at.

        Raises:
            UsageError: naming the first pairs.
        """
        noted = self.noted(only)
        refuse_changed(noted, of_noted(noted), f"'{self.folder}'")

    def pair_file(self, part: int) -> Path:
        """Return the file of a shard's pairs."""
        return self.folder / PAIRS / self.parts[part].name

    def _column(self, part: int, name: str) -> list[Any]:
        return list(read_light(self.pair_file(part), (name,))[name].to_pylist())


def _images(row: Mapping[str, Any]) -> PairImages:
    return PairImages(row["real"]["bytes"], Path(row["real"]["path"]), row["mask"]["bytes"])


def rows_by_pair(rows: pa.Table) -> dict[str, list[int]]:
    """Return the places of a table's rows by pair id, in order of ``k``."""
    ordered = pc.sort_indices(rows, [("pair_id", "ascending"), ("k", "ascending")])
    places: dict[str, list[int]] = {}
    pair_ids = rows["pair_id"].take(ordered)
    for place, pair_id in zip(ordered.to_pylist(), pair_ids.to_pylist(), strict=True):
        places.setdefault(pair_id, []).append(place)
    return places


def in_file_order(picked: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return picked rows in the order in which :meth:`Run.composites` yields them."""
    return sorted(picked, key=lambda row: (row["part"], row["row"]))
