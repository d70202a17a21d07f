"""Stream the encoded pictures of a report file by file, row by row, in memory that does not grow with the run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harmonygen.storage.parquet_cells import cell_bytes
from harmonygen.errors import InputError
from harmonygen.pictures.images import read_bytes
from harmonygen.records import CellSource, ImageSource

_BATCH_ROWS = 16

Found = tuple[ImageSource, bytes | InputError]


def stream(sources: Iterable[ImageSource]) -> Iterator[Found]:
    """Yield each source once with its encoded bytes, or with the error that kept them away.

    Cells come in the order of their file, and row groups without a wanted row are skipped.
    """
    cells: dict[Path, dict[int, list[CellSource]]] = defaultdict(lambda: defaultdict(list))
    for source in dict.fromkeys(sources):
        if isinstance(source, CellSource):
            cells[source.path][source.row].append(source)
        else:
            yield source, _bytes_or_error(source)
    for path, wanted in cells.items():
        try:
            yield from _stream_file(path, wanted)
        except (OSError, pa.ArrowException) as error:
            missing = InputError(f"cannot read '{path}': {error}: check that the Parquet file is whole")
            yield from ((source, missing) for group in wanted.values() for source in group)


def _bytes_or_error(source: ImageSource) -> bytes | InputError:
    try:
        return read_bytes(source)
    except InputError as error:
        return error


def _stream_file(path: Path, wanted: Mapping[int, list[CellSource]]) -> Iterator[Found]:
    file = pq.ParquetFile(path, pre_buffer=False)  # a row group of large PNG would be held whole
    columns = sorted({source.column for group in wanted.values() for source in group})
    start = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if any(start <= row < start + rows for row in wanted):
            yield from _stream_group(file, group, start, columns, wanted)
        start += rows


def _stream_group(
    file: Any, group: int, start: int, columns: list[str], wanted: Mapping[int, list[CellSource]]
) -> Iterator[Found]:
    for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns):
        for offset in range(batch.num_rows):
            for source in wanted.get(start + offset, ()):
                yield source, _cell_or_error(batch.column(source.column)[offset].as_py(), source)
        start += batch.num_rows


def _cell_or_error(value: Any, source: CellSource) -> bytes | InputError:
    try:
        return cell_bytes(value, source)
    except InputError as error:
        return error
