"""`harmonygen score` and `harmonygen select`: score or select a finished run anew, without generating again.

Each shard's two files are rewritten whole, one after the other; a run stopped half-way is finished by the same
command, since a shard says in its metadata which scoring and which rule it holds.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from harmonygen.config import GateSettings, Rule
from harmonygen.errors import UsageError
from harmonygen.images import to_rgb
from harmonygen.masks import to_mask
from harmonygen.records import Candidate, GateValues, Scored
from harmonygen.shards import (
    PLAN_KEY,
    QUARANTINE_KEY,
    file_metadata,
    locked,
    refuse_others,
    sweep,
    write_json,
    write_parquet,
)
from harmonygen.synthesis.gates import first_failure
from harmonygen.synthesis.score import Scorer
from harmonygen.synthesis.select import keep_count, select
from harmonygen.workflows.plan import digest_of, read_plan
from harmonygen.workflows.shard import SECONDS_KEY
from harmonygen.workflows.tables import score_row

SELECTION = "selection.json"
SELECTION_KEY = b"harmonygen.selection"
Progress = Callable[[int, int], None]
"""Called with (shards done, shards in all)."""


@dataclass(frozen=True)
class ReselectResult:
    """What changed: shards rewritten, candidates, how many of the selected are other ones than before."""

    out: Path
    shards_rewritten: int
    candidates: int
    selected: int
    changed: int


def reselect(
    out: Path,
    rule: Rule | None = None,
    gates: GateSettings | None = None,
    count: int | None = None,
    seed: int | None = None,
    scorer: Scorer | None = None,
    scorer_digest: str = "",
    progress: Progress | None = None,
) -> ReselectResult:
    """Select a finished run's candidates by another rule, gates or classifier; what is not given stays as it was.

    Raises:
        UsageError: not a finished synthesize run, or one that keeps fewer candidates than the rule can choose from.
    """
    plan = read_plan(out)
    if not (out / "summary.json").is_file():
        raise UsageError(f"'{out}' is not finished: run its synthesize command again first")
    choice = _Choice.of(plan, _last(out, plan), rule, gates, count, seed, scorer_digest)
    with locked(out, "reselect"):
        refuse_others(out, "reselect")
        sweep(out)
        rewritten = candidates = selected = changed = 0
        files = sorted((out / "candidates").glob("part-*.parquet"))
        for index, path in enumerate(files):
            result = _rewrite(path, out / "pairs" / path.name, choice, scorer)
            rewritten += result.rewritten
            candidates, selected, changed = (
                candidates + result.candidates,
                selected + result.selected,
                changed + result.changed,
            )
            if progress:
                progress(index + 1, len(files))
        if rewritten or _last(out, plan) != choice.to_json():
            _sum_up(out)
            write_json(out / SELECTION, choice.to_json())  # last: it says that the summary is up to date
    return ReselectResult(out, rewritten, candidates, selected, changed)


@dataclass(frozen=True)
class _Choice:
    """The rule, gates, count, seed and classifier that a selection is made by."""

    rule: Rule
    gates: GateSettings
    count: int
    seed: int
    classifier_digest: str

    @classmethod
    def of(
        cls,
        plan: dict[str, Any],
        last: dict[str, Any],
        rule: Rule | None,
        gates: GateSettings | None,
        count: int | None,
        seed: int | None,
        scorer_digest: str,
    ) -> _Choice:
        keep, k = plan["settings"]["keep"], int(plan["settings"]["k"])
        if keep != "all":
            raise UsageError(
                f"the run keeps only '{keep}' of its {k} candidates: run synthesize with --keep all to select anew"
            )
        wanted = count if count is not None else int(last["count"])
        return cls(
            rule or last["rule"],
            _changed(last["gates"], gates),
            keep_count(str(wanted), k),
            seed if seed is not None else int(last["seed"]),
            scorer_digest or last["classifier_digest"],
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "gates": self.gates.model_dump(mode="json"),
            "count": self.count,
            "seed": self.seed,
            "classifier_digest": self.classifier_digest,
        }

    @property
    def digest(self) -> str:
        return digest_of(self.to_json())


def _changed(held: dict[str, Any], gates: GateSettings | None) -> GateSettings:
    """Return the gates that the run holds, with those that ``gates`` was given explicitly."""
    return GateSettings.model_validate({**held, **(gates.model_dump(exclude_unset=True) if gates else {})})


def _last(out: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """Return the selection that the run holds now: selection.json, else its plan's."""
    if (out / SELECTION).is_file():
        held: dict[str, Any] = json.loads((out / SELECTION).read_text(encoding="utf-8"))
        return held
    settings = plan["settings"]
    first = {"rule": settings["rule"], "gates": settings["gates"], "count": 1, "seed": settings["seed"]}
    return {**first, "classifier_digest": plan["classifier_digest"]}


