"""The built-in sample: photos inside the scikit-image wheel with hand-made masks that ship with harmonygen.

It is also written out on demand, in iHarmony4 layout and as an iMaterialist folder, so that every verb runs with no
argument. Ids are the same in all three: ``Sample/astronaut_head`` is mask ``head`` of photo ``astronaut``.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from harmonygen.data.coco import load_instances, pair_instances
from harmonygen.data.composite_names import COMPOSITES, MASKS, REALS
from harmonygen.data.imaterialist import COLUMNS, PHOTOS, TABLE
from harmonygen.errors import StorageError, UsageError
from harmonygen.pictures.images import ImageU8, Mask, decode, encode, read_bytes, read_image
from harmonygen.pictures.masks import mask_to_runs, read_mask
from harmonygen.records import Pair, PairSet
from harmonygen.seeds import numpy_rng
from harmonygen.storage.remote import cache_folder

SampleLayout = Literal["iharmony4", "imaterialist"]
Split = Literal["train", "test", "all"]

SUBSET = "Sample"
TEST_PHOTOS = frozenset({f"{SUBSET}/rocket"})
STAMP = ".harmonygen-sample.json"
_FORMAT = 1  # raise it when the written files change


def instances_path() -> Path:
    """Return the path of the sample's COCO instances file."""
    return Path(str(files("harmonygen") / "assets" / "sample" / "instances.json"))


def photo_folder() -> Path:
    """Return scikit-image's data folder, without importing scikit-image.

    Raises:
        StorageError: scikit-image is not installed.
    """
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise StorageError("the sample's photos are in scikit-image, which is not installed: pip install scikit-image")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def read_sample(split: Split = "train") -> PairSet:
    """Read the sample's pairs: of the training photos, as the iHarmony4 layout's default list is, or of others.

    >>> len({pair.real_id for pair in read_sample()}), len({pair.real_id for pair in read_sample("test")})
    (3, 1)
    """
    found, faults = pair_instances(load_instances(instances_path()), photo_folder())
    pairs = [pair for pair in map(_in_subset, found) if split == "all" or _split(pair) == split]
    return PairSet(tuple(pairs), "sample", photo_folder(), tuple(faults))


def read_written_sample() -> PairSet:
    """Read the training pairs of the sample as it is laid out in the cache, in iHarmony4 layout.

    So candidates of ``sample`` have the very photos that ``augment`` mixes them into.

    Raises:
        StorageError: the cache cannot be written.
    """
    from harmonygen.data.iharmony4 import read_iharmony4

    return replace(read_iharmony4(cached_sample(cache_folder())), layout="sample")


def _in_subset(pair: Pair) -> Pair:
    return replace(pair, pair_id=f"{SUBSET}/{pair.pair_id}", real_id=f"{SUBSET}/{pair.real_id}", subset=SUBSET)


def _split(pair: Pair) -> Split:
    return "test" if pair.real_id in TEST_PHOTOS else "train"


@lru_cache(maxsize=1)
def sample_version() -> str:
    """Return 12 hex digits that change with the masks, the photos' package or the way the sample is written."""
    parts = [instances_path().read_bytes(), version("scikit-image").encode(), str(_FORMAT).encode()]
    return hashlib.blake2b(b"\0".join(parts), digest_size=6).hexdigest()


def cached_sample(cache: str | Path, layout: SampleLayout = "iharmony4") -> Path:
    """Return the sample written out under ``cache``, in a folder named by its version; written once.

    Raises:
        UsageError: an unknown layout.
        StorageError: the folder cannot be written.
    """
    return write_sample(Path(cache) / f"sample-{layout}-{sample_version()}", layout)


def write_sample(folder: str | Path, layout: SampleLayout = "iharmony4") -> Path:
    """Write the sample to ``folder``, whole or not at all; a folder that already holds this version is left as it is.

    Args:
        folder: a new or empty folder.
        layout: ``iharmony4`` (subset ``Sample``, two composites a pair, train and test lists disjoint by photo) or
            ``imaterialist`` (``train.csv``, ``label_descriptions.json``, ``train/<ImageId>.jpg``).

    Raises:
        UsageError: an unknown layout, or a folder that holds something else.
        StorageError: the folder cannot be written.
    """
    if layout not in get_args(SampleLayout):
        raise UsageError(f"sample layout '{layout}' is not known: use one of {', '.join(get_args(SampleLayout))}")
    final, stamp = Path(folder), {"layout": layout, "version": sample_version()}
    if (final / STAMP).is_file():
        if json.loads((final / STAMP).read_text(encoding="utf-8")) == stamp:
            return final
        raise UsageError(f"'{final}' holds another version of the sample: delete it or choose another folder")
    if final.exists() and (not final.is_dir() or any(final.iterdir())):
        raise UsageError(f"'{final}' holds something else: choose a new or empty folder for the sample")
    _write_whole(final, layout, json.dumps(stamp))
    return final


def _write_whole(final: Path, layout: SampleLayout, stamp: str) -> None:
    """Write beside ``final``, then rename; another process that was quicker wins."""
    from harmonygen.storage.shards import storage_errors, whole_folder

    write = {"iharmony4": write_iharmony4, "imaterialist": write_imaterialist}[layout]
    with storage_errors(f"the sample in '{final}'"):
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            with whole_folder(final) as temporary:
                write(temporary)
                (temporary / STAMP).write_text(stamp, encoding="utf-8")
        except OSError:  # not empty any more
            if not (final / STAMP).is_file():
                raise


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

    Each pair has one composite per method of ``COMPOSITE_METHODS``, coloured after another photo's foreground.
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
        photo = decode(written[name], name, as_stored=True)  # as the tree's readers take it
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
