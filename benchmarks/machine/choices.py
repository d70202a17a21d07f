"""What a selection has to be: the rules of docs/review.md and of `select`, written a second time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from harmonygen.seeds import numpy_rng

Key = tuple[str, int]
"""A candidate: its pair's id and its k."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """All that decides which candidates of a run are selected; ``classifier`` is the name of one in the world."""

    rule: str
    count: int
    seed: int
    gates: Mapping[str, float]
    classifier: str
    decisions: Mapping[Key, str] = field(default_factory=dict)

    def changed(self, gates: Mapping[str, float], **options: Any) -> Choice:
        """Return the choice with the options that are given (not None); gates are changed one by one."""
        given = {name: value for name, value in options.items() if value is not None}
        return replace(self, gates={**self.gates, **gates}, **given)


def outcomes(rows: Iterable[Row], choice: Choice) -> dict[Key, dict[str, Any]]:
    """Return ``selected``, ``gate``, ``reason`` and ``p_composite`` of one pair's rows under a choice.

    ``rows`` hold the values that gates look at, ``duplicate`` and the scores by classifier in ``scores``.
    """
    gates = {row["k"]: _gate(row, choice.gates) for row in rows}
    order = _order(list(rows), gates, choice)
    return {(row["pair_id"], row["k"]): _outcome(row, order, gates[row["k"]], choice) for row in rows}


def _gate(row: Row, limits: Mapping[str, float]) -> str:
    if row["duplicate"]:
        return "duplicate"
    failed = {
        "clipped": row["clipped"] > limits["max_clipped"],
        "fmse-low": row["fmse"] < limits["min_fmse"],
        "fmse-high": row["fmse"] > limits["max_fmse"],
        "structure": row["structure"] < limits["min_structure"],
        "drift": row["drift"] > limits["max_drift"],
    }
    return next((name for name, fails in failed.items() if fails), "")


def _order(rows: list[Row], gates: Mapping[int, str], choice: Choice) -> list[int]:
    """Return k of the candidates that may be selected, best first."""
    made = {row["k"]: choice.decisions.get((row["pair_id"], row["k"])) for row in rows}
    passed = _ranked([row for row in rows if not gates[row["k"]]], choice)
    rescued = _by_score([row for row in rows if gates[row["k"]] and made[row["k"]] == "accept"], choice)
    standing = [row["k"] for row in [*passed, *rescued] if made[row["k"]] != "reject"]
    return [k for k in standing if made[k] == "accept"] + [k for k in standing if made[k] != "accept"]


def _outcome(row: Row, order: list[int], gate: str, choice: Choice) -> dict[str, Any]:
    k = row["k"]
    if choice.decisions.get((row["pair_id"], k)) == "reject":
        reason = "review:rejected"
    elif k not in order:
        reason = f"gate:{gate}"
    else:
        rank = order.index(k)
        reason = "" if rank < choice.count else f"rule:{choice.rule} rank {rank + 1}"
    score = row["scores"][choice.classifier]
    return {"selected": not reason, "gate": gate, "reason": reason, "p_composite": score}


def _ranked(rows: list[Row], choice: Choice) -> list[Row]:
    if choice.rule == "random" and rows:
        ordered = sorted(rows, key=lambda row: row["k"])
        shuffled = numpy_rng("select", choice.seed, rows[0]["pair_id"]).permutation(len(rows))
        return [ordered[int(place)] for place in shuffled]
    if choice.rule == "quantile" and rows:
        goal = float(np.quantile([row["scores"][choice.classifier] for row in rows], 0.75))  # its rounding decides ties
        return sorted(rows, key=lambda row: (abs(row["scores"][choice.classifier] - goal), row["k"]))
    return _diverse(rows, choice) if choice.rule == "diverse" else _by_score(rows, choice)


def _by_score(rows: list[Row], choice: Choice) -> list[Row]:
    return sorted(rows, key=lambda row: (-row["scores"][choice.classifier], row["k"]))


def _diverse(rows: list[Row], choice: Choice) -> list[Row]:
    left = _by_score(rows, choice)
    taken, left = left[:1], left[1:]
    while left:
        farthest = max(left, key=lambda row: min(math.dist(_shift(row), _shift(other)) for other in taken))
        taken.append(farthest)
        left.remove(farthest)
    return taken


def _shift(row: Row) -> tuple[float, ...]:
    return row["shift_r"], row["shift_g"], row["shift_b"]


def picks(rows: Mapping[Key, Row], gamma: float, originals: int, rule: str, seed: int = 0) -> dict[str, list[int]]:
    """Return the k that `augment` takes of each pair; ``rows`` hold the outcome, ``originals`` is a pair's count."""
    pairs: dict[str, list[Row]] = {}
    for (pair_id, _), row in sorted(rows.items()):
        pairs.setdefault(pair_id, [])
        usable = not row["reason"].startswith("gate:") and row["reason"] != "review:rejected"
        if usable and (row["selected"] or rule != "selected"):
            pairs[pair_id].append(row)
    needed = math.ceil(gamma * originals)
    return {pair_id: _picked(pair_id, own, rule, seed)[:needed] for pair_id, own in pairs.items()}


def _picked(pair_id: str, rows: list[Row], rule: str, seed: int) -> list[int]:
    if rule == "top":
        return [row["k"] for row in sorted(rows, key=lambda row: (-row["p_composite"], row["k"]))]
    return [rows[int(place)]["k"] for place in numpy_rng("augment", seed, pair_id).permutation(len(rows))]
