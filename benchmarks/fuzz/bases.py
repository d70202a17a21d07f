"""Small whole data sets, one in each layout that is read, of 24 x 20 pixels a photo."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

HEIGHT, WIDTH = 20, 24
NAMES = ("ann", "ben", "cat")
BOX = (6, 14, 8, 18)  # top, bottom, left, right of each foreground


def photo(number: int) -> Image.Image:
    """A photo of smooth colours, another for each number."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    channels = [128 + 90 * np.sin(x / 5 + number + c) * np.cos(y / (4 + c)) for c in range(3)]
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


def mask() -> Image.Image:
    """A box of foreground."""
    top, bottom, left, right = BOX
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[top:bottom, left:right] = 255
    return Image.fromarray(values)


def folders(root: Path) -> Path:
    """images/ beside masks/."""
    for inner in ("images", "masks"):
        (root / inner).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        photo(number).save(root / "images" / f"{name}.{'jpg' if number else 'png'}")
        mask().save(root / "masks" / f"{name}.png")
    return root


def _polygon() -> list[float]:
    top, bottom, left, right = BOX
    return [left, top, right, top, right, bottom, left, bottom]


def coco(root: Path) -> Path:
    """instances.json beside the photos: polygons, and one run-length code."""
    root.mkdir(parents=True)
    top, bottom, left, right = BOX
    counts = [left * HEIGHT + top]
    for _ in range(right - left - 1):
        counts += [bottom - top, HEIGHT - (bottom - top)]
    counts += [bottom - top]
    counts += [HEIGHT * WIDTH - sum(counts)]
    segmentations = [[_polygon()], [_polygon()], {"size": [HEIGHT, WIDTH], "counts": counts}]
    images, annotations = [], []
    for number, (name, segmentation) in enumerate(zip(NAMES, segmentations, strict=True)):
        photo(number).save(root / f"{name}.png")
        images.append({"id": number, "file_name": f"{name}.png", "height": HEIGHT, "width": WIDTH})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "segmentation": segmentation})
    told = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (root / "instances.json").write_text(json.dumps(told))
    return root


def table(root: Path) -> Path:
    """pairs.csv with the columns real and mask."""
    folders(root)
    with (root / "pairs.csv").open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["real", "mask"])
        rows.writerows(
            [f"images/{found.name}", f"masks/{found.stem}.png"] for found in sorted((root / "images").iterdir())
        )
    return root / "pairs.csv"


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def parquet(root: Path) -> Path:
    """One Parquet file whose columns real and mask hold bytes and a path."""
    root.mkdir(parents=True)
    cells = {
        "real": [{"bytes": _png(photo(number)), "path": f"{name}.png"} for number, name in enumerate(NAMES)],
        "mask": [{"bytes": _png(mask()), "path": f"{name}-m.png"} for name in NAMES],
    }
    pq.write_table(pa.table(cells), root / "train.parquet")
    return root


def iharmony4(root: Path) -> Path:
    """One subset with composites, masks, photos and a list."""
    subset = root / "HFake"
    for inner in ("composite_images", "masks", "real_images"):
        (subset / inner).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        photo(number).save(subset / "real_images" / f"{name}.jpg")
        photo(number + 5).save(subset / "composite_images" / f"{name}_1_1.jpg")
        mask().save(subset / "masks" / f"{name}_1.png")
    lines = [f"HFake/composite_images/{name}_1_1.jpg" for name in NAMES]
    (root / "IHD_train.txt").write_text("\n".join(lines[:2]) + "\n")
    (root / "IHD_test.txt").write_text("\n".join(lines[2:]) + "\n")
    return root


def imaterialist(root: Path) -> Path:
    """train.csv with runs beside train/."""
    (root / "train").mkdir(parents=True)
    top, bottom, left, right = BOX
    runs = " ".join(f"{column * HEIGHT + top + 1} {bottom - top}" for column in range(left, right))
    with (root / "train.csv").open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["ImageId", "EncodedPixels", "Height", "Width", "ClassId"])
        for number, name in enumerate(NAMES):
            photo(number).save(root / "train" / f"{name}.jpg")
            rows.writerow([name, runs, HEIGHT, WIDTH, number])
    return root


BASES: dict[str, Callable[[Path], Path]] = {
    each.__name__: each for each in (folders, coco, table, parquet, iharmony4, imaterialist)
}
