"""Plots of a study as inline SVG: learning curves, and differences with their intervals.

Colours come from the page's style sheet (classes ``s0`` to ``s7``), so that the plots follow dark mode and print.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from harmonygen.report.plots import Axes, svg

Points = Sequence[tuple[float, float]]


_WIDTH, _HEIGHT = 640, 300


_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 150, 12, 40


_ROW = 26


COLOURS = 8


def _frame(x0: float, x1: float, y0: float, y1: float) -> Axes:
    return Axes(x0, x1, y0, y1, (_WIDTH, _HEIGHT), (_LEFT, _RIGHT, _TOP, _BOTTOM))


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round numbers from ``low`` to ``high``, steps of 1, 2 or 5 times a power of ten.

    >>> ticks(0, 300), ticks(-0.4, 0.7)
    ([0.0, 50.0, 100.0, 150.0, 200.0, 250.0, 300.0], [-0.4, -0.2, 0.0, 0.2, 0.4, 0.6])
    """
    span, size = max(high - low, 1e-9), 1e-9
    while span / (10 * size) > about:
        size *= 10
    step = next(size * part for part in (1, 2, 5, 10) if span / (size * part) <= about * 1.5)
    first = int(low / step) - 1
    values = [round((first + place) * step, 9) for place in range(int(span / step) + 4)]
    return [value for value in values if low - step / 1e6 <= value <= high + step / 1e6]


def learning_curves(series: Mapping[str, Points], label: str, level: tuple[str, float] | None = None) -> str:
    """Draw lines over steps, named at their ends; ``level`` is a named horizontal line."""
    values = [y for points in series.values() for _, y in points] + ([level[1]] if level else [])
    if not values:
        return ""
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or 1.0
    end = max(x for points in series.values() for x, _ in points)
    frame = _frame(0.0, end or 1.0, low - room, high + room)
    parts = [_grid(frame)]
    if level is not None:
        y = frame.y(level[1])
        parts.append(f'<path class="guide" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>')
    for place, points in enumerate(series.values()):
        line = "L".join(f"{frame.x(x)} {frame.y(y)}" for x, y in points)
        dots = "".join(f'<circle cx="{frame.x(x)}" cy="{frame.y(y)}" r="2.5"/>' for x, y in points)
        parts.append(f'<g class="s{place % COLOURS}"><path class="curve" d="M{line}"/>{dots}</g>')
    ends = [(points[-1][1], name, place) for place, (name, points) in enumerate(series.items())]
    ends += [(level[1], level[0], -1)] if level else []
    parts.append(_names(frame, ends))
    return svg(label, (_WIDTH, _HEIGHT), parts, "plot wide")


def _grid(frame: Axes) -> str:
    parts = []
    for value in ticks(frame.y0, frame.y1):
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{value:,g}</text>')
    for value in ticks(frame.x0, frame.x1):
        parts.append(f'<text x="{frame.x(value)}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:,g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return "".join(parts) + f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">steps</text>'


def _names(frame: Axes, ends: Sequence[tuple[float, str, int]]) -> str:
    """Write each line's name at its end, moved down where two would overlap."""
    parts, last = [], 0.0
    for value, name, place in sorted(ends, reverse=True):
        y = max(frame.y(value) + 4, last + 13)
        last = y
        kind = f"s{place % COLOURS} name" if place >= 0 else "name"
        parts.append(f'<text class="{kind}" x="{_WIDTH - _RIGHT + 8}" y="{y}">{escape(name)}</text>')
    return "".join(parts)


def differences(rows: Sequence[tuple[str, float, float, float]], label: str, unit: str) -> str:
    """Draw a mean and its interval a row, around zero; ``rows`` are (name, mean, low, high)."""
    if not rows:
        return ""
    low, high = min(0.0, *(row[2] for row in rows)), max(0.0, *(row[3] for row in rows))
    room = (high - low) * 0.06 or 1.0
    frame = _frame(low - room, high + room, 0, 1)
    bottom = _TOP + _ROW * len(rows)
    parts = [f'<path class="guide" d="M{frame.x(0)} {_TOP}V{bottom}"/>']
    for value in ticks(frame.x0, frame.x1):
        parts.append(f'<text x="{frame.x(value)}" y="{bottom + 16}" text-anchor="middle">{value:,g}</text>')
    for place, (name, mean, least, most) in enumerate(rows):
        y = _TOP + _ROW * (place + 0.5)
        parts.append(
            f'<g class="s{(place + 1) % COLOURS}"><path class="curve" d="M{frame.x(least)} {y}H{frame.x(most)}"/>'
            f'<circle cx="{frame.x(mean)}" cy="{y}" r="4"/></g>'
            f'<text class="name" x="{_WIDTH - _RIGHT + 8}" y="{y + 4}">{escape(name)}</text>'
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{bottom + 32}" text-anchor="middle">{escape(unit)}</text>')
    return svg(label, (_WIDTH, bottom + 40), parts, "plot wide")
