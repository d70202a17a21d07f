"""Which photos of a run are one photo under several ids, as arrays by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PhotoCopies:
    """Groups of photos that are one, for P pairs.

    ``group`` (P,) numbers the groups from 1; 0 is a photo that is in no other pair under another id. ``again`` (P,)
    marks the pairs of a group whose photo is not the group's first. ``like`` (P,) is a pair that has the photo under
    another id, -1 if none does, and ``kind`` (P,) says in which of ``kinds`` words the two differ. ``photos`` were
    compared, ``unreadable`` ones were not.
    """

    group: Ints
    again: Bools
    like: Ints
    kind: Ints
    kinds: Sequence[str]
    photos: int
    unreadable: int

    @property
    def groups(self) -> int:
        """Number of groups."""
        return int(self.group.max(initial=0))

    @property
    def pairs(self) -> int:
        """Number of pairs whose photo is in a group."""
        return int((self.group > 0).sum())

    @property
    def surplus(self) -> int:
        """Number of pairs whose photo is not the first of its group."""
        return int(self.again.sum())

    def kind_of(self, pair: int) -> str:
        """Return in words how a pair's photo differs from that of the pair that it is like; "" if it is like none."""
        return self.kinds[int(self.kind[pair])] if self.group[pair] else ""


def no_copies(pairs: int) -> PhotoCopies:
    """Return what stands for copies of so many pairs while it is not known which there are."""
    none = np.zeros(pairs, np.int32)
    return PhotoCopies(none, none > 0, none - 1, none, ("",), 0, 0)
