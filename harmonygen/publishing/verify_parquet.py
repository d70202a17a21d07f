"""What is wrong with the Parquet files of one split: footers, columns, rows, missing image bytes, images."""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, product
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harmonygen.data.manifest import PublishedFile
from harmonygen.errors import InputError
from harmonygen.pictures import images
from harmonygen.pictures.masks import to_mask
from harmonygen.publishing.front_matter import Info
from harmonygen.records import CellSource
from harmonygen.storage.parquet_cells import read_cell

MAX_ROW_GROUP_BYTES = 286 << 20  # the Hub's viewer reads no larger one
_AGAIN = "build the dataset again"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that must not be published: where, what was found, what to do."""

    path: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.found}: {self.remedy}"


@dataclass(frozen=True)
class Split:
    """The files of one split that have a readable footer, in order."""

    folder: Path
    config: str
    name: str
    entries: tuple[PublishedFile, ...]

    @cached_property
    def footers(self) -> list[Any]:
        """The files' footers."""
        return [pq.read_metadata(self.folder / each.path) for each in self.entries]

    @cached_property
    def schemas(self) -> list[pa.Schema]:
        """The files' Arrow schemas."""
        return [footer.schema.to_arrow_schema() for footer in self.footers]

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(footer.num_rows for footer in self.footers)

    @property
    def image_columns(self) -> list[str]:
        """Columns of ``struct<bytes, path>``."""
        return [field.name for field in self.schemas[0] if _is_image(field.type)] if self.schemas else []


