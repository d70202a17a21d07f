"""What is in a folder that a command made, but for times and the folder's own name: to compare two of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image
from safetensors.numpy import load_file

VOLATILE = ("out", "folder", "finished_before", "made", "kept", "resume_from_checkpoint", "sha256", "size", "bytes")
NOT_COMPARED = (".html", ".log")  # pages and logs tell times


def content(out: Path) -> dict[str, Any]:
    """Return what each file below ``out`` holds, by its name."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(out)): _read(path, str(out)) for path in files}


def _read(path: Path, home: str) -> Any:
    if path.suffix == ".parquet":
        return repr(pq.read_table(path).to_pylist()).replace(home, "OUT")
    if path.suffix == ".json":
        return _steady(json.loads(path.read_text().replace(home, "OUT")))
    if path.suffix in NOT_COMPARED or path.name in ("README.md",):
        return path.suffix
    return path.read_bytes()


def _steady(value: Any) -> Any:
    """Drop what differs between two equal runs."""
    if isinstance(value, dict):
        return {key: _steady(each) for key, each in value.items() if not _is_volatile(key)}
    return [_steady(each) for each in value] if isinstance(value, list) else value


def _is_volatile(key: str) -> bool:
    return key in VOLATILE or "second" in key


def lost(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return the files that are missing or hold something else."""
    return [name for name in expected if name not in found or found[name] != expected[name]]


def strays(expected: dict[str, Any], out: Path) -> list[str]:
    """Return files that should not be there: unexpected names, temporary files."""
    seen = [path for path in out.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    return [name for path in seen if (name := str(path.relative_to(out))) not in expected]


def torn(out: Path) -> list[str]:
    """Return files that have their final name and are not whole."""
    return [path.name for path in out.rglob("*") if not path.name.startswith(".") and path.is_file() and is_torn(path)]


def is_torn(path: Path) -> bool:
    """Tell whether a file is empty or cannot be read as what its suffix says."""
    try:
        if path.suffix == ".parquet":
            pq.read_table(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix in (".png", ".jpg"):
            Image.open(path).load()
        elif path.suffix == ".safetensors":
            load_file(path)
    except Exception:
        return True
    return path.stat().st_size == 0


def twice(out: Path) -> int:
    """Return how many rows with the same pair and k, or of the same composite, are there more than once."""
    keys: list[Any] = []
    for path in out.rglob("*.parquet"):
        names = set(pq.read_schema(path).names)
        for columns in (("pair_id", "k", "source"), ("pair_id", "k"), ("pair_id",)):
            if set(columns) <= names and path.parent.name in ("candidates", "pairs") and "composite" in names | {"k"}:
                keys += [(path.parent, *row.values()) for row in pq.read_table(path, columns=list(columns)).to_pylist()]
                break
    for path in out.glob("*_train.txt"):
        keys += [(path, line) for line in path.read_text().splitlines()]
    return sum(count - 1 for count in Counter(keys).values())
