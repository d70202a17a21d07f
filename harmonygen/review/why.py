"""`harmonygen why`: where a candidate came from, what the judge and the gates say about it, and who decided what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harmonygen.errors import UsageError, listed
from harmonygen.recipes import nearest
from harmonygen.records import GateValues
from harmonygen.review.columns import JUDGES
from harmonygen.review.thresholds import Bounds, Limit, bounds_in_force
from harmonygen.runs.identity import DIGEST_COLUMNS
from harmonygen.runs.read import Run, look_inside
from harmonygen.runs.review_log import Mark, ReviewLogs
from harmonygen.runs.tables import VETO, read_light
from harmonygen.synthesis.gates import gate_checks

_PAIR = ("pair_id", "real_id", "mask_id", "subset", "width", "height", "fg_ratio", "source", "mask_source")
_MADE_BY = ("generator", "model_digest", "params_digest")


@dataclass(frozen=True, slots=True)
class GateReading:
    """What a gate measured on a candidate, its limit, and whether the candidate keeps it."""

    gate: str
    column: str
    value: float | None
    side: str
    limit: float
    kept: bool


@dataclass(frozen=True)
class Origin:
    """A pair of a run and its candidates, kept or not.

    ``pair`` holds its ids, size, photo and mask, with the digests of their pixels. ``made_by`` holds generator, model,
    run seed and digests, ``selection`` the rule, count, seed and classifier in force. ``candidates`` hold seed, score,
    values, gate and reason of each k; ``said`` what reviewers say about each k, by name; ``agreed`` the decisions that
    the selection holds.
    """

    run: str
    pair: Mapping[str, Any]
    made_by: Mapping[str, Any]
    selection: Mapping[str, Any]
    candidates: Sequence[Mapping[str, Any]]
    said: Mapping[int, Mapping[str, Mark]]
    agreed: Mapping[int, str]
    bounds: Bounds
    judges: Sequence[str] = ()

    def candidate(self, k: int) -> Mapping[str, Any]:
        """Return what is known of candidate ``k``.

        Raises:
            UsageError: there is none.
        """
        found = next((each for each in self.candidates if each["k"] == k), None)
        if found is None:
            known = listed([str(each["k"]) for each in self.candidates], most=20)
            raise UsageError(f"pair '{self.pair['pair_id']}' has no candidate {k}: it has {known}")
        return found

    def readings(self, k: int) -> list[GateReading]:
        """Return what each gate says about candidate ``k``, by the limits in force."""
        made = self.candidate(k)
        clipped, fmse, structure, drift = (float(made[name]) for name in ("clipped", "fmse", "structure", "drift"))
        values = GateValues(clipped, fmse, structure, drift)
        kept = dict(gate_checks(values, _score(made, JUDGES[0]), self.bounds.gates))
        refused = self.bounds.combining.refusals([(name, _score(made, f"p_{name}")) for name in self.judges])
        kept |= {f"{VETO}{name}": not each for name, each in refused}
        limits = self.bounds.limits(self.judges)
        return [_reading(limit, made, self.bounds.value(limit), bool(kept[limit.gate])) for limit in limits]

    def as_json(self, k: int | None = None) -> dict[str, Any]:
        """Return everything as JSON has it, of all candidates or of one."""
        chosen = [each for each in self.candidates if k is None or each["k"] == k]
        return {
            "run": self.run,
            "pair": dict(self.pair),
            "made_by": dict(self.made_by),
            "selection": dict(self.selection),
            "candidates": [
                {
                    **each,
                    "gates": [asdict(reading) for reading in self.readings(each["k"])],
                    "decision": self.agreed.get(each["k"], ""),
                    "review": {name: asdict(mark) for name, mark in self.said.get(each["k"], {}).items()},
                }
                for each in chosen
            ],
        }


def _score(made: Mapping[str, Any], column: str) -> float:
    """Return a score; NaN where it is unknown, as that of a judge whose scoring was stopped half-way."""
    score = made.get(column)
    return float("nan") if score is None else float(score)


def _reading(limit: Limit, made: Mapping[str, Any], bound: float, kept: bool) -> GateReading:
    return GateReading(limit.gate, limit.column, made.get(limit.column), limit.side, bound, kept)


def explain(folder: Path, pair_id: str, k: int | None = None) -> Origin:
    """Say where the candidates of a pair came from; ``k`` is checked to be one of them.

    Raises:
        UsageError: no run, no such pair (the nearest id is named), or no such candidate.
        StorageError: a file cannot be read.
    """
    run = look_inside(folder)
    part, row = _find(run, pair_id)
    columns = (*_PAIR, "scores", *DIGEST_COLUMNS)
    try:
        pair = read_light(run.pair_file(part), columns).slice(row, 1).to_pylist()[0]
    except UsageError:  # a run of an older version has no digests
        pair = read_light(run.pair_file(part), columns[: -len(DIGEST_COLUMNS)]).slice(row, 1).to_pylist()[0]
    origin = Origin(
        str(run.folder),
        {name: value for name, value in pair.items() if name != "scores"},
        _made_by(run, part),
        {name: value for name, value in run.selection.items() if name not in ("gates", "decisions")},
        json.loads(pair["scores"]),
        _said(run, pair_id),
        {own: decision for (name, own), decision in run.decisions.items() if name == pair_id},
        bounds_in_force(run.selection, run.judges),
        run.judges,
    )
    if k is not None:
        origin.candidate(k)
    return origin


def _find(run: Run, pair_id: str) -> tuple[int, int]:
    """Return the shard of a pair, and its row in it."""
    known: list[str] = []
    for part in range(len(run.parts)):
        ids = read_light(run.pair_file(part), ("pair_id",))["pair_id"].to_pylist()
        if pair_id in ids:
            return part, ids.index(pair_id)
        known += ids
    left_out = next((row for row in run.quarantine() if row.id == pair_id), None)
    if left_out is not None:
        raise UsageError(f"pair '{pair_id}' was quarantined at {left_out.stage}: {left_out.message}")
    raise UsageError(f"the run '{run.folder}' has no pair '{pair_id}'{nearest(pair_id, known)}: check the id")


def _made_by(run: Run, part: int) -> dict[str, Any]:
    settings = run.plan["settings"]
    table = read_light(run.parts[part], _MADE_BY)
    columns = table.slice(0, 1).to_pylist()[0] if table.num_rows else {}
    judge = "judge" if settings.get("judge") else "classifier"
    named = {name: settings[name] for name in ("model", judge, "seed", "k") if name in settings}
    return {
        **columns,
        **named,
        "plan_digest": run.plan_digest,
        "harmonygen": run.plan.get("harmonygen", ""),
    }


def _said(run: Run, pair_id: str) -> dict[int, dict[str, Mark]]:
    said: dict[int, dict[str, Mark]] = {}
    for name, marks in ReviewLogs.read(run.folder, run.plan_digest).marks.items():
        for (own, k), mark in marks.of.items():
            if own == pair_id:
                said.setdefault(k, {})[name] = mark
    return said
