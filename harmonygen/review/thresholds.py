"""Thresholds on the page: what each limit passes, the candidates next to it, and what would be selected.

The rule itself is :func:`harmonygen.synthesis.gates.gate_checks`, here on whole columns. How many would be selected
does not depend on the selection's rule: of each pair as many as its count, of those that passed the gates or were
accepted, and were not rejected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harmonygen.errors import UsageError
from harmonygen.records import GateValues
from harmonygen.review.columns import JUDGES, SHIFT, Bools, Columns
from harmonygen.review.within_pair import Floats
from harmonygen.runs.tables import VETO
from harmonygen.settings import resolve
from harmonygen.synthesis.combine import ONE_JUDGE, Combining, combining_of
from harmonygen.synthesis.gates import gate_checks
from harmonygen.synthesis.select import is_score
from harmonygen.synthesis.settings import GateSettings, SelectSettings

EXAMPLES = 9
"""How many examples lie on either side of a threshold."""
_POINTS = 160  # of a curve


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of :class:`GateSettings`: its field, its gate, and the column that it bounds from a ``side``."""

    field: str
    gate: str
    column: str
    side: str

    @property
    def about(self) -> str:
        """What the limit is, in the settings' words."""
        kind = GateSettings if self.field in GateSettings.model_fields else SelectSettings
        words = str(kind.model_fields[self.field].description).removeprefix("Gate: ")
        return words[:1].upper() + words[1:]


LIMITS = (
    Limit("min_p_composite", "score-low", JUDGES[0], "min"),
    Limit("min_fmse", "fmse-low", "fmse", "min"),
    Limit("max_fmse", "fmse-high", "fmse", "max"),
    Limit("min_structure", "structure", "structure", "min"),
    Limit("max_clipped", "clipped", "clipped", "max"),
    Limit("max_drift", "drift", "drift", "max"),
)
MIN_SCORE = "min_score"
"""The field that bounds what a judge gives who may refuse a candidate alone."""
COMBINE = "combine"
"""The field that says how several judges are combined, and so which of them may."""


@dataclass(frozen=True)
class Bounds:
    """All limits of a selection: those of the gates, and how several judges are combined."""

    gates: GateSettings
    combining: Combining = ONE_JUDGE

    def value(self, limit: Limit) -> float:
        """Return the value of a limit."""
        return float(self.combining.min_score if limit.field == MIN_SCORE else getattr(self.gates, limit.field))

    def limits(self, judges: Sequence[str]) -> list[Limit]:
        """Return the limits there are: those of the gates, and of each judge who may refuse a candidate alone."""
        asked = [name for name, _ in self.combining.refusals([(name, 0.0) for name in judges])]
        return [*LIMITS, *(Limit(MIN_SCORE, f"{VETO}{name}", f"p_{name}", "min") for name in asked)]


def bounds_in_force(selection: Mapping[str, Any], judges: Sequence[str]) -> Bounds:
    """Return the limits of a run's selection, which several ``judges`` may have scored.

    Raises:
        UsageError: it has limits that this version does not know.
    """
    gates = resolve(SelectSettings, options={"gates": selection["gates"]}).gates
    return Bounds(gates, combining_of(selection) if judges else ONE_JUDGE)


def bounds_from(given: Mapping[str, str], held: Bounds) -> Bounds:
    """Return the limits that are held, with those that were given as text, :data:`COMBINE` among them.

    Raises:
        UsageError: an unknown limit, or one out of its range.
    """
    numbers = {name: _number(name, text) for name, text in given.items() if name != COMBINE}
    least, how = numbers.pop(MIN_SCORE, held.combining.min_score), given.get(COMBINE, held.combining.how)
    options = {"gates": {**held.gates.model_dump(), **numbers}, MIN_SCORE: least, COMBINE: how}
    settings = resolve(SelectSettings, options=options)
    return Bounds(settings.gates, Combining(settings.combine or held.combining.how, least))


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"{name} is {text!r}: give a number") from error


@dataclass(frozen=True)
class Passing:
    """Which rows (N,) keep each gate, by its name, and what no limit decides: duplicates and rows without a score."""

    kept: Mapping[str, Bools]
    eligible: Bools

    def all_but(self, gate: str = "") -> Bools:
        """Return which rows keep all gates, but ``gate`` if it is named."""
        kept = [self.eligible, *(kept for name, kept in self.kept.items() if name != gate)]
        return np.asarray(np.logical_and.reduce(kept))


