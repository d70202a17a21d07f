"""Augment a tree of iHarmony4's size: 65,742 composites of 1 kB, hard links, gamma = 1 from a synthetic finished run.

    python benchmarks/augment_scale.py [--composites 65742] [--seconds 60]

The tree has the real one's proportions: four subsets with their own composites a pair. The run holds as many tiny
candidates a pair as gamma = 1 needs. Exit code 1 if it takes longer than asked, or a link or a file is missing.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from harmonygen.augmentation.augment import augment
from harmonygen.augmentation.settings import AugmentSettings
from harmonygen.records import FileSource
from harmonygen.runs.identity import content_columns
from harmonygen.runs.tables import candidate_schema, pair_schema
from harmonygen.storage.content import Content, stamp_of
from harmonygen.storage.parquet_cells import image_cell
from harmonygen.storage.shards import PLAN_KEY, QUARANTINE_KEY, Shard
from harmonygen.synthesis.settings import SynthesizeSettings

SUBSETS = {"HAdobe5k": (4329, 4310, 19437), "HCOCO": (34541, 38545, 38545), "HFlickr": (4546, 7449, 7449)}
DAY2NIGHT = {"Hday2night": (80, 106, 311)}
"""Subset -> photos, pairs (photo and mask), composites of the training list, near those of iHarmony4."""
TRAIN = 65_742
SHARD = 2_000
SIDE = 12
SUFFIX = ".jpg"


def main() -> int:
    """Make the tree and the run, time augment, check what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--composites", type=int, default=TRAIN)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="augment-scale-") as place:
        root, run, out = (Path(place) / name for name in ("tree", "run", "out"))
        began = time.monotonic()
        pairs = write_tree(root, options.composites)
        write_run(run, pairs, root)
        print(f"made in {time.monotonic() - began:.0f} s: {len(pairs)} pairs", file=sys.stderr, flush=True)
        settings = AugmentSettings(data=str(root), candidates=run, out=out, gamma=1.0, link="hard", leak_guard="ids")
        began, worked = time.monotonic(), time.process_time()
        result = timed(settings, options.profile)
        seconds, worked = time.monotonic() - began, time.process_time() - worked
        faults = check(root, out, result.originals, result.new)
        print("| originals (hard links) | pairs | new composites | files | seconds | core seconds | files/s | asked |")
        print("|---:|---:|---:|---:|---:|---:|---:|---:|")
        files = sum(len(names) for _, _, names in os.walk(out))
        print(
            f"| {result.originals:,} | {len(pairs):,} | {result.new:,} | {files:,} | {seconds:.1f} | {worked:.1f} "
            f"| {files / seconds:,.0f} | under {options.seconds:.0f} s |"
        )
        print("\n" + ("; ".join(faults) or "every original is a hard link, every listed file is there"))
        return int(bool(faults) or seconds > options.seconds)


def timed(settings: AugmentSettings, profile: bool):
    """Augment, under the profiler if asked."""
    if not profile:
        return augment(settings)
    import cProfile
    import pstats

    profiler = cProfile.Profile()
    result = profiler.runcall(augment, settings)
    pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(18)
    return result


