"""The judges of a run: named, loaded, and asked side by side."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmonygen.errors import UsageError
from harmonygen.models.device import Device
from harmonygen.models.scorer import Scorer
from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.plugins.doors import JUDGES
from harmonygen.plugins.guard import GuardedJudge
from harmonygen.plugins.load import Judge, guard_object, load_judge
from harmonygen.runs.job_folder import digest_of
from harmonygen.synthesis.settings import JudgeSettings

JudgeCallables = Callable[..., Any] | Mapping[str, Callable[..., Any]]
"""A judge that is handed over in Python, or several by name."""
Judged = tuple[tuple[str, float], ...]
"""Each judge's name and score, in the order in which they were named; empty of a single judge."""


class Panel:
    """Several judges as one scorer: the mean of their probabilities, and each one's."""

    def __init__(self, judges: Mapping[str, Judge]) -> None:
        self.judges = dict(judges)
        self.digests = {name: judge.digest for name, judge in self.judges.items()}
        self.digest = digest_of([*self.digests.items()])

    def each(self, composites: Sequence[ImageU8], mask: Mask) -> list[Judged]:
        """Return every judge's P(composite) of each composite."""
        columns = [[(name, score) for score in judge(composites, mask)] for name, judge in self.judges.items()]
        return list(zip(*columns, strict=True))

    def __call__(self, composites: Sequence[ImageU8], mask: Mask) -> list[float]:
        """Return the mean of the judges' P(composite) of each composite."""
        return [mean_of(judged) for judged in self.each(composites, mask)]


def mean_of(judged: Judged) -> float:
    """Return the mean of several judges' scores, NaN if one is."""
    return sum(score for _, score in judged) / len(judged)


def scores_of(scorer: Scorer, composites: Sequence[ImageU8], mask: Mask) -> list[tuple[float, Judged]]:
    """Return P(composite) of each composite and, of several judges, each one's."""
    if isinstance(scorer, Panel):
        return [(mean_of(judged), judged) for judged in scorer.each(composites, mask)]
    return [(score, ()) for score in scorer(composites, mask)]


def judges_of(scorer: Scorer) -> tuple[str, ...]:
    """Return the names of several judges; none of one judge, whose score is ``p_composite`` alone."""
    return tuple(scorer.judges) if isinstance(scorer, Panel) else ()


@dataclass(frozen=True, slots=True)
class NamedJudge:
    """A judge as it is asked for: its name in columns and settings, what it is, and its settings."""

    name: str
    spec: str
    settings: Mapping[str, Any]


def named_judges(settings: JudgeSettings) -> list[NamedJudge]:
    """Return the judges that settings ask for: those of ``judge``, else the classifier.

    Raises:
        UsageError: two have one name, or there are settings for one that is not asked for.
    """
    split = [_split(spec) for spec in settings.judge or (settings.classifier,)]
    names = [name for name, _ in split]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two judges are called '{twice[0]}': name them, as in --judge first={split[0][1]}")
    if unknown := sorted(settings.judge_settings.keys() - set(names)):
        raise UsageError(
            f"judge_settings are for '{unknown[0]}', but the judges are {', '.join(names)}: correct the name"
        )
    wrong = [name for name in names if not isinstance(settings.judge_settings.get(name, {}), Mapping)]
    if wrong:
        raise UsageError(
            f"judge_settings.{wrong[0]} is no table of settings: write judge_settings.{wrong[0]}.NAME=value"
        )
    return [NamedJudge(name, spec, settings.judge_settings.get(name, {})) for name, spec in split]


def _split(typed: str) -> tuple[str, str]:
    """Return the name and the spec of a judge: ``name=spec``, else it is called after its package, module or folder.

    >>> _split("strict=my_package.judges:make"), _split("my_package.judges:make"), _split("models/judge-b")
    (('strict', 'my_package.judges:make'), ('judges', 'my_package.judges:make'), ('judge_b', 'models/judge-b'))
    """
    head, equals, tail = typed.partition("=")
    if equals and head.isidentifier() and not Path(typed).exists():
        return _column(head), tail
    head, colon, argument = typed.partition(":")
    return _column(Path(argument).name if head == "classifier" and colon else Path(head.rpartition(".")[2]).name), typed


def _column(name: str) -> str:
    """Return a name as it can stand in a column's: ``p_<name>``."""
    name = re.sub(r"\W+", "_", name).strip("_").lower()
    return name if name and name != "composite" else "judge"


def load_panel(settings: JudgeSettings, device: Device, given: JudgeCallables | None = None) -> Judge:
    """Load the judges that settings ask for, or guard those that are ``given``; several are a panel.

    Raises:
        UsageError: as :func:`named_judges`, or wrong settings of one.
        CheckpointError: neither the name of a judge nor a classifier's folder.
        PluginError: one that cannot be built.
    """
    loaded: dict[str, Judge] = {}
    if given is not None:
        several = given if isinstance(given, Mapping) else {"": given}
        loaded |= {_column(name): guard_object(JUDGES, each, device, GuardedJudge) for name, each in several.items()}
    else:
        loaded |= {each.name: load_judge(each.spec, each.settings, device) for each in named_judges(settings)}
    return next(iter(loaded.values())) if len(loaded) == 1 else Panel(loaded)
