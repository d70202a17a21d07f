"""The result of a gain study: each arm's figures and its difference to base, paired, with intervals; the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

import harmonygen
from harmonygen.data.composites import composites_of
from harmonygen.evaluation.bootstrap import METHOD, crossed_interval
from harmonygen.evaluation.measured import held, told
from harmonygen.evaluation.metrics import fmse
from harmonygen.evaluation.protocols import ProtocolRules
from harmonygen.evaluation.scores import finite
from harmonygen.gain.arms import Arm, arm_folder
from harmonygen.gain.run import SCORES, curve_cases, test_cases
from harmonygen.gain.sets import SUMMARY
from harmonygen.gain.settings import GainSettings
from harmonygen.pictures.images import read_image
from harmonygen.pictures.masks import read_mask
from harmonygen.storage.shards import read_json

FIGURES = ("psnr", "fmse", "mse")
HIGHER = frozenset({"psnr"})
Floats = npt.NDArray[np.float64]
_SHOWN_COMPOSITES = 400  # of an arm's data set whose change is measured


@dataclass(frozen=True)
class _Table:
    """Figures (images, seeds) by name, and the photo of each image."""

    photos: list[str]
    figures: dict[str, Floats]


def result_of(
    settings: GainSettings, arms: Sequence[Arm], runs: Mapping[str, Sequence[Path]], base: Path
) -> dict[str, Any]:
    """Sum up a study whose runs are whole, as JSON."""
    tables = {arm.name: _table(runs[arm.name], settings.steps) for arm in arms}
    raw = _table([settings.out], 0, "composite.parquet")
    own = tables[arms[0].name]
    rows = [_row("composite", "the raw composites", raw, None, settings)]
    for arm in arms:
        row = _row(arm.name, arm.says(), tables[arm.name], own if arm is not arms[0] else None, settings)
        rows.append({**row, **_data_row(settings, arm)})
    return {
        "harmonygen": harmonygen.__version__,
        "verb": "gain",
        "title": settings.title,
        "protocol": ProtocolRules(background=settings.background).stated(),
        "interval": _in_words(settings, len(set(own.photos))),
        "held": held(len(set(own.photos)), settings.seeds),
        "images": len(own.photos),
        "photos": len(set(own.photos)),
        "seeds": list(range(settings.seed, settings.seed + settings.seeds)),
        "steps": settings.steps,
        "arch": settings.arch,
        "training": read_json(runs[arms[0].name][0] / "job.json")["training"],
        "base": read_json(base / SUMMARY),
        "test": _changes(base, settings, test=True),
        "arms": rows,
        "curves": {arm.name: _curve(settings, runs[arm.name], base) for arm in arms},
        "published": [row.model_dump() for row in settings.published],
        "settings": settings.model_dump(mode="json", exclude={"small"}),
    }


def _table(folders: Sequence[Path], step: int, name: str = SCORES) -> _Table:
    """Read the rows of ``step``, one column a folder, images in the order of their names."""
    parts = [pq.read_table(folder / name) for folder in folders]
    parts = [part.filter(pc.equal(part["step"], step)).sort_by("name") for part in parts]
    figures = {
        figure: np.stack([np.asarray(part[figure].to_pylist(), dtype=np.float64) for part in parts], axis=1)
        for figure in FIGURES
    }
    return _Table(parts[0]["photo"].to_pylist(), figures)


def _row(name: str, says: str, table: _Table, base: _Table | None, settings: GainSettings) -> dict[str, Any]:
    """Return an arm's row: means and, against base, differences and wins."""
    row: dict[str, Any] = {"name": name, "says": says, "n": len(table.photos)}
    for figure in FIGURES:
        row[figure] = _interval(table.figures[figure], table.photos, settings)
        row[figure]["by_seed"] = [finite(float(value)) for value in np.nanmean(table.figures[figure], axis=0)]
    if base is not None:
        row["difference"] = {figure: _difference(figure, table, base, settings) for figure in FIGURES}
    return row


def _in_words(settings: GainSettings, photos: int) -> str:
    """Say what the intervals are, and how often such intervals hold."""
    seeds = f"and over {settings.seeds} seeds" if settings.seeds > 1 else "for this one seed: another may lie outside"
    return f"95 %, {METHOD}, {seeds}; {settings.resamples} resamples; {told(photos, settings.seeds)}"


def _interval(values: Floats, photos: Sequence[str], settings: GainSettings) -> dict[str, Any]:
    found = crossed_interval(values, photos, settings.seed, settings.resamples)
    return {"mean": finite(found.mean), "low": finite(found.low), "high": finite(found.high), "n": found.n}


def _difference(figure: str, table: _Table, base: _Table, settings: GainSettings) -> dict[str, Any]:
    """Return arm minus base of one figure on the same images and seeds; ``wins``: images better in the seeds' mean."""
    values = table.figures[figure] - base.figures[figure]
    means = values.mean(axis=1)
    better = means > 0 if figure in HIGHER else means < 0
    found = _interval(values, table.photos, settings)
    low, high = found["low"], found["high"]
    told = low is not None and high is not None and (low > 0 or high < 0)
    return {**found, "wins": float(better.mean()), "told_apart": told}


def _data_row(settings: GainSettings, arm: Arm) -> dict[str, Any]:
    """Return the size of an arm's training set and how strong its added composites' change is."""
    folder = arm_folder(settings, arm)
    return {"composites": len(composites_of(folder)), "added": _changes(folder, settings, arm.kind != "base")}


def _changes(folder: Path, settings: GainSettings, new: bool = False, test: bool = False) -> dict[str, Any]:
    """Measure the fMSE of a tree's composites (those that an arm added if ``new``; of the test list if ``test``)."""
    if test:
        sources = [(case.composite, case.photo, case.mask) for case in test_cases(folder)]
    else:
        known = {item.name for item in composites_of(settings.out / "data" / "base")} if new else set()
        found = [item for item in composites_of(folder) if item.name not in known]
        sources = [(item.composite, item.photo, item.mask) for item in found]
    values = []
    every = max(1, len(sources) // _SHOWN_COMPOSITES)
    for composite, real, mask in sources[::every]:
        decoded = read_image(real)
        values.append(fmse(read_image(composite).image_u8, decoded.image_u8, read_mask(mask, decoded)))
    if not values:
        return {"composites": 0}
    quarters = [float(value) for value in np.percentile(values, [25, 50, 75])]
    names = ("quarter", "median", "three_quarters")
    mean = float(np.mean(values))
    return {
        "composites": len(sources),
        "measured": len(values),
        "fmse_mean": mean,
        **dict(zip(names, quarters, strict=True)),
    }


def _curve(settings: GainSettings, folders: Sequence[Path], base: Path) -> list[dict[str, Any]]:
    """Return points of test fMSE over the curve's images: mean over images and seeds, and each seed's."""
    import pandas as pd

    few = {case.name for case in curve_cases(test_cases(base), settings.curve_images)}
    columns = ["name", "step", "fmse"]
    tables = {seed: pq.read_table(folder / SCORES, columns=columns).to_pandas() for seed, folder in enumerate(folders)}
    frame = pd.concat(tables, names=["seed"]).query("name in @few").dropna(subset=["fmse"])
    by_seed = frame.groupby(["step", "seed"])["fmse"].mean()
    return [
        {"step": int(step), "fmse": float(values.mean()), "by_seed": values.tolist(), "n": len(few)}
        for step, values in by_seed.groupby(level="step")
    ]
