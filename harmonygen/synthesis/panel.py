"""The judges of a run: named, loaded, and asked side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harmonygen.models.device import Device
from harmonygen.models.scorer import Scorer
from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.plugins.doors import JUDGES
from harmonygen.plugins.guard import GuardedJudge
from harmonygen.plugins.load import Judge, guard_object, load_judge
from harmonygen.runs.job_folder import digest_of
from harmonygen.synthesis.judges import column_name, named_judges
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
        loaded |= {
            column_name(name): guard_object(JUDGES, each, device, GuardedJudge) for name, each in several.items()
        }
    else:
        loaded |= {each.name: load_judge(each.spec, each.settings, device) for each in named_judges(settings)}
    return next(iter(loaded.values())) if len(loaded) == 1 else Panel(loaded)
