"""Write image datasets as Parquet for the Hub: streaming, in constant memory, resumable (DESIGN section 4).

Files of about 500 MB with row groups of about 100 MB, page index and content-defined chunking (so that a changed
dataset re-uploads only what changed), image columns plain and uncompressed (their bytes are compressed already).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harmonygen.data.hub_fields import size_category
from harmonygen.errors import UsageError
from harmonygen.storage import shards

DATA = "data"  # the folder of a dataset's default configuration
ROW_GROUP_BYTES = 100_000_000  # the Hub's viewer reads whole row groups and gives up over 286 MiB
FILE_BYTES = 500_000_000
CHUNKING = {"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0}  # what datasets writes with


@dataclass(frozen=True, slots=True)
class SplitInfo:
    """What a finished split holds: its files in order, rows, bytes in memory and bytes on disk."""

    files: tuple[Path, ...]
    rows: int
    memory_bytes: int
    disk_bytes: int


class ShardedParquetWriter:
    """Write rows one at a time to ``folder/data/<split>-00000-of-0000N.parquet``, or to another folder than ``data``.

    Parts are finished one by one under hidden names; :meth:`close` gives them their final names, which need N. After
    a kill, a new writer on the same folder finds the whole parts: ``rows`` says how many rows they hold, and the
    caller continues from there with the same rows in the same order. Unfinished parts of another ``digest`` are
    removed.

    Use as a context manager: leaving it without an error closes, with an error drops the part being written.
    :meth:`close` may be called again and returns the same.

    Args:
        folder: the dataset's folder.
        split: ``train``, ``test`` ...
        schema: Arrow schema from :func:`harmonygen.storage.parquet_cells.schema`.
        digest: what the rows are made from; parts of another digest are not resumed.
        config: the folder below ``folder``: ``data`` for a dataset's default configuration, else its name.
        row_group_bytes: a row group is closed before it passes this (a single larger row stands alone).
        file_bytes: a file is closed once it has this much.

    Raises:
        UsageError: the folder holds finished files of another digest.
        StorageError: the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        schema: pa.Schema,
        digest: str,
        row_group_bytes: int | None = None,
        file_bytes: int | None = None,
        config: str = DATA,
    ) -> None:
        self._folder = shards.make_folder(folder / config)
        self._split, self._digest = split, digest
        added = {shards.PLAN_KEY: digest.encode(), b"content_defined_chunking": json.dumps(CHUNKING).encode()}
        self._schema = schema.with_metadata({**(schema.metadata or {}), **added})
        self._row_group_bytes, self._file_bytes = row_group_bytes or ROW_GROUP_BYTES, file_bytes or FILE_BYTES
        self._parts = self._whole_parts()
        self.rows = sum(pq.read_metadata(path).num_rows for path in self._parts)
        self._buffer: list[Mapping[str, Any]] = []
        self._buffered = self._written = 0
        self._open: pq.ParquetWriter | None = None

    def __enter__(self) -> ShardedParquetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._discard()

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one row; image cells are ``{"bytes": ..., "path": ...}``.

        Raises:
            StorageError: the disk is full or not writable.
        """
        size = _row_bytes(row)
        if self._buffer and self._buffered + size > self._row_group_bytes:
            self._flush()
            if self._written >= self._file_bytes:
                self._finish_part()
        self._buffer.append(row)
        self._buffered += size
        self.rows += 1

    def close(self) -> SplitInfo:
        """Write what is buffered, give all parts their final names and return what the split holds."""
        self._flush()
        self._finish_part()
        names = (f"{self._split}-{index:05d}-of-{self._count:05d}.parquet" for index in range(self._count))
        final = [self._folder / name for name in names]
        with shards.storage_errors(f"'{self._folder}'"):
            for part, path in zip(self._parts, final, strict=True):
                if part != path:
                    part.replace(path)
            shards.sync(self._folder)  # what tells of the files is written after it
        self._parts = final
        return split_info(final)

    @property
    def _count(self) -> int:
        return len(self._parts)

    def _whole_parts(self) -> list[Path]:
        """Return this digest's whole parts in order, hidden or already named; remove unfinished ones."""
        self._sweep()
        pattern = re.compile(rf"\.?{re.escape(self._split)}-(\d{{5}})(-of-\d{{5}})?\.parquet")
        found: dict[int, Path] = {}
        for path in sorted(self._folder.iterdir()):
            match = pattern.fullmatch(path.name)
            if match and shards.is_whole(path, self._digest):
                found[int(match[1])] = path
            elif match and path.name.startswith("."):
                path.unlink()
            elif match:
                raise UsageError(
                    f"'{path}' belongs to another dataset or is damaged: remove it, or choose another --out"
                )
        return [found[index] for index in range(len(found)) if index in found]

    def _sweep(self) -> None:
        """Remove what a killed run left half written of this split, as this version and an older one named it."""
        part = re.compile(rf"{re.escape(self._split)}-\d{{5}}\.parquet")
        for path in list(self._folder.iterdir()):
            final = shards.final_name(path.name) or path.name.removeprefix(".").removesuffix(".tmp")
            if path.name.startswith(".") and path.name.endswith("tmp") and part.fullmatch(final):
                path.unlink()

    def _flush(self) -> None:
        if not self._buffer:
            return
        with shards.storage_errors(f"'{self._folder}'"):
            if self._open is None:
                self._open = pq.ParquetWriter(self._temporary, self._schema, **_options(self._schema))
            table = pa.Table.from_pylist(self._buffer, schema=self._schema)
            self._open.write_table(table, row_group_size=len(self._buffer))
        self._written += self._buffered
        self._buffer, self._buffered = [], 0

    def _finish_part(self) -> None:
        if self._open is None:
            return
        part = self._folder / f".{self._split}-{self._count:05d}.parquet"
        with shards.storage_errors(f"'{part}'"):
            self._open.close()
            pq.read_metadata(self._temporary)
            shards.commit(self._temporary, part)
        self._parts.append(part)
        self._open, self._written = None, 0

    def _discard(self) -> None:
        if self._open is not None:
            self._open.close()
            self._temporary.unlink(missing_ok=True)

    @property
    def _temporary(self) -> Path:
        return self._folder / shards.temporary_name(f"{self._split}-{self._count:05d}.parquet")


