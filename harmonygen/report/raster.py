"""Draw the report's own plots as PNG, for places that show no inline SVG, such as a dataset card.

Only what :mod:`harmonygen.report.plots` writes is understood: rectangles, circles, paths of M, L, H and Z, and text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from xml.etree import ElementTree

from PIL import Image, ImageDraw, ImageFont

from harmonygen.errors import UsageError

SCALE = 3  # pixels a unit of the plot


_OVER = 2  # drawn this much larger and shrunk, which smooths edges


_FONT = 11


_PAPER = (255, 255, 255)


COLOURS = {
    "selected": "#1f5bc4",
    "passed": "#a9b6c9",
    "gated": "#e0b48f",
    "line": "#1f5bc4",
    "dot": "#1f5bc4",
    "beside-dot": "#b4530f",
    "area": "#e8eef9",
    "beside": "#b4530f",
    "guide": "#8a8a8a",
    "grid": "#dedede",
    "tick": "#666666",
    "value": "#1c1c1c",
    "ours": "#1f5bc4",
    "theirs": "#b4530f",
}
"""The page's light colours by class; see ``templates/report.css``."""


_FILLED = ("area",)


_WIDE = ("line", "beside")


Element = Mapping[str, str]


Point = tuple[float, float]


def to_png(svg: str, scale: int = SCALE) -> bytes:
    r"""Render a plot of :mod:`harmonygen.report.plots` as PNG bytes.

    Raises:
        UsageError: an element that the plots do not have.

    >>> to_png('<svg viewBox="0 0 4 2"><path class="line" d="M0 1H4"/></svg>')[:4]
    b'\x89PNG'
    """
    root = ElementTree.fromstring(svg)
    _, _, width, height = (float(number) for number in root.attrib["viewBox"].split())
    zoom = scale * _OVER
    picture = Image.new("RGB", (round(width * zoom), round(height * zoom)), _PAPER)
    pen = ImageDraw.Draw(picture)
    for element in root:
        draw = _DRAW.get(element.tag)
        if draw is None:
            raise UsageError(f"a plot has the element <{element.tag}>, which cannot be drawn as PNG")
        draw(pen, element.attrib, element.text or "", zoom)
    small = picture.resize((round(width * scale), round(height * scale)), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _rectangle(pen: ImageDraw.ImageDraw, at: Element, _text: str, zoom: float) -> None:
    left, top, width, height = (float(at[name]) * zoom for name in ("x", "y", "width", "height"))
    pen.rectangle((left, top, left + width, top + height), fill=COLOURS[at["class"]])


def _circle(pen: ImageDraw.ImageDraw, at: Element, _text: str, zoom: float) -> None:
    x, y, radius = (float(at[name]) * zoom for name in ("cx", "cy", "r"))
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=COLOURS[at["class"]])


def _path(pen: ImageDraw.ImageDraw, at: Element, _text: str, zoom: float) -> None:
    kind = at["class"]
    points = [(x * zoom, y * zoom) for x, y in points_of(at["d"])]
    if kind in _FILLED:
        pen.polygon(points, fill=COLOURS[kind])
    else:
        pen.line(points, fill=COLOURS[kind], width=round((2 if kind in _WIDE else 1) * zoom), joint="curve")


def points_of(path: str) -> list[Point]:
    """Return the corners of a path of M, L, H and Z.

    >>> points_of("M1 2L3 4H5Z")
    [(1.0, 2.0), (3.0, 4.0), (5.0, 4.0), (1.0, 2.0)]
    """
    points: list[Point] = []
    for letter, numbers in re.findall(r"([MLHZ])([^MLHZ]*)", path):
        values = [float(number) for number in numbers.split()]
        points.append(points[0] if letter == "Z" else (values[0], points[-1][1] if letter == "H" else values[1]))
    return points


def _words(pen: ImageDraw.ImageDraw, at: Element, text: str, zoom: float) -> None:
    anchor = {"middle": "ms", "end": "rs"}.get(at.get("text-anchor", ""), "ls")
    font = ImageFont.load_default(round(_FONT * zoom))
    pen.text((float(at["x"]) * zoom, float(at["y"]) * zoom), text, fill=COLOURS[at["class"]], font=font, anchor=anchor)


_DRAW: dict[str, Callable[[ImageDraw.ImageDraw, Element, str, float], None]] = {
    "rect": _rectangle,
    "circle": _circle,
    "path": _path,
    "text": _words,
}
