"""`harmonygen score` and `harmonygen select`: score or select a finished run again, without regenerating.

Each shard's two files are rewritten whole, one after another; a run stopped half-way is finished by the same
command, since a shard says in its metadata which scoring and which rule it holds.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image

from harmonygen.errors import UsageError
from harmonygen.models.scorer import Scorer
from harmonygen.pictures.images import to_rgb
from harmonygen.pictures.masks import to_mask
from harmonygen.records import Candidate, GateValues, Scored
from harmonygen.runs.counts import count_scores
from harmonygen.runs.decisions import Decision, Decisions, refuse_foreign
from harmonygen.runs.identity import CONTENT_COLUMNS, DIGEST_COLUMNS
from harmonygen.runs.job_folder import SUMMARY, sweep
from harmonygen.runs.read import CANDIDATES, PAIRS, SELECTION, SELECTION_KEY, Run
from harmonygen.runs.tables import CANDIDATE_COLUMNS, PAIR_COLUMNS, judge_columns, score_row
from harmonygen.settings import Combine, Rule
from harmonygen.storage.shards import (
    PLAN_KEY,
    QUARANTINE_KEY,
    file_metadata,
    locked,
    read_json,
    read_parquet,
    refuse_others,
    write_json,
    write_parquet,
)
from harmonygen.synthesis.choice import Asked, Choice
from harmonygen.synthesis.gates import DUPLICATE, first_failure
from harmonygen.synthesis.panel import Judged, scores_of
from harmonygen.synthesis.select import select
from harmonygen.synthesis.settings import GateSettings
from harmonygen.synthesis.shard import SECONDS_KEY

# Whole tables are rewritten: a file whose footer lost a column's name is refused. Older runs do not have the digests.
_NEEDED = tuple(name for name in CANDIDATE_COLUMNS if name not in DIGEST_COLUMNS)
_NEEDED_PAIRS = tuple(name for name in PAIR_COLUMNS if name not in {**DIGEST_COLUMNS, **CONTENT_COLUMNS})
SCORED_KEY = b"harmonygen.scored"
"""Footer key: digest of the classifier that a shard's scores come from, if it was scored or selected again."""
Progress = Callable[[int, int], None]
"""Called with (shards done, shards in all)."""


@dataclass(frozen=True)
class ReselectResult:
    """What changed: shards rewritten, candidates, how many of the selected are other ones than before.

    ``accepted`` and ``rejected`` candidates are those of the review in force, ``unfilled`` pairs have no selected one.
    """

    out: Path
    shards_rewritten: int
    candidates: int
    selected: int
    changed: int
    unfilled: int = 0
    accepted: int = 0
    rejected: int = 0


def reselect(
    out: Path,
    rule: Rule | None = None,
    gates: GateSettings | None = None,
    count: int | None = None,
    seed: int | None = None,
    scorer: Scorer | None = None,
    scorer_digest: str = "",
    progress: Progress | None = None,
    decisions: Decisions | None = None,
    combine: Combine | None = None,
    min_score: float | None = None,
) -> ReselectResult:
    """Select a finished run's candidates by another rule, gates or judges; what is not given stays as it was.

    ``scorer`` scores them again: one judge, or a Panel of several, which ``combine`` and ``min_score`` are for.
    ``decisions`` of a review take the place of all that were applied before: none at all take them back. If they are
    not given, those of the review in the run's folder count, if there is one.

    Raises:
        UsageError: not a finished synthesize run, or one that keeps fewer candidates than the rule can choose from;
            decisions of another run, or about candidates that it does not have; a damaged review.
    """
    run = Run.look(out)  # a selection that was stopped half-way is finished here
    run.refuse_unfinished()
    decisions = decisions or run.reviewed()
    asked = Asked(rule, gates, count, seed, combine, min_score, decisions)
    choice = Choice.of(run, asked, scorer, scorer_digest)
    if decisions is not None:
        refuse_foreign(decisions, run.plan_digest, _candidates(run))
    with locked(out, "reselect"):
        refuse_others(out, "reselect")
        written = [f"{folder}/{path.name}" for folder in (CANDIDATES, PAIRS) for path in run.parts]
        sweep(out, [SELECTION, *written], resumed=True)
        if scorer is None:
            _refuse_mixed_scores(run, choice.classifier_digest)
        parts = [_Rewritten(0, 0, 0, 0, 0)]
        for part, path in enumerate(run.parts):
            parts.append(_rewrite(path, run.pair_file(part), choice, scorer))
            if progress:
                progress(part + 1, len(run.parts))
        if any(part.rewritten for part in parts) or run.reselected != choice.to_json():
            _sum_up(run, choice)
            write_json(out / SELECTION, choice.to_json())  # last: it says that the summary is up to date
    review = Decisions("", "", choice.decisions)
    rewritten, candidates, selected, changed, unfilled = (sum(column) for column in zip(*parts, strict=True))
    counts = review.count("accept"), review.count("reject")
    return ReselectResult(out, rewritten, candidates, selected, changed, unfilled, *counts)


