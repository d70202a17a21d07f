"""The overlay sheet: photos whose background is dimmed, with the mask's outline; the least sure masks come first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harmonygen.pictures.outline import draw, outline
from harmonygen.records import FileSource, ImageSource
from harmonygen.report.grid import INK, PICTURE, Grid, png_of
from harmonygen.report.thumbnails import each, small_coverage, small_picture
from harmonygen.storage.shards import write_bytes

COLUMNS = 10
_DIMMED = 0.3
_FAINT = (150, 60, 40)
_LEFT_OUT = 0.2  # most of the sheet that goes to photos without a mask

Row = Mapping[str, Any]


def write_overlay(path: Path, rows: Sequence[Row], photos: Mapping[str, ImageSource], shown: int) -> None:
    """Write the sheet of a job's rows as a PNG under its final name.

    Raises:
        StorageError: it cannot be written.
    """
    write_bytes(path, png_of(overlay_sheet(path.parent, rows, photos, shown), optimize=True))


def overlay_sheet(folder: Path, rows: Sequence[Row], photos: Mapping[str, ImageSource], shown: int) -> Image.Image:
    """Draw up to ``shown`` photos as one RGB picture: half of the masks are the least certain, half spread evenly.

    ``photos`` has each photo's source by pair id. A caption has the photo's name and how sure the segmenter is inside
    the mask; photos without a mask come last, with the reason.
    """
    chosen = choose_shown(rows, shown)
    sources = {row["pair_id"]: photos[row["pair_id"]] for row in chosen}
    masks = {row["pair_id"]: FileSource(folder / row["mask"]) for row in chosen if row["mask"]}
    small = each(list(sources.values()), small_picture, PICTURE)
    coverages = each(list(masks.values()), small_coverage, PICTURE)
    grid = Grid.of_rows(min(COLUMNS, len(chosen)), -(-len(chosen) // COLUMNS))
    for place, row in enumerate(chosen):
        picture, mask = small.get(sources[row["pair_id"]]), masks.get(row["pair_id"])
        if picture is not None and mask in coverages:
            picture = dimmed(picture, coverages[mask][0])
        words = f"{row['sureness']:.2f} {row['pair_id']}" if row["mask"] else f"{row['reason']}: {row['pair_id']}"
        grid.draw(place % COLUMNS, place // COLUMNS, picture, words, INK if row["mask"] else _FAINT)
    return grid.image


def choose_shown(rows: Sequence[Row], shown: int) -> list[Row]:
    """Return the rows of a sheet: the least sure masks, others spread evenly, then photos without a mask."""
    made = sorted((row for row in rows if row["mask"]), key=lambda row: (row["sureness"], row["pair_id"]))
    left = [row for row in rows if not row["mask"]]
    of_left = min(len(left), max(int(_LEFT_OUT * shown), shown - len(made)))
    of_made = min(len(made), shown - of_left)
    first = made[: of_made // 2] if of_made < len(made) else made
    others = spread_evenly(made[len(first) :], of_made - len(first))
    return [*first, *others, *spread_evenly(left, of_left)]


def spread_evenly(rows: Sequence[Row], count: int) -> list[Row]:
    """Return ``count`` rows spread evenly.

    >>> spread_evenly([{"a": n} for n in range(5)], 2)
    [{'a': 0}, {'a': 2}]
    """
    return [rows[index * len(rows) // count] for index in range(count)] if count else []


def dimmed(picture: Image.Image, coverage: Image.Image) -> Image.Image:
    """Return a small photo whose background is dark, with the outline of its mask's coverage (mode L)."""
    fitted = coverage if coverage.size == picture.size else coverage.resize(picture.size)
    light = _DIMMED + (1 - _DIMMED) * np.asarray(fitted, dtype=np.float32)[..., None] / 255
    dark = Image.fromarray((np.asarray(picture, dtype=np.float32) * light).astype(np.uint8))
    return draw(dark, outline(fitted))
