"""Images a second of evaluate with several processes against a plain loop of the same operations, in one run.

    python benchmarks/evaluate_speed.py [--images 7404] [--workers 2] [--limit 500]

Synthetic composites of 256 px in iHarmony4 layout and as many predictions; both sides decode the same files and work
out the same figures (MSE, PSNR, fMSE, SSIM, Lab bias) of composite and prediction, and their rows are compared. The
loop starts with everything imported and the files in the page cache; evaluate's time is the whole call: reading the
list, matching, starting its processes, parts, intervals, tables and page. Processor seconds stand beside: on a machine
that does other work, wall times say nothing, and the two sides' processor seconds still tell the overhead.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image


def make(root: Path, count: int) -> None:
    """Write ``count`` triplets and predictions: smooth colour fields with texture, an ellipse of another colour."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:256, :256] / 256
    folders = {name: root / "Synthetic" / name for name in ("composite_images", "masks", "real_images")}
    for folder in (*folders.values(), root / "predictions"):
        folder.mkdir(parents=True)
    lines = []
    for index in range(count):
        a, b, c = rng.uniform(40, 200, (3, 3))
        texture = rng.normal(0, 12, (64, 64, 3)).repeat(4, 0).repeat(4, 1)
        real = np.clip(a + (b - a) * x[..., None] + (c - a) * y[..., None] / 2 + texture, 0, 255)
        mask = ((x - rng.uniform(0.3, 0.7)) / 0.2) ** 2 + ((y - 0.5) / rng.uniform(0.1, 0.4)) ** 2 < 1
        composite = np.where(mask[..., None], np.clip(real * rng.uniform(0.7, 1.3, 3), 0, 255), real)
        predicted = np.where(mask[..., None], (real + composite) / 2, real)
        name = f"s{index:05d}"
        for path, pixels in (
            (folders["composite_images"] / f"{name}_1_1.jpg", composite),
            (folders["real_images"] / f"{name}.jpg", real),
            (root / "predictions" / f"{name}_1_1.jpg", predicted),
        ):
            Image.fromarray(pixels.round().astype(np.uint8)).save(path, quality=95)
        Image.fromarray(mask).save(folders["masks"] / f"{name}_1.png")
        lines.append(f"Synthetic/composite_images/{name}_1_1.jpg\n")
    (root / "IHD_test.txt").write_text("".join(lines))


def processor_seconds() -> float:
    """Return what this process and its finished children have used."""
    return sum(os.times()[:4])


def plain_loop(root: Path) -> tuple[float, float, list[dict]]:
    """Score everything in this process, one image after the other; return wall and processor seconds, and the rows."""
    from harmonygen.evaluation.cases import read_cases, score_triplets
    from harmonygen.evaluation.predictions import match_predictions
    from harmonygen.evaluation.predictors import from_folder

    cases = read_cases(root).composites
    predictors = {"predictions": from_folder(match_predictions(root / "predictions", [case.name for case in cases]))}
    list(score_triplets(cases[:8], predictors))  # everything imported
    began, used = time.perf_counter(), processor_seconds()
    rows = list(score_triplets(cases, predictors))
    return time.perf_counter() - began, processor_seconds() - used, rows


def whole_evaluation(root: Path, workers: int) -> tuple[float, float, list[dict]]:
    """Run evaluate; return wall and processor seconds, and the rows."""
    import pyarrow.parquet as pq

    from harmonygen.evaluation.evaluate import evaluate
    from harmonygen.evaluation.settings import EvaluateSettings, MethodSpec

    methods = (MethodSpec(name="predictions", predictions=root / "predictions"),)
    settings = EvaluateSettings(data=str(root), methods=methods, out=root / "out", workers=workers)
    began, used = time.perf_counter(), processor_seconds()
    evaluate(settings)
    return (
        time.perf_counter() - began,
        processor_seconds() - used,
        pq.read_table(root / "out" / "per_image.parquet").to_pylist(),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=7404)
    parser.add_argument("--limit", type=int, help="so many images instead of --images")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    count = options.limit or options.images
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, count)
        load = os.getloadavg()[0]
        alone, alone_cpu, expected = plain_loop(root)
        together, together_cpu, rows = whole_evaluation(root, options.workers)
    assert rows == expected, "the two sides differ"
    print(f"{count} images of 256 px, 1 method; load {load:.1f} before, on {os.cpu_count()} cores; rows are equal\n")
    print("| what | seconds | images/s | processor seconds |\n|---|---:|---:|---:|")
    print(f"| plain loop, one process | {alone:.1f} | {count / alone:.1f} | {alone_cpu:.1f} |")
    rate = f"{together:.1f} | {count / together:.1f} | {together_cpu:.1f}"
    print(f"| evaluate, {options.workers} processes, whole call | {rate} |")
    print(f"\n{alone / together:.2f} times")


if __name__ == "__main__":
    main()