def take_review(out: Path, progress: Progress | None = None) -> ReselectResult | None:
    """Apply the review in a run's folder, if it decided anything that the run's selection does not hold.

    Raises:
        UsageError: as for :func:`reselect`.
    """
    run = Run.look(out)
    return reselect(out, progress=progress) if run.pending() else None


def _refuse_mixed_scores(run: Run, classifier: str) -> None:
    """Raise UsageError if shards hold scores of another classifier than the one that the run states."""
    other = [path.name for path in run.parts if _scored_by(path, run) not in ("", classifier)]
    if other:
        raise UsageError(
            f"{len(other)} of {len(run.parts)} shards hold scores of another classifier ({other[0]}), because a "
            "scoring was stopped half-way or a shard was made again: repeat the harmonygen score command first"
        )


def _scored_by(path: Path, run: Run) -> str:
    """Return the digest of a shard's classifier, empty if the shard does not say (older versions did not write it)."""
    metadata = file_metadata(path)
    unsaid = "" if SELECTION_KEY in metadata else run.plan["classifier_digest"]
    return metadata[SCORED_KEY].decode() if SCORED_KEY in metadata else str(unsaid)


def _candidates(run: Run) -> set[tuple[str, int]]:
    """Return (pair id, k) of every candidate of a run."""
    return set(zip(*(run.rows()[name].to_pylist() for name in ("pair_id", "k")), strict=True))


class _Rewritten(NamedTuple):
    """What one shard adds to a :class:`ReselectResult`."""

    rewritten: int
    candidates: int
    selected: int
    changed: int
    unfilled: int


def _rewrite(path: Path, beside: Path, choice: Choice, scorer: Scorer | None) -> _Rewritten:
    """Rewrite one shard's files under the new choice, the candidates' last."""
    table = read_parquet(path, _NEEDED)
    ids, before = table.column("pair_id").to_pylist(), table.column("selected").to_pylist()
    if all(file_metadata(each).get(SELECTION_KEY) == choice.digest.encode() for each in (path, beside)):
        return _Rewritten(0, len(ids), sum(before), 0, _unfilled(ids, before))
    photos = read_parquet(beside, _NEEDED_PAIRS)
    masks = (
        dict(zip(photos.column("pair_id").to_pylist(), photos.column("mask").to_pylist(), strict=True))
        if scorer
        else {}
    )
    rows = [row for group in _by_pair(table) for row in _select_anew(group, choice, scorer, masks)]
    kept = {key: value for key, value in file_metadata(path).items() if key in (PLAN_KEY, QUARANTINE_KEY, SECONDS_KEY)}
    mark = {**kept, SELECTION_KEY: choice.digest.encode(), SCORED_KEY: choice.classifier_digest.encode()}
    scores: dict[str, list[dict[str, Any]]] = {}
    for pair_id, row in zip(ids, rows, strict=True):
        scores.setdefault(pair_id, []).append(row)
    packed = [json.dumps(scores.get(pair_id, [])) for pair_id in photos.column("pair_id").to_pylist()]
    index = photos.schema.get_field_index("scores")
    write_parquet(beside, photos.set_column(index, photos.schema.field(index), pa.array(packed, pa.string())), mark)
    after = [row["selected"] for row in rows]
    changed = sum(now != then for now, then in zip(after, before, strict=True))
    write_parquet(
        path,
        _with_outcomes(table, rows, tuple(choice.judges)),
        mark,
        compression={"composite": "none"},
        row_group_size=64,
    )
    return _Rewritten(1, len(rows), sum(after), changed, _unfilled(ids, after))


