"""What a finished run is selected by again: the run's own rule, gates and judges, with what was asked to change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harmonygen.errors import UsageError
from harmonygen.models.scorer import Scorer
from harmonygen.runs.decisions import Decision, Decisions, to_rows
from harmonygen.runs.job_folder import digest_of
from harmonygen.runs.read import JUDGES, Run
from harmonygen.settings import Combine, Rule
from harmonygen.settings import asked as asked_of
from harmonygen.synthesis.combine import ONE_JUDGE, Combining, combining_of
from harmonygen.synthesis.panel import Panel
from harmonygen.synthesis.select import keep_count
from harmonygen.synthesis.settings import GateSettings


@dataclass(frozen=True)
class Asked:
    """What to change of a selection; None stays as the run has it."""

    rule: Rule | None = None
    gates: GateSettings | None = None
    count: int | None = None
    seed: int | None = None
    combine: Combine | None = None
    min_score: float | None = None
    decisions: Decisions | None = None


@dataclass(frozen=True)
class Choice:
    """The rule, gates, count, seed, judges and a reviewer's decisions that a selection is made by.

    ``judges`` are the digests of several by name; of one judge, ``classifier_digest`` says all.
    """

    rule: Rule
    gates: GateSettings
    count: int
    seed: int
    classifier_digest: str
    decisions: Mapping[tuple[str, int], Decision]
    judges: Mapping[str, str] = field(default_factory=dict)
    combining: Combining = ONE_JUDGE

    @classmethod
    def of(cls, run: Run, asked: Asked, scorer: Scorer | None = None, scorer_digest: str = "") -> Choice:
        """Return the run's own choice with what is asked for.

        Raises:
            UsageError: the run keeps fewer candidates than can be chosen from, or has one judge to combine.
        """
        settings, last = run.plan["settings"], run.selection
        keep, k = settings["keep"], int(settings["k"])
        if keep != "all":
            raise UsageError(
                f"the run keeps only '{keep}' of its {k} candidates: run synthesize with --keep all to select again"
            )
        judges = last.get(JUDGES, {})
        if scorer is not None:
            judges = scorer.digests if isinstance(scorer, Panel) else {}
        if not judges and (asked.combine or asked.min_score is not None):
            raise UsageError("--combine and --min-score are for several judges and the run has one: drop them")
        return cls(
            asked.rule or last["rule"],
            _changed(last["gates"], asked.gates),
            keep_count(str(asked.count if asked.count is not None else int(last["count"])), k),
            asked.seed if asked.seed is not None else int(last["seed"]),
            scorer_digest or last["classifier_digest"],
            run.decisions if asked.decisions is None else asked.decisions.of,
            judges,
            _combining(last, asked) if judges else ONE_JUDGE,
        )

    def to_json(self) -> dict[str, Any]:
        """Return what ``selection.json`` holds."""
        combined = {JUDGES: dict(self.judges), "combine": self.combining.how, "min_score": self.combining.min_score}
        return {
            "rule": self.rule,
            "gates": asked_of(self.gates),
            "count": self.count,
            "seed": self.seed,
            "classifier_digest": self.classifier_digest,
            **(combined if self.judges else {}),
            **({"decisions": to_rows(self.decisions)} if self.decisions else {}),
        }

    @cached_property
    def of_pair(self) -> dict[str, dict[int, Decision]]:
        """The decisions by pair id and k."""
        pairs: dict[str, dict[int, Decision]] = {}
        for (pair_id, k), decision in self.decisions.items():
            pairs.setdefault(pair_id, {})[k] = decision
        return pairs

    @cached_property
    def digest(self) -> str:
        """The digest that shards of this selection have."""
        return digest_of(self.to_json())


def _changed(held: dict[str, Any], gates: GateSettings | None) -> GateSettings:
    """Return the gates that the run holds, with those that ``gates`` was given explicitly."""
    return GateSettings.model_validate({**held, **(gates.model_dump(exclude_unset=True) if gates else {})})


def _combining(held: Mapping[str, Any], asked: Asked) -> Combining:
    last = combining_of(held)
    least = asked.min_score if asked.min_score is not None else last.min_score
    return Combining(asked.combine or last.how, least)
