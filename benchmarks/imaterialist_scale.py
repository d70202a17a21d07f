"""Read a synthetic contest folder of iMaterialist-2020's size, beside bare pycocotools decoding of the same strings.

    python benchmarks/imaterialist_scale.py                    # 333,000 rows of 45,623 photos; needs 1.5 GB of disk
    python benchmarks/imaterialist_scale.py --rows 16650       # a twentieth of it
    python benchmarks/imaterialist_scale.py --shuffle          # rows of a photo stand anywhere
    python benchmarks/imaterialist_scale.py --bare-every 10    # bare decoding of every tenth row alone

harmonygen streams the table, checks every row and every photo's header, unites the segments of a photo and decodes
every union. Bare decoding is what everybody writes: split, whole numbers, counts, frPyObjects, decode, row by row;
reading the table is not counted for it. Each runs in a fresh process of its own, one after the other; memory is that
process's highest (VmHWM). Both use one core, and the rates are those of its seconds (user and system), so that other
work on the machine does not count; the seconds that went by stand beside them. Exit code 1 if a union is another than
the bare masks united, a row is lost, the rate is under 0.7 of the bare one, or memory is over 1.5 GB.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

ROWS, PHOTOS = 333_000, 45_623
NEEDED_RATE, MOST_MEMORY = 0.7, 1.5e9
COMPARED = 50  # photos whose unions are compared
HEAD = ["ImageId", "EncodedPixels", "Height", "Width", "ClassId", "AttributesIds"]


def main() -> int:
    """Make the folder, run both, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS, help="the photos go along in proportion")
    parser.add_argument("--shuffle", action="store_true", help="rows in random order")
    parser.add_argument("--bare-every", type=int, default=1, help="decode one row in so many the bare way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--worker", choices=("harmonygen", "bare"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        ours = options.worker == "harmonygen"
        print(json.dumps(read_all(options.folder) if ours else decode_bare(options.folder, options.bare_every)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        clock = Clock()
        runs = make_folder(Path(made), options.rows, options.shuffle, options.seed)
        size = (Path(made) / "train.csv").stat().st_size
        print(
            f"made in {clock.read()[1]:.0f} s: train.csv of {size / 1e6:,.0f} MB, "
            f"{runs / options.rows:.0f} runs a row, rows {'shuffled' if options.shuffle else 'by photo'}",
            flush=True,
        )
        return report(*(in_fresh_process(each, made, options.bare_every) for each in ("harmonygen", "bare")))


class Clock:
    """Seconds of this process on its core, and seconds that went by, since it was made."""

    def __init__(self) -> None:
        self._core, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> tuple[float, float]:
        """Return both."""
        return time.process_time() - self._core, time.perf_counter() - self._wall


def in_fresh_process(worker: str, folder: str, bare_every: int) -> dict[str, Any]:
    """Run this file again as a worker; return what it printed."""
    command = [sys.executable, __file__, "--worker", worker, "--folder", folder, "--bare-every", str(bare_every)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout))


def report(ours: dict[str, Any], bare: dict[str, Any]) -> int:
    """Print the table and whether the three conditions hold."""
    print(
        "| what | rows | photos | core seconds | seconds | rows/s | peak memory |\n|---|---:|---:|---:|---:|---:|---:|"
    )
    whole = [read + decode for read, decode in zip(ours["read"], ours["decode"], strict=True)]
    print(line_of("table read, checked, united", ours, ours["read"]))
    print(line_of("unions decoded", ours, ours["decode"]))
    print(line_of("harmonygen, all", ours, whole, f"{ours['peak'] / 1e9:.2f} GB"))
    print(line_of("bare pycocotools", bare, bare["seconds"]))
    ratio = (ours["rows"] / whole[0]) / (bare["rows"] / bare["seconds"][0])
    differ = sum(ours["digests"][name] != digest for name, digest in bare["digests"].items())
    lost = bare["in_table"] - ours["rows"] + ours["bad"]
    conditions = {
        f"rate {ratio:.2f} of the bare one, {NEEDED_RATE} needed": ratio >= NEEDED_RATE,
        f"peak memory {ours['peak'] / 1e9:.2f} GB, {MOST_MEMORY / 1e9} at most": ours["peak"] <= MOST_MEMORY,
        f"of {len(bare['digests'])} unions compared, {differ} differ; rows lost: {lost}": not differ and not lost,
    }
    for said, holds in conditions.items():
        print(f"{'yes' if holds else 'NO '}  {said}")
    return 0 if all(conditions.values()) else 1


def line_of(name: str, counted: dict[str, Any], seconds: list[float], memory: str = "") -> str:
    """Return one line of the table; the rate is that of core seconds."""
    rows, (core, wall) = counted["rows"], seconds
    return f"| {name} | {rows:,} | {counted['photos']:,} | {core:.1f} | {wall:.1f} | {rows / core:,.0f} | {memory} |"


# The two ways to read


def read_all(folder: Path) -> dict[str, Any]:
    """Read and decode everything through harmonygen."""
    from harmonygen.data.segmentations import read_segmentations
    from harmonygen.pictures.masks import decode_segmentation
    from harmonygen.records import SegmentSource

    clock = Clock()
    found = read_segmentations(folder)
    read, clock = clock.read(), Clock()
    digests: dict[str, str] = {}
    for pair in found:
        assert isinstance(pair.mask, SegmentSource)
        mask = decode_segmentation(pair.mask)
        if len(digests) < COMPARED:
            digests[pair.real_id] = digest_of(mask)
    decode = clock.read()
    return {
        "rows": sum(int(pair.extra["segments"]) for pair in found),
        "photos": len(found),
        "bad": len(found.bad),
        "read": read,
        "decode": decode,
        "peak": highest_memory(),
        "digests": digests,
    }


def highest_memory() -> int:
    """Return the most memory this process has held, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def decode_bare(folder: Path, every: int) -> dict[str, Any]:
    """Decode the string of every so many rows the plain way, and, not timed, those of the photos to compare."""
    csv.field_size_limit(2**30)
    unions: dict[str, npt.NDArray[np.bool_]] = {}
    names, rows, number = set(), 0, 0
    core, wall = 0.0, 0.0
    with (folder / "train.csv").open(newline="") as opened:
        for number, row in enumerate(csv.DictReader(opened), 1):
            name, timed = row["ImageId"], number % every == 0
            if not timed and int(name) >= COMPARED:
                continue
            clock = Clock()
            mask = bare(row["EncodedPixels"], int(row["Height"]), int(row["Width"]))
            if timed:
                core, wall = (total + part for total, part in zip((core, wall), clock.read(), strict=True))
                rows += 1
                names.add(name)
            if int(name) < COMPARED:
                unions[name] = unions.get(name, False) | mask.astype(bool)
    digests = {name: digest_of(mask) for name, mask in unions.items()}
    return {"in_table": number, "rows": rows, "photos": len(names), "seconds": (core, wall), "digests": digests}


def bare(encoded: str, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Decode one row as everybody does."""
    from pycocotools import mask as coco

    numbers = [int(text) for text in encoded.split()]
    counts, place = [], 0
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        counts += [start - 1 - place, length]
        place = start - 1 + length
    counts.append(height * width - place)
    decoded: npt.NDArray[np.uint8] = coco.decode(
        coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    )
    return decoded


def digest_of(mask: npt.NDArray[Any]) -> str:
    """Return a digest of a mask's shape and pixels."""
    return hashlib.sha256(repr(mask.shape).encode() + np.packbits(mask.astype(bool)).tobytes()).hexdigest()


# The synthetic folder


def make_folder(folder: Path, rows: int, shuffle: bool, seed: int) -> int:
    """Write ``train.csv`` and a header-only JPEG a photo; return the number of runs."""
    photos = max(1, round(rows * PHOTOS / ROWS))
    draws = np.random.default_rng(seed)
    short = draws.integers(800, 2001, photos)
    long = np.minimum(3000, (short * draws.uniform(1.2, 1.6, photos)).astype(int))
    upright = draws.random(photos) < 0.85
    heights, widths = np.where(upright, long, short), np.where(upright, short, long)
    owners = np.sort(np.concatenate([np.arange(photos), draws.integers(0, photos, rows - photos)]))
    order = draws.permutation(rows) if shuffle else np.arange(rows)
    write_photos(folder / "train", heights, widths)
    runs = 0
    with (folder / "train.csv").open("w", newline="") as opened:
        written = csv.writer(opened, lineterminator="\n")
        written.writerow(HEAD)
        for number in order.tolist():
            photo = int(owners[number])
            numbers = garment(np.random.default_rng((seed, number)), int(heights[photo]), int(widths[photo]))
            runs += len(numbers) // 2
            encoded = " ".join(map(str, numbers))
            written.writerow([f"{photo:05d}", encoded, heights[photo], widths[photo], number % 46, "115,138"])
    return runs


def garment(rng: np.random.Generator, height: int, width: int) -> list[int]:
    """Return the runs of a blob with a ragged border: from small parts to most of the photo's width, some with gaps."""
    span = max(4, int(width * min(0.85, rng.lognormal(math.log(0.13), 0.75))))
    tall = max(8, int(height * min(0.8, rng.lognormal(math.log(0.2), 0.6))))
    left, top = int(rng.integers(0, width - span)), int(rng.integers(0, height - tall))
    bulge = np.sqrt(1 - np.linspace(-0.98, 0.98, span) ** 2)
    lengths = np.maximum(4, bulge * tall * rng.uniform(0.85, 1.0, span)).astype(np.int64)
    starts = (left + np.arange(span)) * height + top + (tall - lengths) // 2 + 1
    gap = (rng.random(span) < 0.15) & (lengths >= 12)
    thirds = np.where(gap, lengths // 3, 0)
    table = np.stack([starts, np.where(gap, thirds, lengths), starts + 2 * thirds, thirds], axis=1).reshape(-1, 2)
    kept: list[int] = table[table[:, 1] > 0].ravel().tolist()
    return kept


def write_photos(folder: Path, heights: npt.NDArray[Any], widths: npt.NDArray[Any]) -> None:
    """Write the smallest JPEG under each photo's name, with the photo's size in its header."""
    folder.mkdir()
    held = io.BytesIO()
    Image.new("RGB", (8, 8)).save(held, "JPEG")
    small = held.getvalue()
    place = small.index(b"\xff\xc0") + 5  # marker 2, length 2, precision 1; then height and width
    for number, (height, width) in enumerate(zip(heights.tolist(), widths.tolist(), strict=True)):
        size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
        (folder / f"{number:05d}.jpg").write_bytes(small[:place] + size + small[place + 4 :])


if __name__ == "__main__":
    raise SystemExit(main())
