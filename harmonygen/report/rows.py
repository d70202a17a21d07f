"""The plain records a report is drawn from: rows of pairs, tiles of candidates, facts. No pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from harmonygen.records import ImageSource, Quarantined


@dataclass(frozen=True, slots=True)
class Tile:
    """One composite of a pair: its number ``k``, score, first gate failed, and where its picture is (None: not kept).

    ``reason`` says why it was not selected, ``review`` what a reviewer decided of it (``accept``, ``reject`` or
    nothing); in a built dataset ``label`` says where the composite comes from.
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


@dataclass(frozen=True, slots=True)
class Row:
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

    @property
    def mean(self) -> float | None:
        """The mean score."""
        return sum(self.scores) / len(self.scores) if self.scores else None

    @property
    def gates(self) -> list[str]:
        """The gate each refused tile failed, in order of ``k``."""
        return [tile.gate for tile in self.tiles if tile.gate]

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
    ``left_out`` are the photos that a build did not take.
    """

    kind: str
    name: str
    rows: tuple[Row, ...]
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    quarantine: tuple[Quarantined, ...] = ()
    rate: float | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    left_out: LeftOut | None = None

    @property
    def tiles(self) -> list[Tile]:
        """Every tile of every row."""
        return [tile for row in self.rows for tile in row.tiles]

    def tally(self) -> Counter[str]:
        """Count drop reasons (a run; ranks cut off) or origins (a dataset)."""
        if self.kind == "dataset":
            return Counter(tile.label or "not stated" for tile in self.tiles)
        return Counter(tile.reason.partition(" rank")[0] for tile in self.tiles if tile.reason)
