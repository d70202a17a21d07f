"""What is known about iHarmony4 and Human Harmony: bins of foreground ratio, counts in them, strength of change.

Counts and means are published, of the test sets, at 256 x 256 pixels (REFERENCE section 7). Medians are our own
measurement of a few authentic composites (REFERENCE section 13).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

EDGES = (0.05, 0.15)
BINS = ("[0, .05)", "[.05, .15)", "[.15, 1]")
"""The protocol's bins of the foreground's share of a picture."""


@dataclass(frozen=True)
class PublishedSet:
    """A test set as it is published: composites in each of :data:`BINS`, and the mean fMSE of composites.

    ``fmse`` is in squared 8-bit units, of all composites under ``all`` and of each subset; it is empty where no mean is
    published.
    """

    name: str
    counts: Sequence[int]
    fmse: Mapping[str, float]

    @property
    def shares(self) -> list[float]:
        """The share of composites in each of :data:`BINS`."""
        return [count / sum(self.counts) for count in self.counts]


IHARMONY4 = PublishedSet(
    "iHarmony4",
    (3835, 1951, 1618),
    {"all": 1376.42, "HCOCO": 996.59, "HAdobe5k": 2051.61, "HFlickr": 1574.37, "Hday2night": 1409.98},
)
HUMAN_HARMONY = PublishedSet("Human Harmony", (26, 323, 2597), {})

AUTHENTIC = 44
"""Number of authentic composites of iHarmony4 behind :data:`AUTHENTIC_MEDIANS`. They are not a random sample."""
AUTHENTIC_MEDIANS: Mapping[str, float] = {
    "fmse": 1410,
    "structure": 0.932,
    "lightness": 12.4,
    "chroma": 9.8,
    "contrast": 0.354,
}
"""Medians of them, longest side 512 pixels, by the figures of :class:`harmonygen.evaluation.changes.Change`."""


def bin_of(fg_ratio: float) -> str:
    """Return the bin that a foreground ratio in [0, 1] falls into; an edge belongs to the bin above it.

    >>> bin_of(0.0), bin_of(0.05), bin_of(0.15), bin_of(1.0)
    ('[0, .05)', '[.05, .15)', '[.15, 1]', '[.15, 1]')
    """
    return BINS[bisect_right(EDGES, fg_ratio)]
