"""One check and what came of it; and how a list of checks is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from harmonygen.errors import HarmonygenError, told
from harmonygen.pictures.images import ImageU8

TOLERANCE = 2
"""Levels of 255 that a pixel may differ by where the batch differs: its shape decides the order of sums."""
SCORE_TOLERANCE = 1e-3
"""What a score may differ by where the batch differs."""


class Seen(NamedTuple):
    """What a check found: whether it passed (None: a figure without a verdict), and in words."""

    passed: bool | None
    found: str


Look = Callable[[], Seen]


@dataclass(frozen=True, slots=True)
class PluginCheck:
    """A check of a plug-in of one kind, and what came of it."""

    kind: str
    check: str
    state: Literal["ok", "failed", "figure", "skipped"]
    found: str


def run_checks(kind: str, checks: Sequence[tuple[str, Look]]) -> list[PluginCheck]:
    """Run checks in order; if the first fails, the plug-in makes nothing that the others could look at."""
    verdicts: list[PluginCheck] = []
    for name, look in checks:
        if verdicts and verdicts[0].state == "failed":
            verdicts.append(PluginCheck(kind, name, "skipped", "nothing to look at"))
            continue
        outcome = _looked(look)
        state: Literal["ok", "failed", "figure"] = "ok" if outcome.passed else "failed"
        verdicts.append(PluginCheck(kind, name, "figure" if outcome.passed is None else state, outcome.found))
    return verdicts


def _looked(look: Look) -> Seen:
    try:
        return look()
    except HarmonygenError as error:
        return Seen(False, str(error))
    except Exception as error:  # a plug-in of ours that is not wrapped: what it raises is what is wrong
        return Seen(False, f"{type(error).__name__}: {told(error)}")


def levels(one: Sequence[ImageU8], other: Sequence[ImageU8]) -> int:
    """Return the largest difference of a pixel's channel between two lists of pictures, in levels of 255.

    >>> levels([np.zeros((1, 1, 3), np.uint8)], [np.full((1, 1, 3), 7, np.uint8)])
    7
    """
    both = zip(one, other, strict=True)
    return max((int(np.abs(a.astype(np.int16) - b).max()) for a, b in both), default=0)


def equal_within(difference: float, allowed: float, unit: str = "levels") -> Seen:
    """Return the outcome of a comparison: passed if the difference is allowed.

    >>> equal_within(0, 2), equal_within(1, 2), equal_within(9, 2)[0]
    (Seen(passed=True, found='equal'), Seen(passed=True, found='1 levels apart, 2 are allowed'), False)
    """
    apart = "equal" if difference == 0 else f"{difference:.3g} {unit} apart".replace("  ", " ")
    return Seen(difference <= allowed, apart + (f", {allowed:g} are allowed" if difference > 0 and allowed else ""))
