"""Inspect 100,000 pairs: a tree of distinct files, a table of repeated files, and Parquet.

    python benchmarks/inspect_scale.py [--rows 100000] [--seconds 60] [--kinds tree table parquet] [--keep FOLDER]

Photos are JPEG of 64 x 48 pixels with an EXIF block, masks PNG; every file of the tree has bytes of its own. Each kind
is inspected by the command, in a process of its own. Exit code 1 if one takes longer than asked, or over 1 GB.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

KINDS = ("tree", "table", "parquet")
WIDTH, HEIGHT, GIGABYTE = 64, 48, 2**30
PICTURES, GROUP = 200, 1000


def main() -> int:
    """Make each kind, inspect it, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--keep", type=Path, help="make the data here, or use what was made there before")
    options = parser.parse_args()
    print("| what | pairs | seconds | core seconds | peak memory | asked |\n|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="inspect-scale-") as place:
        folder = options.keep or Path(place)
        slow = [kind for kind in options.kinds if not timed(kind, folder, options.rows, options.seconds)]
    return int(bool(slow))


def timed(kind: str, folder: Path, rows: int, most: float) -> bool:
    """Inspect one kind, print its row, and tell whether it kept its limits."""
    data = folder / f"{kind}-{rows}"
    if not data.exists():
        globals()[f"make_{kind}"](data, rows)
    began = time.monotonic()
    command = [sys.executable, "-m", "harmonygen", "inspect", str(data), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    told = json.loads(process.stdout.read())
    _, _, used = os.wait4(process.pid, 0)
    seconds, peak = time.monotonic() - began, used.ru_maxrss * 1024 / GIGABYTE
    assert told["pairs"] == rows, told
    core = used.ru_utime + used.ru_stime
    print(f"| {kind} | {rows:,} | {seconds:.1f} | {core:.1f} | {peak:.2f} GB | under {most:.0f} s |", flush=True)
    return seconds < most and peak < 1


def pictures(count: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield encoded photos with their masks, no two of the same bytes."""
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "bench", 1  # as cameras write it
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    for _ in range(count):
        coarse = random.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        photo = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
        y, x, size = random.integers(10, 30), random.integers(10, 50), random.integers(5, 15)
        mask = ((row - y) ** 2 + (column - x) ** 2 < size**2).astype(np.uint8) * 255
        held = io.BytesIO(), io.BytesIO()
        photo.save(held[0], "JPEG", quality=80, exif=exif)
        Image.fromarray(mask).save(held[1], "PNG", compress_level=1)
        yield held[0].getvalue(), held[1].getvalue()


def make_tree(data: Path, rows: int) -> None:
    """Write ``images/`` beside ``masks/``."""
    for name in ("images", "masks"):
        (data / name).mkdir(parents=True)
    for number, (photo, mask) in enumerate(pictures(rows)):
        (data / "images" / f"{number:06d}.jpg").write_bytes(photo)
        (data / "masks" / f"{number:06d}.png").write_bytes(mask)


def make_table(data: Path, rows: int) -> None:
    """Write a table that names each of a few photos many times."""
    make_tree(data, PICTURES)
    for name in ("images", "masks"):
        (data / name).rename(data / f"of_{name}")  # under a name that no layout knows: the table alone is read
    names = ((f"{row % PICTURES:06d}", row) for row in range(rows))
    lines = (f"of_images/{name}.jpg,of_masks/{name}.png,{row},p{name}" for name, row in names)
    (data / "pairs.csv").write_text("\n".join(["real,mask,pair_id,real_id", *lines]))


def make_parquet(data: Path, rows: int) -> None:
    """Write one Parquet file with image cells."""
    data.mkdir(parents=True)
    schema = pa.schema([("real", pa.binary()), ("mask", pa.binary())])
    with pq.ParquetWriter(data / "train.parquet", schema, compression="none") as writer:
        found = pictures(rows)
        while cells := list(islice(found, GROUP)):
            writer.write_table(pa.table({"real": [a for a, _ in cells], "mask": [b for _, b in cells]}, schema))


if __name__ == "__main__":
    sys.exit(main())
