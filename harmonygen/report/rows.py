"""The plain records a report is drawn from: rows of pairs, tiles of candidates, facts. No pixels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harmonygen.errors import StorageError
from harmonygen.records import ImageSource, Quarantined
from harmonygen.runs.read import is_usable


@dataclass(frozen=True, slots=True)
class Tile:
    """One composite of a pair: its number ``k``, score, first gate failed, and where its picture is (None: not kept).

    ``reason`` says why it was not selected, ``review`` what a reviewer decided of it (``accept``, ``reject`` or
    nothing); in a built dataset ``label`` says where the composite comes from. ``judged`` has the score of each of
    several judges, in the order of :attr:`Gathered.judges`, and ``decided_by`` which of them decided.
    """

    k: int
    picture: ImageSource | None
    p_composite: float | None = None
    selected: bool = False
    gate: str = ""
    reason: str = ""
    fmse: float | None = None
    label: str = ""
    review: str = ""
    judged: tuple[float | None, ...] = ()
    decided_by: str = ""

    @property
    def usable(self) -> bool:
        """Whether it may be used; of a built dataset's row, whose review is not known, what was selected may be."""
        return self.selected or is_usable(self.gate, self.review)


@dataclass(frozen=True, slots=True)
class PairRow:
    """One (real, mask) pair and its tiles, in order of ``k``; ``fg_ratio`` in [0, 1], None if nobody noted it."""

    pair_id: str
    subset: str
    real: ImageSource
    mask: ImageSource
    tiles: tuple[Tile, ...]
    width: int = 0
    height: int = 0
    fg_ratio: float | None = None

    @property
    def scores(self) -> list[float]:
        """The scores that are known, in order of ``k``."""
        return [tile.p_composite for tile in self.tiles if tile.p_composite is not None]

    @property
    def best(self) -> float | None:
        """The highest score."""
        return max(self.scores, default=None)

    def best_by(self, judge: int) -> float | None:
        """Return the highest score that one of several judges gave, named by its place."""
        given = [tile.judged[judge] for tile in self.tiles if tile.judged]
        return max((score for score in given if score is not None), default=None)

    @property
    def mean(self) -> float | None:
        """The mean score."""
        return sum(self.scores) / len(self.scores) if self.scores else None

    @property
    def gates(self) -> list[str]:
        """The gate that each refused tile failed, in order of ``k``."""
        return [tile.gate for tile in self.tiles if tile.gate and not tile.usable]

    def ranked(self) -> list[Tile]:
        """Tiles by falling score, a tie by ``k``; those without a score last."""
        return sorted(self.tiles, key=lambda t: (t.p_composite is None, -(t.p_composite or 0.0), t.k))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Photos that a build did not take: counts by reason, one photo's detail each, and a contact sheet as WebP.

    ``sheet`` is None if there is no picture of any.
    """

    counts: Mapping[str, int]
    details: Mapping[str, str]
    sheet: bytes | None = None
    width: int = 0
    height: int = 0

    @property
    def total(self) -> int:
        """Number of photos left out."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a folder holds: its rows, what was quarantined, and facts as ``title -> {name: value}`` tables.

    ``kind`` is ``run`` or ``dataset``; ``notes`` are sentences a reader must know, such as a run cut short;
    ``left_out`` are the photos that a build did not take; ``changed`` are the pairs whose photo or mask is no longer
    what the run was made from, and which of the two it is; ``judges`` are the names of several judges, and ``combine``
    is how their scores are combined.
    """

    kind: str
    name: str
    rows: tuple[PairRow, ...]
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    quarantine: tuple[Quarantined, ...] = ()
    rate: float | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    left_out: LeftOut | None = None
    changed: Mapping[str, str] = field(default_factory=dict)
    judges: tuple[str, ...] = ()
    combine: str = ""

    @property
    def tiles(self) -> list[Tile]:
        """Every tile of every row."""
        return [tile for row in self.rows for tile in row.tiles]

    def tally(self) -> Counter[str]:
        """Count drop reasons (a run; ranks cut off) or origins (a dataset)."""
        if self.kind == "dataset":
            return Counter(tile.label or "not stated" for tile in self.tiles)
        return Counter(tile.reason.partition(" rank")[0] for tile in self.tiles if tile.reason)

    def deciders(self) -> Counter[str]:
        """Count which of several judges decided about candidates; a gate, a review and chance are no judge."""
        return Counter(tile.decided_by for tile in self.tiles if tile.decided_by)


def number(value: Any) -> float | None:
    """Return a finite float, or None for what is null, NaN or infinite."""
    return float(value) if value is not None and math.isfinite(value) else None


def read_columns(path: Path, columns: Iterable[str]) -> list[dict[str, Any]]:
    """Read those of ``columns`` that a Parquet file has, as one dict a row.

    Raises:
        StorageError: the file is damaged.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        present = [name for name in columns if name in file.schema_arrow.names]
        rows: list[dict[str, Any]] = file.read(columns=present).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read '{path}' ({error}): repeat the command that wrote the folder") from error
    return rows


def matching(rows: Sequence[PairRow], patterns: Sequence[str]) -> list[int]:
    """Return the indexes of rows whose pair id fits any of the patterns (``*`` and ``?``); of all if there is none."""
    return [i for i, row in enumerate(rows) if not patterns or any(fnmatchcase(row.pair_id, p) for p in patterns)]


def choose_rows(rows: Sequence[PairRow], count: int, among: Sequence[int] | None = None) -> list[int]:
    """Choose ``count`` rows spread evenly over the ranking by best score, in the rows' own order.

    Rows without a score rank last; a tie goes by position. The best and the worst are always among them.
    """
    indexes = list(range(len(rows)) if among is None else among)
    if len(indexes) <= count:
        return indexes
    ranked = sorted(indexes, key=lambda i: (rows[i].best is None, -(rows[i].best or 0.0), i))
    last = len(ranked) - 1
    return sorted(ranked[round(position * last / max(1, count - 1))] for position in range(count))


def fitting(rows: Sequence[PairRow], among: Sequence[int], max_tiles: int) -> int:
    """Return how many rows of an average number of tiles hold at most ``max_tiles`` (1 or more, if there are any)."""
    tiles = sum(len(rows[index].tiles) for index in among)
    return len(among) if tiles <= max_tiles else max(1, len(among) * max_tiles // tiles)
