"""Report on a run of 100,000 candidates, and open the page in headless Chromium.

    python benchmarks/report_scale.py [--candidates 100000] [--seconds 120] [--screenshot page.png]

The run is synthetic: 10,000 pairs with 10 candidates each of 64 x 48 pixels. Exit code 1 if it takes longer than
asked, or Chromium is there and draws an empty page.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from skimage import data

from harmonygen.report import write_report
from harmonygen.runs.tables import candidate_schema, pair_schema
from harmonygen.storage.parquet_cells import image_cell
from harmonygen.storage.shards import PLAN_KEY, QUARANTINE_KEY, Shard
from harmonygen.synthesis.settings import SynthesizeSettings

K, SHARD, WIDTH, HEIGHT, PICTURES = 10, 500, 64, 48, 200
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")


def main() -> int:
    """Make the run, time its report, open the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--screenshot", type=Path, help="keep the page's picture here")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="report-scale-") as place:
        run = Path(place) / "run"
        write_run(run, options.candidates // K)
        print("made", file=sys.stderr, flush=True)
        began, worked = time.monotonic(), time.process_time()
        timed(run, options.profile)
        seconds, worked = time.monotonic() - began, time.process_time() - worked
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        page = run / "report.html"
        opened = open_page(page, options.screenshot or Path(place) / "page.png")
        print("| candidates | pairs | seconds | core seconds | peak memory | page | in Chromium | asked |")
        print("|---:|---:|---:|---:|---:|---:|---|---:|")
        size = page.stat().st_size / 2**20
        counts = (
            f"| {options.candidates:,} | {options.candidates // K:,} | {seconds:.1f} | {worked:.1f} | {peak:.2f} GB |"
        )
        print(f"{counts} {size:.1f} MB | {opened} | under {options.seconds:.0f} s |")
        return int(seconds > options.seconds or opened.startswith("FAILED"))


def timed(run: Path, profile: bool) -> None:
    """Write the report, under the profiler if asked."""
    if not profile:
        write_report(run)
        return
    import cProfile
    import pstats

    profiler = cProfile.Profile()
    profiler.runcall(write_report, run)
    pstats.Stats(profiler, stream=sys.stderr).sort_stats("cumulative").print_stats(30)


def write_run(run: Path, pairs: int) -> None:
    """Write a finished run whose candidates have many different scores and outcomes."""
    for folder in ("candidates", "pairs"):
        (run / folder).mkdir(parents=True)
    random = np.random.default_rng(0)
    pictures, mask, photo = _pictures(), _png(_ellipse()), run / "photo.png"
    photo.write_bytes(pictures[0])
    count = -(-pairs // SHARD)
    for index in range(count):
        shard = Shard(index, count, index * SHARD, min((index + 1) * SHARD, pairs))
        rows, beside = [], []
        for number in range(shard.start, shard.stop):
            identity = _identity(number, random)
            scores = _scores(random)
            beside.append(_pair(identity, mask, photo, scores))
            rows += [_candidate(identity, score, pictures[(number + score["k"]) % PICTURES]) for score in scores]
        _table(rows, candidate_schema(), run / "candidates" / shard.filename)
        _table(beside, pair_schema(), run / "pairs" / shard.filename)
    settings = SynthesizeSettings(data="sample", out=run).model_dump(mode="json")
    shards = [{"index": index} for index in range(count)]
    plan = {"verb": "synthesize", "plan_digest": "scale", "settings": settings, "shards": shards}
    (run / "plan.json").write_text(json.dumps(plan))


def _identity(number: int, random: np.random.Generator) -> dict:
    subset = ("HAdobe5k", "HCOCO", "HFlickr")[number % 3]
    names = {"pair_id": f"{subset}/p{number}_1", "real_id": f"{subset}/p{number}", "mask_id": "1", "subset": subset}
    return {**names, "width": WIDTH, "height": HEIGHT, "fg_ratio": float(random.uniform(0.02, 0.6))}


def _scores(random: np.random.Generator) -> list[dict]:
    values = random.random((K, 5))
    best = int(values[:, 0].argmax())
    return [
        {
            "k": k,
            "seed": k,
            "p_composite": float(p),
            "selected": k == best,
            "gate": "clipped" if clipped > 0.97 else "",
            "reason": "" if k == best else "gate:clipped" if clipped > 0.97 else "rule:max-composite rank 3",
            "clipped": float(clipped) / 10,
            "fmse": float(fmse) * 3000,
            "structure": float(structure),
            "drift": 0.0,
            **{name: float(shift) * 9 for name in ("shift_r", "shift_g", "shift_b")},
        }
        for k, (p, clipped, fmse, structure, shift) in enumerate(values)
    ]


def _candidate(identity: dict, score: dict, picture: bytes) -> dict:
    run = {"generator": "diffusion", "model_digest": "m", "params_digest": "p"}
    return {**identity, **score, **run, "composite": image_cell(picture, f"{identity['mask_id']}.png")}


def _pair(identity: dict, mask: bytes, photo: Path, scores: list[dict]) -> dict:
    real = {"bytes": None, "path": str(photo)}
    texts = {"source": str(photo), "mask_source": "", "originals": "[]", "scores": json.dumps(scores)}
    return {**identity, "real": real, "mask": image_cell(mask, "m.png"), **texts}


def _table(rows: list[dict], schema: pa.Schema, path: Path) -> None:
    table = pa.Table.from_pylist(rows, schema=schema)
    metadata = {**schema.metadata, PLAN_KEY: b"scale", QUARANTINE_KEY: b"[]"}
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=K, compression="none")


def _pictures() -> list[bytes]:
    photo = Image.fromarray(data.astronaut())
    return [_png(np.asarray(photo.crop((n, n, 300 + n, 225 + n)).resize((WIDTH, HEIGHT)))) for n in range(PICTURES)]


def _ellipse() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    inside = ((y - HEIGHT / 2) / (HEIGHT * 0.3)) ** 2 + ((x - WIDTH / 2) / (WIDTH * 0.3)) ** 2 < 1
    return inside.astype(np.uint8) * 255


def _png(image: np.ndarray) -> bytes:
    held = io.BytesIO()
    Image.fromarray(image).save(held, "PNG", compress_level=1)
    return held.getvalue()


def open_page(page: Path, picture: Path) -> str:
    """Open a page in headless Chromium; say how that ended."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        return "no Chromium here"
    with tempfile.TemporaryDirectory() as profile:
        began = time.monotonic()
        command = [browser, *FLAGS, f"--user-data-dir={profile}", f"--screenshot={picture}", "--window-size=1280,1800"]
        done = subprocess.run([*command, page.as_uri()], capture_output=True, timeout=300, check=False)
        seconds = time.monotonic() - began
    if done.returncode or not picture.is_file():
        return f"FAILED: exit {done.returncode}"
    colours = len(np.unique(np.asarray(Image.open(picture).convert("L"))))
    return f"drawn in {seconds:.1f} s" if colours > 20 else "FAILED: an empty page"


if __name__ == "__main__":
    raise SystemExit(main())
