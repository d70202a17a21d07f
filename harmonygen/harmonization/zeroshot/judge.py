"""Decide, from the scores of the edits so far, whether to edit on (REFERENCE section 8, step 7).

Scores are harmony, 1 - P(composite). Edit 0 is the untouched composite. An edit falls if it does not score higher
than the picture it was made from; an edit that scores the same changed nothing that counts, so it is a fall too. Two
falls in a row: edit the picture before them again, with another description, once in a composite's life.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Decision = Literal["continue", "regenerate", "conclude"]


@dataclass(frozen=True, slots=True)
class ScoredEdit:
    """An edit's ``harmony`` in [0, 1], its number from 1 on, and the number of the edit whose picture it changed.

    Number 0 stands for the untouched composite, which started from itself.
    """

    number: int
    started_from: int
    harmony: float


@dataclass(frozen=True, slots=True)
class NextStep:
    """What to do next and why; ``start_from`` is the number of the edit whose picture is changed next."""

    decision: Decision
    start_from: int
    why: str


def judge(history: Sequence[ScoredEdit], limit: int, another: bool) -> NextStep:
    """Decide after the last edit of ``history``, which begins with the untouched composite.

    Args:
        history: all edits so far, by number.
        limit: the most edits of one composite.
        another: whether a description is left that was not used.

    >>> rising = [ScoredEdit(0, 0, 0.2), ScoredEdit(1, 0, 0.5)]
    >>> judge(rising, 10, True).decision
    'continue'
    >>> judge([*rising, ScoredEdit(2, 1, 0.4), ScoredEdit(3, 2, 0.3)], 10, True)
    NextStep(decision='regenerate', start_from=1, why='two falls in a row')
    """
    last, falls = history[-1], falls_in_a_row(history)
    if last.number >= limit:
        return NextStep("conclude", last.number, f"the limit of {limit} edits")
    if falls < 2:
        return NextStep("continue", last.number, ("the score rose", "the score fell once")[falls])
    if any(went_back(step) for step in history):
        return NextStep("conclude", last.number, "two falls in a row for the second time")
    if not another:
        return NextStep("conclude", last.number, "two falls in a row and no other description")
    return NextStep("regenerate", history[-2].started_from, "two falls in a row")


def falls_in_a_row(history: Sequence[ScoredEdit]) -> int:
    """Count the falls at the end of the history; an edit of an earlier picture starts the count again."""
    harmony = {step.number: step.harmony for step in history}
    falls = 0
    for step in reversed(history[1:]):
        if step.harmony > harmony[step.started_from]:
            break
        falls += 1
        if went_back(step):
            break
    return falls


def went_back(step: ScoredEdit) -> bool:
    """Return whether an edit changed another picture than that of the edit before it."""
    return step.started_from < step.number - 1


def best(history: Sequence[ScoredEdit], allow_unchanged: bool = False) -> ScoredEdit:
    """Return the edit that scores best, of equals the first.

    The untouched composite is among them only with ``allow_unchanged``: the published method returns an edit.
    """
    return max(history if allow_unchanged else history[1:], key=lambda step: step.harmony)
