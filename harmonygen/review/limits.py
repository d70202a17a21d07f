"""What the page's part "Thresholds" asks for: limits, counts, curves and examples; and the recipe that it writes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from harmonygen.errors import UsageError
from harmonygen.review import thresholds
from harmonygen.review.session import Session
from harmonygen.review.thresholds import LIMIT_OF, LIMITS, Counts, passing
from harmonygen.runs.review_log import REVIEW
from harmonygen.storage.shards import make_folder, write_bytes
from harmonygen.synthesis.settings import GateSettings

RECIPE = "thresholds.toml"


def limits_facts(session: Session) -> dict[str, Any]:
    """Return the limits in force, and what each is."""
    held = gates_of(session, {})
    columns = session.columns
    return {
        "limits": [
            {
                "field": limit.field,
                "column": limit.column,
                "side": limit.side,
                "about": limit.about,
                "value": getattr(held, limit.field),
                "extent": columns.extents[limit.column],
            }
            for limit in LIMITS
        ],
        "candidates": columns.rows,
        "pairs": columns.pairs,
        "whole": columns.whole,
        **limits_counts(session, {}),
    }


def gates_of(session: Session, given: Mapping[str, str]) -> GateSettings:
    """Return the gates of the run's selection, with those that were given as text.

    Raises:
        UsageError: an unknown limit, or one out of its range.
    """
    return thresholds.gates_from(given, session.run.selection["gates"])


def counted(session: Session, gates: GateSettings) -> Counts:
    """Count what `select` would select of the run by these gates, with the decisions that count."""
    with session.lock:
        columns, (accepted, rejected) = session.columns, session.desk.counting()
        passed = passing(columns, gates).all_but()
        return thresholds.count_selected(columns, passed, accepted, rejected, session.desk.applied.count)


def limits_counts(session: Session, given: Mapping[str, str]) -> dict[str, Any]:
    """Return what a selection by these limits would come to."""
    return asdict(counted(session, gates_of(session, given)))


def limits_curve(session: Session, field: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Return one limit's curve and examples, the others held.

    Raises:
        UsageError: no such limit, or one out of its range.
    """
    if field not in LIMIT_OF:
        raise UsageError(f"there is no limit {field!r}: give {', '.join(LIMIT_OF)}")
    columns, limit, gates = session.columns, LIMIT_OF[field], gates_of(session, given)
    found = thresholds.examples(columns, limit, gates)
    values = columns.values[limit.column]
    shown = {
        side: [
            {"row": row, "id": columns.key_of(row)[0], "k": columns.key_of(row)[1], "value": float(values[row])}
            for row in rows
        ]
        for side, rows in found.items()
    }
    return {**thresholds.curve(columns, limit, gates), **shown}


def write_recipe(session: Session, given: Mapping[str, str]) -> dict[str, Any]:
    """Write the recipe that selects by these limits, and return its path, its command and what it comes to.

    Raises:
        UsageError: a limit out of its range, or the run is still being read.
        StorageError: it cannot be written.
    """
    if not session.columns.whole:
        raise UsageError("the run is still being read: wait a moment")
    gates, desk = gates_of(session, given), session.desk
    path = make_folder(session.run.folder / REVIEW) / RECIPE
    write_bytes(path, thresholds.recipe_text(desk.applied.rule, desk.applied.count, gates).encode())
    command = shlex.join(["harmonygen", "select", str(session.run.folder), "--recipe", str(path)])
    return {"path": str(path), "command": command, **asdict(counted(session, gates))}
