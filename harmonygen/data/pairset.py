"""The value every reader returns: an ordered set of pairs with the layout they came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from harmonygen.records import Pair, Quarantined


@dataclass(frozen=True)
class PairSet(Sequence[Pair]):
    """Pairs in a stable order, what could not be read, and where they came from.

    ``root`` is the dataset's folder (or file). ``layout`` names the reader: ``iharmony4``, ``folders``, ``coco``,
    ``table``, ``parquet``, ``imaterialist`` or ``sample``. ``left_out`` names photos that nothing is wrong with but
    that have no segment of the chosen classes (error ``NotChosen``) or none at all (``NoSegment``).
    """

    pairs: tuple[Pair, ...]
    layout: str
    root: Path
    bad: tuple[Quarantined, ...] = ()
    left_out: tuple[Quarantined, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, index: int) -> Pair: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Pair]: ...

    def __getitem__(self, index: int | slice) -> Pair | Sequence[Pair]:
        return self.pairs[index]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)
