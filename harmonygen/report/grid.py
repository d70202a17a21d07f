"""A sheet of small pictures as one RGB picture: cells in rows and columns, each with a line of text under it."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

PICTURE, CAPTION, GAP = 144, 18, 8  # pixels
PAPER, INK = (246, 246, 246), (30, 30, 30)
_MISSING = (222, 222, 222)

Colour = tuple[int, int, int]


class Grid:
    """Cells of :data:`PICTURE` pixels square; ``image`` is the sheet, one cell large if it has no row or no column."""

    step = PICTURE + CAPTION + GAP
    """Height of a row in pixels."""

    def __init__(self, columns: int, height: int) -> None:
        """Make an empty sheet of ``columns`` and ``height`` pixels."""
        self.image = Image.new("RGB", (GAP + max(1, columns) * (PICTURE + GAP), height), PAPER)

    @classmethod
    def of_rows(cls, columns: int, rows: int) -> Grid:
        """Make an empty sheet of ``columns`` and ``rows``."""
        return cls(columns, GAP + max(1, rows) * cls.step)

    def heading(self, top: int, text: str) -> None:
        """Write a line of large text over a row that begins below it."""
        ImageDraw.Draw(self.image).text((GAP, top), text, fill=INK, font=ImageFont.load_default(16))

    def draw(
        self, column: int, row: int, picture: Image.Image | None, text: str, colour: Colour = INK, top: int = GAP
    ) -> None:
        """Draw one picture (None: a grey square) with a line of text under it, cut to the picture's width.

        ``top`` is where row 0 begins.
        """
        left, top = GAP + column * (PICTURE + GAP), top + row * self.step
        pen, font = ImageDraw.Draw(self.image), ImageFont.load_default(12)
        if picture is None:
            pen.rectangle((left, top, left + PICTURE - 1, top + PICTURE - 1), fill=_MISSING)
        else:
            fitted = picture.copy()
            fitted.thumbnail((PICTURE, PICTURE))
            self.image.paste(fitted, (left + (PICTURE - fitted.width) // 2, top + PICTURE - fitted.height))
        while text and pen.textlength(text, font) > PICTURE:
            text = text[:-1]
        pen.text((left, top + PICTURE + 2), text, fill=colour, font=font)


def png_of(sheet: Image.Image, optimize: bool = False) -> bytes:
    """Return a sheet as a PNG."""
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=optimize)
    return buffer.getvalue()
