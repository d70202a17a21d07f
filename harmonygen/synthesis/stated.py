"""What is left to the checkpoint: the number of sampling steps. A plan holds the number itself."""

from __future__ import annotations

from typing import TypeVar

from harmonygen.errors import CheckpointError
from harmonygen.models.checkpoints import SPEC_NAME, locate, read_json
from harmonygen.synthesis.settings import CandidateSettings

CandidateT = TypeVar("CandidateT", bound=CandidateSettings)
_STEPS = 5


def with_stated_steps(settings: CandidateT) -> CandidateT:
    """Return settings whose ``steps`` are a number: what was asked for, or what the inverse model's checkpoint states.

    A checkpoint that cannot be read counts as one that states nothing: who loads it says what is wrong.
    """
    if settings.steps is not None:
        return settings
    return settings.model_copy(update={"steps": _stated(settings)})


def _stated(settings: CandidateSettings) -> int:
    if settings.generator != "diffusion":
        return _STEPS
    try:
        steps = read_json(locate(settings.model, "inverse") / SPEC_NAME).get("steps", _STEPS)
    except CheckpointError:
        return _STEPS
    return steps if isinstance(steps, int) and steps > 0 else _STEPS