def _with_outcomes(table: pa.Table, rows: Sequence[Mapping[str, Any]], judges: Sequence[str]) -> pa.Table:
    """Return a table with the scores and outcomes of ``rows``, and the columns of several ``judges``."""
    table = table.drop_columns([name for name in table.column_names if name not in CANDIDATE_COLUMNS])
    for name in ("p_composite", "selected", "gate", "reason"):
        index = table.schema.get_field_index(name)
        held = table.schema.field(index)
        table = table.set_column(index, held, pa.array([row[name] for row in rows], held.type))
    for name, kind in judge_columns(judges).items():
        table = table.append_column(name, pa.array([row[name] for row in rows], pa.type_for_alias(kind)))
    return table


def _unfilled(ids: Sequence[str], selected: Sequence[bool]) -> int:
    """Count the pairs without a selected candidate."""
    return len(set(ids) - {pair_id for pair_id, chosen in zip(ids, selected, strict=True) if chosen})


def _by_pair(table: pa.Table) -> Iterator[pa.Table]:
    """Yield runs of rows of one pair, in the order they are stored."""
    ids = np.array(table.column("pair_id").to_pylist(), dtype=object)
    edges = np.flatnonzero(ids[1:] != ids[:-1]) + 1
    for start, stop in zip([0, *edges], [*edges, len(ids)], strict=True):
        if stop > start:
            yield table.slice(int(start), int(stop - start))


def _select_anew(group: pa.Table, choice: Choice, scorer: Scorer | None, masks: dict[str, Any]) -> list[dict[str, Any]]:
    rows = group.drop_columns(["composite"]).to_pylist()
    if scorer:
        composites = [to_rgb(Image.open(io.BytesIO(cell["bytes"]))) for cell in group.column("composite").to_pylist()]
        scores = scores_of(scorer, composites, to_mask(Image.open(io.BytesIO(masks[rows[0]["pair_id"]]["bytes"]))))
    else:
        scores = [(row["p_composite"], tuple((name, row[f"p_{name}"]) for name in choice.judges)) for row in rows]
    scored = [_scored(row, *score, choice.gates) for row, score in zip(rows, scores, strict=True)]
    made = choice.of_pair.get(rows[0]["pair_id"], {})
    outcomes = select(scored, choice.rule, choice.count, choice.seed, made, choice.combining)
    return [{**score_row(outcome), **_review(made.get(outcome.scored.candidate.k))} for outcome in outcomes]


def _review(decision: Decision | None) -> dict[str, str]:
    """Return what is recorded about a decision beside the scores of all K."""
    return {"review": decision} if decision else {}


def _scored(row: dict[str, Any], score: float, judged: Judged, gates: GateSettings) -> Scored:
    shift = (row["shift_r"], row["shift_g"], row["shift_b"])
    values = GateValues(row["clipped"], row["fmse"], row["structure"], row["drift"], shift)
    failed = first_failure(values, score, gates, row["gate"] == DUPLICATE)
    return Scored(Candidate(row["pair_id"], row["k"], row["seed"]), score, values, failed, judged)


def _sum_up(run: Run, choice: Choice) -> None:
    """Bring summary.json and report.html up to date."""
    from harmonygen.report import write_report

    path = run.folder / SUMMARY
    held = {name: value for name, value in choice.to_json().items() if name != "decisions"}
    review = Decisions("", "", choice.decisions)
    counts = {"accepted": review.count("accept"), "rejected": review.count("reject")}
    selection = {**held, **(counts if choice.decisions else {})}
    write_json(path, {**read_json(path), **count_scores(list(run.scores())), "selection": selection})
    write_report(run.folder)
