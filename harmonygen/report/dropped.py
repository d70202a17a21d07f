"""The photos that a build left out: how many and why, and a contact sheet to check the reasons by eye."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from harmonygen.errors import InputError
from harmonygen.records import CellSource
from harmonygen.report.grid import GAP, PICTURE, Grid
from harmonygen.report.rows import LeftOut, read_columns
from harmonygen.report.thumbnails import small_picture, stream
from harmonygen.storage.shards import shard_files

COLUMNS = 10
_ROWS = 2  # of pictures a reason
_HEADING = 26
_QUALITY = 80

WHY = {
    "min-fg": "the foreground is too small a part of the photo",
    "max-fg": "the foreground leaves too little background",
    "product:heuristic": "looks like a photo of a product alone",
    "product:witness": "looks like a photo of a product alone, and no person is seen",
    "product:person-detector": "no person was found",
    "product:list": "listed as a product photo",
    "leak": "is a test photo of the other dataset",
    "not-chosen": "has no segment of the chosen classes",
    "no-segment": "has no valid segment at all",
    "no person": "no person was found",
    "quarantine": "could not be read",
}
"""What each reason means, in words."""


def read_left_out(work: Path, counts: Mapping[str, int]) -> LeftOut:
    """Read the folder ``dropped`` of a build; ``counts`` has the photos left out by reason, with or without picture."""
    rows = dropped_rows(work)
    details = {row["reason"]: f"{row['real_id']}: {row['detail']}" for row in reversed(rows)}
    if not rows:
        return LeftOut(counts, details)
    sheet = dropped_sheet(rows)
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=_QUALITY)
    return LeftOut(counts, details, buffer.getvalue(), *sheet.size)


def dropped_rows(work: Path) -> list[dict[str, Any]]:
    """Return every dropped photo's id, reason and detail, with the source of its small picture as ``image``."""
    return [
        {**row, "image": CellSource(path, "image", index)}
        for path in shard_files(work / "dropped")
        for index, row in enumerate(read_columns(path, ("real_id", "reason", "detail")))
    ]


def dropped_sheet(rows: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Draw dropped photos as one RGB picture: each reason with its count, then up to 20 photos spread over all."""
    groups = _by_reason(rows)
    pictures = {
        source: small_picture(encoded, str(source), PICTURE)
        for source, encoded in stream(row["image"] for group in groups.values() for row in _spread(group))
        if not isinstance(encoded, InputError)
    }
    heights = [_HEADING + Grid.step * -(-len(_spread(group)) // COLUMNS) for group in groups.values()]
    grid = Grid(COLUMNS, GAP + max(_HEADING, sum(heights)))
    top = GAP
    for (reason, group), height in zip(groups.items(), heights, strict=True):
        shown = _spread(group)
        words = f"{reason}: {len(group):,}" + (f", {len(shown)} of them shown" if len(shown) < len(group) else "")
        grid.heading(top + 2, words)
        for index, row in enumerate(shown):
            picture = pictures.get(row["image"])
            grid.draw(index % COLUMNS, index // COLUMNS, picture, row["real_id"], top=top + _HEADING)
        top += height
    return grid.image


def _by_reason(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Group rows by reason, the most frequent first."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["reason"], []).append(row)
    return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))


def _spread(rows: Sequence[Mapping[str, Any]], most: int = _ROWS * COLUMNS) -> list[Mapping[str, Any]]:
    """Return up to ``most`` rows spread evenly, the first and the last among them."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(index * (len(rows) - 1) / (most - 1))] for index in range(most)]
