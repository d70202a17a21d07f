"""Arrays and a few words as one file beside a review: written whole, and read only as what they were written as."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harmonygen.storage.shards import write_bytes

Arrays = dict[str, npt.NDArray[Any]]
_HEAD = "head"


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], head: Mapping[str, Any]) -> None:
    """Write arrays, and a head that JSON can hold, under a final name, or nothing.

    Raises:
        StorageError: it cannot be written.
    """
    content = io.BytesIO()
    named: dict[str, Any] = {**arrays, _HEAD: np.frombuffer(json.dumps(head).encode(), np.uint8)}
    np.savez(content, **named)
    write_bytes(path, content.getvalue())


def read_arrays(path: Path, fits: Callable[[Mapping[str, Any]], bool]) -> tuple[dict[str, Any], Arrays] | None:
    """Return head and arrays of a file; None if it is not there, is damaged, or its head does not fit."""
    try:
        with np.load(path, allow_pickle=False) as held:
            head = json.loads(bytes(held[_HEAD]))
            return (head, {name: held[name] for name in held.files if name != _HEAD}) if fits(head) else None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
