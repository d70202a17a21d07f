"""How fast the review page of many candidates opens and answers: a run-like folder of small real pictures, no weights.

python benchmarks/review_page.py [--pairs 1000] [--k 10] [--openings 5] [--folder DIR] [--screenshot PNG]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from skimage import data

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "report"))

from chromium import Chromium, find_chromium  # noqa: E402

from harmonygen.pictures.images import encode  # noqa: E402
from harmonygen.report import write_review  # noqa: E402
from harmonygen.runs.tables import CANDIDATE_COLUMNS, candidate_schema, pair_schema  # noqa: E402
from harmonygen.storage import shards  # noqa: E402
from harmonygen.storage.parquet_cells import image_cell  # noqa: E402

WIDTH, HEIGHT = 320, 240
SOURCES = ("astronaut", "coffee", "chelsea", "rocket")
SHARD = 100
KEY_LATENCY = """(async () => {
  const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  const times = [];
  for (let at = 0; at < 60; at++) {
    const begun = performance.now();
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "ar"[at % 3 ? 0 : 1], bubbles: true }));
    const handled = performance.now() - begun;
    await document.querySelector(".candidate img").decode();
    await frame();
    times.push([handled, performance.now() - begun]);
  }
  return times;
})()"""


def jpeg(pixels: np.ndarray) -> bytes:
    """Encode quickly: a run has PNG, but the page's thumbnails are the same."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def crop(photos: list[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random part of a photo, (H, W, 3) uint8, and an ellipse as its mask."""
    photo = photos[rng.integers(len(photos))]
    top, left = (int(rng.integers(photo.shape[axis] - size)) for axis, size in ((0, HEIGHT), (1, WIDTH)))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    cy, cx, ry, rx = rng.uniform((90, 120, 40, 50), (150, 200, 80, 100))
    return photo[top : top + HEIGHT, left : left + WIDTH], ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1


def make_pair(index: int, k: int, photos: list[np.ndarray]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Rows of one pair and its candidates, the foreground's colours changed by random gains."""
    rng = np.random.default_rng(index)
    photo, mask = crop(photos, rng)
    same = {"pair_id": f"photo-{index:05d}", "real_id": f"photo-{index:05d}", "mask_id": "1", "subset": ""}
    same |= {"width": WIDTH, "height": HEIGHT, "fg_ratio": float(mask.mean())}
    p = rng.beta(4, 2, k)
    best = int(p.argmax())
    rank = {int(one): place for place, one in enumerate(np.argsort(-p, kind="stable"), start=1)}
    scores = [
        {"k": one, "seed": one, "p_composite": float(p[one]), "selected": one == best, "gate": "", "clipped": 0.0,
         "reason": "" if one == best else f"rule:max-composite rank {rank[one]}", "fmse": 400.0, "structure": 0.9,
         "drift": 0.0, "shift_r": 0.0, "shift_g": 0.0, "shift_b": 0.0}
        for one in range(k)
    ]  # fmt: skip
    real, cell = image_cell(jpeg(photo), "r.jpg"), image_cell(encode(mask), "m.png")
    paths = {"source": "x", "mask_source": "x", "originals": "[]", "scores": json.dumps(scores)}
    rows = []
    for score in scores:
        changed = photo.copy()
        changed[mask] = np.clip(photo[mask] * rng.uniform(0.5, 1.5, 3), 0, 255).astype(np.uint8)
        row = {**same, **score, "composite": image_cell(jpeg(changed), "c.jpg")}
        rows.append({name: row.get(name, "x") for name in CANDIDATE_COLUMNS})
    return {**same, **paths, "real": real, "mask": cell}, rows


def make_run(folder: Path, pairs: int, k: int) -> Path:
    """Write what `synthesize` would leave of ``pairs`` x ``k`` candidates."""
    photos = [getattr(data, name)() for name in SOURCES]
    parts = shards.cut(pairs, SHARD)
    for name in ("pairs", "candidates"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for part in parts:
        made = [make_pair(index, k, photos) for index in range(part.start, part.stop)]
        table = pa.Table.from_pylist([pair for pair, _ in made], schema=pair_schema())
        shards.write_parquet(folder / "pairs" / part.filename, table)
        table = pa.Table.from_pylist([row for _, rows in made for row in rows], schema=candidate_schema())
        shards.write_parquet(folder / "candidates" / part.filename, table, row_group_size=64)
    table = [{"index": part.index} for part in parts]
    plan = {"verb": "synthesize", "plan_digest": f"benchmark-{pairs}-{k}", "settings": {"k": k}, "shards": table}
    shards.write_json(folder / "plan.json", plan)
    shards.write_json(folder / "summary.json", {"generator": "benchmark"})
    return folder


def measure(page: Path, binary: str, picture: Path | None) -> tuple[float, float, list[list[float]], int]:
    """Open the page in a new browser; return ms to ready, ms to load, key times and the number of DOM nodes."""
    with tempfile.TemporaryDirectory() as profile, Chromium(binary, Path(profile)) as browser:
        browser.open(page.as_uri())
        ready = float(browser.until("document.documentElement.dataset.ready"))
        load = browser.value("performance.getEntriesByType('navigation')[0].loadEventEnd")
        keys = browser.value(KEY_LATENCY)
        nodes = browser.value("document.getElementsByTagName('*').length")
        if picture:
            browser.screenshot(picture)
        if browser.errors or len(browser.requests) > 1:
            print("errors:", browser.errors, "requests:", browser.requests[:5])
        return ready, load, keys, nodes


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--openings", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--screenshot", type=Path)
    options = parser.parse_args()
    binary = find_chromium()
    if binary is None:
        sys.exit("no chromium on PATH")
    folder = options.folder or Path(tempfile.mkdtemp(prefix="review-"))
    if not (folder / "plan.json").is_file():
        make_run(folder, options.pairs, options.k)
    begun = time.perf_counter()
    result = write_review(folder)
    print(f"{result.candidates_shown} candidates of {result.pairs_shown} pairs: {result.path}")
    print(f"page: {result.bytes / 1e6:.1f} MB, written in {time.perf_counter() - begun:.1f} s")
    print(f"machine: {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    openings = [measure(result.path, binary, options.screenshot) for _ in range(options.openings)]
    ready, load = ([opening[index] for opening in openings] for index in (0, 1))
    print("ready (first candidate painted, keys answer), ms:", ", ".join(f"{value:.0f}" for value in ready))
    print("loaded whole, ms:", ", ".join(f"{value:.0f}" for value in load))
    handled, painted = ([pair[index] for opening in openings for pair in opening[2]] for index in (0, 1))
    for name, times in (("key handled", handled), ("key to painted frame", painted)):
        print(f"{name}: median {statistics.median(times):.1f} ms, slowest {max(times):.1f} ms")
    print(f"DOM nodes: {openings[-1][3]}")


if __name__ == "__main__":
    main()