@dataclass(frozen=True)
class _Rewritten:
    rewritten: int
    candidates: int
    selected: int
    changed: int


def _rewrite(path: Path, beside: Path, choice: _Choice, scorer: Scorer | None) -> _Rewritten:
    """Rewrite one shard's files under the new choice, the candidates' last."""
    table = pq.read_table(path)
    chosen = sum(table.column("selected").to_pylist())
    if file_metadata(path).get(SELECTION_KEY) == choice.digest.encode():
        return _Rewritten(0, table.num_rows, chosen, 0)
    photos = pq.read_table(beside)
    masks = (
        dict(zip(photos.column("pair_id").to_pylist(), photos.column("mask").to_pylist(), strict=True))
        if scorer
        else {}
    )
    rows = [row for group in _by_pair(table) for row in _select_anew(group, choice, scorer, masks)]
    kept = {key: value for key, value in file_metadata(path).items() if key in (PLAN_KEY, QUARANTINE_KEY, SECONDS_KEY)}
    mark = {**kept, SELECTION_KEY: choice.digest.encode()}
    scores: dict[str, list[dict[str, Any]]] = {}
    for pair_id, row in zip(table.column("pair_id").to_pylist(), rows, strict=True):
        scores.setdefault(pair_id, []).append(row)
    packed = [json.dumps(scores.get(pair_id, [])) for pair_id in photos.column("pair_id").to_pylist()]
    index = photos.schema.get_field_index("scores")
    write_parquet(beside, photos.set_column(index, photos.schema.field(index), pa.array(packed, pa.string())), mark)
    changed = sum(
        row["selected"] != before for row, before in zip(rows, table.column("selected").to_pylist(), strict=True)
    )
    for name in ("p_composite", "selected", "gate", "reason"):
        index = table.schema.get_field_index(name)
        table = table.set_column(
            index, table.schema.field(index), pa.array([row[name] for row in rows], table.schema.field(index).type)
        )
    write_parquet(path, table, mark, compression={"composite": "none"}, row_group_size=64)
    return _Rewritten(1, len(rows), sum(row["selected"] for row in rows), changed)


def _by_pair(table: pa.Table) -> Iterator[pa.Table]:
    """Yield runs of rows of one pair, in the order they are stored."""
    ids = np.array(table.column("pair_id").to_pylist(), dtype=object)
    edges = np.flatnonzero(ids[1:] != ids[:-1]) + 1
    for start, stop in zip([0, *edges], [*edges, len(ids)], strict=True):
        if stop > start:
            yield table.slice(int(start), int(stop - start))


def _select_anew(
    group: pa.Table, choice: _Choice, scorer: Scorer | None, masks: dict[str, Any]
) -> list[dict[str, Any]]:
    rows = group.drop_columns(["composite"]).to_pylist()
    scores: Sequence[float] = [row["p_composite"] for row in rows]
    if scorer:
        composites = [to_rgb(Image.open(io.BytesIO(cell["bytes"]))) for cell in group.column("composite").to_pylist()]
        scores = scorer(composites, to_mask(Image.open(io.BytesIO(masks[rows[0]["pair_id"]]["bytes"]))))
    scored = [_scored(row, score, choice.gates) for row, score in zip(rows, scores, strict=True)]
    return [score_row(outcome) for outcome in select(scored, choice.rule, choice.count, choice.seed)]


def _scored(row: dict[str, Any], score: float, gates: GateSettings) -> Scored:
    shift = (row["shift_r"], row["shift_g"], row["shift_b"])
    values = GateValues(row["clipped"], row["fmse"], row["structure"], row["drift"], shift)
    failed = "duplicate" if row["gate"] == "duplicate" else first_failure(values, gates)
    return Scored(Candidate(row["pair_id"], row["k"], row["seed"]), score, values, failed)


def _sum_up(out: Path) -> None:
    """Bring summary.json and report.html up to date."""
    from harmonygen.report import write_report
    from harmonygen.workflows.summary import count_scores, read_scores

    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    write_json(out / "summary.json", {**summary, **count_scores(list(read_scores(out)))})
    write_report(out)
