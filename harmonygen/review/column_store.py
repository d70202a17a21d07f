"""A run's columns as one file beside its review, so that the page of a large run opens at once the next time.

It is made from the run's files and holds for them as they were: another size, time or inode, or another list of files,
and it is read no more. Losing it loses nothing.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

import harmonygen
from harmonygen.review.array_file import read_arrays, write_arrays
from harmonygen.review.columns import Columns, read_columns_of
from harmonygen.runs.job_folder import digest_of
from harmonygen.runs.read import Run
from harmonygen.runs.review_log import REVIEW
from harmonygen.storage.shards import make_folder

NAME = ".columns.npz"
_LEAST = 20_000  # rows from which on it is worth a file


def stored_columns(run: Run) -> Columns | None:
    """Return the columns that were kept of a run as it is, None if there are none."""
    found = read_arrays(_path(run), lambda head: head["of"] == _stamp(run))
    if found is None:
        return None
    head, arrays = found
    values = {name.removeprefix("values."): array for name, array in arrays.items() if name.startswith("values.")}
    plain: dict[str, Any] = {name: array for name, array in arrays.items() if not name.startswith("values.")}
    return Columns(**plain, **head["texts"], values=values, whole=True)


def columns_of(run: Run) -> Columns:
    """Return all columns of a run, and keep those of a large one.

    Raises:
        UsageError: the run has no candidate, or a file lacks columns.
        StorageError: a file cannot be read, or the columns cannot be kept.
    """
    stamp = _stamp(run)
    columns = read_columns_of(run)
    if columns.rows >= _LEAST:
        _keep(run, columns, stamp)
    return columns


def _keep(run: Run, columns: Columns, stamp: str) -> None:
    held: dict[str, Any] = {each.name: getattr(columns, each.name) for each in fields(columns)}
    arrays: dict[str, Any] = {name: value for name, value in held.items() if isinstance(value, np.ndarray)}
    arrays |= {f"values.{name}": value for name, value in columns.values.items()}
    texts = {name: list(held[name]) for name in ("pair_ids", "subsets", "gates", "deciders", "judges")}
    make_folder(run.folder / REVIEW)
    write_arrays(_path(run), arrays, {"of": stamp, "texts": texts})


def _path(run: Run) -> Path:
    return run.folder / REVIEW / NAME


def _stamp(run: Run) -> str:
    """Return a digest of what the run's files are, and of what is kept of them: it changes when one of them does."""
    found = [path.stat() for path in run.parts]
    files = [[path.name, at.st_size, at.st_mtime_ns, at.st_ino] for path, at in zip(run.parts, found, strict=True)]
    names = [each.name for each in fields(Columns)]
    return digest_of([harmonygen.__version__, names, run.plan_digest, files])
