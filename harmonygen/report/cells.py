"""One cell of a contact sheet: a picture with a line of text under it."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

PICTURE, CAPTION, GAP = 144, 18, 8  # pixels
PAPER, INK = (246, 246, 246), (30, 30, 30)
_MISSING = (222, 222, 222)


def draw_cell(
    sheet: Image.Image, at: tuple[int, int], picture: Image.Image | None, text: str, colour: tuple[int, int, int]
) -> None:
    """Draw one picture (None: a grey square) with a line of text under it, cut to the picture's width."""
    pen, (left, top) = ImageDraw.Draw(sheet), at
    if picture is None:
        pen.rectangle((left, top, left + PICTURE - 1, top + PICTURE - 1), fill=_MISSING)
    else:
        fitted = picture.copy()
        fitted.thumbnail((PICTURE, PICTURE))
        sheet.paste(fitted, (left + (PICTURE - fitted.width) // 2, top + PICTURE - fitted.height))
    font = ImageFont.load_default(12)
    while text and pen.textlength(text, font) > PICTURE:
        text = text[:-1]
    pen.text((left, top + PICTURE + 2), text, fill=colour, font=font)
