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

from harmonygen.data.files import UTF_16, OnDisk, bad, entries, is_file, read_text
from harmonygen.data.ids import safe_id
from harmonygen.errors import UsageError, listed
from harmonygen.records import FileSource, Pair, PairSet, Quarantined, ReadOptions

PATH_COLUMNS = ("real", "mask")
_ID_COLUMNS = ("pair_id", "real_id", "mask_id", "subset")
_OWN = {*PATH_COLUMNS, *_ID_COLUMNS, "composite"}
SUFFIXES = (".csv", ".tsv", ".parquet")
_DELIMITERS = (",", ";", "\t", "|")
_HEADER = 2**16  # bytes read to find a table's columns
_PHOTO_NAMES = ("image", "photo", "img", "picture", "image_path", "photo_path", "real_image", "filename", "file_name")


def matches(path: Path) -> bool:
    """Return whether a file is a table of paths, or a folder holds exactly one."""
    return len(tables(path)) == 1


def tables(path: Path) -> list[Path]:
    """Return the tables of paths that ``path`` is or holds: those with columns ``real`` and ``mask``, sorted."""
    if path.is_file():
        return [path] if set(PATH_COLUMNS) <= set(columns(path)) else []
    return [path / entry.name for entry in entries(path) if is_file(entry) and tables(path / entry.name)]


def columns(path: Path) -> list[str]:
    """Return the column names of a CSV, or of a Parquet file's text columns; of another file none."""
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        with path.open("rb") as opened:
            raw = opened.read(_HEADER)
        raw = raw[: len(raw) // 2 * 2] if raw.startswith(UTF_16) else raw
        text = raw.decode("utf-16" if raw.startswith(UTF_16) else "utf-8-sig", errors="replace")
        return _header(text, delimiter(text))
    if suffix == ".parquet":
        from harmonygen.data.parquet import is_text, read_schema

        return [own_name(field.name) for field in read_schema(path) if is_text(field.type)]
    return []


def delimiter(text: str) -> str:
    r"""Return what separates the columns of a table: the mark by which the header has the columns, else a comma.

    >>> delimiter("real;mask\na.jpg;a.png\n")
    ';'
    """
    fits = (mark for mark in _DELIMITERS if set(PATH_COLUMNS) <= set(_header(text, mark)))
    return next(fits, ",")


def _header(text: str, mark: str) -> list[str]:
    return [own_name(name) for name in next(csv.reader(io.StringIO(_table(text), newline=""), delimiter=mark), [])]


def _table(text: str) -> str:
    """Return a table without the line ``sep=;`` that Excel writes before the header."""
    first, _, rest = text.partition("\n")
    return rest if first.lower().startswith("sep=") else text


def own_name(column: str) -> str:
    """Return a column's name; those that are read here may be spelled in any case, with blanks around them."""
    name = column.strip()
    return name.lower() if name.lower() in _OWN else name


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
        raise UsageError(_why_not_one(data, found))
    from harmonygen.data.parquet import bounds

    within = bounds(found[0], reading)
    pairs: list[Pair] = []
    faults: list[Quarantined] = []
    disk = OnDisk()
    for number, row in enumerate(_rows(found[0]), 1):
        empty = [column for column in PATH_COLUMNS if not row.get(column) or "\0" in row[column]]
        if empty:
            message = f"row {number} of '{found[0]}' has no path in {' and '.join(empty)}: fill it or drop the row"
            faults.append(bad(f"row {number}", message))
        else:
            pairs.append(_pair(found[0].parent, row, disk, within))
    return PairSet(tuple(sorted(pairs, key=lambda pair: pair.pair_id)), "table", found[0], tuple(faults))


def _why_not_one(data: Path, found: list[Path]) -> str:
    """Say which tables there are and what columns they have."""
    if len(found) > 1:
        return (
            f"'{data}' has {len(found)} tables with columns real and mask ({listed([p.name for p in found])}): name one"
        )
    near = [data] if data.is_file() else [data / entry.name for entry in entries(data) if is_file(entry)]
    near = [path for path in near if path.suffix.lower() in SUFFIXES]
    if not near:
        return f"'{data}' holds no table ({', '.join(SUFFIXES)}) with columns real and mask"
    names = columns(near[0])
    lacks = [column for column in PATH_COLUMNS if column not in names]
    photo = next((name for name in names if name.strip().lower() in _PHOTO_NAMES), None)
    hint = f": rename the column {photo!r} to 'real'" if lacks == ["real"] and photo else ": rename the columns"
    return (
        f"'{near[0]}' has no column {' and '.join(lacks)} of paths (found columns {', '.join(names) or 'none'}){hint}; "
        "a table has a column real, the photo, and a column mask, each a path"
    )


def _rows(path: Path) -> list[dict[str, str]]:
    if path.suffix.lower() in (".csv", ".tsv"):
        text = read_text(path)
        reader = csv.DictReader(io.StringIO(_table(text), newline=""), restkey="", delimiter=delimiter(text))
        rows: list[dict[str, Any]] = list(reader)
    else:
        from harmonygen.data.parquet import read_texts

        rows = read_texts(path, _plain_columns(path))
    return [{own_name(key): str(cell).strip() for key, cell in row.items() if key and cell is not None} for row in rows]


def _plain_columns(path: Path) -> list[str]:
    """Return the columns of a Parquet table that hold text or numbers: pictures do not travel along."""
    import pyarrow.types as kinds

    from harmonygen.data.parquet import is_text, read_schema

    return [field.name for field in read_schema(path) if is_text(field.type) or kinds.is_primitive(field.type)]


def _pair(folder: Path, row: dict[str, str], disk: OnDisk, within: Path | None) -> Pair:
    from harmonygen.data.parquet import named

    real_stem, mask_stem = (
        os.path.splitext(os.path.basename(row[column].replace("\\", "/")))[0] for column in PATH_COLUMNS
    )
    subset = safe_id(row["subset"]) if row.get("subset") else ""
    prefix = f"{subset}/" if subset else ""
    real_id = named(row.get("real_id") or prefix + real_stem, "photo id")
    mask_id = safe_id(row.get("mask_id") or _mask_id(real_stem, mask_stem))
    return Pair(
        pair_id=named(row.get("pair_id") or f"{real_id}_{mask_id}", "pair id"),
        real_id=real_id,
        mask_id=mask_id,
        real=FileSource(disk.path(folder, row["real"]), within=within),
        mask=FileSource(disk.path(folder, row["mask"]), within=within),
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
