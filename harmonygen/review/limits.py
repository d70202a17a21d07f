"""What the page's part "Thresholds" asks for: limits, counts, curves and examples; and the recipe that it writes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

from harmonygen.errors import UsageError
from harmonygen.review import thresholds
from harmonygen.review.session import Session
from harmonygen.review.thresholds import Bounds, Counts, passing
from harmonygen.runs.review_log import REVIEW
from harmonygen.settings import Combine
from harmonygen.storage.shards import make_folder, write_bytes

RECIPE = "thresholds.toml"


def limits_facts(session: Session, given: Mapping[str, str]) -> dict[str, Any]:
    """Return the limits in force, and what each is; ``given`` may combine several judges in another way.

    Raises:
        UsageError: there is no such way.
    """
    held, columns = bounds_of(session, given), session.columns
    judged = {"combine": held.combining.how, "combine_in_force": bounds_of(session, {}).combining.how}
    return {
        "limits": [
            {
                **asdict(limit),
                "about": limit.about,
                "value": held.value(limit),
                "extent": columns.extents[limit.column],
            }
            for limit in held.limits(columns.judges)
        ],
        "candidates": columns.rows,
        "pairs": columns.pairs,
        "whole": columns.whole,
        "combines": get_args(Combine) if columns.judges else (),
        **judged,
        "in_force": limits_counts(session, {}),
    }


def bounds_of(session: Session, given: Mapping[str, str]) -> Bounds:
    """Return the limits of the run's selection, with those that were given as text.

    Raises:
        UsageError: an unknown limit, or one out of its range.
    """
    return thresholds.bounds_from(given, thresholds.bounds_in_force(session.run.selection, session.run.judges))


def counted(session: Session, bounds: Bounds) -> Counts:
    """Count what `select` would select of the run by these limits, with the decisions that count."""
    with session.lock:
        columns, (accepted, rejected) = session.columns, session.desk.counting()
        passed = passing(columns, bounds).all_but()
        return thresholds.count_selected(columns, passed, accepted, rejected, session.desk.applied.count)


def limits_counts(session: Session, given: Mapping[str, str]) -> dict[str, Any]:
    """Return what a selection by these limits would come to."""
    return asdict(counted(session, bounds_of(session, given)))


def limits_curve(session: Session, gate: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Return the curve and the examples of one limit, named by its gate, the others held.

    Raises:
        UsageError: no such limit, or one out of its range.
    """
    columns, bounds = session.columns, bounds_of(session, given)
    known = {limit.gate: limit for limit in bounds.limits(columns.judges)}
    if gate not in known:
        raise UsageError(f"there is no gate {gate!r}: give {', '.join(known)}")
    limit, values = known[gate], columns.values[known[gate].column]
    found = thresholds.examples(columns, limit, bounds)
    return {
        **thresholds.curve(columns, limit, bounds),
        **{side: [_example(session, row, float(values[row])) for row in rows] for side, rows in found.items()},
    }


def _example(session: Session, row: int, value: float) -> dict[str, Any]:
    pair_id, k = session.columns.key_of(row)
    return {"row": row, "id": pair_id, "k": k, "value": value}


def write_recipe(session: Session, given: Mapping[str, str]) -> dict[str, Any]:
    """Write the recipe that selects by these limits, and return its path, its command and what it comes to.

    Raises:
        UsageError: a limit out of its range, or the run is still being read.
        StorageError: it cannot be written.
    """
    if not session.columns.whole:
        raise UsageError("the run is still being read: wait a moment")
    bounds, applied = bounds_of(session, given), session.desk.applied
    path = make_folder(session.run.folder / REVIEW) / RECIPE
    recipe = thresholds.recipe_text(applied.rule, applied.count, bounds, session.columns.judges)
    write_bytes(path, recipe.encode())
    command = shlex.join(["harmonygen", "select", str(session.run.folder), "--recipe", str(path)])
    return {"path": str(path), "command": command, **asdict(counted(session, bounds))}
