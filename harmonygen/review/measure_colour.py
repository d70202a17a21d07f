"""Measure how each candidate changed its foreground in CIE Lab: L, a, b and the contrast of L."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harmonygen.errors import InputError
from harmonygen.recolor.lab_shift import LabShift, lab_shift, to_lab
from harmonygen.review.array_file import Arrays
from harmonygen.review.columns import Columns
from harmonygen.review.measure import COLOUR, Kind, Tick
from harmonygen.review.pixels import EncodedPair, decoded, encoded_pairs, in_threads
from harmonygen.runs.read import Run

_MOST = 65_536  # pixels of a foreground that are compared: every so manieth of a larger one


class ColourMeasurement:
    """The change of colour of every candidate of a run."""

    kind: Kind = "colour"
    digest = "colour-1"

    def __init__(self, run: Run, columns: Columns) -> None:
        self.run, self.columns = run, columns

    def chunk(self, pairs: range, tick: Tick) -> Arrays:
        """Measure a range of pairs: (rows, 4) float32, NaN where a picture cannot be used."""
        starts = self.columns.starts
        first = int(starts[pairs.start])
        found = np.full((int(starts[pairs.stop]) - first, len(COLOUR)), np.nan, np.float32)
        for _, shifts in in_threads(encoded_pairs(self.run, self.columns, pairs), colour_shifts):
            for row, shift in (shifts or {}).items():
                found[row - first] = shift
            tick()
        return {"colour": found}

    def whole(self, chunks: Sequence[Arrays]) -> tuple[Arrays, Mapping[str, Any]]:
        """Return a column of each of :data:`COLOUR`."""
        found: npt.NDArray[np.float32] = np.concatenate([chunk["colour"] for chunk in chunks])
        columns = {name: np.ascontiguousarray(found[:, place]) for place, name in enumerate(COLOUR)}
        return columns, {"unreadable": int(np.isnan(found[:, 0]).sum())}


def colour_shifts(encoded: EncodedPair) -> dict[int, LabShift]:
    """Return the change of each candidate of a pair by row.

    Raises:
        InputError: a picture cannot be used, or the mask is empty.
    """
    pair = decoded(encoded)
    if not pair.mask.any():
        raise InputError(f"mask of pair {pair.pair} is empty")
    step = -(-int(pair.mask.sum()) // _MOST)
    real = to_lab(pair.real_u8[pair.mask][::step])
    return {row: lab_shift(real, to_lab(made[pair.mask][::step])) for row, made in pair.composites.items()}
