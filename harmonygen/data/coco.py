"""Read COCO instances JSON: one pair for each annotation (polygons or RLE, crowds too).

Photos are looked for beside the JSON and in the folders COCO itself uses. Segmentations are decoded, through
pycocotools, only when the pair is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harmonygen.data.files import bad, entries
from harmonygen.data.ids import refuse_unsafe, safe_id
from harmonygen.data.pairset import PairSet
from harmonygen.errors import StorageError, UsageError
from harmonygen.records import FileSource, Pair, Quarantined, SegmentSource

KEYS = ("images", "annotations")
PHOTO_FOLDERS = ("images", "photos", "train", "val", "data")
_PROBED = 50  # photos looked for to choose the folder


def matches(path: Path) -> bool:
    """Tell whether a path is a COCO instances file, or holds exactly one (also in ``annotations/``)."""
    return len(instance_files(path)) == 1


def instance_files(path: Path) -> list[Path]:
    """Return the JSON files that ``path`` is or holds, there or in ``annotations/``, with COCO's keys."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" and _has_keys(path) else []
    folders = [folder for folder in (path, path / "annotations") if folder.is_dir()]
    files = [folder / entry.name for folder in folders for entry in entries(folder) if entry.is_file()]
    return [file for file in files if file.suffix.lower() == ".json" and _has_keys(file)]


def _has_keys(path: Path) -> bool:
    """Look for COCO's keys in the bytes, so that other JSON beside it is passed over without being parsed."""
    try:
        raw = path.read_bytes()
    except OSError:
        return False
    return all(f'"{key}"'.encode() in raw for key in KEYS) and b'"segmentation"' in raw


def read_coco(data: Path, photos: Path | None = None) -> PairSet:
    """Read a COCO instances file; annotations of unknown photos or without a mask go to ``PairSet.bad``.

    Args:
        data: the JSON file, or a folder that holds one.
        photos: the folder of the photos; looked for if not given.

    Raises:
        UsageError: not one JSON file with ``images`` and ``annotations``, or no photo is found.
    """
    found = instance_files(data)
    if len(found) != 1:
        named = ", ".join(f"'{file}'" for file in found) or "none"
        raise UsageError(f"'{data}' is not one COCO instances file (found {named}): name one .json")
    images, annotations = load_instances(found[0])
    folder = photos or _photo_folder(found[0], [str(image["file_name"]) for image in images.values()])
    pairs, faults = pair_instances(images, annotations, folder)
    return PairSet(tuple(pairs), "coco", found[0], tuple(faults))


def load_instances(path: Path) -> tuple[dict[Any, dict[str, Any]], list[dict[str, Any]]]:
    """Load a COCO file: its images by id and its annotations.

    Raises:
        UsageError: not JSON, or images without ``id`` and ``file_name``.
        StorageError: it cannot be read.
    """
    try:
        whole = json.loads(path.read_bytes())
        images = {image["id"]: image for image in whole["images"]}
        names = [str(image["file_name"]) for image in images.values()]
        annotations: list[dict[str, Any]] = list(whole["annotations"])
    except OSError as error:
        raise StorageError(f"cannot read '{path}': {error.strerror or error}: check the path") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"'{path}' is not COCO instances JSON ({type(error).__name__} {error}): images need id and file_name, "
            "annotations image_id and segmentation"
        ) from error
    refuse_unsafe((_photo_id(name) for name in names), "photo name")
    return images, annotations


def _photo_id(file_name: str) -> str:
    """Return a photo's id: its file name without suffix, folders joined by dashes."""
    return os.path.splitext(file_name)[0].replace("/", "-") if not file_name.startswith("/") else file_name


def _photo_folder(path: Path, names: list[str]) -> Path:
    """Choose, of the folders photos may lie in, the one that has most of the first ones."""
    split = path.stem.rpartition("_")[2]  # instances_train2017.json -> train2017
    above = [path.parent, path.parent.parent] if path.parent.name == "annotations" else [path.parent]
    places = [base / inner for base in above for inner in ("", *PHOTO_FOLDERS, split, f"images/{split}")]
    hits = {place: sum((place / name).is_file() for name in names[:_PROBED]) for place in places if place.is_dir()}
    best = max(hits, key=lambda place: hits[place])
    if names and not hits[best]:
        looked = ", ".join(f"'{place}'" for place in hits)
        raise UsageError(f"no photo of '{path}' (first '{names[0]}') was found in {looked}: put them in one of these")
    return best


def pair_instances(
    images: Mapping[Any, Mapping[str, Any]], annotations: Iterable[Mapping[str, Any]], photos: Path
) -> tuple[list[Pair], list[Quarantined]]:
    """Make a pair of each annotation, sorted by id; return those that cannot be one beside them.

    ``mask_id`` is the annotation's ``name`` if it has one (the sample's have), else its ``id``.
    """
    pairs, faults = [], []
    for number, annotation in enumerate(annotations):
        label = str(annotation.get("name") or annotation.get("id", f"number {number}"))
        why = _fault(annotation, images)
        if why:
            faults.append(bad(f"annotation {label}", f"annotation {label} {why}: fix or drop it"))
        else:
            pairs.append(_pair(images[annotation["image_id"]], annotation, label, photos))
    return sorted(pairs, key=lambda pair: pair.pair_id), faults


def _fault(annotation: Mapping[str, Any], images: Mapping[Any, Mapping[str, Any]]) -> str:
    image = images.get(annotation.get("image_id"))
    if image is None:
        return f"is of image {annotation.get('image_id')!r}, which the file does not list"
    if not annotation.get("segmentation"):
        return "has no segmentation (only a box?)"
    if not (isinstance(image.get("height"), int) and isinstance(image.get("width"), int)):
        return f"is of image {image['file_name']!r}, which has no whole height and width"
    return ""


def _pair(image: Mapping[str, Any], annotation: Mapping[str, Any], label: str, photos: Path) -> Pair:
    file_name = str(image["file_name"])
    real_id, mask_id = safe_id(_photo_id(file_name)), safe_id(label).replace("_", "-")
    segmentation = json.dumps(annotation["segmentation"])
    return Pair(
        pair_id=f"{real_id}_{mask_id}",
        real_id=real_id,
        mask_id=mask_id,
        real=FileSource(photos / file_name),
        mask=SegmentSource(segmentation, image["height"], image["width"], f"{file_name}, annotation {label}"),
        extra={"category_id": str(annotation["category_id"])} if "category_id" in annotation else {},
    )
