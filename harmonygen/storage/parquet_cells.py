"""Read one image cell of a Parquet file by row, without reading the others into memory."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harmonygen.errors import InputError
from harmonygen.records import CellSource

_OPEN_FILES = 16


Version = tuple[int, ...]
"""What changes when a file does: what is remembered of a file is remembered of one version of it."""


def _version(path: Path) -> Version:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


@lru_cache(maxsize=_OPEN_FILES)
def _row_group_ends(path: Path, _version: Version) -> tuple[int, ...]:
    metadata = pq.read_metadata(path)
    ends, total = [], 0
    for index in range(metadata.num_row_groups):
        total += metadata.row_group(index).num_rows
        ends.append(total)
    return tuple(ends)


@lru_cache(maxsize=4)
def _column_of_group(path: Path, _version: Version, group: int, column: str) -> pa.ChunkedArray:
    return pq.ParquetFile(path, page_checksum_verification=True).read_row_group(group, columns=[column]).column(column)


def read_cell(source: CellSource) -> bytes:
    """Return the encoded bytes of one image cell, stored as bytes or as Hugging Face's ``struct<bytes,path>``.

    Raises:
        InputError: the file, row or column is not there, or the cell is null.
    """
    return cell_bytes(_value(source), source)


def cell_file(source: CellSource) -> Path | None:
    """Return the file that a cell points to by an absolute path instead of holding its bytes, None if it does not.

    Raises:
        InputError: the Parquet file, row or column is not there.
    """
    value = _value(source)
    path = value.get("path") if isinstance(value, dict) and not value.get("bytes") else None
    return Path(path) if path and Path(path).is_absolute() else None


def held_by(source: CellSource) -> Path:
    """Return the file that holds a cell's bytes: the Parquet file itself, or the file that the cell points to.

    Raises:
        InputError: the Parquet file, row or column is not there.
    """
    value = _value(source)
    path = value.get("path") if isinstance(value, dict) and not value.get("bytes") else None
    return source.path.parent / path if path else source.path


def _value(source: CellSource) -> Any:
    try:
        version = _version(source.path)
        ends = _row_group_ends(source.path, version)
        group = next((index for index, end in enumerate(ends) if source.row < end), None)
        if group is None:
            raise InputError(f"'{source}' is past the last row ({ends[-1] if ends else 0} rows): check the row number")
        start = ends[group - 1] if group else 0
        return _column_of_group(source.path, version, group, source.column)[source.row - start].as_py()
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:  # ValueError: text that is not UTF-8
        raise InputError(f"cannot read '{source}': {error}: check that the Parquet file is whole") from error


def cell_bytes(value: Any, source: CellSource) -> bytes:
    """Return the encoded bytes of a cell's value (bytes, or a path to them); raise InputError if it holds none."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        if value.get("bytes"):
            return bytes(value["bytes"])
        if value.get("path"):
            path = source.path.parent / str(value["path"])
            try:
                return path.read_bytes()
            except OSError as error:
                raise InputError(f"'{source}' points to '{path}', which cannot be read: {error}") from error
    raise InputError(f"'{source}' holds no image (found {type(value).__name__}): fill it or drop the row")


IMAGE = "image"


def image_schema(columns: dict[str, str]) -> pa.Schema:
    """Return the Arrow schema of ``columns`` (name -> ``image`` or a scalar type name), features in its metadata.

    >>> image_schema({"composite": "image", "k": "int32"}).field("composite").type
    StructType(struct<bytes: binary, path: string>)
    """
    from datasets import Features, Image, Value

    features: dict[str, Any] = {name: Image() if kind == IMAGE else Value(kind) for name, kind in columns.items()}
    arrow: pa.Schema = Features(features).arrow_schema
    return arrow


def image_cell(encoded: bytes, name: str) -> dict[str, Any]:
    """Return an image cell holding encoded bytes under a file name."""
    return {"bytes": encoded, "path": name}


_FORMULA = r"^[ ]*[=+\-@\t\r＝＋－＠]"


def plain_texts(table: pa.Table) -> pa.Table:
    """Return a table whose text cells are no formulas; numbers stay as they are.

    >>> plain_texts(pa.table({"name": ["=1+1", "a-b", None], "x": [-1, 0, 1]}))["name"].to_pylist()
    ["'=1+1", 'a-b', None]
    """
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            cells = table.column(index)
            quoted = pc.binary_join_element_wise(pa.scalar("'", field.type), cells, pa.scalar("", field.type))
            formula = pc.match_substring_regex(cells, _FORMULA)
            table = table.set_column(index, field, pc.if_else(formula, quoted, cells))
    return table
