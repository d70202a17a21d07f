"""Read Parquet whose ``real`` and ``mask`` columns are images: a file, a folder, or a Hugging Face dataset.

A cell is Hugging Face's ``struct<bytes, path>`` or plain binary. Rows are named by their ``pair_id`` column, else
``<file stem>-<row>``. Rows with the same ``pair_id``, ``real_id`` and ``mask_id`` (the composites of a built dataset)
are one pair, read from the first. Images stay in their file until a pair is decoded, one row group at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harmonygen.data.files import MAX_TEXT, bad, cannot_read, entries, is_file, subfolders
from harmonygen.data.ids import refuse_unsafe, safe_id
from harmonygen.data.splits import Split, choose, note, passed, split_of_file, split_of_folder
from harmonygen.errors import StorageError, UsageError, told
from harmonygen.records import CellSource, Pair, PairSet, Quarantined, ReadOptions
from harmonygen.runs.job_folder import QUARANTINE

IMAGE_COLUMNS = ("real", "mask")
ID_COLUMNS = ("pair_id", "real_id", "mask_id", "subset")
NO_MASK_ID = "0"
MAX_ROWS = 10_000_000  # rows of one file: each becomes a record in memory
_HUB = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<inside>.+?))?/?")


def matches(path: Path) -> bool:
    """Return whether a file, or the first Parquet file of a folder, has image columns ``real`` and ``mask``."""
    files = parquet_files(path)
    return bool(files) and all(_is_image(read_schema(files[0]), column) for column in IMAGE_COLUMNS)


def parquet_files(path: Path, split: Split = "train") -> list[Path]:
    """Return the Parquet files of a path: itself, or those of a split in the folder or its ``data`` folder, sorted.

    Names, or the folders that files lie in, state splits as the Hub spells them
    (:func:`harmonygen.data.splits.choose`). For ``train``, test and validation files are left out, as the test list is
    in the iHarmony4 layout; so are files of no split beside training files. For ``test``, the test files are taken,
    else the validation files, else those that ``train`` gives. Name a file to read another split.
    """
    return parquet_parts(path, split)[0]


def parquet_parts(path: Path, split: Split) -> tuple[list[Path], list[Path]]:
    """Return the Parquet files that are read, and those of other splits."""
    found = all_parquet_files(path)
    return (found, []) if path.is_file() else choose(found, split_of_file, split, str(path))


def all_parquet_files(path: Path) -> list[Path]:
    """Return the Parquet files of a path, of whatever split: itself, or those in the folder or its ``data`` folder.

    Where there is none, those in the folders that are called by splits (``train/0000.parquet``, ``default/train/``).

    A build's ``quarantine.parquet`` lies beside its dataset and is none.
    """
    if path.is_file():
        return [path] if path.suffix.lower() == ".parquet" else []
    for folder in (path, path / "data"):
        if folder.is_dir():
            found = _parquet_in(folder)
            if found:
                return found
    for folder in (path, path / "data", path / "default"):
        if folder.is_dir():
            found = [file for inner in subfolders(folder) if split_of_folder(inner.name) for file in _parquet_in(inner)]
            if found:
                return found
    return []


def _parquet_in(folder: Path) -> list[Path]:
    names = (entry.name for entry in entries(folder) if entry.name != QUARANTINE and is_file(entry))
    return [folder / name for name in names if name.lower().endswith(".parquet")]


def read_schema(path: Path) -> pa.Schema:
    """Read a Parquet file's schema; raise UsageError if it is not a whole Parquet file."""
    try:
        return pq.read_schema(path)
    except OSError as error:
        raise cannot_read(path, error) from error
    except pa.ArrowException as error:
        raise UsageError(
            f"'{path}' is not a whole Parquet file ({told(error)}): export or download it again"
        ) from error


