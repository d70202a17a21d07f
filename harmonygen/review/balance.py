"""What a run's selection has and lacks beside what is published of iHarmony4: foreground ratio and strength of change.

The published figures are those of :mod:`harmonygen.data.published`. Of the foreground ratio, counts in three bins are
published, of the change only mean fMSE: so no bin of it can be said to be lacking.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from harmonygen.data.published import AUTHENTIC, AUTHENTIC_MEDIANS, BINS, EDGES, HUMAN_HARMONY, IHARMONY4
from harmonygen.review.columns import Bools, Columns
from harmonygen.review.within_pair import Floats

LACKS = 0.5
"""A bin is lacking if its share is under this part of the published one."""
SOURCE = (
    f"Published: the {sum(IHARMONY4.counts):,} test composites of {IHARMONY4.name} and the "
    f"{sum(HUMAN_HARMONY.counts):,} of {HUMAN_HARMONY.name}, at 256 x 256 pixels."
)
"""Where the published figures come from."""
MEDIANS_SOURCE = (
    f"Medians of {AUTHENTIC} authentic composites of {IHARMONY4.name} were measured by harmonygen, longest side 512 "
    "pixels. They are not a random sample of it."
)
"""Where the medians come from."""


@dataclass(frozen=True, slots=True)
class RatioBin:
    """A bin of foreground ratio: from ``low`` to ``high``, both inclusive, how many of the selection, and the shares.

    ``published`` is iHarmony4's share and ``human_harmony`` that of Human Harmony; all shares are of 1.
    """

    name: str
    low: float
    high: float
    count: int
    share: float
    published: float
    human_harmony: float

    @property
    def lacks(self) -> bool:
        """Whether the selection has under half of the published share here."""
        return self.share < LACKS * self.published


@dataclass(frozen=True, slots=True)
class SubsetChange:
    """Mean fMSE of the selection in a subset (``all``: of all), and the published mean; None: nothing there."""

    subset: str
    count: int
    fmse: float | None
    published: float | None


@dataclass(frozen=True, slots=True)
class MedianChange:
    """The median of one figure of the selection, and that of authentic composites; None: not measured."""

    figure: str
    median: float | None
    authentic: float


@dataclass(frozen=True)
class Balance:
    """Bins and changes of the ``selected`` candidates of a run."""

    selected: int
    bins: Sequence[RatioBin]
    changes: Sequence[SubsetChange]
    medians: Sequence[MedianChange]

    @property
    def lacking(self) -> list[RatioBin]:
        """The bins that have too little, none of an empty selection."""
        return [each for each in self.bins if each.lacks] if self.selected else []

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            "selected": self.selected,
            "bins": [{**asdict(each), "lacks": each in self.lacking} for each in self.bins],
            "changes": [asdict(each) for each in self.changes],
            "medians": [asdict(each) for each in self.medians],
            "source": SOURCE,
            "medians_source": MEDIANS_SOURCE,
        }


def balance_of(columns: Columns, chosen: Bools) -> Balance:
    """Compare the candidates that are ``chosen`` (N,) with what is published."""
    ratios = columns.values["fg_ratio"][chosen]
    ratios = ratios[np.isfinite(ratios)]
    changes, medians = list(_changes(columns, chosen)), list(_medians(columns, chosen))
    return Balance(int(chosen.sum()), list(_bins(ratios)), changes, medians)


def _bins(ratios: Floats) -> Iterator[RatioBin]:
    edges = [0.0, *EDGES, 1.0]
    shares = zip(BINS, IHARMONY4.shares, HUMAN_HARMONY.shares, strict=True)
    for number, (name, published, human) in enumerate(shares):
        last = number == len(BINS) - 1
        high = edges[-1] if last else float(np.nextafter(edges[number + 1], 0))
        count = int(((ratios >= edges[number]) & (ratios <= high)).sum())
        yield RatioBin(name, edges[number], high, count, count / max(1, len(ratios)), published, human)


def _changes(columns: Columns, chosen: Bools) -> Iterator[SubsetChange]:
    """Yield the mean change of all, and of each subset of iHarmony4 that the run has."""
    fmse, subset = columns.values["fmse"], columns.subset[columns.pair]
    for name, published in IHARMONY4.fmse.items():
        if name != "all" and name not in columns.subsets:
            continue
        of = chosen & np.isfinite(fmse)
        of = of if name == "all" else of & (subset == columns.subsets.index(name))
        yield SubsetChange(name, int(of.sum()), float(fmse[of].mean()) if of.any() else None, published)


def _medians(columns: Columns, chosen: Bools) -> Iterator[MedianChange]:
    values = columns.values
    own: dict[str, Floats] = {name: values[name] for name in ("fmse", "structure")}
    if "dl" in columns.measured:
        chroma = np.hypot(values["da"], values["db"])
        own |= {"lightness": np.abs(values["dl"]), "chroma": chroma, "contrast": np.abs(values["contrast"])}
    for name, authentic in AUTHENTIC_MEDIANS.items():
        known = own[name][chosen] if name in own else np.zeros(0)
        known = known[np.isfinite(known)]
        yield MedianChange(name, float(np.median(known)) if len(known) else None, authentic)
