"""Rank a pair's candidates by a rule and keep the first; everything else is dropped with a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harmonygen.records import Dropped, Scored, Selected
from harmonygen.runs.decisions import REJECTED, Decision
from harmonygen.runs.tables import VETO
from harmonygen.seeds import numpy_rng
from harmonygen.settings import Rule
from harmonygen.synthesis.combine import ONE_JUDGE, Combining, decided_by, deciders, rank_by

_QUANTILE = 0.75
NO_SCORE = "no-score"
"""The gate that a candidate fails whose score is NaN, as a classifier in half precision may give it."""


def select(
    scored: Sequence[Scored],
    rule: Rule,
    count: int = 1,
    seed: int = 0,
    decisions: Mapping[int, Decision] | None = None,
    combining: Combining = ONE_JUDGE,
) -> list[Selected | Dropped]:
    """Select ``count`` of one pair's candidates; the answer is in the order of ``scored``.

    Candidates that failed a gate, or whose score is not a probability (:data:`NO_SCORE`), are not selected.
    ``max-composite``: highest probability of being a composite (REFERENCE section 1). ``random``: seeded by pair.
    ``quantile``: nearest to the 0.75 quantile of the probabilities. ``diverse``: the most composite-like first, then
    each time the one whose colour shift is farthest from all taken. Ties go to the smaller k.

    ``decisions`` (by k) override rule and gates: a rejected candidate is never selected, an accepted one goes
    before all that are not. Candidates keep the rule's order otherwise, so that rejecting one displaces no other.

    ``combining`` says how the scores of several judges become the one that the rules rank by.
    """
    made = decisions or {}
    scored = [combining.gated(_with_a_score(item)) for item in scored]
    passed = [item for item in scored if not item.failed_gate]
    ranked = rank_by(passed, combining.keys(passed), RULES[rule], seed)
    votes = {} if rule == "random" else deciders(passed, RULES[rule], seed, count)
    rescued = [item for item in scored if item.failed_gate and made.get(item.candidate.k) == "accept"]
    standing = [item for item in [*ranked, *_by_score(rescued, seed)] if made.get(item.candidate.k) != "reject"]
    standing.sort(key=lambda item: made.get(item.candidate.k) != "accept")
    rank_of = {item.candidate.k: rank for rank, item in enumerate(standing)}
    outcomes = [_outcome(item, rank_of, rule, count, made.get(item.candidate.k)) for item in scored]
    return [replace(outcome, decided_by=_decider(outcome, votes, combining, made)) for outcome in outcomes]


def _decider(
    outcome: Selected | Dropped,
    votes: Mapping[int, Mapping[str, bool]],
    combining: Combining,
    made: Mapping[int, Decision],
) -> str:
    """Return which of several judges decided; nothing if it was a gate, a review or chance, or there is one judge."""
    gate, k = outcome.scored.failed_gate, outcome.scored.candidate.k
    if made.get(k):
        return ""
    if gate:
        return gate.removeprefix(VETO) if gate.startswith(VETO) else ""
    return decided_by(votes.get(k, {}), isinstance(outcome, Selected), combining)


def _outcome(
    item: Scored, rank_of: Mapping[int, int], rule: Rule, count: int, decision: Decision | None
) -> Selected | Dropped:
    if decision == "reject":
        return Dropped(item, REJECTED)
    if item.candidate.k not in rank_of:
        return Dropped(item, f"gate:{item.failed_gate}")
    rank = rank_of[item.candidate.k]
    return Selected(item, rank) if rank < count else Dropped(item, f"rule:{rule} rank {rank + 1}")


def _with_a_score(item: Scored) -> Scored:
    """Return an item, as one that failed a gate if its score is NaN or otherwise no probability."""
    return item if is_score(item.p_composite) else replace(item, failed_gate=item.failed_gate or NO_SCORE)


def is_score(score: Any) -> Any:
    """Return whether a score, or each of an array of them, is a probability; NaN is none."""
    return (score >= 0) & (score <= 1)


def _by_score(items: Sequence[Scored], _seed: int) -> list[Scored]:
    return sorted(items, key=lambda item: (-item.p_composite if item.p_composite >= 0 else 0.0, item.candidate.k))


def _random(items: Sequence[Scored], seed: int) -> list[Scored]:
    if not items:
        return []
    ordered = sorted(items, key=lambda item: item.candidate.k)
    order = numpy_rng("select", seed, items[0].candidate.pair_id).permutation(len(ordered))
    return [ordered[i] for i in order]


def _quantile(items: Sequence[Scored], _seed: int) -> list[Scored]:
    if not items:
        return []
    goal = float(np.quantile([item.p_composite for item in items], _QUANTILE))
    return sorted(items, key=lambda item: (abs(item.p_composite - goal), item.candidate.k))


def _diverse(items: Sequence[Scored], seed: int) -> list[Scored]:
    waiting = _by_score(items, seed)
    taken = waiting[:1]
    waiting = waiting[1:]
    while waiting:
        shifts = np.array([item.gates.shift for item in taken])
        gaps = [float(np.linalg.norm(shifts - item.gates.shift, axis=1).min()) for item in waiting]
        taken.append(waiting.pop(int(np.argmax(gaps))))
    return taken


RULES: dict[Rule, Callable[[Sequence[Scored], int], list[Scored]]] = {
    "max-composite": _by_score,
    "random": _random,
    "quantile": _quantile,
    "diverse": _diverse,
}
"""Each rule ranks the candidates that passed the gates, best first."""


def keep_count(keep: str, k: int) -> int:
    """Return how many candidates a pair selects: ``all`` and ``best`` select one, ``N`` selects N.

    >>> keep_count("best", 10), keep_count("3", 10)
    (1, 3)
    """
    from harmonygen.errors import UsageError

    if keep in ("all", "best"):
        return 1
    if not keep.isdecimal() or not 1 <= int(keep) <= k:
        raise UsageError(f"--keep is {keep!r}: write all, best, or a number from 1 to K ({k})")
    return int(keep)