def _row_bytes(row: Mapping[str, Any]) -> int:
    return sum(len(cell["bytes"] or b"") for cell in row.values() if isinstance(cell, dict)) + 64 * len(row)


def _options(schema: pa.Schema) -> dict[str, Any]:
    """Return the Parquet options: images plain and uncompressed, the rest Zstandard with dictionaries."""
    images = [field.name for field in schema if pa.types.is_struct(field.type)]
    scalars = [field.name for field in schema if field.name not in images]
    cells = [f"{name}.{part}" for name in images for part in ("bytes", "path")]
    return {
        "compression": {**dict.fromkeys(cells, "NONE"), **dict.fromkeys(scalars, "ZSTD")},
        "use_dictionary": scalars,
        "write_page_index": True,
        "use_content_defined_chunking": CHUNKING,
    }


def split_info(files: list[Path]) -> SplitInfo:
    """Return what the finished files of a split hold, from their footers."""
    footers = [pq.read_metadata(path) for path in files]
    groups = [footer.row_group(i) for footer in footers for i in range(footer.num_row_groups)]
    return SplitInfo(
        files=tuple(files),
        rows=sum(footer.num_rows for footer in footers),
        memory_bytes=sum(group.total_byte_size for group in groups),
        disk_bytes=sum(path.stat().st_size for path in files),
    )


def card_metadata(schema: pa.Schema, splits: Mapping[str, SplitInfo]) -> dict[str, Any]:
    """Return the README's YAML fields: what the Hub and ``load_dataset`` read, and the Hub's bucket of its size."""
    return {
        "size_categories": [size_category(sum(info.rows for info in splits.values()))],
        "configs": [{"config_name": "default", "data_files": _data_files(DATA, splits)}],
        "dataset_info": _dataset_info(schema, splits),
    }


def card_metadata_of(configs: Mapping[str, tuple[pa.Schema, Mapping[str, SplitInfo]]]) -> dict[str, Any]:
    """Return ``configs`` and ``dataset_info`` of configurations by name; ``default`` lies in ``data``, others apart."""
    return {
        "configs": [
            {
                "config_name": name,
                "data_files": _data_files(config_folder(name), splits),
                **({"default": True} if name == "default" else {}),
            }
            for name, (_, splits) in configs.items()
        ],
        "dataset_info": [
            {"config_name": name, **_dataset_info(schema, splits)} for name, (schema, splits) in configs.items()
        ],
    }


def config_folder(config: str) -> str:
    """Return the folder of a configuration.

    >>> config_folder("default"), config_folder("candidates")
    ('data', 'candidates')
    """
    return DATA if config == "default" else config


def _data_files(folder: str, splits: Mapping[str, SplitInfo]) -> list[dict[str, str]]:
    return [{"split": name, "path": f"{folder}/{name}-*"} for name, info in splits.items() if info.rows]


def _dataset_info(schema: pa.Schema, splits: Mapping[str, SplitInfo]) -> dict[str, Any]:
    filled = {name: info for name, info in splits.items() if info.rows}
    return {
        "features": list(_features(schema)),
        "splits": [
            {"name": name, "num_bytes": info.memory_bytes, "num_examples": info.rows} for name, info in filled.items()
        ],
        "download_size": sum(info.disk_bytes for info in filled.values()),
        "dataset_size": sum(info.memory_bytes for info in filled.values()),
    }


def _features(schema: pa.Schema) -> Iterator[dict[str, str]]:
    for field in schema:
        kind = str(field.type)
        dtype = "image" if pa.types.is_struct(field.type) else {"double": "float64", "float": "float32"}.get(kind, kind)
        yield {"name": field.name, "dtype": dtype}


def write_readme(folder: Path, metadata: Mapping[str, Any], text: str) -> None:
    """Write ``README.md``: YAML front matter, then Markdown ``text``."""
    import yaml  # type: ignore[import-untyped]

    front = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True)
    shards.write_bytes(folder / "README.md", f"---\n{front}---\n\n{text.strip()}\n".encode())