def _is_image(schema: pa.Schema, column: str) -> bool:
    """Return whether a column holds images: binary, or a struct of binary ``bytes`` and a text ``path``."""
    if schema.names.count(column) != 1:
        return False
    kind = schema.field(column).type
    if pa.types.is_struct(kind):
        parts = {part.name: part.type for part in kind}
        return {"bytes", "path"} <= parts.keys() and _is_binary(parts["bytes"], True) and is_text(parts["path"], True)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType, or_null: bool = False) -> bool:
    known = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in known) or (or_null and pa.types.is_null(kind))


def is_text(kind: pa.DataType, or_null: bool = False) -> bool:
    """Return whether a column's type is text, also where each text is kept once; ``or_null``: or nothing at all."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    known = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in known) or (or_null and pa.types.is_null(kind))


def read_parquet(data: str | Path, split: Split = "train", reading: ReadOptions | None = None) -> PairSet:
    """Read pairs whose photo and mask are cells of Parquet files.

    Args:
        data: a file, a folder (or its ``data`` folder), or ``hf://datasets/<user>/<name>[@revision][/folder]``.
        split: which files of a folder are read (:func:`parquet_files`).
        reading: ``allow_outside`` lets cells name files outside the folder.

    Raises:
        UsageError: no Parquet file, no image columns, or ids that are refused.
        StorageError: the Hub cannot be reached, or a file cannot be read.
    """
    root = download(str(data)) if str(data).startswith("hf://") else Path(data)
    files, others = parquet_parts(root, split)
    if not files:
        raise UsageError(f"'{data}' has no .parquet file, there or in data/: name the folder that holds them")
    pairs: list[Pair] = []
    faults: list[Quarantined] = []
    seen: set[tuple[str, str, str]] = set()
    for file in files:
        for found in read_rows(file, bounds(root, reading)):
            if isinstance(found, Quarantined):
                faults.append(found)
            elif _first_of_its_ids(found, seen):
                pairs.append(found)
    read = split_of_file(files[0]) if others else ""
    rows = tuple(passed(file, split_of_file(file), read) for file in others)
    return PairSet(tuple(pairs), "parquet", root, tuple(faults), passed_over=rows, notes=note(rows, read), split=read)


def bounds(root: Path, reading: ReadOptions | None) -> Path | None:
    """Return the folder in which files must lie that data name: theirs, or None if any is allowed."""
    if reading is not None and reading.allow_outside:
        return None
    return (root if root.is_dir() else root.parent).absolute()


def read_rows(file: Path, within: Path | None = None) -> Iterator[Pair | Quarantined]:
    """Yield every row of a Parquet file as a pair, or as a quarantine row if its id is empty.

    ``within`` is the folder in which the files must lie that cells name (:func:`bounds`).

    Raises:
        UsageError: image columns are missing, or ids are refused.
    """
    schema = read_schema(file)
    missing = [column for column in IMAGE_COLUMNS if not _is_image(schema, column)]
    if missing:
        found = ", ".join(f"{field.name}:{field.type}" for field in schema)
        raise UsageError(
            f"'{file}' has no image column {' or '.join(missing)} (struct<bytes, path> or binary); found {found}: "
            "rename or convert the columns"
        )
    ids = [column for column in ID_COLUMNS if column in schema.names]
    _refuse_odd_ids(schema, ids, file)
    rows = read_texts(file, ids) if ids else [{}] * _row_count(file)
    for number, row in enumerate(rows):
        named_by = {key: str(value) for key, value in row.items() if value is not None}
        yield _pair(file.absolute(), number, named_by, within)


def _refuse_odd_ids(schema: pa.Schema, ids: list[str], file: Path) -> None:
    for column in ids:
        kind = schema.field(column).type
        if not (is_text(kind, True) or pa.types.is_integer(kind)):
            raise UsageError(f"column {column} of '{file}' holds {kind}: ids are text or whole numbers: convert it")


def _row_count(file: Path) -> int:
    count = pq.read_metadata(file).num_rows
    if count > MAX_ROWS:
        raise UsageError(f"'{file}' has {count} rows, over the limit of {MAX_ROWS}: cut it into several")
    return int(count)


def read_texts(file: Path, columns: list[str]) -> list[dict[str, Any]]:
    """Read the rows of a Parquet file's columns of text and numbers.

    Raises:
        UsageError: damaged, over :data:`MAX_ROWS` rows, or over ``MAX_TEXT`` bytes of text.
    """
    _row_count(file)
    try:
        table = pq.read_table(file, columns=columns, read_dictionary=columns)  # a text that repeats is kept once
        if (held := sum(map(_text_bytes, table.columns))) > MAX_TEXT:
            raise UsageError(f"'{file}' holds {held} bytes of text, over the limit of {MAX_TEXT}: cut it into several")
        rows: list[dict[str, Any]] = table.to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: text that is not UTF-8
        raise UsageError(f"'{file}' is damaged ({told(error)}): export or download it again") from error
    return rows


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Return how many bytes a column of text would hold if each row held its own."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = (pc.take(pc.binary_length(chunk.dictionary), chunk.indices) for chunk in column.chunks)
    return sum(int(pc.sum(each).as_py() or 0) for each in lengths)


def _first_of_its_ids(pair: Pair, seen: set[tuple[str, str, str]]) -> bool:
    """Return whether a pair is new; where a column does not say which mask it is, every row counts."""
    key = (pair.pair_id, pair.real_id, pair.mask_id)
    repeated = key in seen and pair.mask_id != NO_MASK_ID
    seen.add(key)
    return not repeated


def _pair(file: Path, number: int, ids: dict[str, str], within: Path | None) -> Pair | Quarantined:
    name = f"{file.stem}-{number:06d}"
    if "pair_id" in ids and not ids["pair_id"]:
        return bad(name, f"row {number} of '{file}' has an empty pair_id: fill it or drop the column")
    pair_id = named(ids.get("pair_id", name), "pair id")
    return Pair(
        pair_id=pair_id,
        real_id=named(ids.get("real_id") or pair_id, "photo id"),
        mask_id=safe_id(ids.get("mask_id") or NO_MASK_ID),
        real=CellSource(file, "real", number, within=within),
        mask=CellSource(file, "mask", number, within=within),
        subset=safe_id(ids["subset"]) if ids.get("subset") else "",
    )


def named(name: str, what: str) -> str:
    """Clean a pair or photo id given by a column: ``<id>`` or ``<Subset>/<id>``; raise UsageError if refused.

    >>> named("HCOCO/c1_2", "pair id")
    'HCOCO/c1_2'
    """
    subset, slash, rest = name.partition("/")
    refuse_unsafe([subset, rest] if slash else [name], what)
    return f"{safe_id(subset)}/{safe_id(rest)}" if slash else safe_id(name)


def download(address: str) -> Path:
    """Fetch the Parquet files of ``hf://datasets/<user>/<name>`` into Hugging Face's cache and return their folder.

    Raises:
        UsageError: the address is malformed, or there is no such dataset (or no right to it).
        StorageError: the Hub cannot be reached.
    """
    found = _HUB.fullmatch(address)
    if found is None:
        raise UsageError(f"'{address}' is not hf://datasets/<user>/<name>[@revision][/folder]: write it so")
    from huggingface_hub import errors, snapshot_download

    refused = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError)
    inside = found["inside"] or ""
    try:
        folder = snapshot_download(
            found["repo"],
            repo_type="dataset",
            revision=found["revision"],
            allow_patterns=[inside if inside.endswith(".parquet") else f"{inside}*.parquet"],
        )
    except refused as error:
        raise UsageError(f"'{address}' cannot be read: {told(error)}: check the name, or log in") from error
    except Exception as error:  # httpx, requests and huggingface_hub each have their own network errors
        raise StorageError(
            f"'{address}' cannot be downloaded ({told(error)}): check the network and repeat the command, "
            "or download the dataset and give its folder"
        ) from error
    return Path(folder) / inside
