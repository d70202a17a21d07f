"""Fit a language judge's scale and offset on own pairs of a composite and its real photo.

    python -m harmonygen.adapters.calibrate --model FOLDER --data outputs/run1 --out calibration.json

``--data`` is anything that has composites: a run, an iHarmony4 tree, a table. The file states how well yes and no
ranked the pairs (AUC, pairs ranked right): near one half, the model cannot see what it is asked about.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.stats import rankdata

from harmonygen.adapters.language_judge import LanguageJudge, make_language_judge
from harmonygen.data.composites import read_composites
from harmonygen.errors import UsageError
from harmonygen.models.device import Device
from harmonygen.pictures.images import read_image
from harmonygen.pictures.masks import read_mask
from harmonygen.storage.shards import write_json

_RIDGE = 1e-3  # keeps the fit finite where all pairs are ranked right


def fit_calibration(of_composites: Sequence[float], of_reals: Sequence[float]) -> dict[str, float]:
    """Fit a logistic curve to margins of composites and of real photos, and say how well they rank.

    Raises:
        UsageError: fewer than two of either.

    >>> found = fit_calibration([2.0, 3.0, 4.0], [0.0, 1.0, 2.5])
    >>> found["scale"] > 0, round(found["auc"], 2)
    (True, 0.89)
    """
    if min(len(of_composites), len(of_reals)) < 2:
        raise UsageError("a calibration needs two composites and two real photos at least: give more --data")
    margins = np.array([*of_composites, *of_reals], dtype=np.float64)
    labels = np.array([1.0] * len(of_composites) + [0.0] * len(of_reals))

    def loss(values: np.ndarray) -> float:
        logits = values[0] * margins + values[1]
        return float(np.mean(np.logaddexp(0, logits) - labels * logits) + _RIDGE * values[0] ** 2)

    scale, offset = minimize(loss, np.array([1.0, 0.0])).x
    ranks = rankdata(margins)[: len(of_composites)]
    positive, negative = len(of_composites), len(of_reals)
    auc = (ranks.sum() - positive * (positive + 1) / 2) / (positive * negative)
    return {
        "scale": float(scale),
        "offset": float(offset),
        "auc": float(auc),
        "composites": positive,
        "reals": negative,
    }


def calibrate(judge: LanguageJudge, data: str, limit: int | None = None) -> dict[str, float]:
    """Ask the judge about composites and their photos, and fit; may raise any error of reading the data."""
    composites, reals = [], []
    for each in read_composites(data, limit=limit):
        if each.real is None:
            continue
        photo, composite = read_image(each.real), read_image(each.composite)
        mask = read_mask(each.mask, photo)
        composites.append(judge.margin(composite.image_u8, mask))
        reals.append(judge.margin(photo.image_u8, mask))
    fitted = fit_calibration(composites, reals)
    right = float(np.mean([a > b for a, b in zip(composites, reals, strict=True)]))
    return {**fitted, "pairs_ranked_right": right}


def main() -> None:
    """Calibrate from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    judge = make_language_judge(options.model, device=Device.pick(options.device))
    assert isinstance(judge, LanguageJudge)
    found = calibrate(judge, options.data, options.limit)
    write_json(options.out, found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