def passing(columns: Columns, bounds: Bounds) -> Passing:
    """Return which rows keep which gates, those of judges who may refuse a candidate alone among them."""
    values: dict[str, Any] = columns.values
    measured = GateValues(
        values["clipped"],
        values["fmse"],
        values["structure"],
        values["drift"],
        (values[SHIFT[0]], values[SHIFT[1]], values[SHIFT[2]]),
    )
    scores = columns.values[JUDGES[0]]
    with np.errstate(invalid="ignore"):
        kept = {name: np.asarray(each) for name, each in gate_checks(measured, scores, bounds.gates)}
        refused = bounds.combining.refusals(columns.judged())
        kept |= {f"{VETO}{name}": np.logical_not(each) for name, each in refused}
        return Passing(kept, np.logical_and(is_score(scores), ~columns.is_duplicate()))


@dataclass(frozen=True, slots=True)
class Counts:
    """What a selection would come to: candidates that pass, candidates that are selected, pairs that have one."""

    passed: int
    selected: int
    pairs: int


def count_selected(columns: Columns, passed: Bools, accepted: Bools, rejected: Bools, count: int) -> Counts:
    """Count what `select` would select, ``count`` per pair, of rows that passed or were accepted, and not rejected."""
    standing = (passed | accepted) & ~rejected
    of_pair = np.add.reduceat(standing.astype(np.int64), columns.starts[:-1])
    taken = np.minimum(of_pair, count)
    return Counts(int(passed.sum()), int(taken.sum()), int((taken > 0).sum()))


def curve(columns: Columns, limit: Limit, bounds: Bounds) -> dict[str, Any]:
    """Return how many candidates pass at each value of one limit, the others held: ``x`` ascending, and counts."""
    values = np.sort(columns.values[limit.column][passing(columns, bounds).all_but(limit.gate)])
    values = values[np.isfinite(values)]
    own = bounds.value(limit)
    grid = np.unique(np.concatenate([_grid(values), [own]]))
    if limit.side == "min":
        counts = len(values) - np.searchsorted(values, grid, side="left")
    else:
        counts = np.searchsorted(values, grid, side="right")
    return {"x": grid.tolist(), "count": counts.tolist(), "of": len(values), "value": own}


def _grid(values: Floats) -> Floats:
    """Return points at which a curve is drawn: half of them evenly over the values, half at their quantiles."""
    if not len(values):
        return np.zeros(1)
    even = np.linspace(values[0], values[-1], _POINTS // 2)
    return np.concatenate([even, np.quantile(values, np.linspace(0, 1, _POINTS // 2))])


def examples(columns: Columns, limit: Limit, bounds: Bounds) -> dict[str, list[int]]:
    """Return the rows nearest to a limit that fail no other gate: ``inside``, which pass it, and ``outside``."""
    found = passing(columns, bounds)
    values, others = columns.values[limit.column], found.all_but(limit.gate)
    others = others & np.isfinite(values)
    kept, own = found.kept[limit.gate], bounds.value(limit)
    return {
        "inside": _nearest_to(own, values, others & kept),
        "outside": _nearest_to(own, values, others & ~kept),
    }


def _nearest_to(value: float, values: Floats, among: Bools) -> list[int]:
    rows: npt.NDArray[np.int64] = np.flatnonzero(among)
    distance = np.abs(values[rows] - value)
    if len(rows) > EXAMPLES:
        bound = np.partition(distance, EXAMPLES - 1)[EXAMPLES - 1]
        near = distance <= bound
        rows, distance = rows[near], distance[near]
    return [int(row) for row in rows[np.argsort(distance, kind="stable")][:EXAMPLES]]


def recipe_text(rule: str, count: int, bounds: Bounds, judges: Sequence[str] = ()) -> str:
    """Return a recipe of `select` that selects by these limits; numbers are read back as they are.

    >>> print(recipe_text("random", 2, Bounds(GateSettings(min_fmse=1e-05))).splitlines()[4])
    min_fmse = 1e-05
    """
    combined = [f'{COMBINE} = "{bounds.combining.how}"', f"{MIN_SCORE} = {bounds.combining.min_score!r}"]
    lines = [f'rule = "{rule}"', f"count = {count}", *(combined if judges else []), "[gates]"]
    for name, value in bounds.gates.model_dump().items():
        if not math.isfinite(value):
            raise UsageError(f"{name} is {value}: give a number")
        lines.append(f"{name} = {float(value)!r}")
    return "\n".join(lines) + "\n"
