"""The paper's bins of foreground ratio, of the mask at 256 px (REFERENCE section 7)."""

from __future__ import annotations

from bisect import bisect_right

EDGES = (0.05, 0.15)
BINS = ("[0, .05)", "[.05, .15)", "[.15, 1]")


def bin_of(fg_ratio: float) -> str:
    """Return the bin that a foreground ratio in [0, 1] falls into; an edge belongs to the bin above it.

    >>> bin_of(0.0), bin_of(0.05), bin_of(0.15), bin_of(1.0)
    ('[0, .05)', '[.05, .15)', '[.15, 1]', '[.15, 1]')
    """
    return BINS[bisect_right(EDGES, fg_ratio)]
