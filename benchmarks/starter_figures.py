"""Figures of the starter weights on held-out photos, each with n and a 95 % interval over photos.

    harmonygen synthesize --data study.csv --k 10 --out study-run      (a table of paths: real,mask,subset)
    python benchmarks/starter_figures.py candidates study-run
    python benchmarks/starter_figures.py classifier photos256 photos256_split.csv [CLASSIFIER]

Candidates: foreground MSE from the real photo (8-bit squared); structure, the SSIM of the foreground's luminance after
matching mean and variance; spread, the mean distance between the K candidates' mean foreground colours over their mean
distance to the real photo's. Classifier: composites by colour transfer and LUT made on the fly (one per photo) against
their real photos, split `study`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from harmonygen.evaluation import measured
from harmonygen.evaluation.bootstrap import Interval, interval, intervals_of, medians, shares

Floats = npt.NDArray[np.float64]


def told(found: Interval) -> str:
    """Return a value with its 95 % interval, as text."""
    return f"{found.mean:.4g} [{found.low:.4g}, {found.high:.4g}]"


def spread(rows: Sequence[dict[str, float]]) -> float:
    """Mean pairwise distance of the candidates' mean colours over their mean distance to the real photo's."""
    shifts = np.array([[row["shift_r"], row["shift_g"], row["shift_b"]] for row in rows])
    pairwise = np.mean([np.linalg.norm(a - b) for a, b in combinations(shifts, 2)])
    return float(pairwise / max(float(np.linalg.norm(shifts, axis=1).mean()), 1e-9))


def candidates(run: Path) -> None:
    """Print the figures of a finished synthesize run."""
    packed = [
        cell
        for path in sorted((run / "pairs").glob("*.parquet"))
        for cell in pq.read_table(path).column("scores").to_pylist()
    ]
    photos = [json.loads(cell) for cell in packed]
    column = {
        name: [np.array([row[name] for row in rows]) for rows in photos]
        for name in ("fmse", "structure", "p_composite")
    }
    of_pair = [pair for pair, rows in enumerate(photos) for _ in rows]
    fmse, structure = (np.concatenate(column[name])[:, None] for name in ("fmse", "structure"))
    print(f"{run}: {len(photos)} pairs, {sum(map(len, photos))} candidates; value [95 % interval]")
    print(f"Intervals: {measured.told(len(photos))}\n")
    print("| figure | value |\n|---|---|")
    print(f"| median fMSE | {told(medians(fmse, groups=of_pair)[0])} |")
    low, high = np.percentile(fmse, [5, 95])
    print(f"| fMSE, 5th to 95th percentile | {low:.0f} to {high:.0f} |")
    print(f"| median structure | {told(medians(structure, groups=of_pair)[0])} |")
    print(f"| share with structure under 0.85 | {told(shares(structure < 0.85, groups=of_pair)[0])} |")
    print(f"| spread | {told(interval([spread(rows) for rows in photos]))} |")
    quartiles = ", ".join(f"{v:.3f}" for v in np.percentile(np.concatenate(column["p_composite"]), [25, 50, 75]))
    print(f"| P(composite): quartiles | {quartiles} |")


def classifier(data: str, split_file: Path, name: str) -> None:
    """Print AUC, accuracy and calibration on the photos of split `study`."""
    import torch

    from harmonygen.data import read_pairs
    from harmonygen.models.checkpoints import locate
    from harmonygen.models.classifier import HarmonyResNet
    from harmonygen.records import ReadOptions
    from harmonygen.training.classifier import auc, both, ece
    from harmonygen.training.composites import OnTheFlyComposites
    from harmonygen.training.data_sets import select_split
    from harmonygen.training.loop import collate
    from harmonygen.training.photos import load_photos
    from harmonygen.training.settings import ClassifierTraining

    model = HarmonyResNet.from_pretrained(locate(name, "classifier"))
    settings = ClassifierTraining(resolution=model.spec.input_size, random_flip=False)
    photos, _ = load_photos(
        select_split(read_pairs(data, reading=ReadOptions(allow_outside=True)), split_file, "study"),
        settings.resolution,
    )
    composites = OnTheFlyComposites(photos, settings, "figures", augment=False)
    scores, labels, of_photo = [], [], []
    with torch.no_grad():
        for start in range(0, len(photos), 32):
            batch = range(start, min(start + 32, len(photos)))
            images, masks, label = both(collate([composites[i] for i in batch]))
            of_photo += [*batch, *batch]
            scores.append(model.p_composite(images, masks).double().numpy())
            labels.append(label.numpy().astype(bool))
    p, y = np.concatenate(scores), np.concatenate(labels)
    print(f"{name}: {len(photos)} composites and as many draws of real photos, split study; value [95 % interval]\n")
    figures: dict[str, Callable[[Floats, npt.NDArray[np.bool_]], float]] = {
        "AUC": auc,
        "accuracy": lambda p, y: float(((p >= 0.5) == y).mean()),
        "ECE": ece,
    }
    print("| figure | value |\n|---|---|")
    for label, chosen in (("photos", p[~y]), ("composites", p[y])):
        quartiles = ", ".join(f"{value:.3f}" for value in np.percentile(chosen, [25, 50, 75]))
        print(f"| P(composite) of {label}: quartiles | {quartiles} |")
    all_figures = intervals_of(
        np.stack([p, y], axis=1),
        lambda rows: np.array([figure(rows[:, 0], rows[:, 1] > 0.5) for figure in figures.values()]),
        n=500,
        groups=of_photo,
    )
    for label, found in zip(figures, all_figures, strict=True):
        print(f"| {label} | {told(found)} |")


if __name__ == "__main__":
    if sys.argv[1] == "candidates":
        candidates(Path(sys.argv[2]))
    else:
        classifier(sys.argv[2], Path(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else "starter")
