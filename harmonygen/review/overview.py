"""What the page's part "Map" asks for: axes and values of the plot, measurements, duplicates, and the set's balance."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from harmonygen.errors import UsageError
from harmonygen.review.balance import balance_of
from harmonygen.review.columns import Columns
from harmonygen.review.lasso import LOGARITHMIC, MOST_POINTS, on_axis
from harmonygen.review.measured import KINDS
from harmonygen.review.photo_copies import PhotoCopies
from harmonygen.review.session import Session

FLAGS = ("selected", "refused")
"""What can colour the plot beside numbers: 1 or 0 for each candidate."""
UNKNOWN = 65_535
"""A value of :func:`axis_bytes` that stands for none."""
_STEPS = UNKNOWN - 1
_MIDDLE = (0.005, 0.995)  # quantiles between which the plot lies at first


def overview(session: Session) -> dict[str, Any]:
    """Return the axes of the plot, how far measurements are, and what the set has, lacks and holds twice."""
    with session.lock:
        columns, facts = session.columns, session.measured
    standings = session.measuring.standings()
    for kind in KINDS:
        if kind in facts and standings[kind]["state"] != "running":
            standings[kind]["state"] = "done"
    return {
        "axes": list(columns.numbers),
        "flags": list(FLAGS),
        "logarithmic": sorted(LOGARITHMIC),
        "most_points": MOST_POINTS,
        "whole": columns.whole,
        "candidates": columns.rows,
        "measurements": {kind: {**standings[kind], "facts": facts.get(kind)} for kind in KINDS},
        "duplicates": duplicates_of(columns),
        "balance": balance_of(columns, columns.selected).as_json(),
    }


def duplicates_of(columns: Columns) -> dict[str, Any]:
    """Count what the run has more than once, in numbers and in words; ``near`` is None if nobody looked."""
    pixels, photo = int(columns.is_duplicate().sum()), int(columns.same_photo.sum())
    near = None if columns.copies is None else counts_of(columns.copies)
    told = [
        f"{pixels:,} candidates have the pixels of an earlier candidate of their pair.",
        f"{photo:,} pairs have a photo and a mask that another pair has too, pixel for pixel.",
    ]
    if near is None:
        told.append(
            "Photos under several ids have not been looked for yet: harmonygen review RUN --measure copies does it."
        )
    else:
        told.append(
            f"{near['pairs']:,} pairs have a photo that the run holds under several ids, in {near['groups']:,} groups "
            f"({near['photos']:,} photos compared). Without {near['again']:,} of these pairs, each photo has one id."
        )
    return {"pixels": pixels, "photo": photo, "near": near, "told": told}


def counts_of(copies: PhotoCopies) -> dict[str, int]:
    """Return how many photos were compared, groups of one photo found, pairs in them, and pairs too many."""
    return {
        "photos": copies.photos,
        "unreadable": copies.unreadable,
        "groups": copies.groups,
        "pairs": copies.pairs,
        "again": copies.surplus,
    }


def axis_bytes(columns: Columns, name: str) -> bytes:
    """Return where all candidates lie on an axis: six float64, then a uint16 for each, little-endian.

    The floats are the axis's low and high end, the ends of its middle, the number of known values, and 1 if the axis
    is logarithmic. 0 is the low end, 65,534 the high one, 65,535 an unknown value. Both ends are in the axis's terms
    (:func:`harmonygen.review.lasso.on_axis`).

    Raises:
        UsageError: there is no such column.
    """
    places = _places(columns, name)
    known = np.isfinite(places)
    some = places[known]
    low, high = (float(some.min()), float(some.max())) if len(some) else (0.0, 1.0)
    middle = np.quantile(some, _MIDDLE) if len(some) else np.array([low, high])
    steps: npt.NDArray[np.uint16] = np.full(len(places), UNKNOWN, np.uint16)
    steps[known] = np.rint((some - low) / max(high - low, 1e-300) * _STEPS).astype(np.uint16)
    head = struct.pack("<6d", low, high, *middle.tolist(), float(len(some)), float(name in LOGARITHMIC))
    return head + steps.astype("<u2").tobytes()


def _places(columns: Columns, name: str) -> npt.NDArray[np.float64]:
    if name in FLAGS:
        return (columns.selected if name == "selected" else columns.failed()).astype(np.float64)
    if name not in columns.numbers:
        raise UsageError(f"there is no column {name!r}: give {', '.join((*columns.numbers, *FLAGS))}")
    return on_axis(name, columns.values[name])


def summary_of(columns: Columns, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run has, lacks and holds twice, for the command line."""
    return {
        "candidates": columns.rows,
        "pairs": columns.pairs,
        "selected": int(columns.selected.sum()),
        "measured": sorted(facts),
        "duplicates": duplicates_of(columns),
        **{
            name: value for name, value in balance_of(columns, columns.selected).as_json().items() if name != "selected"
        },
    }
