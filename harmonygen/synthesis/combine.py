"""Several judges' scores as one ranking: what a rule ranks by, what a judge alone can refuse, and who decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harmonygen.records import Scored
from harmonygen.runs.tables import VETO
from harmonygen.settings import Combine

ALL = "all"
"""What `decided_by` says where each judge alone would have decided so."""


@dataclass(frozen=True, slots=True)
class Combining:
    """How the scores of several judges become one ranking of a pair's candidates.

    ``mean`` ranks by the mean of their probabilities. ``mean-rank`` ranks by the mean of the ranks that each gives.
    ``all-above`` refuses a candidate that any judge gives less than ``min_score``, and ranks by the lowest score.
    ``veto`` ranks by the first judge; each other one refuses what it gives less than ``min_score``.
    """

    how: Combine = "mean-rank"
    min_score: float = 0.5

    def gated(self, item: Scored) -> Scored:
        """Return an item, as one that failed the gate of a judge which refuses it: of several, the strictest."""
        scores = dict(item.judged)
        refusing = [(scores[name], name) for name, refused in self.refusals(item.judged) if refused]
        if not refusing or item.failed_gate:
            return item
        return replace(item, failed_gate=f"{VETO}{min(refusing)[1]}")

    def refusals(self, judged: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Return the judges that may refuse a candidate alone, and whether each does.

        Scores are numbers, or arrays of one shape; the answers are of that shape.
        """
        asked = {"all-above": judged, "veto": judged[1:]}.get(self.how, ())
        return [(name, score < self.min_score) for name, score in asked]

    def keys(self, items: Sequence[Scored]) -> list[float]:
        """Return what a rule ranks each candidate by, in [0, 1]; of one judge it is the score."""
        if not items or not items[0].judged:
            return [item.p_composite for item in items]
        scores = np.array([[score for _, score in item.judged] for item in items])
        if self.how == "mean-rank":
            return [float(key) for key in np.mean([_standing(column) for column in scores.T], axis=0)]
        combined = {"mean": scores.mean(axis=1), "all-above": scores.min(axis=1), "veto": scores[:, 0]}[self.how]
        return [float(key) for key in combined]


ONE_JUDGE = Combining()


def combining_of(held: Mapping[str, Any]) -> Combining:
    """Return how a selection, as a plan or ``selection.json`` has it, combines judges."""
    return Combining(held.get("combine", ONE_JUDGE.how), float(held.get("min_score", ONE_JUDGE.min_score)))


def _standing(scores: np.ndarray) -> np.ndarray:
    """Return the share of candidates that each leaves behind, those of an equal score by half.

    >>> _standing(np.array([0.2, 0.9, 0.9])).round(3).tolist()
    [0.167, 0.667, 0.667]
    """
    below = (scores[:, None] > scores).sum(axis=1)
    equal = (scores[:, None] == scores).sum(axis=1)
    shares: np.ndarray = (below + equal / 2) / len(scores)
    return shares


Ranker = Callable[[Sequence[Scored], int], list[Scored]]
"""A rule: candidates that passed the gates and a seed -> the best first."""


def rank_by(items: Sequence[Scored], keys: Sequence[float], rule: Ranker, seed: int) -> list[Scored]:
    """Return the items as a rule ranks them by ``keys`` instead of their scores."""
    whole = {item.candidate.k: item for item in items}
    keyed = [replace(item, p_composite=key) for item, key in zip(items, keys, strict=True)]
    return [whole[item.candidate.k] for item in rule(keyed, seed)]


def deciders(passed: Sequence[Scored], rule: Ranker, seed: int, count: int) -> dict[int, Mapping[str, bool]]:
    """Return, by k, which judges would select a candidate if they were alone; empty for one judge."""
    names = [name for name, _ in passed[0].judged] if passed else []
    told: dict[int, dict[str, bool]] = {item.candidate.k: {} for item in passed}
    for place, name in enumerate(names):
        alone = rank_by(passed, [item.judged[place][1] for item in passed], rule, seed)
        for rank, item in enumerate(alone):
            told[item.candidate.k][name] = rank < count
    return dict(told)


def decided_by(votes: Mapping[str, bool], selected: bool, combining: Combining) -> str:
    """Return the judges that alone would have decided so: ``all``, their names, or how they were combined.

    >>> decided_by({"a": True, "b": False}, True, ONE_JUDGE), decided_by({"a": False, "b": False}, True, ONE_JUDGE)
    ('a', 'mean-rank')
    """
    agreeing = [name for name, vote in votes.items() if vote == selected]
    if not votes:
        return ""
    return ALL if len(agreeing) == len(votes) else "+".join(agreeing) or combining.how
