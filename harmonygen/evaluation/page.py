"""The page and the sheet of an evaluation: tables, the worst and best cases, one self-contained HTML file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image

from harmonygen.evaluation.tables import Table
from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.pictures.outline import draw, outline
from harmonygen.report import pages
from harmonygen.report.grid import Grid, png_of
from harmonygen.report.render import data_url
from harmonygen.report.thumbnails import QUALITY, Thumbnail
from harmonygen.storage.shards import write_bytes

_HEIGHT = 224  # pixels of a case's pictures on the page


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture (H, W, 3) of a case: whose it is and its figures in words."""

    label: str
    figures: str
    image_u8: ImageU8


@dataclass(frozen=True, slots=True)
class CaseView:
    """A case to show: why (``heading``), which, its mask, and its pictures, the composite first and the photo last."""

    heading: str
    name: str
    mask: Mask
    shots: tuple[Shot, ...]


def write_page(
    path: Path, title: str, notes: Sequence[str], tables: Sequence[Table], curve: str, cases: Iterable[CaseView]
) -> None:
    """Write the page; cases are drawn one after another, so that one case's pictures are in memory."""
    page = pages.page(
        "evaluation.html.j2",
        title=title,
        notes=notes,
        tables=tables,
        curve=Markup(curve),
        cases=[
            (case.heading, case.name, [(shot, data_url(_small(shot.image_u8))) for shot in _outlined(case)])
            for case in cases
        ],
        style=pages.asset("report.css"),
        script=pages.asset("tables.js"),
    )
    write_bytes(path, page.encode())


def draw_sheet(cases: Sequence[CaseView]) -> bytes:
    """Draw cases as a PNG, one row each: composite with its mask's outline, each method, the photo."""
    grid = Grid.of_rows(max((len(case.shots) for case in cases), default=1), len(cases))
    for row, case in enumerate(cases):
        for column, shot in enumerate(_outlined(case)):
            text = f"{shot.label} {shot.figures.partition(' dB')[0]}".strip()
            grid.draw(column, row, Image.fromarray(shot.image_u8), text)
    return png_of(grid.image)


def _outlined(case: CaseView) -> list[Shot]:
    """Return a case's pictures at the page's size, the first with the mask's outline drawn on it."""
    first, *others = (Shot(shot.label, shot.figures, _shrunk(shot.image_u8)) for shot in case.shots)
    height, width = first.image_u8.shape[:2]
    coverage = Image.fromarray(case.mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX)
    drawn = np.asarray(draw(Image.fromarray(first.image_u8), outline(coverage)))
    return [Shot(first.label, first.figures, drawn), *others]


def _shrunk(image_u8: ImageU8) -> ImageU8:
    picture = Image.fromarray(image_u8)
    picture.thumbnail((3 * _HEIGHT, _HEIGHT), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _small(image_u8: ImageU8) -> Thumbnail:
    buffer = io.BytesIO()
    Image.fromarray(image_u8).save(buffer, "WEBP", quality=QUALITY + 15, method=2)
    return Thumbnail(buffer.getvalue(), image_u8.shape[1], image_u8.shape[0])
