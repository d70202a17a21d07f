"""Read a file of photo ids: one a line, or the first column of a CSV file."""

from __future__ import annotations

import csv
from pathlib import Path

from harmonygen.errors import UsageError

HEADERS = ("imageid", "image_id", "real_id", "id", "file_name", "image")
"""First cells, in any case, by which a CSV file's header is known."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def read_ids(path: Path) -> list[str]:
    """Return the ids of a text or CSV file, each once, in its order.

    Blank lines and lines that start with ``#`` are left out, as are a header (:data:`HEADERS`), folders before a file
    name and an image's suffix: ``train/0a1b.jpg`` is the id ``0a1b``.

    Raises:
        UsageError: no such file, not text, or no id in it.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as opened:
            cells = [row[0].strip() for row in csv.reader(opened) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read the list of ids '{path}' ({error}): give a text file, one id a line") from error
    cells = [cell for cell in cells if cell and not cell.startswith("#")]
    if cells and cells[0].lower() in HEADERS:
        cells = cells[1:]
    if not cells:
        raise UsageError(f"the list of ids '{path}' is empty: write one photo id a line")
    return list(dict.fromkeys(bare_id(cell) for cell in cells))


def bare_id(cell: str) -> str:
    """Return a photo's id without folders or subset before it, and without an image's suffix.

    >>> bare_id("train/0a1b.jpg"), bare_id("Sample/astronaut"), bare_id("v1.2")
    ('0a1b', 'astronaut', 'v1.2')
    """
    name = cell.replace("\\", "/").rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return stem if f"{dot}{suffix}".lower() in SUFFIXES else name
