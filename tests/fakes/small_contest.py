"""A small contest folder for build-human-harmony, and what a build wrote."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from skimage import data

from harmonygen.pictures.masks import mask_to_runs

PHOTOS = 12


def crop(index: int) -> Image.Image:
    """A different 96 x 80 piece of a real photo for each index."""
    source = (data.astronaut(), data.coffee(), data.chelsea())[index % 3]
    top, left = 23 * index % 120, 31 * index % 140
    return Image.fromarray(source[top : top + 160, left : left + 192]).resize((96, 80))


def rows_for(name: str, boxes: list[tuple[int, int, int, int]]) -> Iterator[list[Any]]:
    """Rows of the contest's table: one segment a box, its class the box's number."""
    for number, (top, bottom, left, right) in enumerate(boxes):
        mask = np.zeros((80, 96), bool)
        mask[top:bottom, left:right] = True
        yield [name, mask_to_runs(mask), 80, 96, number, "3,7" if number else ""]


def write_contest(root: Path) -> Path:
    """12 photos: photo0b is a copy of photo00 encoded anew, `speck` has a foreground of 0.4 % of the photo."""
    (root / "train").mkdir(parents=True)
    names = [f"photo{index:02d}" for index in range(PHOTOS - 2)]
    with open(root / "train.csv", "w", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(["ImageId", "EncodedPixels", "Height", "Width", "ClassId", "AttributesIds"])
        for index, name in enumerate(names):
            crop(index).save(root / "train" / f"{name}.jpg", quality=95)
            table.writerows(rows_for(name, [(10, 40 + index, 10, 60), (30, 60, 40, 70 + index)]))
        crop(0).save(root / "train" / "photo0b.jpg", quality=70)
        table.writerows(rows_for("photo0b", [(10, 40, 10, 60)]))
        crop(11).save(root / "train" / "speck.jpg", quality=95)
        table.writerows(rows_for("speck", [(10, 15, 10, 16)]))
    entries = [
        {"id": number, "name": name, "supercategory": "upperbody", "level": 2} for number, name in enumerate("ab")
    ]
    (root / "label_descriptions.json").write_text(json.dumps({"categories": entries, "attributes": []}))
    return root


def write_coco(root: Path, names: tuple[str, ...] = ("cat", "dog", "cup", "bird"), photos: int = 4) -> Path:
    """A COCO file of one box a photo, whose class is the photo's number, beside its photos."""
    root.mkdir(parents=True)
    images, annotations = [], []
    for index in range(photos):
        crop(index).save(root / f"p{index}.jpg", quality=95)
        images.append({"id": index, "file_name": f"p{index}.jpg", "width": 96, "height": 80})
        box = [[10, 10, 60, 10, 60, 50 + index, 10, 50 + index]]
        annotations.append({"id": index, "image_id": index, "category_id": 1 + index % len(names), "segmentation": box})
    categories = [{"id": 1 + number, "name": name, "supercategory": "thing"} for number, name in enumerate(names)]
    path = root / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def read(out: Path, config: str = "data") -> dict[str, list[dict[str, Any]]]:
    """Rows of a build by split."""
    return {
        split: [row for path in sorted((out / config).glob(f"{split}-*")) for row in pq.read_table(path).to_pylist()]
        for split in ("train", "test")
    }