def write_tree(root: Path, composites: int) -> list[tuple[str, str, str, int]]:
    """Write the tree; return (subset, photo, mask, composites) of each pair."""
    picture = _jpeg()
    mask = _mask()
    pairs, names = [], []
    table = {**SUBSETS, **DAY2NIGHT}
    total = sum(count for _, _, count in table.values())
    for subset, (photos, masks, count) in table.items():
        home = root / subset
        for folder in ("composite_images", "masks", "real_images"):
            (home / folder).mkdir(parents=True)
        wanted, masks = round(count * composites / total), max(1, round(masks * composites / total))
        photos = max(1, min(masks, round(photos * composites / total)))
        for number in range(photos):
            _write(home / "real_images" / f"p{number}{SUFFIX}", picture)
        for number in range(masks):
            photo, mask_id = f"p{number % photos}", str(1 + number // photos)
            own = wanted // masks + (number < wanted % masks)
            if not own:
                continue
            _write(home / "masks" / f"{photo}_{mask_id}.png", mask)
            pairs.append((subset, photo, mask_id, own))
            for variant in range(1, own + 1):
                names.append(f"{subset}/composite_images/{photo}_{mask_id}_{variant}{SUFFIX}")
                _write(root / names[-1], picture)
    (root / "IHD_train.txt").write_text("\n".join(names) + "\n")
    return pairs


def write_run(run: Path, pairs: list[tuple[str, str, str, int]], root: Path) -> None:
    """Write a finished run's files with as many candidates a pair as its subset has composites."""
    for folder in ("candidates", "pairs"):
        (run / folder).mkdir(parents=True)
    most = {subset: _most(pairs, subset) for subset in {pair[0] for pair in pairs}}
    settings = SynthesizeSettings(data="sample", out=run).model_dump(mode="json")
    count = -(-len(pairs) // SHARD)
    shards = [{"index": index} for index in range(count)]
    plan = {"verb": "synthesize", "plan_digest": "scale", "classifier_digest": "c"}
    (run / "plan.json").write_text(json.dumps({**plan, "settings": settings, "shards": shards}))
    (run / "summary.json").write_text("{}")
    picture, mask = _png(), _mask()
    for index in range(count):
        shard = Shard(index, count, index * SHARD, min((index + 1) * SHARD, len(pairs)))
        own = pairs[shard.start : shard.stop]
        rows = [_candidate(pair, k, picture) for pair in own for k in range(most[pair[0]])]
        metadata = {PLAN_KEY: b"scale", QUARANTINE_KEY: b"[]"}
        _table(rows, candidate_schema(), metadata, run / "candidates" / shard.filename)
        _table([_pair(pair, mask, root) for pair in own], pair_schema(), metadata, run / "pairs" / shard.filename)


def _most(pairs: list[tuple[str, str, str, int]], subset: str) -> int:
    counts = [pair[3] for pair in pairs if pair[0] == subset]
    return -(-sum(counts) // len(counts))


def _candidate(pair: tuple[str, str, str, int], k: int, picture: bytes) -> dict:
    subset, photo, mask, _ = pair
    figures = {"p_composite": 0.9, "clipped": 0.0, "fmse": 500.0, "structure": 0.95, "drift": 0.0}
    shift = {"shift_r": 1.0, "shift_g": 1.0, "shift_b": 1.0}
    names = {"pair_id": f"{subset}/{photo}_{mask}", "real_id": f"{subset}/{photo}", "mask_id": mask, "subset": subset}
    run = {"generator": "lut", "model_digest": "m", "params_digest": "p", "gate": "", "reason": "", "selected": k == 0}
    size = {"width": SIDE, "height": SIDE, "fg_ratio": 0.25}
    seed = {"k": k, "seed": k, "composite": image_cell(picture, f"{photo}_{mask}_{k}.png")}
    return {**names, **run, **size, **seed, **figures, **shift}


def _pair(pair: tuple[str, str, str, int], mask: bytes, root: Path) -> dict:
    subset, photo, mask_id, _ = pair
    names = {"pair_id": f"{subset}/{photo}_{mask_id}", "real_id": f"{subset}/{photo}", "mask_id": mask_id}
    real = {"bytes": None, "path": "/gone.jpg"}
    cells = {"real": real, "mask": image_cell(mask, "m.png"), "source": "", "mask_source": "", "originals": "[]"}
    files = root / subset / "real_images" / f"{photo}{SUFFIX}", root / subset / "masks" / f"{photo}_{mask_id}.png"
    contents = content_columns(*(Content("0" * 32, stamp_of(FileSource(path))) for path in files))
    sizes = {"subset": subset, "width": SIDE, "height": SIDE, "fg_ratio": 0.25, "scores": "[]"}
    return {**names, **cells, **sizes, **contents, "real_digest": "0" * 32, "mask_digest": "0" * 32}


def _table(rows: list[dict], schema: pa.Schema, metadata: dict[bytes, bytes], path: Path) -> None:
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table.replace_schema_metadata({**schema.metadata, **metadata}), path, row_group_size=200)


def check(root: Path, out: Path, originals: int, new: int) -> list[str]:
    """Return what is wrong: links that are copies, files that lists name and are not there."""
    listed = (out / "IHD_train.txt").read_text().split()
    missing = sum(not (out / name).is_file() for name in listed)
    faults = [f"{missing} listed files are missing"] if missing else []
    if len(listed) != originals + new:
        faults.append(f"{len(listed)} listed, {originals + new} expected")
    copies = sum((out / name).stat().st_ino != (root / name).stat().st_ino for name in listed[:originals])
    return [*faults, f"{copies} originals are copies"] if copies else faults


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content + os.urandom(8))  # what follows a JPEG's or PNG's end is nobody's


def _noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))


def _jpeg() -> bytes:
    held = io.BytesIO()
    _noise().save(held, "JPEG", quality=95, subsampling=0)
    return held.getvalue()


def _png() -> bytes:
    held = io.BytesIO()
    _noise().save(held, "PNG")
    return held.getvalue()


def _mask() -> bytes:
    held, mask = io.BytesIO(), np.zeros((SIDE, SIDE), np.uint8)
    mask[3:9, 3:9] = 255
    Image.fromarray(mask).save(held, "PNG")
    return held.getvalue()


if __name__ == "__main__":
    raise SystemExit(main())
