"""What was measured of a run for its review, as columns beside those that the run holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np

from harmonygen.review.array_file import Arrays, read_arrays
from harmonygen.review.columns import Columns
from harmonygen.review.measure import COLOUR, FEATURES, Kind, Progress, candidates_digest, measure, measured_file
from harmonygen.review.photo_copies import PhotoCopies, no_copies
from harmonygen.review.within_pair import Floats
from harmonygen.runs.read import Run

KINDS: tuple[Kind, ...] = get_args(Kind)
MEASURED_COLUMNS: dict[Kind, tuple[str, ...]] = {"colour": COLOUR, "judge": FEATURES}


def with_measured(run: Run, columns: Columns) -> tuple[Columns, dict[Kind, dict[str, Any]]]:
    """Return the columns with all that was measured of the run, and the facts of each measurement that there is.

    While parts of the run are still to be read, measured values are unknown (NaN), and no photo is a copy.
    """
    of = candidates_digest(run, columns) if columns.whole else ""
    facts: dict[Kind, dict[str, Any]] = {}
    values: dict[str, Floats] = {}
    copies = None
    for kind in KINDS:
        found = read_arrays(
            measured_file(run, kind),
            lambda head: head["of"] == of if of else head["plan_digest"] == run.plan_digest,
        )
        if found is None:
            continue
        facts[kind] = dict(found[0]["facts"])
        if kind != "copies":
            values |= {name: _column(found[1][name], columns) for name in MEASURED_COLUMNS[kind]}
        else:
            copies = _copies(found[1], facts[kind]) if columns.whole else no_copies(columns.pairs)
    measured = tuple(values)
    kept = {name: held for name, held in columns.values.items() if name not in columns.measured}
    return replace(columns, values={**kept, **values}, measured=measured, copies=copies), facts


def _column(held: Any, columns: Columns) -> Floats:
    return held.astype(np.float64) if columns.whole else np.full(columns.rows, np.nan)


def _copies(arrays: Arrays, facts: dict[str, Any]) -> PhotoCopies:
    return PhotoCopies(
        arrays["group"],
        arrays["again"],
        arrays["like"],
        arrays["kind"],
        tuple(facts["kinds"]),
        facts["photos"],
        facts["unreadable"],
    )


def measure_kind(run: Run, columns: Columns, kind: Kind, progress: Progress | None = None) -> bool:
    """Measure one thing of all candidates of a run, or what is left of it; tell whether there was anything to do.

    Raises:
        UsageError: it cannot be measured of this run, or is being measured already.
        StorageError: a file cannot be read or written.
    """
    if kind == "colour":
        from harmonygen.review.measure_colour import ColourMeasurement

        return measure(run, columns, ColourMeasurement(run, columns), progress)
    if kind == "copies":
        from harmonygen.review.measure_copies import CopiesMeasurement

        return measure(run, columns, CopiesMeasurement(run, columns), progress)
    from harmonygen.review.measure_judge import JudgeMeasurement

    return measure(run, columns, JudgeMeasurement(run, columns), progress)
