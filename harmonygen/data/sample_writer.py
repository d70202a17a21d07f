"""Write the built-in sample as an iHarmony4 tree or an iMaterialist folder (see harmonygen.data.sample)."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harmonygen.data.iharmony4 import COMPOSITES, MASKS, REALS
from harmonygen.data.imaterialist import COLUMNS, PHOTOS, TABLE
from harmonygen.data.sample import SUBSET, TEST_PHOTOS, instances_path, read_sample
from harmonygen.pictures.images import ImageU8, Mask, decode, encode, read_bytes, read_image
from harmonygen.pictures.masks import mask_to_runs, read_mask
from harmonygen.records import Pair
from harmonygen.seeds import numpy_rng

COMPOSITE_METHODS = ("reinhard", "fecker")  # one composite each; the two of iHarmony4's methods that are not random


@dataclass(frozen=True, slots=True)
class _Picture:
    """A pair decoded: its photo as it is written (JPEG), and its mask."""

    pair: Pair
    real_u8: ImageU8
    mask: Mask

    @property
    def name(self) -> str:
        return self.pair.pair_id.partition("/")[2]

    @property
    def photo(self) -> str:
        return self.pair.real_id.partition("/")[2]


def write_iharmony4(root: Path) -> None:
    """Write ``Sample/{composite_images,masks,real_images}`` and the lists into the empty folder ``root``.

    Each pair has one composite a method of ``COMPOSITE_METHODS``, coloured after another photo's foreground.
    """
    for kind in (COMPOSITES, MASKS, REALS):
        (root / SUBSET / kind).mkdir(parents=True)
    pictures = _write_photos(root / SUBSET / REALS)
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for picture in pictures:
        (root / SUBSET / MASKS / f"{picture.name}.png").write_bytes(encode(picture.mask.astype(np.uint8) * 255))
        split = "test" if picture.pair.real_id in TEST_PHOTOS else "train"
        for variant, method in enumerate(COMPOSITE_METHODS, 1):
            line = f"{SUBSET}/{COMPOSITES}/{picture.name}_{variant}.jpg"
            (root / line).write_bytes(encode(_recoloured(picture, pictures, method), "jpeg"))
            lines[split].append(line)
    for split, named in lines.items():
        for stem in ("IHD", SUBSET):
            (root / f"{stem}_{split}.txt").write_text("".join(f"{line}\n" for line in named), encoding="utf-8")


def _write_photos(folder: Path) -> list[_Picture]:
    """Write each photo once as JPEG (a JPEG file as it is) and return all pairs decoded from what was written."""
    written: dict[str, bytes] = {}
    pictures = []
    for pair in read_sample("all"):
        name = pair.real_id.partition("/")[2]
        if name not in written:
            written[name] = _as_jpeg(pair)
            (folder / f"{name}.jpg").write_bytes(written[name])
        photo = decode(written[name], name)
        pictures.append(_Picture(pair, photo.image_u8, read_mask(pair.mask, photo)))
    return pictures


def _as_jpeg(pair: Pair) -> bytes:
    is_jpeg = str(pair.real).lower().endswith((".jpg", ".jpeg"))
    return read_bytes(pair.real) if is_jpeg else encode(read_image(pair.real).image_u8, "jpeg")


def _recoloured(picture: _Picture, pictures: Sequence[_Picture], method: str) -> ImageU8:
    """Return a composite of ``picture`` with the colours of a seeded choice among the other photos' foregrounds."""
    from harmonygen.recolor import transfer_foreground

    rng = numpy_rng("sample", picture.name, method)
    others = [other for other in pictures if other.photo != picture.photo]
    reference = others[int(rng.integers(len(others)))]
    return transfer_foreground(picture.real_u8, picture.mask, reference.real_u8, reference.mask, method, rng)


def write_imaterialist(root: Path) -> None:
    """Write ``train.csv``, ``label_descriptions.json`` and ``train/*.jpg`` into the empty folder ``root``."""
    whole = json.loads(instances_path().read_text(encoding="utf-8"))
    (root / PHOTOS).mkdir()
    pictures = _write_photos(root / PHOTOS)
    (root / "label_descriptions.json").write_text(json.dumps(_labels(whole), indent=1) + "\n", encoding="utf-8")
    with (root / TABLE).open("w", encoding="utf-8", newline="") as opened:
        rows = csv.writer(opened, lineterminator="\n")
        rows.writerow([*COLUMNS, "AttributesIds"])
        for picture in pictures:
            height, width = picture.mask.shape
            rows.writerow(
                [picture.photo, mask_to_runs(picture.mask), height, width, picture.pair.extra["category_id"], ""]
            )


def _labels(whole: dict[str, Any]) -> dict[str, Any]:
    categories = [
        {"id": each["id"], "name": each["name"], "supercategory": each.get("supercategory", ""), "level": 2}
        for each in whole["categories"]
    ]
    return {"info": {"description": "harmonygen's built-in sample"}, "categories": categories, "attributes": []}
