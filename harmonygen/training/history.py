"""The figures of a run: rows of the history, and how fast it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

_VALIDATION = "validation_"


def is_validation(row: Mapping[str, Any]) -> bool:
    """Tell whether a row of the history holds validation's figures.

    >>> is_validation({"step": 5, "validation_psnr": 30.0}), is_validation({"step": 5, "loss": 0.1})
    (True, False)
    """
    return any(name.startswith(_VALIDATION) for name in row)


def last_figures(history: Sequence[Mapping[str, Any]], validation: bool) -> dict[str, float]:
    """Return the last figures of training or of validation, none if there are none.

    >>> last_figures([{"step": 5, "loss": 0.1}, {"step": 5, "validation_psnr": 30.0}], validation=True)
    {'psnr': 30.0}
    """
    rows = [row for row in history if is_validation(row) == validation]
    last = rows[-1] if rows else {}
    return {name.removeprefix(_VALIDATION): float(value) for name, value in last.items() if name != "step"}


@dataclass(frozen=True)
class Pace:
    """Steps done by this process and the seconds they took."""

    steps: int
    seconds: float

    @property
    def rate(self) -> float:
        """Steps a second."""
        return self.steps / max(self.seconds, 1e-9)

    def said(self, steps_left: int, images: int) -> str:
        """Say the rate and the time left, for ``images`` a step."""
        left = timedelta(seconds=round(steps_left / self.rate))
        return f"{self.rate:.2f} steps/s, {self.rate * images:.1f} images/s, {left} left"
