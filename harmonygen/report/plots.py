"""The report's two plots as inline SVG: a histogram of scores and the curve of foreground ratios.

Colours and type come from the page's style sheet through class names, so that the plots follow dark mode and print.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 10, 10, 36
BINS = 20


@dataclass(frozen=True, slots=True)
class Axes:
    """Maps [x0, x1] and [y0, y1] to the pixels of a plot of ``size`` (width, height) with margins (l, r, t, b)."""

    x0: float
    x1: float
    y0: float
    y1: float
    size: tuple[int, int] = (_WIDTH, _HEIGHT)
    margins: tuple[int, int, int, int] = (_LEFT, _RIGHT, _TOP, _BOTTOM)

    def x(self, value: float) -> float:
        """Return the pixel column of a value."""
        left, right, _, _ = self.margins
        return round(left + (value - self.x0) / (self.x1 - self.x0) * (self.size[0] - left - right), 1)

    def y(self, value: float) -> float:
        """Return the pixel row of a value."""
        _, _, top, bottom = self.margins
        height = self.size[1]
        return round(height - bottom - (value - self.y0) / (self.y1 - self.y0) * (height - top - bottom), 1)


def svg(label: str, size: tuple[int, float], parts: Iterable[str], kind: str = "plot") -> str:
    """Return an inline SVG of ``size`` (width, height); ``label`` says what it shows, for those who cannot see it."""
    width, height = size
    shape = f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}"'
    return f'<svg class="{kind}" {shape}>' + "".join(parts) + "</svg>"


def counts(values: Sequence[float], bins: int = BINS) -> list[int]:
    """Count values of [0, 1] in equal bins; 1 falls into the last.

    >>> counts([0.0, 0.49, 0.5, 1.0], 2)
    [2, 2]
    """
    counted = [0] * bins
    for value in values:
        counted[min(bins - 1, max(0, int(value * bins)))] += 1
    return counted


def share_above(ratios: Sequence[float], level: float) -> float:
    """Return the share of ``ratios`` strictly above ``level``, 0 if there are none.

    >>> share_above([0.1, 0.2, 0.3, 0.4], 0.2)
    0.5
    """
    ordered = sorted(ratios)
    return (len(ordered) - bisect_right(ordered, level)) / len(ordered) if ordered else 0.0


def histogram(layers: Sequence[tuple[str, Sequence[float]]], label: str, axis: str = "p_composite") -> str:
    """Draw a stacked histogram of values in [0, 1].

    Args:
        layers: (CSS class, values), the lowest of the stack first.
        label: what the picture says, for those who cannot see it.
        axis: what the values are.
    """
    stacked = [(name, counts(scores)) for name, scores in layers]
    totals = [sum(column) for column in zip(*(c for _, c in stacked), strict=True)]
    frame = Axes(0, 1, 0, nice_top(max(totals, default=0)))
    bars, base = [], [0] * BINS
    for name, layer in stacked:
        bars += [_bar(frame, name, index, base[index], count) for index, count in enumerate(layer) if count]
        base = [low + count for low, count in zip(base, layer, strict=True)]
    ticks = [(frame.y1 * part / 2, f"{frame.y1 * part / 2:,.0f}") for part in (0, 1, 2)]
    return svg(label, frame.size, [_axes(frame, ticks, axis), *bars])


def _bar(frame: Axes, name: str, index: int, base: int, count: int) -> str:
    left, right = frame.x(index / BINS) + 0.75, frame.x((index + 1) / BINS) - 0.75
    top, bottom = frame.y(base + count), frame.y(base)
    title = f"{index / BINS:.2f} to {(index + 1) / BINS:.2f}: {count:,}"
    return (
        f'<rect class="{name}" x="{left:.2f}" y="{top}" width="{right - left:.2f}" '
        f'height="{max(bottom - top, 0.5):.1f}"><title>{title}</title></rect>'
    )


def curve(ratios: Sequence[float], label: str, beside: tuple[str, Sequence[float]] | None = None) -> str:
    """Draw the share of pairs whose foreground ratio lies above x, for x in [0, 1].

    Args:
        ratios: foreground ratios of the pairs.
        label: what the picture says, for those who cannot see it.
        beside: the name and ratios of another dataset, drawn beside; its share above 0.2 is written out too.
    """
    frame = Axes(0, 1, 0, 1)
    line = _above(frame, ratios)
    ticks = [(0.0, "0%"), (0.5, "50%"), (1.0, "100%")]
    area = f'<path class="area" d="M{frame.x(0)} {frame.y(0)}L{line}L{frame.x(1)} {frame.y(0)}Z"/>'
    parts = [_axes(frame, ticks, "foreground ratio x"), area]
    if beside is not None:
        name, others = beside
        parts += [f'<path class="beside" d="M{_above(frame, others)}"/>', _key(frame, name)]
    parts += [f'<path class="line" d="M{line}"/>', _mark(frame, share_above(ratios, 0.2), "dot")]
    if beside is not None:
        parts.append(_mark(frame, share_above(beside[1], 0.2), "beside-dot"))
    return svg(label, frame.size, parts)


def _above(frame: Axes, ratios: Sequence[float]) -> str:
    ordered, points = sorted(ratios), 100
    above = [(len(ordered) - bisect_right(ordered, i / points)) / max(1, len(ordered)) for i in range(points + 1)]
    return "L".join(f"{frame.x(i / points)} {frame.y(share)}" for i, share in enumerate(above))


def _mark(frame: Axes, level: float, name: str) -> str:
    x, y = frame.x(0.2), frame.y(level)
    above = max(y - 6, frame.y(1) + 14)  # at 100 % the words would stand outside the picture
    return (
        f'<path class="guide" d="M{x} {frame.y(0)}L{x} {y}"/><circle class="{name}" cx="{x}" cy="{y}" r="3.5"/>'
        f'<text class="value" x="{x + 8}" y="{above}">{level:.0%} above 0.2</text>'
    )


def _key(frame: Axes, name: str) -> str:
    x, y = frame.x(1), frame.y(1) + 10
    return (
        f'<text class="ours" x="{x}" y="{y}" text-anchor="end">this dataset</text>'
        f'<text class="theirs" x="{x}" y="{y + 15}" text-anchor="end">{escape(name)}</text>'
    )


def nice_top(largest: float) -> float:
    """Return the least of 2, 4, 10, 20, 40, 100 ... that is not below ``largest``.

    >>> nice_top(0), nice_top(3), nice_top(1234)
    (2.0, 4.0, 2000.0)
    """
    size = 1.0
    while True:
        for step in (2, 4, 6, 8):
            if step * size >= largest:
                return step * size
        size *= 10


def _axes(frame: Axes, ticks: Sequence[tuple[float, str]], label: str) -> str:
    parts = []
    for value, text in ticks:
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{text}</text>')
    for part in range(0, 6):
        x = frame.x(part / 5)
        parts.append(
            f'<text class="tick" x="{x}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="middle">{part / 5:.1f}</text>'
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text class="tick" x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{escape(label)}</text>')
    return "".join(parts)
