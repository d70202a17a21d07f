"""Measure what a judge sees of each candidate: the features before its last layer, brought to two numbers.

The two numbers are the first principal components of all candidates' features. The features themselves are kept only
until that is done. Legend: N candidates, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harmonygen.errors import UsageError
from harmonygen.models.device import Device
from harmonygen.models.scorer import ClassifierScorer
from harmonygen.plugins.load import load_judge
from harmonygen.review.array_file import Arrays
from harmonygen.review.columns import Columns
from harmonygen.review.measure import FEATURES, Kind, Tick
from harmonygen.review.pixels import decoded, encoded_pairs, in_threads
from harmonygen.runs.read import Run
from harmonygen.synthesis.settings import SynthesizeSettings

Floats = npt.NDArray[np.float64]


class JudgeMeasurement:
    """The features of the judge that scored a run."""

    kind: Kind = "judge"

    def __init__(self, run: Run, columns: Columns, device: str = "auto") -> None:
        """Load the first judge of the run that has features.

        Raises:
            UsageError: none has.
            CheckpointError: its weights are gone or damaged.
        """
        self.run, self.columns = run, columns
        self.name, self.scorer = _with_features(run, Device.pick(device))
        self.digest = f"judge-1 {self.scorer.digest}"

    def chunk(self, pairs: range, tick: Tick) -> Arrays:
        """Return the features of a range of pairs: (rows, F) float16, NaN where a picture cannot be used."""
        starts = self.columns.starts
        first, found = int(starts[pairs.start]), dict[int, npt.NDArray[np.float32]]()
        for _, pair in in_threads(encoded_pairs(self.run, self.columns, pairs), decoded):
            if pair is not None:
                made = self.scorer.features(list(pair.composites.values()), pair.mask)
                found |= dict(zip(pair.composites, made, strict=True))
            tick()
        width = len(next(iter(found.values()))) if found else 0
        features = np.full((int(starts[pairs.stop]) - first, width), np.nan, np.float16)
        for row, own in found.items():
            features[row - first] = own
        return {"features": features}

    def whole(self, chunks: Sequence[Arrays]) -> tuple[Arrays, Mapping[str, Any]]:
        """Return a column of each of :data:`FEATURES`, and the share of the features' variance that they hold."""
        places, share = principal_components(lambda: (chunk["features"] for chunk in chunks))
        columns = {name: np.ascontiguousarray(places[:, number]) for number, name in enumerate(FEATURES)}
        unreadable = int(np.isnan(places[:, 0]).sum())
        return columns, {"judge": self.name, "share": share, "unreadable": unreadable}


def _with_features(run: Run, device: Device) -> tuple[str, ClassifierScorer]:
    judges = SynthesizeSettings.model_validate(run.plan["settings"]).judges()
    for each in judges:
        judge = load_judge(each.spec, each.settings, device)
        if isinstance(judge, ClassifierScorer):
            return each.name, judge
    names = ", ".join(each.name for each in judges)
    raise UsageError(f"the judge of this run ({names}) is a plug-in, whose features are not known: use another map")


def principal_components(
    parts: Callable[[], Iterable[npt.NDArray[Any]]],
) -> tuple[npt.NDArray[np.float32], list[float]]:
    """Return each row's first two principal components (N, 2), and the shares of the variance that each holds.

    ``parts`` gives arrays of rows (n, F), together N, each time it is called; a row that is not finite has no
    components. The sign is that in which the largest weight is positive.

    Raises:
        UsageError: no row is finite.
    """
    mean, covariance = _moments(parts())
    values, vectors = np.linalg.eigh(covariance)
    axes = vectors[:, ::-1][:, : len(FEATURES)]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
    found = np.concatenate([_placed(part, mean, axes) for part in parts()])
    return found, [float(value) for value in values[::-1][: len(FEATURES)] / max(float(values.sum()), 1e-12)]


def _moments(parts: Iterable[npt.NDArray[Any]]) -> tuple[Floats, Floats]:
    """Return mean (F,) and covariance (F, F) of all finite rows."""
    count, total, squares = 0, np.zeros(0), np.zeros((0, 0))
    for part in parts:
        rows: Floats = part.astype(np.float64)
        rows = rows[np.isfinite(rows).all(axis=1)]
        if len(rows) and not count:
            total, squares = np.zeros(rows.shape[1]), np.zeros((rows.shape[1],) * 2)
        if len(rows):
            count, total, squares = count + len(rows), total + rows.sum(axis=0), squares + rows.T @ rows
    if not count:
        raise UsageError("no candidate of this run can be read: bring its photos back as they were")
    mean = total / count
    return mean, squares / count - np.outer(mean, mean)


def _placed(part: npt.NDArray[Any], mean: Floats, axes: Floats) -> npt.NDArray[np.float32]:
    if part.shape[1] != len(mean):  # a chunk without a readable picture
        return np.full((len(part), axes.shape[1]), np.nan, np.float32)
    return np.asarray((part.astype(np.float64) - mean) @ axes, np.float32)