def _is_image(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"}


def footer_fault(folder: Path, entry: PublishedFile) -> Fault | None:
    """Return what is wrong with a file's footer, or None."""
    try:
        rows = pq.read_metadata(folder / entry.path).num_rows
    except (OSError, pa.ArrowException) as error:
        return Fault(entry.path, f"is not a complete Parquet file ({_short(error)})", _AGAIN)
    if rows != entry.rows:
        return Fault(entry.path, f"has {rows} rows, the manifest says {entry.rows}", _AGAIN)
    return None


def split_faults(split: Split, info: Info | None) -> Iterator[Fault]:
    """Yield what is wrong with a split's columns, rows, row groups and image cells, from the footers alone."""
    yield from _schema_faults(split, info)
    home = f"{split.config}/{split.name}"
    if info is not None and split.name not in info.rows:
        yield Fault("README.md", f"dataset_info has no split '{split.name}' of config '{split.config}'", _AGAIN)
    elif info is not None and info.rows[split.name] != split.rows:
        told = f"says that {home} has {info.rows[split.name]} rows, its files have {split.rows}"
        yield Fault("README.md", told, _AGAIN)
    for entry, footer in zip(split.entries, split.footers, strict=True):
        yield from _group_faults(entry, footer)
        yield from _null_faults(split, entry, footer)
        yield from _local_faults(split, entry)
        yield from _secret_faults(entry, footer)


def _schema_faults(split: Split, info: Info | None) -> Iterator[Fault]:
    first = split.schemas[0]
    for entry, schema in zip(split.entries[1:], split.schemas[1:], strict=True):
        if difference := _difference(first, schema):
            yield Fault(entry.path, f"has other columns than '{split.entries[0].path}' ({difference})", _AGAIN)
    if info is not None and info.schema is not None and (difference := _difference(info.schema, first)):
        yield Fault(split.entries[0].path, f"does not fit the features in README.md ({difference})", _AGAIN)


def _difference(wanted: pa.Schema, found: pa.Schema) -> str:
    """Say in a few words how two schemas differ ("" if they agree; the metadata do not count)."""
    if wanted.names != found.names:
        missing, added = set(wanted.names) - set(found.names), set(found.names) - set(wanted.names)
        told = [f"{word} {', '.join(sorted(some))}" for word, some in (("no", missing), ("more:", added)) if some]
        return "; ".join(told) or "the order of the columns"
    unlike = [
        f"'{a.name}' is {b.type}, not {a.type}" for a, b in zip(wanted, found, strict=True) if not _same(a.type, b.type)
    ]
    return "; ".join(unlike)


def _same(wanted: pa.DataType, found: pa.DataType) -> bool:
    if _is_image(wanted) and _is_image(found):
        return True
    return str(wanted).replace("large_", "") == str(found).replace("large_", "")


def _group_faults(entry: PublishedFile, footer: Any) -> Iterator[Fault]:
    largest = max((footer.row_group(index).total_byte_size for index in range(footer.num_row_groups)), default=0)
    if largest > MAX_ROW_GROUP_BYTES:
        found = (
            f"has a row group of {largest >> 20} MiB, over the {MAX_ROW_GROUP_BYTES >> 20} that the Hub's viewer reads"
        )
        yield Fault(entry.path, found, "write it with smaller row groups (harmonygen's own are near 100 MB)")


def _null_faults(split: Split, entry: PublishedFile, footer: Any) -> Iterator[Fault]:
    """Image cells without bytes point to files of this machine: counted from the column statistics."""
    for column in split.image_columns:
        nulls = sum(_nulls(footer.row_group(index), f"{column}.bytes") for index in range(footer.num_row_groups))
        if nulls:
            yield Fault(entry.path, f"{nulls} cells of '{column}' hold no image bytes", f"fill them: {_AGAIN}")


def _local_faults(split: Split, entry: PublishedFile) -> Iterator[Fault]:
    """Absolute names in image cells tell where things lie on this machine; only the names are read."""
    for column in split.image_columns:
        table = pq.ParquetFile(split.folder / entry.path).read(columns=[f"{column}.path"])
        names = (cell["path"] or "" for cell in table.column(column).to_pylist() if cell)
        local = [name for name in names if PurePosixPath(name).is_absolute() or re.match(r"[A-Za-z]:[\\/]", name)]
        if local:
            found = f"{len(local)} cells of '{column}' are named by a path of this machine"
            yield Fault(entry.path, found, f"name them without folders: {_AGAIN}")


def _nulls(group: Any, leaf: str) -> int:
    for index in range(group.num_columns):
        column = group.column(index)
        if column.path_in_schema == leaf:
            return int(column.statistics.null_count or 0) if column.statistics is not None else 0
    return 0


SECRET = re.compile(rb"hf_[A-Za-z0-9]{30,}")
"""What an access token of the Hub looks like."""


def _secret_faults(entry: PublishedFile, footer: Any) -> Iterator[Fault]:
    if any(SECRET.search(value) for value in (footer.metadata or {}).values()):
        yield Fault(entry.path, "its metadata hold what looks like an access token", "remove it and revoke the token")


def image_faults(split: Split, sample: int, seed: int) -> Iterator[Fault | None]:
    """Decode a seeded sample of rows, spread over all files, in every image column; yield a fault or None for each.

    Args:
        split: its files.
        sample: rows looked at; all if there are fewer.
        seed: which rows.
    """
    rows = _sampled(split, sample, seed)
    for column in split.image_columns:
        for entry, row in rows:
            yield _image_fault(split.folder, entry, CellSource(split.folder / entry.path, column, row))


def _sampled(split: Split, sample: int, seed: int) -> list[tuple[PublishedFile, int]]:
    """Draw rows by the seed, spread over all files; return the file of each and its number in there."""
    ends = list(accumulate(footer.num_rows for footer in split.footers))
    total = ends[-1] if ends else 0
    count, draw = min(sample, total), random.Random(f"{seed}/{split.config}/{split.name}").randrange
    found = []
    for part in range(count):
        row = draw(total * part // count, total * (part + 1) // count)
        index = bisect_right(ends, row)
        found.append((split.entries[index], row - (ends[index - 1] if index else 0)))
    return found


def _image_fault(folder: Path, entry: PublishedFile, cell: CellSource) -> Fault | None:
    try:
        images.decode(read_cell(cell), f"'{cell.column}' of row {cell.row}")
    except InputError as error:
        told = str(error).replace(f"{folder}/", "")
        return Fault(entry.path, told, "remove the row, or build the dataset again from sound photos")
    return None


_COMPOSITES = ("composite", "preferred", "rejected")  # columns whose background is the photo's
_LOSSY_MEAN = 4.0
"""Most that the background of a JPEG composite may differ from the photo's, on average, in 8-bit units: at quality 95
it is 1.4 to 1.8 of photographs and 3.2 of noise."""


def background_faults(split: Split, sample: int, seed: int) -> Iterator[Fault]:
    """Compare composite and photo outside the mask on a seeded sample of rows: bit for bit, unless it is a JPEG.

    Both are decoded as most readers do. Originals of a data set that was augmented are not compared: how their
    backgrounds were made is not known.
    """
    if not {"real", "mask"} <= set(split.image_columns):
        return
    made = [name for name in _COMPOSITES if name in split.image_columns]
    for (entry, row), column in product(_sampled(split, sample, seed) if made else (), made):
        if _is_ours(split, entry, row) and (found := _background_difference(split.folder / entry.path, row, column)):
            yield Fault(entry.path, f"row {row}: {found}", "build the dataset again from photos that did not change")


def _is_ours(split: Split, entry: PublishedFile, row: int) -> bool:
    if "source" not in split.schemas[0].names:
        return True
    column = pq.read_table(split.folder / entry.path, columns=["source"]).column("source")
    return bool(column[row].as_py() == "harmonygen")


def _background_difference(path: Path, row: int, made: str) -> str:
    """Say how a row's composite differs from its photo outside the mask, "" if it does not (or cannot be decoded)."""
    try:
        real, mask, composite = (read_cell(CellSource(path, column, row)) for column in ("real", "mask", made))
        real_u8, composite_u8 = (images.decode_plainly(encoded, "image") for encoded in (real, composite))
        drawn = images.load_upright(images.open_checked(mask, "mask"), "mask")[0]
    except InputError:
        return ""  # image_faults names it
    try:
        background = ~to_mask(drawn)
    except InputError as error:
        return f"the mask is not of two values ({_short(error)})"
    if not real_u8.shape[:2] == composite_u8.shape[:2] == background.shape:
        sizes = (f"{width}x{height}" for height, width in (real_u8.shape[:2], background.shape, composite_u8.shape[:2]))
        return "photo, mask and composite are of different sizes ({}, {}, {})".format(*sizes)
    difference = np.abs(real_u8[background].astype(np.int16) - composite_u8[background])
    allowed = difference.mean() <= _LOSSY_MEAN if difference.size else True
    if not difference.any() or (allowed and not _is_lossless(composite)):
        return ""
    differ = int(difference.any(axis=1).sum())
    return f"{differ} background pixels of the composite are not the photo's (they differ by up to {difference.max()})"


def _is_lossless(encoded: bytes) -> bool:
    return encoded.startswith(b"\x89PNG") or b"VP8L" in encoded[:64]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
