"""What is published about iHarmony4 and Human Harmony: bins of foreground ratio, counts in them, mean change.

Counts and means are of the test sets, at 256 x 256 pixels (REFERENCE section 7).
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


def bin_of(fg_ratio: float) -> str:
    """Return the bin that a foreground ratio in [0, 1] falls into; an edge belongs to the bin above it.

    >>> bin_of(0.0), bin_of(0.05), bin_of(0.15), bin_of(1.0)
    ('[0, .05)', '[.05, .15)', '[.15, 1]', '[.15, 1]')
    """
    return BINS[bisect_right(EDGES, fg_ratio)]
