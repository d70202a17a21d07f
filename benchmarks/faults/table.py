"""One row a fault, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

HEAD = ("fault", "injected", "survived", "lost", "twice", "note")


@dataclass(frozen=True)
class Row:
    """How often a fault was injected, how often its answer was the one it has to be, and what was lost or made twice.

    ``breaches`` counts what must never be: code that ran, tokens that were found, files outside of their folder.
    A row without injections was skipped; its note says why.
    """

    fault: str
    injected: int
    survived: int
    lost: int = 0
    twice: int = 0
    note: str = ""
    breaches: int = 0

    @property
    def skipped(self) -> bool:
        """Whether the fault could not be injected here."""
        return self.injected == 0

    @property
    def good(self) -> bool:
        """Whether every injection ended as it has to."""
        return self.survived == self.injected and not (self.lost or self.twice or self.breaches)


def line(row: Row) -> str:
    """Return a row of the table in Markdown."""
    counts = ("-",) * 4 if row.skipped else (row.injected, row.survived, row.lost, row.twice)
    cells = (row.fault, *counts, f"skipped: {row.note}" if row.skipped else row.note)
    return "| " + " | ".join(str(cell) for cell in cells) + " |" + ("" if row.good else " <- WRONG")


def header() -> str:
    """Return the table's head in Markdown."""
    return "| " + " | ".join(HEAD) + " |\n|---|---:|---:|---:|---:|---|"


def verdict(rows: Iterable[Row]) -> tuple[str, bool]:
    """Return the line under the table, and whether all is as it has to be."""
    rows = list(rows)
    bad = sum(not row.good for row in rows)
    injected, survived, lost, twice, breaches = (
        sum(getattr(row, name) for row in rows) for name in ("injected", "survived", "lost", "twice", "breaches")
    )
    skipped = sum(row.skipped for row in rows)
    said = f"{injected} faults injected, {survived} survived; lost {lost}, twice {twice}, breaches {breaches}"
    return f"{said}; rows {len(rows)}, of which wrong {bad}, skipped {skipped}", not bad
