"""Choose the pairs a page shows when it cannot show all, by rules a reader can be told."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from harmonygen.report.rows import Row


def matching(rows: Sequence[Row], patterns: Sequence[str]) -> list[int]:
    """Return the indexes of rows whose pair id fits any of the patterns (``*`` and ``?``); of all if there is none."""
    return [i for i, row in enumerate(rows) if not patterns or any(fnmatchcase(row.pair_id, p) for p in patterns)]


def choose_rows(rows: Sequence[Row], count: int, among: Sequence[int] | None = None) -> list[int]:
    """Choose ``count`` rows spread evenly over the ranking by best score, in the rows' own order.

    Rows without a score rank last; a tie goes by position. The best and the worst are always among them.
    """
    indexes = list(range(len(rows)) if among is None else among)
    if len(indexes) <= count:
        return indexes
    ranked = sorted(indexes, key=lambda i: (rows[i].best is None, -(rows[i].best or 0.0), i))
    last = len(ranked) - 1
    return sorted(ranked[round(position * last / max(1, count - 1))] for position in range(count))


def fitting(rows: Sequence[Row], among: Sequence[int], max_tiles: int) -> int:
    """Return how many rows of an average number of tiles hold at most ``max_tiles`` (1 or more, if there are any)."""
    tiles = sum(len(rows[index].tiles) for index in among)
    return len(among) if tiles <= max_tiles else max(1, len(among) * max_tiles // tiles)
