"""Sum up scores: means with intervals for all images, each subset and bin; methods compared in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from harmonygen.evaluation.bootstrap import Interval, intervals, paired_columns
from harmonygen.evaluation.measured import held
from harmonygen.evaluation.scores import FIGURES, HIGHER, Scores, finite

COMPARED = ("psnr", "mse", "fmse", "ssim")


def group_figures(scores: Scores, seed: int, resamples: int) -> dict[str, dict[str, Any]]:
    """Return group -> method -> figure -> ``{mean, low, high, n, left_out}``, and facts of each group.

    They are ``images``, ``photos``, and ``held``: the least and the most percent of the time that such intervals hold.
    """
    found: dict[str, dict[str, Any]] = {}
    for group, inside in scores.groups():
        columns = scores.values[:, inside].transpose(1, 0, 2).reshape(len(inside), -1)
        photos = [scores.photos[index] for index in inside]
        each = iter(intervals(columns, seed, resamples, groups=photos))
        found[group] = {
            "images": len(inside),
            "photos": len(set(photos)),
            "held": held(len(set(photos))),
            "methods": {
                method: {figure: as_json(next(each), len(inside)) for figure in FIGURES} for method in scores.methods
            },
        }
    return found


def as_json(interval: Interval, images: int) -> dict[str, float | int | None]:
    """Return an interval as JSON, with how many of the images had no finite value."""
    return {
        "mean": finite(interval.mean),
        "low": finite(interval.low),
        "high": finite(interval.high),
        "n": interval.n,
        "left_out": images - interval.n,
    }


def comparisons(scores: Scores, seed: int, resamples: int) -> list[dict[str, Any]]:
    """Compare every two methods over all images: the later minus the earlier, with the share of images it wins."""
    places = [FIGURES.index(figure) for figure in COMPARED]
    higher = [figure in HIGHER for figure in COMPARED]
    found = []
    for before, after in combinations(range(len(scores.methods)), 2):
        a, b = (scores.values[method][:, places] for method in (after, before))
        rows = paired_columns(a, b, higher, seed, resamples, groups=scores.photos)
        for figure, row in zip(COMPARED, rows, strict=True):
            if row.difference.n:
                found.append(
                    {
                        "a": scores.methods[after],
                        "b": scores.methods[before],
                        "figure": figure,
                        **as_json(row.difference, len(scores.names)),
                        "wins": row.wins,
                        "ties": row.ties,
                    }
                )
    return found


def over_seeds(scores: Scores, bases: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return base name -> figure -> mean and standard deviation (n - 1) over seeds of the mean over images."""
    found: dict[str, dict[str, Any]] = {}
    for base in dict.fromkeys(bases.values()):
        runs = [scores.methods.index(method) for method, of in bases.items() if of == base]
        if len(runs) > 1:
            values = np.where(np.isfinite(scores.values[runs]), scores.values[runs], np.nan)
            valid = np.isfinite(values).sum(axis=1)
            means = np.nansum(values, axis=1) / np.where(valid, valid, 1)
            found[base] = {"seeds": len(runs)}
            for place, figure in enumerate(FIGURES):
                if valid[:, place].all():
                    mean, std = float(means[:, place].mean()), float(means[:, place].std(ddof=1))
                    found[base][figure] = {"mean": mean, "std": std}
    return found


def foreground(scores: Scores) -> dict[str, Any]:
    """Sum up the foreground ratios at 256 px: images in each bin, and the share above 0.2."""
    bins = {name.removeprefix("bin "): len(inside) for name, inside in scores.groups() if name.startswith("bin ")}
    return {"bins": bins, "share_above_0.2": float((scores.ratios > 0.2).mean())}
