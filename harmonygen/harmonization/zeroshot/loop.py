"""The outer loop of zero-shot harmonization: describe once, then edit and judge (REFERENCE section 8).

It knows no model: an editor, a describer and a scorer are handed to it. Legend: h w pixels at the editor's size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from harmonygen.errors import InputError
from harmonygen.harmonization.zeroshot.judge import NextStep, ScoredEdit, best, judge
from harmonygen.pictures.images import Mask
from harmonygen.pictures.photo import Photo
from harmonygen.seeds import numpy_rng

if TYPE_CHECKING:
    from harmonygen.harmonization.zeroshot.describe import Describer
    from harmonygen.harmonization.zeroshot.words import Description

Picture01 = npt.NDArray[np.float32]
Scorer = Callable[[Picture01, Mask], float]
"""A picture (h, w, 3) in [0, 1] and its mask (h, w) -> P(composite)."""


class EditResult(Protocol):
    """What an edit gives: the picture (h, w, 3) in [0, 1] over the composite's background, and what was measured."""

    @property
    def picture01(self) -> Picture01: ...  # noqa: D102

    @property
    def figures(self) -> Mapping[str, float]: ...  # noqa: D102


class Editing(Protocol):
    """One edit of a picture: its foreground brought toward the background's words. It draws nothing at random."""

    def __call__(  # noqa: D102
        self, picture01: Picture01, composite01: Picture01, mask: Mask, description: Description
    ) -> EditResult: ...


@dataclass(frozen=True, slots=True)
class Iteration:
    """One edit: of which picture, by which words, what came out and what was decided.

    ``alternative`` is the description's place among those of the trace; ``verdict.start_from`` is the number of the
    edit whose picture is changed next.
    """

    number: int
    started_from: int
    alternative: int
    description: Description
    p_composite: float
    figures: Mapping[str, float]
    seconds: float
    verdict: NextStep

    def to_json(self) -> dict[str, Any]:
        """Return the edit as plain JSON values."""
        values = asdict(self)
        verdict = values.pop("verdict")
        return {
            **values,
            "prompts": list(self.description.prompts),
            "harmony": 1 - self.p_composite,
            "decision": verdict["decision"],
            "why": verdict["why"],
        }


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything about one composite's way: ``best`` is the number of the edit that is returned.

    ``p_composite`` is the untouched composite's, number 0. ``digests`` tell the models.
    """

    p_composite: float
    iterations: tuple[Iteration, ...]
    best: int
    descriptions: tuple[Description, ...]
    seed: int
    describer: str
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def best_p_composite(self) -> float:
        """P(composite) of the picture that is returned."""
        return self.iterations[self.best - 1].p_composite if self.best else self.p_composite

    def to_json(self) -> dict[str, Any]:
        """Return the trace as plain JSON values; ``improved`` tells whether the best picture beats the composite."""
        return {
            "best": self.best,
            "best_p_composite": self.best_p_composite,
            "p_composite": self.p_composite,
            "harmony": 1 - self.p_composite,
            "improved": self.best_p_composite < self.p_composite,
            "seed": self.seed,
            "describer": self.describer,
            "digests": dict(self.digests),
            "seconds": round(sum(edit.seconds for edit in self.iterations), 3),
            "descriptions": [asdict(description) for description in self.descriptions],
            "iterations": [edit.to_json() for edit in self.iterations],
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """The best picture (h, w, 3), the trace, and all pictures by number, the composite first."""

    picture01: Picture01
    trace: Trace
    pictures01: tuple[Picture01, ...]


Watch = Callable[[Iteration], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the loop continues: ``iterations`` edits at most, ``alternatives`` descriptions asked for.

    With ``allow_unchanged`` the untouched composite may be the picture that is returned.
    """

    iterations: int = 10
    alternatives: int = 3
    allow_unchanged: bool = False


_LIMITS = Limits()


def run(
    photo: Photo,
    edit: Editing,
    describe: Describer,
    score: Scorer,
    seed: int,
    limits: Limits = _LIMITS,
    watch: Watch | None = None,
) -> Outcome:
    """Edit a composite at its low size until the judge concludes; return the edit that scores best.

    Edits draw nothing at random; after two falls the other description is drawn, from ``seed`` alone. ``watch`` is
    told of each edit.

    Raises:
        InputError: the composite cannot be described, or an edit or a score is not finite.
    """
    composite01 = np.asarray(photo.low_u8 / np.float32(255), dtype=np.float32)
    descriptions = tuple(describe(photo, limits.alternatives))
    p_composite = _checked_score(score, composite01, photo.low_mask, 0)
    pictures, history, iterations = [composite01], [ScoredEdit(0, 0, 1 - p_composite)], list[Iteration]()
    start, place, left = 0, 0, list(range(1, len(descriptions)))
    while not iterations or iterations[-1].verdict.decision != "conclude":
        began, number, words = time.monotonic(), len(pictures), descriptions[place]
        edited = edit(pictures[start], composite01, photo.low_mask, words)
        pictures.append(_checked_picture(edited.picture01, composite01, number))
        found = _checked_score(score, pictures[-1], photo.low_mask, number)
        history.append(ScoredEdit(number, start, 1 - found))
        verdict, seconds = judge(history, limits.iterations, bool(left)), round(time.monotonic() - began, 3)
        iterations.append(Iteration(number, start, place, words, found, dict(edited.figures), seconds, verdict))
        start = verdict.start_from
        if verdict.decision == "regenerate":
            place = left.pop(int(numpy_rng("zero-shot description", seed).integers(len(left))))
        if watch:
            watch(iterations[-1])
    chosen = best(history, limits.allow_unchanged).number
    trace = Trace(p_composite, tuple(iterations), chosen, descriptions, seed, describe.name)
    return Outcome(pictures[chosen], trace, tuple(pictures))


def _checked_score(score: Scorer, picture01: Picture01, mask: Mask, number: int) -> float:
    p_composite = float(score(picture01, mask))
    if not 0 <= p_composite <= 1:
        raise InputError(f"edit {number} was scored {p_composite}, a probability is needed: try --dtype float32")
    return p_composite


def _checked_picture(picture01: Picture01, composite01: Picture01, number: int) -> Picture01:
    """Return an edited picture clipped to [0, 1]; refuse one of another size or with values that are not finite."""
    wrong = int((~np.isfinite(picture01)).sum())
    if wrong or picture01.shape != composite01.shape:
        raise InputError(
            f"edit {number} gave {picture01.shape} with {wrong} values that are not finite, {composite01.shape} "
            "without any is needed: try --dtype float32"
        )
    clipped: Picture01 = np.clip(picture01, 0, 1).astype(np.float32)
    return clipped
