"""Preference pairs: of one photo, a candidate that is preferred to another one, by a reviewer or by the score.

Where a reviewer accepted some candidates of a photo and rejected others, an accepted one is preferred to a rejected
one. Where nothing was decided, the best score is preferred to the worst, among candidates that may be used. Where only
one side was decided, the score chooses the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harmonygen.runs.pair_cells import pair_cells
from harmonygen.runs.read import Run
from harmonygen.settings import MIN_MARGIN
from harmonygen.storage.parquet_cells import IMAGE, image_cell

Row = Mapping[str, Any]
By = Literal["review", "score", "review and score"]

_OF_PAIR = ("pair_id", "real_id", "mask_id", "subset", "width", "height", "fg_ratio")
_OF_EACH = ("k", "seed", "p_composite")
_MADE_BY = ("generator", "model_digest", "params_digest")

PREFERENCE_COLUMNS = {
    **dict.fromkeys(("real", "mask", "preferred", "rejected"), IMAGE),
    **dict.fromkeys(("pair_id", "real_id", "mask_id", "subset"), "string"),
    **dict.fromkeys(("width", "height"), "int32"),
    "fg_ratio": "float64",
    **{
        f"{name}_{side}": "int32" if name == "k" else "int64"
        for name in ("k", "seed")
        for side in ("preferred", "rejected")
    },
    **dict.fromkeys(("p_preferred", "p_rejected", "margin"), "float64"),
    "by": "string",
    **dict.fromkeys(_MADE_BY, "string"),
    "run": "string",
}
"""Columns of a file of preferences.

``margin`` is ``p_preferred - p_rejected``, scores of being a composite; ``by`` says who preferred.
"""


@dataclass(frozen=True, slots=True)
class Preference:
    """Two candidates of one photo, as rows of :meth:`harmonygen.runs.read.Run.rows`, and who preferred the first."""

    preferred: Row
    rejected: Row
    by: By

    @property
    def margin(self) -> float:
        """The preferred one's score minus the other's; below 0 where a reviewer thought otherwise."""
        return float(self.preferred["p_composite"] - self.rejected["p_composite"])

    def columns(self) -> dict[str, Any]:
        """Return the columns of :data:`PREFERENCE_COLUMNS`, but for the images and ``run``."""
        found = {name: self.preferred[name] for name in (*_OF_PAIR, *_MADE_BY)}
        for side, row in (("preferred", self.preferred), ("rejected", self.rejected)):
            found |= {f"k_{side}": row["k"], f"seed_{side}": row["seed"], f"p_{side}": row["p_composite"]}
        return {**found, "margin": self.margin, "by": self.by}


def preferences(rows: Iterable[Row], min_margin: float = MIN_MARGIN) -> list[Preference]:
    """Return at most one preference for each photo, in the order in which photos first come.

    A margin under ``min_margin`` makes no pair, unless both sides were decided by a reviewer.

    Args:
        rows: candidates with the columns of :meth:`harmonygen.runs.read.Run.rows`.
        min_margin: least difference of the two scores, 0 to 1.

    >>> row = dict(pair_id="a", gate="", review="", usable=True)
    >>> (found,) = preferences([{**row, "k": k, "p_composite": p} for k, p in enumerate((0.5, 0.75, 0.25))])
    >>> found.preferred["k"], found.rejected["k"], found.margin, found.by
    (1, 2, 0.5, 'score')
    """
    by_pair: dict[str, list[Row]] = {}
    for row in rows:
        by_pair.setdefault(row["pair_id"], []).append(row)
    found = (_preference(own) for own in by_pair.values())
    return [each for each in found if each and (each.by == "review" or each.margin >= min_margin)]


def _preference(rows: Sequence[Row]) -> Preference | None:
    """Return a photo's preference; None if there are not two candidates to compare."""
    accepted = [row for row in rows if row["review"] == "accept"]
    refused = [row for row in rows if row["review"] == "reject"]
    open_ones = [row for row in rows if row["usable"] and not row["review"]]
    above = [row for row in accepted or open_ones if _has_score(row)]
    below = [row for row in refused or open_ones if _has_score(row)]
    if not above or not below:
        return None
    best = max(above, key=lambda row: (row["p_composite"], -row["k"]))
    worst = min(below, key=lambda row: (row["p_composite"], -row["k"]))
    if best["k"] == worst["k"]:
        return None
    decided = bool(accepted) + bool(refused)
    return Preference(best, worst, ("score", "review and score", "review")[decided])  # type: ignore[arg-type]


def preference_rows(run: Run, part: int, found: Sequence[Preference]) -> Iterator[dict[str, Any]]:
    """Yield the rows (:data:`PREFERENCE_COLUMNS`) of preferences that lie in one shard of a run, in their order.

    Raises:
        StorageError: a photo is gone, or the run cannot be read.
    """
    images = dict(run.images(part, {each.preferred["pair_id"] for each in found}))
    sides = {(row["pair_id"], row["k"]): (each, side) for each in found for side, row in _sides(each)}
    waiting: dict[str, dict[str, Any]] = {}
    for row, encoded in run.composites(row for each in found for _, row in _sides(each)):
        pair_id = row["pair_id"]
        each, side = sides[pair_id, row["k"]]
        cells = waiting.setdefault(pair_id, {})
        cells[side] = image_cell(encoded, row["composite"]["path"])
        if len(cells) == 2:
            yield {
                **each.columns(),
                **pair_cells(pair_id, images[pair_id]),
                **waiting.pop(pair_id),
                "run": run.plan_digest,
            }


def _sides(each: Preference) -> tuple[tuple[str, Row], tuple[str, Row]]:
    return ("preferred", each.preferred), ("rejected", each.rejected)


def _has_score(row: Row) -> bool:
    return row["p_composite"] is not None and 0 <= row["p_composite"] <= 1
