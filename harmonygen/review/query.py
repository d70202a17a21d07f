"""What is looked at, and in which order: filters and sorting as they stand in the page's address.

Every field of a :class:`Query` is a parameter of the address under the same name, and a bound of a column ``x`` is
``x_min`` or ``x_max``. Bounds are inclusive; a row whose value is not known fits no bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from harmonygen.errors import UsageError, listed
from harmonygen.recipes import nearest
from harmonygen.review.columns import NUMBERS, Bools, Columns
from harmonygen.review.lasso import Lasso
from harmonygen.review.ledger import ACCEPTED, REJECTED, Desk
from harmonygen.review.photo_copies import PhotoCopies
from harmonygen.review.within_pair import Ints

Scope = Literal["selected", "all"]
Decided = Literal["any", "open", "done", "accept", "reject", "disputed", "noted"]
Duplicates = Literal["any", "pixels", "photo", "near", "again", "none"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "scope": get_args(Scope),
    "decided": get_args(Decided),
    "duplicates": get_args(Duplicates),
}


@dataclass(frozen=True)
class Query:
    """Filters and order.

    ``scope``: the candidates that stand to be selected (and those that are decided), or all. ``decided``: by this
    reviewer, ``disputed`` among reviewers, ``noted`` with a tag or comment. ``gate``: ``passed``, ``refused`` or the
    name of a gate. ``judge``: who of several judges decided, as ``decided_by`` has it.
    ``duplicates``: ``pixels`` of an earlier candidate, ``photo`` and mask that another pair has too,
    ``near`` for a photo that is in the run under several ids, ``again`` for all but the first of these.
    ``find`` is a part of the pair's id. ``sort`` is ``run`` or a column, with ``-`` in front for the largest first.
    ``lasso`` is a polygon on two columns. ``bounds`` are inclusive limits by column, infinite where open.
    """

    scope: Scope = "selected"
    decided: Decided = "any"
    gate: str = ""
    judge: str = ""
    subset: str = ""
    duplicates: Duplicates = "any"
    find: str = ""
    tag: str = ""
    sort: str = "run"
    lasso: Lasso | None = None
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: Mapping[str, str], numbers: Sequence[str] = NUMBERS) -> Query:
        """Read a query from an address's parameters; those of the page's other parts are to be left out.

        ``numbers`` are the columns that may be bounded and sorted by.

        Raises:
            UsageError: an unknown parameter or value, all of them at once.
        """
        plain = [each.name for each in fields(cls) if each.name != "bounds"]
        limits = {f"{name}_{end}": (name, end) for name in numbers for end in ("min", "max")}
        faults = [
            f"unknown parameter {name!r}{nearest(name, [*plain, *limits])}"
            for name in given
            if name not in plain and name not in limits
        ]
        for name, choices in _CHOICES.items():
            if given.get(name, choices[0]) not in choices:
                faults.append(f"{name} is {given[name]!r}: give {', '.join(choices)}")
        if given.get("sort", "run").removeprefix("-") not in ("run", *numbers):
            faults.append(f"sort is {given['sort']!r}: give run, {', '.join(numbers)}")
        bounds: dict[str, tuple[float, float]] = {}
        for name, (column, end) in limits.items():
            if name in given:
                low, high = bounds.get(column, (-math.inf, math.inf))
                value = _number(given[name])
                faults += [f"{name} is {given[name]!r}: give a number"] if math.isnan(value) else []
                bounds[column] = (value, high) if end == "min" else (low, value)
        lasso = _lasso(given.get("lasso", ""), numbers, faults)
        if faults:
            raise UsageError(listed(faults, between="; "))
        texts = {name: given[name] for name in plain if name in given and name != "lasso"}
        return cls(**cast("dict[str, Any]", texts), lasso=lasso, bounds=bounds)


def _lasso(text: str, numbers: Sequence[str], faults: list[str]) -> Lasso | None:
    """Read a lasso, if there is one; what is wrong with it is added to the faults."""
    try:
        return Lasso.parse(text, numbers) if text else None
    except UsageError as error:
        faults.append(str(error))
        return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def mask_of(query: Query, columns: Columns, desk: Desk, reviewer: str) -> Bools:
    """Return which rows (N,) a query lets through, for a reviewer."""
    kept = np.ones(columns.rows, dtype=bool)
    for name, (low, high) in query.bounds.items():
        values = columns.values[name]
        with np.errstate(invalid="ignore"):
            kept &= (values >= low) & (values <= high)
    if query.duplicates in ("pixels", "none"):
        kept &= columns.is_duplicate() == (query.duplicates == "pixels")
    if query.lasso:
        kept &= query.lasso.inside(columns.values)
    if query.gate:
        kept &= _gated(query.gate, columns)
    if query.judge:
        kept &= columns.decider == _place(query.judge, columns.deciders)
    return kept & _of_pair(query, columns)[columns.pair] & _of_review(query, desk, reviewer)


def _of_pair(query: Query, columns: Columns) -> Bools:
    """Return which pairs (P,) a query lets through."""
    of_pair = np.ones(columns.pairs, dtype=bool)
    if query.subset:
        of_pair &= columns.subset == _place(query.subset, columns.subsets)
    if query.find:
        found = pc.match_substring(columns.ids, query.find, ignore_case=True)
        of_pair &= found.to_numpy(zero_copy_only=False)
    if query.duplicates == "photo":
        of_pair &= columns.same_photo
    elif query.duplicates in ("near", "again"):
        copies = _copies(columns)
        of_pair &= np.greater(copies.group, 0) if query.duplicates == "near" else copies.again
    return of_pair


def _copies(columns: Columns) -> PhotoCopies:
    if columns.copies is None:
        raise UsageError(
            "photos under several ids have not been looked for yet: do it in the part Map, or by --measure copies"
        )
    return columns.copies


def _gated(gate: str, columns: Columns) -> Bools:
    if gate in ("passed", "refused"):
        return np.equal(columns.failed(), gate == "refused")
    return np.equal(columns.gate, _place(gate, columns.gates))


def _place(text: str, texts: Sequence[str]) -> int:
    """Return the number of a text; -1, which no row has, if it is none of them."""
    return texts.index(text) if text in texts else -1


def _of_review(query: Query, desk: Desk, reviewer: str) -> Bools:
    own = desk.codes(reviewer)
    kept = desk.standing(reviewer) if query.scope == "selected" else np.ones(len(own), dtype=bool)
    if query.decided in ("open", "done"):
        kept = kept & ((own == 0) == (query.decided == "open"))
    elif query.decided in ("accept", "reject"):
        kept = kept & (own == (ACCEPTED if query.decided == "accept" else REJECTED))
    elif query.decided == "disputed":
        kept = kept & desk.disputed()
    elif query.decided == "noted":
        kept = kept & desk.noted(reviewer)
    return kept & desk.tagged(reviewer, query.tag) if query.tag else kept


def order_of(query: Query, columns: Columns, kept: Bools) -> npt.NDArray[np.int32]:
    """Return the rows of a mask in the query's order; equal ones as in the run, unknown values last.

    In the run's order, the pairs that share a photo lie together if they are asked for.
    """
    rows: Ints = np.flatnonzero(kept).astype(np.int32)
    name = query.sort.removeprefix("-")
    if name == "run":
        if query.duplicates in ("near", "again"):
            rows = rows[np.argsort(_copies(columns).group[columns.pair[rows]], kind="stable")]
        return rows[::-1] if query.sort.startswith("-") else rows
    values = columns.values[name][rows]
    return rows[np.argsort(-values if query.sort.startswith("-") else values, kind="stable")]
