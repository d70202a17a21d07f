"""How often the intervals of 95 % hold, as ``benchmarks/coverage.py`` measured: what a page says beside them.

The two ends are of normal values (like PSNR) and of heavy tails (like MSE), whichever held least and most.
"""

from __future__ import annotations

from collections.abc import Mapping

Span = tuple[int, int]
HELD: dict[int, dict[int, Span]] = {
    1: {5: (89, 99), 10: (91, 97), 30: (94, 97), 100: (94, 97), 500: (94, 96)},
    2: {5: (94, 100), 10: (92, 98), 30: (92, 98), 100: (92, 97), 500: (93, 97)},
    3: {5: (96, 100), 10: (95, 99), 30: (95, 98), 100: (95, 98), 500: (95, 97)},
    5: {5: (97, 100), 10: (96, 99), 30: (95, 98), 100: (95, 97), 500: (95, 97)},
}
"""Seeds -> photos -> least and most percent of simulated samples whose interval held the truth."""


def held(photos: int, seeds: int = 1) -> Span | None:
    """Return the least and the most percent that were measured at no more photos and seeds; None under 5 photos.

    >>> held(4), held(10) == held(29)
    (None, True)
    """
    by_photos = HELD[max(known for known in HELD if known <= max(seeds, 1))]
    known = [count for count in by_photos if count <= photos]
    return by_photos[max(known)] if known else None


def told(photos: int, seeds: int = 1) -> str:
    """Say how often intervals of this many photos and seeds hold.

    >>> told(3)
    'with 3 photos no interval can be relied on: they assume normal values'
    """
    span = held(photos, seeds)
    if span is None:
        return f"with {counted_photos(photos)} no interval can be relied on: they assume normal values"
    return f"in simulation they hold {span[0]} to {span[1]} % of the time with as many photos as these ({photos})"


def told_of_few(photos: Mapping[str, int], least: int = 93) -> str:
    """Name the groups whose intervals may hold less often than ``least`` percent, with their photos; "" if none does.

    >>> told_of_few({"all": 500, "bin [0, .05)": 3})
    'less can be relied on: bin [0, .05) (3 photos, unknown)'
    """
    few = {name: (count, held(count)) for name, count in photos.items()}
    shown = [
        f"{name} ({counted_photos(count)}, {f'{span[0]} to {span[1]} %' if span else 'unknown'})"
        for name, (count, span) in few.items()
        if span is None or span[0] < least
    ]
    return f"less can be relied on: {', '.join(shown)}" if shown else ""


def counted_photos(count: int) -> str:
    """Return a number of photos in words."""
    return "1 photo" if count == 1 else f"{count} photos"
