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
import pyarrow.parquet as pq

from harmonygen.data.files import bad, entries, subfolders
from harmonygen.data.ids import refuse_unsafe, safe_id
from harmonygen.data.splits import Split, choose, note, passed, split_of_file, split_of_folder
from harmonygen.errors import StorageError, UsageError
from harmonygen.records import CellSource, Pair, PairSet, Quarantined
from harmonygen.runs.job_folder import QUARANTINE

IMAGE_COLUMNS = ("real", "mask")
ID_COLUMNS = ("pair_id", "real_id", "mask_id", "subset")
NO_MASK_ID = "0"
_HUB = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<inside>.+?))?/?")


def matches(path: Path) -> bool:
    """Tell whether a file, or the first Parquet file of a folder, has image columns ``real`` and ``mask``."""
    files = parquet_files(path)
    return bool(files) and all(_is_image(read_schema(files[0]), column) for column in IMAGE_COLUMNS)


def parquet_files(path: Path, split: Split = "train") -> list[Path]:
    """Return the Parquet files of a path: itself, or those of a split in the folder or its ``data`` folder, sorted.

    Names, or the folders that files lie in, bear splits as the Hub spells them
    (:func:`harmonygen.data.splits.choose`). For ``train``, test and validation files are left out, as the test list is
    in the iHarmony4 layout; so are files of no split beside training files. For ``test``, the test files are taken,
    else the validation files, else those that ``train`` gives. Name a file to read another split.
    """
    return _parquet_parts(path, split)[0]


def _parquet_parts(path: Path, split: Split) -> tuple[list[Path], list[Path]]:
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
    names = (entry.name for entry in entries(folder) if entry.name != QUARANTINE)
    return [folder / name for name in names if name.lower().endswith(".parquet")]


def read_schema(path: Path) -> pa.Schema:
    """Read a Parquet file's schema; raise UsageError if it is not a whole Parquet file."""
    try:
        return pq.read_schema(path)
    except OSError as error:
        raise StorageError(f"cannot read '{path}': {error}: check the path and permissions") from error
    except pa.ArrowException as error:
        raise UsageError(f"'{path}' is not a whole Parquet file ({error}): export or download it again") from error


def _is_image(schema: pa.Schema, column: str) -> bool:
    if column not in schema.names:
        return False
    kind = schema.field(column).type
    if pa.types.is_struct(kind):
        return {"bytes", "path"} <= {kind.field(index).name for index in range(kind.num_fields)}
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def read_parquet(data: str | Path, split: Split = "train") -> PairSet:
    """Read pairs whose photo and mask are cells of Parquet files.

    Args:
        data: a file, a folder (or its ``data`` folder), or ``hf://datasets/<user>/<name>[@revision][/folder]``.
        split: which files of a folder are read (:func:`parquet_files`).

    Raises:
        UsageError: no Parquet file, no image columns, or ids that are refused.
        StorageError: the Hub cannot be reached, or a file cannot be read.
    """
    root = download(str(data)) if str(data).startswith("hf://") else Path(data)
    files, others = _parquet_parts(root, split)
    if not files:
        raise UsageError(f"'{data}' has no .parquet file, there or in data/: name the folder that holds them")
    pairs: list[Pair] = []
    faults: list[Quarantined] = []
    seen: set[tuple[str, str, str]] = set()
    for file in files:
        for found in read_rows(file):
            if isinstance(found, Quarantined):
                faults.append(found)
            elif _first_of_its_ids(found, seen):
                pairs.append(found)
    read = split_of_file(files[0]) if others else ""
    rows = tuple(passed(file, split_of_file(file), read) for file in others)
    return PairSet(tuple(pairs), "parquet", root, tuple(faults), passed_over=rows, notes=note(rows, read), split=read)


def read_rows(file: Path) -> Iterator[Pair | Quarantined]:
    """Yield every row of a Parquet file as a pair, or as a quarantine row if its id is empty.

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
    rows = read_texts(file, ids) if ids else [{}] * pq.read_metadata(file).num_rows
    for number, row in enumerate(rows):
        yield _pair(file.absolute(), number, {key: str(value) for key, value in row.items() if value is not None})


def read_texts(file: Path, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """Read the rows of a Parquet file's columns (None: all); raise UsageError if what they hold is damaged."""
    try:
        rows: list[dict[str, Any]] = pq.read_table(file, columns=columns).to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: text that is not UTF-8
        raise UsageError(f"'{file}' is damaged ({error}): export or download it again") from error
    return rows


def _first_of_its_ids(pair: Pair, seen: set[tuple[str, str, str]]) -> bool:
    """Tell whether a pair is new; where a column does not say which mask it is, every row counts."""
    key = (pair.pair_id, pair.real_id, pair.mask_id)
    repeated = key in seen and pair.mask_id != NO_MASK_ID
    seen.add(key)
    return not repeated


def _pair(file: Path, number: int, ids: dict[str, str]) -> Pair | Quarantined:
    name = f"{file.stem}-{number:06d}"
    if "pair_id" in ids and not ids["pair_id"]:
        return bad(name, f"row {number} of '{file}' has an empty pair_id: fill it or drop the column")
    pair_id = named(ids.get("pair_id", name), "pair id")
    return Pair(
        pair_id=pair_id,
        real_id=named(ids.get("real_id") or pair_id, "photo id"),
        mask_id=safe_id(ids.get("mask_id") or NO_MASK_ID),
        real=CellSource(file, "real", number),
        mask=CellSource(file, "mask", number),
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
        raise UsageError(f"'{address}' cannot be read: {_first_line(error)}: check the name, or log in") from error
    except Exception as error:  # httpx, requests and huggingface_hub each have their own network errors
        raise StorageError(
            f"'{address}' cannot be downloaded ({_first_line(error)}): check the network and repeat the command, "
            "or download the dataset and give its folder"
        ) from error
    return Path(folder) / inside


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
