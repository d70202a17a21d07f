"""Read authentic composites with their photos for the benchmarks, brought to one size, one in memory at a time."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from harmonygen import recipes
from harmonygen.data import read_pairs
from harmonygen.data.composites import composites_of
from harmonygen.pictures.images import ImageU8, Mask, read_image, resize
from harmonygen.pictures.masks import read_mask
from harmonygen.pictures.photo import shrink_mask
from harmonygen.records import ReadOptions
from harmonygen.training.composites import OnTheFlyComposites
from harmonygen.training.photos import BadSamples, load_photos
from harmonygen.training.settings import ClassifierTraining, ParametricTraining
from harmonygen.training.sources import select_split

LONGEST = 512
MADE = 256
"""Side of the squares of :func:`made_cases`, in pixels."""


@dataclass(frozen=True)
class Case:
    """A composite and its real photo (H, W, 3) uint8 with the mask (H, W) bool; ``photo`` names the photo."""

    name: str
    photo: str
    composite: ImageU8
    real: ImageU8
    mask: Mask


@contextmanager
def dataset(path: Path) -> Iterator[Path]:
    """Yield the folder of a dataset: the path itself, or what a tar file holds, unpacked for the time being."""
    if path.suffix != ".tar":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder, tarfile.open(path) as packed:
        packed.extractall(folder, filter="data")
        yield Path(folder)


def cases(folder: Path, longest: int | None = LONGEST, limit: int | None = None) -> Iterator[Case]:
    """Yield the test composites of a dataset, evenly spaced if limited, shrunk to a longest side in pixels."""
    found = composites_of(folder, role="test").composites
    for each in found[:: max(1, len(found) // limit)][:limit] if limit else found:
        if each.real is None:
            continue
        decoded = read_image(each.real)
        mask = read_mask(each.mask, decoded, "nearest")
        yield sized(Case(each.name, each.real_id, read_image(each.composite).image_u8, decoded.image_u8, mask), longest)


def made_cases(recipe: str, data: Path, split_file: Path, split: str, count: int, side: int = MADE) -> Iterator[Case]:
    """Yield composites of held-out photos, made and sent through the chain of formats as a training recipe says.

    Photo and composite of a case went through one chain. A photo counts as the group of all its composites.
    """
    kept = {key: value for key, value in recipes.load(recipe).items() if key in ("composites", "chain", "seed")}
    judged = {"grade_real", "change_background"} & kept["composites"].keys()
    kind = ClassifierTraining if judged else ParametricTraining
    settings = kind(data=str(data), resolution=side, crop="square", **kept)
    pairs = select_split(list(read_pairs(str(data), reading=ReadOptions(allow_outside=True))), split_file, split)
    photos, _ = load_photos(pairs, side, True, BadSamples(Path("unused"), len(pairs), 0.0))
    made = OnTheFlyComposites(photos, settings, f"bench-{split}", augment=False)
    for index in range(count):
        photo, sample = made.named(index)
        real, composite = (
            (sample[name].permute(1, 2, 0).numpy() * 127.5 + 127.5).round().astype(np.uint8)
            for name in ("real", "composite")
        )
        yield Case(f"{photo}-{index}", photo, composite, real, sample["mask"][0].numpy() > 0.5)


def sized(case: Case, longest: int | None) -> Case:
    """Return a case shrunk to a longest side; a smaller one is left as it is."""
    height, width = case.mask.shape
    scale = 1.0 if longest is None else min(1.0, longest / max(height, width))
    size = round(height * scale), round(width * scale)
    composite, real = resize(case.composite, *size), resize(case.real, *size)
    return Case(case.name, case.photo, composite, real, shrink_mask(case.mask, *size))


def reencoded(image_u8: ImageU8, kind: str, quality: int = 90) -> ImageU8:
    """Return a picture after one of :data:`FORMATS`."""
    if kind == "as stored":
        return image_u8
    height, width = image_u8.shape[:2]
    if kind == "half and back":
        return resize(resize(image_u8, max(1, height // 2), max(1, width // 2)), height, width)
    buffer = io.BytesIO()
    options = {"WebP": {"format": "WEBP"}, "JPEG 4:4:4": {"format": "JPEG", "subsampling": 0}}
    Image.fromarray(image_u8).save(buffer, quality=quality, **options.get(kind, {"format": "JPEG", "subsampling": 2}))
    return np.array(Image.open(buffer).convert("RGB"))


FORMATS = ("as stored", "JPEG 4:2:0", "JPEG 4:4:4", "WebP", "half and back")
