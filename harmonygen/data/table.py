"""Read a CSV or Parquet table of paths: columns ``real`` and ``mask``, relative to the table's folder or absolute.

Files outside the table's folder are refused when they are read, unless the user allows them: a table may be another's.
Optional columns: ``pair_id``, ``real_id``, ``mask_id``, ``subset``. Other columns travel along in ``Pair.extra``.
"""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

from harmonygen.data.files import bad, entries, read_text
from harmonygen.data.ids import safe_id
from harmonygen.errors import UsageError
from harmonygen.records import FileSource, Pair, PairSet, Quarantined, ReadOptions

PATH_COLUMNS = ("real", "mask")
_ID_COLUMNS = ("pair_id", "real_id", "mask_id", "subset")


def matches(path: Path) -> bool:
    """Tell whether a file is a table of paths, or a folder holds exactly one."""
    return len(tables(path)) == 1


def tables(path: Path) -> list[Path]:
    """Return the tables of paths that ``path`` is or holds: those with columns ``real`` and ``mask``, sorted."""
    if path.is_file():
        return [path] if set(PATH_COLUMNS) <= set(columns(path)) else []
    return [path / entry.name for entry in entries(path) if entry.is_file() and tables(path / entry.name)]


def columns(path: Path) -> list[str]:
    """Return the column names of a CSV, or of a Parquet file's text columns; of another file none."""
    suffix = path.suffix.lower()
    if suffix == ".csv":
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as opened:
            return [name.strip() for name in next(csv.reader(opened), [])]
    if suffix == ".parquet":
        from harmonygen.data.parquet import is_text, read_schema

        return [field.name for field in read_schema(path) if is_text(field.type)]
    return []


def read_table(data: Path, reading: ReadOptions | None = None) -> PairSet:
    """Read a table of paths; rows without a path go to ``PairSet.bad``.

    Args:
        data: the table, or the folder that holds it.
        reading: ``allow_outside`` lets the table name files outside its folder.

    Raises:
        UsageError: the columns are missing, or ids are refused.
    """
    found = tables(data)
    if len(found) != 1:
        has = f"columns {', '.join(columns(data)) or 'none'}" if data.is_file() else f"{len(found)} such tables"
        raise UsageError(f"'{data}' is not one table with columns real and mask (found {has}): name one table")
    from harmonygen.data.parquet import bounds

    within = bounds(found[0], reading)
    pairs: list[Pair] = []
    faults: list[Quarantined] = []
    for number, row in enumerate(_rows(found[0]), 1):
        empty = [column for column in PATH_COLUMNS if not row.get(column) or "\0" in row[column]]
        if empty:
            message = f"row {number} of '{found[0]}' has no path in {' and '.join(empty)}: fill it or drop the row"
            faults.append(bad(f"row {number}", message))
        else:
            pairs.append(_pair(found[0].parent, row, within))
    return PairSet(tuple(sorted(pairs, key=lambda pair: pair.pair_id)), "table", found[0], tuple(faults))


def _rows(path: Path) -> list[dict[str, str]]:
    if path.suffix.lower() == ".csv":
        rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(read_text(path), newline=""), restkey=""))
    else:
        from harmonygen.data.parquet import read_texts

        rows = read_texts(path, _plain_columns(path))
    return [{key.strip(): str(cell).strip() for key, cell in row.items() if key and cell is not None} for row in rows]


def _plain_columns(path: Path) -> list[str]:
    """Return the columns of a Parquet table that hold text or numbers: pictures do not travel along."""
    import pyarrow.types as kinds

    from harmonygen.data.parquet import is_text, read_schema

    return [field.name for field in read_schema(path) if is_text(field.type) or kinds.is_primitive(field.type)]


def _pair(folder: Path, row: dict[str, str], within: Path | None) -> Pair:
    from harmonygen.data.parquet import named

    real_stem, mask_stem = (os.path.splitext(os.path.basename(row[column]))[0] for column in PATH_COLUMNS)
    subset = safe_id(row["subset"]) if row.get("subset") else ""
    prefix = f"{subset}/" if subset else ""
    real_id = named(row.get("real_id") or prefix + real_stem, "photo id")
    mask_id = safe_id(row.get("mask_id") or _mask_id(real_stem, mask_stem))
    return Pair(
        pair_id=named(row.get("pair_id") or f"{real_id}_{mask_id}", "pair id"),
        real_id=real_id,
        mask_id=mask_id,
        real=FileSource(folder / row["real"], within=within),
        mask=FileSource(folder / row["mask"], within=within),
        subset=subset,
        extra={key: cell for key, cell in row.items() if key not in (*PATH_COLUMNS, *_ID_COLUMNS)},
    )


def _mask_id(real_stem: str, mask_stem: str) -> str:
    """Return what a mask's name adds to its photo's, without underscores; ``0`` if it is the same name.

    >>> _mask_id("a", "a"), _mask_id("a", "a_2"), _mask_id("a", "left_eye")
    ('0', '2', 'left-eye')
    """
    if mask_stem == real_stem:
        return "0"
    return mask_stem.removeprefix(f"{real_stem}_").replace("_", "-")
