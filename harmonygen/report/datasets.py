"""Read the rows of a built dataset: iHarmony4 layout with its manifest, or Parquet files for the Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from harmonygen.errors import UsageError
from harmonygen.records import CellSource, FileSource, ImageSource
from harmonygen.report.rows import PairRow, Tile, number, read_columns

MANIFEST = "manifest.parquet"

_PICTURES = ("real", "mask", "composite")
_PROVENANCE = ("pair_id", "real_id", "mask_id", "subset", "source", "k", "p_composite", "selected", "gate", "fmse")
_SHAPE = ("width", "height", "fg_ratio")
_COLUMNS = (*_PROVENANCE, *_SHAPE)

Locate = Callable[[str], ImageSource]
"""Column name -> where that picture of a row is."""


def tree_rows(folder: Path) -> tuple[PairRow, ...]:
    """Read the pairs of a dataset in iHarmony4 layout from its manifest, whose paths are relative to the folder.

    Raises:
        UsageError: the manifest lacks a picture's column.
    """
    path = folder / MANIFEST
    _refuse_missing(path)
    rows = read_columns(path, (*_PICTURES, *_COLUMNS))
    return _grouped((row, _beside(folder, row)) for row in rows)


def parquet_rows(folder: Path) -> tuple[PairRow, ...]:
    """Read the pairs of ``data/*.parquet``; a row without a subset takes its file's split (``train`` ...).

    Raises:
        UsageError: a file lacks a picture's column.
    """
    paths = sorted((folder / "data").glob("*.parquet"))
    for path in paths:
        _refuse_missing(path)
    return _grouped(
        ({"split": path.name.partition("-")[0], **row}, _cell(path, index))
        for path in paths
        for index, row in enumerate(read_columns(path, _COLUMNS))
    )


def _beside(folder: Path, row: Mapping[str, Any]) -> Locate:
    return lambda column: FileSource(folder / row[column])


def _cell(path: Path, index: int) -> Locate:
    return lambda column: CellSource(path, column, index)


def _refuse_missing(path: Path) -> None:
    names = pq.read_schema(path).names
    if missing := [column for column in _PICTURES if column not in names]:
        raise UsageError(
            f"'{path}' lacks the columns {', '.join(missing)} (found {', '.join(names)}): "
            "a report needs real, mask and composite"
        )


def _grouped(rows: Iterable[tuple[Mapping[str, Any], Locate]]) -> tuple[PairRow, ...]:
    """Bring the composites of one pair together, in the order the pairs are first met."""
    groups: dict[tuple[str, str], list[tuple[Mapping[str, Any], Locate]]] = {}
    for index, (row, locate) in enumerate(rows):
        groups.setdefault((row.get("split", ""), _pair_id(row, index)), []).append((row, locate))
    return tuple(_row(pair_id, split, members) for (split, pair_id), members in groups.items())


def _pair_id(row: Mapping[str, Any], index: int) -> str:
    parts = [row.get("real_id"), row.get("mask_id")]
    return row.get("pair_id") or "_".join(str(part) for part in parts if part) or f"row {index}"


def _row(pair_id: str, split: str, members: Sequence[tuple[Mapping[str, Any], Locate]]) -> PairRow:
    first, locate = members[0]
    tiles = tuple(_tile(row, own("composite"), index) for index, (row, own) in enumerate(members))
    subset = " ".join(part for part in (split, first.get("subset")) if part)
    size = first.get("width") or 0, first.get("height") or 0
    return PairRow(pair_id, subset, locate("real"), locate("mask"), tiles, *size, first.get("fg_ratio"))


def _tile(row: Mapping[str, Any], picture: ImageSource, index: int) -> Tile:
    k = index if row.get("k") is None else int(row["k"])
    return Tile(
        k,
        picture,
        number(row.get("p_composite")),
        bool(row.get("selected")),
        row.get("gate") or "",
        fmse=number(row.get("fmse")),
        label=row.get("source") or "",
    )
