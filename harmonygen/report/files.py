"""Read the light parts of a folder: JSON and columns of numbers and text, never pixels."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harmonygen.errors import StorageError


def number(value: Any) -> float | None:
    """Return a finite float, or None for what is null, NaN or infinite."""
    return float(value) if value is not None and math.isfinite(value) else None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one if there is no such file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read '{path}' ({error}): repeat the command that wrote the folder") from error
    return value if isinstance(value, dict) else {}


def read_columns(path: Path, columns: Iterable[str]) -> list[dict[str, Any]]:
    """Read those of ``columns`` that a Parquet file has, as one dict a row.

    Raises:
        StorageError: the file is damaged.
    """
    try:
        file = pq.ParquetFile(path)
        present = [name for name in columns if name in file.schema_arrow.names]
        rows: list[dict[str, Any]] = file.read(columns=present).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read '{path}' ({error}): repeat the command that wrote the folder") from error
    return rows
