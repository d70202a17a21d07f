"""Read one image cell of a Parquet file by row, without reading the others into memory."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harmonygen.errors import InputError, told
from harmonygen.records import CellSource
from harmonygen.storage.bounded import MAX_FILE, read_file

_OPEN_FILES = 16
_MAX_GROUP = 4 * 2**30  # bytes of one column of a row group, which is read whole


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
    file = pq.ParquetFile(path, page_checksum_verification=True)
    held = _bytes_of(file.metadata.row_group(group), column)
    if held > _MAX_GROUP:
        raise InputError(
            f"'{path}' holds {held} bytes of {column} in one row group, over the limit of {_MAX_GROUP}: write it again "
            "with smaller row groups"
        )
    return file.read_row_group(group, columns=[column]).column(column)


def _bytes_of(group: Any, column: str) -> int:
    """Return how many bytes a column, or what is nested in it, has in a row group once it is unpacked."""
    parts = (group.column(index) for index in range(group.num_columns))
    return sum(part.total_uncompressed_size for part in parts if part.path_in_schema.partition(".")[0] == column)


def read_cell(source: CellSource) -> bytes:
    """Return the encoded bytes of one image cell, stored as bytes or as Hugging Face's ``struct<bytes,path>``.

    Raises:
        InputError: the file, row or column is missing, or the cell holds no picture (see :func:`cell_bytes`).
    """
    return cell_bytes(_value(source), source)


def cell_file(source: CellSource) -> Path | None:
    """Return the file that a cell points to by an absolute path instead of holding its bytes, None if it does not.

    Raises:
        InputError: the Parquet file, row or column is missing.
    """
    path = _path_in(_value(source))
    return Path(path) if path and Path(path).is_absolute() else None


def held_by(source: CellSource) -> Path:
    """Return the file that holds a cell's bytes: the Parquet file itself, or the file that the cell points to.

    Raises:
        InputError: the Parquet file, row or column is missing.
    """
    path = _path_in(_value(source))
    return source.path.parent / path if path else source.path


def _path_in(value: Any) -> str:
    """Return the path that a cell's value names instead of holding bytes, else ""."""
    path = value.get("path") if isinstance(value, dict) and not value.get("bytes") else None
    return path if isinstance(path, str) and "\0" not in path else ""


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
        raise InputError(f"cannot read '{source}': {told(error)}: check that the Parquet file is whole") from error


def cell_bytes(value: Any, source: CellSource) -> bytes:
    """Return the encoded bytes of a cell's value: bytes, or a path to a file that ``source`` may name.

    Raises:
        InputError: neither, over :data:`harmonygen.storage.bounded.MAX_FILE` bytes, or a file that cannot be read or
            lies outside ``source.within``.
    """
    held = value.get("bytes") if isinstance(value, dict) else value
    path = value.get("path") if isinstance(value, dict) else None
    if isinstance(held, bytes) and (held or not path):
        if len(held) > MAX_FILE:
            raise InputError(f"'{source}' holds {len(held)} bytes, over the limit of {MAX_FILE}: export it smaller")
        return held
    if held in (None, b"") and isinstance(path, str) and path:
        return read_file(source.path.parent / path, f"{path}', named by '{source}", source.within)
    kinds = " and ".join(type(part).__name__ for part in (held, path) if part is not None) or "nothing"
    raise InputError(f"'{source}' holds no image (found {kinds}): fill it or drop the row")


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
    """Return a table whose text cells are not formulas; numbers stay as they are.

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
