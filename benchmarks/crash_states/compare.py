"""All that is in a folder, strictly: names (hidden ones too), kinds, bytes. What may differ is named here alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Tree = dict[str, Any]

TIMES = ("seconds", "candidates_per_second", "images_per_second")
"""Keys of ``summary.json`` that tell how long something took."""
RESUMED = "resume_from_checkpoint"
"""Key of the settings in ``settings.json`` and a checkpoint's ``step.json``: the option that resumes a training."""
PART_SECONDS = b"harmonygen.seconds"
"""Key of a Parquet footer that tells how long the shard took."""
STAMPED = ("real_file", "mask_file")
"""Columns with the stamps of the inputs' files; of an input that the job itself made again, time and inode differ."""
STAMPS = ("mtime_ns", "inode")
PAGE_RATE = re.compile(rb"<dt>candidates/s</dt><dd>[^<]*</dd>")
"""Place in ``report.html`` that tells the rate."""


def tree_of(folder: Path) -> Tree:
    """Return what is at each path below ``folder``: its kind, and the content that equal runs share."""
    return {str(path.relative_to(folder)): _entry(path) for path in sorted(folder.rglob("*"))}


def differences(expected: Tree, found: Tree) -> list[str]:
    """Return what is missing, what should not be there, and what holds something else."""
    missing = [f"missing {name}" for name in expected if name not in found]
    stray = [f"stray {name}" for name in found if name not in expected]
    other = [f"other {name}" for name in expected if name in found and found[name] != expected[name]]
    return [*missing, *stray, *other]


def _entry(path: Path) -> Any:
    if path.is_symlink():
        return "symlink", str(path.readlink())
    if path.is_dir():
        return "folder"
    kind = "hard link" if path.stat().st_nlink > 1 else "file"
    return kind, _READ.get(path.name, _READ.get(path.suffix, Path.read_bytes))(path)


def _parquet(path: Path) -> Any:
    """Return schema, footer and rows; a file that cannot be read is its bytes."""
    try:
        table, footer = pq.read_table(path), dict(pq.read_metadata(path).metadata or {})
    except Exception:
        return path.read_bytes()
    footer.pop(PART_SECONDS, None)
    schema = table.schema.remove_metadata()
    footer.pop(b"ARROW:schema", None)  # holds the footer again, encoded
    rows = table.replace_schema_metadata(None).to_pylist()
    return str(schema), footer, [_without_stamps(row) for row in rows]


def _without_stamps(row: dict[str, Any]) -> dict[str, Any]:
    held = {name: json.loads(row[name]) for name in STAMPED if row.get(name)}
    return {**row, **{name: {k: v for k, v in stamp.items() if k not in STAMPS} for name, stamp in held.items()}}


def _summary(path: Path) -> Any:
    try:
        return {key: value for key, value in json.loads(path.read_bytes()).items() if key not in TIMES}
    except ValueError:
        return path.read_bytes()


def _page(path: Path) -> bytes:
    return PAGE_RATE.sub(b"", path.read_bytes())


def _settings(path: Path) -> Any:
    """Return training settings, also those in a checkpoint's state, without the option that resumes."""
    try:
        held = json.loads(path.read_bytes())
        for settings in (held, held.get("settings", {})):
            settings.pop(RESUMED, None)
        return held
    except (ValueError, AttributeError):
        return path.read_bytes()


_READ: dict[str, Callable[[Path], Any]] = {
    ".parquet": _parquet,
    "summary.json": _summary,
    "report.html": _page,
    "settings.json": _settings,
    "step.json": _settings,
}
