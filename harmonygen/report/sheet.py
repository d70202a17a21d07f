"""A contact sheet: one picture with one pair per row, the photo with its mask's outline first, then its candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from harmonygen.errors import UsageError
from harmonygen.pictures.outline import draw, outline
from harmonygen.records import ImageSource
from harmonygen.report.gather import gather
from harmonygen.report.grid import INK, PICTURE, Grid, png_of
from harmonygen.report.rows import PairRow, Tile, choose_rows
from harmonygen.report.thumbnails import each, small_coverage, small_picture
from harmonygen.storage.shards import storage_errors, write_bytes

_FAINT, _CHOSEN = (120, 120, 120), (31, 91, 196)

Small = Mapping[ImageSource, Image.Image]


def contact_sheet(folder: Path, rows: int = 10, columns: int = 10) -> Image.Image:
    """Draw a run or dataset as one RGB picture: ``rows`` pairs spread over the scores, ``columns`` candidates each.

    Candidates come by falling score and are captioned with it: the selected in blue with a star, one that may not be
    used in grey, with its gate. Every cell is 144 pixels square.

    Raises:
        UsageError: not a run folder or dataset, or fewer than 1 row or column.
    """
    if rows < 1 or columns < 1:
        raise UsageError(f"a contact sheet of {rows} rows and {columns} columns is empty: ask for 1 or more of each")
    everything = gather(folder).rows
    shown = [everything[index] for index in choose_rows(everything, rows)]
    small = _pictures(shown, columns)
    wide = 1 + min(columns, max((len(row.tiles) for row in shown), default=0))
    grid = Grid.of_rows(wide, len(shown))
    for line, row in enumerate(shown):
        _draw_row(grid, line, row, columns, small)
    return grid.image


def write_contact_sheet(folder: Path, path: Path, rows: int = 10, columns: int = 10) -> Path:
    """Write :func:`contact_sheet` as a PNG under its final name.

    Raises:
        UsageError: the name does not end in ``.png``, or as for :func:`contact_sheet`.
        StorageError: it cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"--contact-sheet is '{path}': a contact sheet is a PNG, give a name that ends in .png")
    content = png_of(contact_sheet(folder, rows, columns))
    with storage_errors(f"'{path}'"):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)
    return path


def _pictures(rows: Sequence[PairRow], columns: int) -> Small:
    tiles = [tile.picture for row in rows for tile in row.ranked()[:columns] if tile.picture is not None]
    small = each([*(row.real for row in rows), *tiles], small_picture, PICTURE)
    masks = each([row.mask for row in rows], small_coverage, PICTURE)
    for row in rows:
        if row.real in small and row.mask in masks:
            coverage = masks[row.mask][0].resize(small[row.real].size)
            small[row.real] = draw(small[row.real], outline(coverage))
    return small


def _draw_row(grid: Grid, line: int, row: PairRow, columns: int, small: Small) -> None:
    grid.draw(0, line, small.get(row.real), row.pair_id)
    for column, tile in enumerate(row.ranked()[:columns], start=1):
        picture = small.get(tile.picture) if tile.picture is not None else None
        colour = _CHOSEN if tile.selected else INK if tile.usable else _FAINT
        grid.draw(column, line, picture, _caption(tile), colour)


def _caption(tile: Tile) -> str:
    score = "-" if tile.p_composite is None else f"{tile.p_composite:.3f}"
    words = [score, tile.label or f"k{tile.k}", tile.gate, "*" if tile.selected else ""]
    return " ".join(word for word in words if word)
