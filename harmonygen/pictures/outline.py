"""The outline of a mask as polygons: for an SVG path over a photo, or drawn into a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Polygon = npt.NDArray[np.float64]

_TOLERANCE = 0.4  # pixels of the small picture; below it a corner is not seen
_LEAST_POINTS = 4


def outline(coverage: Image.Image) -> list[Polygon]:
    """Trace where a small mask's coverage crosses one half.

    Args:
        coverage: (H, W) of mode ``L``: the mask shrunk with averaging, 255 = foreground.

    Returns:
        Closed polygons, each (N, 2) as x, y in pixels of ``coverage``, from 0 to W and H.
    """
    from skimage.measure import find_contours

    padded = np.pad(np.asarray(coverage, dtype=np.float64), 1)
    edges = (simplify(edge, _TOLERANCE) for edge in find_contours(padded, 127.5))
    limit = np.array(coverage.size, dtype=np.float64)
    # Sample (row, column) of the padded array is the pixel whose centre lies at (column - 0.5, row - 0.5).
    return [np.clip(edge[:, ::-1] - 0.5, 0, limit) for edge in edges if len(edge) >= _LEAST_POINTS]


def simplify(points: Polygon, tolerance: float) -> Polygon:
    """Leave out points of a line that are within ``tolerance`` of what stays (Douglas and Peucker).

    scikit-image has this too, beside what takes two seconds to import.

    Args:
        points: (N, 2), N of 2 or more; first and last stay, and are the same in a closed line.
        tolerance: the most that a point left out may lie off, in the points' units.
    """
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, -1]] = True
    waiting = [(0, len(points) - 1)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:  # nothing between
            continue
        off = _distances(points[first + 1 : last], points[first], points[last])
        furthest = first + 1 + int(off.argmax())
        if off.max() > tolerance:
            keep[furthest] = True
            waiting += [(first, furthest), (furthest, last)]
    return points[keep]


def _distances(points: Polygon, first: Polygon, last: Polygon) -> npt.NDArray[np.float64]:
    """Return how far points (N, 2) lie from a segment."""
    along = last - first
    length = float(along @ along)
    places = np.clip((points - first) @ along / length, 0, 1) if length else np.zeros(len(points))
    off: npt.NDArray[np.float64] = np.hypot(*(points - first - places[:, None] * along).T)
    return off


def svg_path(polygons: Sequence[Polygon]) -> str:
    """Write polygons as the ``d`` of an SVG path, to a tenth of a pixel.

    >>> svg_path([np.array([[0, 0], [2, 0], [2, 1.25], [0, 0]])])
    'M0 0L2 0L2 1.2Z'
    """
    return "".join("M" + "L".join(f"{x:.4g} {y:.4g}" for x, y in np.round(p[:-1], 1)) + "Z" for p in polygons)


def draw(image: Image.Image, polygons: Sequence[Polygon]) -> Image.Image:
    """Return a copy with the polygons drawn in two tones, seen on light and on dark."""
    drawn = image.copy()
    pen = ImageDraw.Draw(drawn)
    for polygon in polygons:
        points = cast("list[tuple[float, float]]", [tuple(point) for point in polygon.tolist()])
        pen.line(points, fill=(20, 20, 20), width=3)
        pen.line(points, fill=(255, 255, 255), width=1)
    return drawn
