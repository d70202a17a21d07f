"""`export --for NAME` of 1,000 rows: seconds for each trainer.

    python benchmarks/trainer_export.py [--rows 1000] [--side 512] [--seconds 60] [--only ai-toolkit,webdataset]

A synthetic finished run of real photos (scikit-image), ten candidates per pair. Core seconds are user and system time
of the export. Exit code 1 if an export takes longer than asked.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from harmonygen.augmentation.settings import ExportSettings
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.synthesize import synthesize
from harmonygen.trainers.export import export_for
from harmonygen.trainers.formats import FORMATS

PER_PAIR = 10
GATES = {"max_clipped": 1, "min_fmse": 0, "max_fmse": 100_000, "min_structure": -1}


def main() -> int:
    """Make a run, export it for each trainer, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only", default=",".join(FORMATS))
    options = parser.parse_args()
    slow = 0
    with tempfile.TemporaryDirectory(prefix="trainer-export-") as place:
        run = make_run(Path(place), options.rows // PER_PAIR, options.side)
        print("| trainer | rows | seconds | core seconds | rows/s |\n|---|---:|---:|---:|---:|")
        for trainer in options.only.split(","):
            settings = ExportSettings(run=run, trainer=trainer, out=Path(place) / trainer)
            began, worked = time.monotonic(), time.process_time()
            rows = export_for(settings).rows
            seconds, worked = time.monotonic() - began, time.process_time() - worked
            print(f"| {trainer} | {rows:,} | {seconds:.1f} | {worked:.1f} | {rows / seconds:.0f} |", flush=True)
            slow += seconds > options.seconds * rows / 1000
    return int(slow > 0)


def make_run(place: Path, pairs: int, side: int) -> Path:
    """Make candidates of crops of real photos by colour jitter."""
    rng = np.random.default_rng(0)
    photos = [Image.fromarray(load()) for load in (data.astronaut, data.coffee, data.chelsea, data.rocket)]
    for folder in ("images", "masks"):
        (place / "own" / folder).mkdir(parents=True)
    for index in range(pairs):
        photo = photos[index % 4]
        left, top = (int(rng.integers(0, length // 3)) for length in photo.size)
        crop = photo.crop((left, top, left + photo.width // 2, top + photo.height // 2)).resize((side, side))
        crop.save(place / "own" / "images" / f"photo{index}.jpg", quality=95)
        mask = Image.new("L", (side, side))
        mask.paste(255, (side // 4, side // 5, side * 3 // 4, side * 3 // 4))
        mask.save(place / "own" / "masks" / f"photo{index}.png")
    common = {"generator": "color-jitter", "k": PER_PAIR, "device": "cpu", "gates": GATES}
    print(f"making {pairs * PER_PAIR} candidates of {side} px", file=sys.stderr, flush=True)
    synthesize(SynthesizeSettings(**common, data=str(place / "own"), out=place / "run"))
    return place / "run"


if __name__ == "__main__":
    sys.exit(main())
