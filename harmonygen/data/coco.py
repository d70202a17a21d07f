"""Read COCO instances JSON (polygons or RLE, crowds too): one pair an annotation, or one per photo, united.

Photos are looked for beside the JSON and in the folders COCO itself uses. The file is read element by element. The
segmentation of a single annotation is decoded only when its pair is; where annotations are united, each is checked.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from harmonygen.data.categories import Categories, to_categories
from harmonygen.data.files import OnDisk, bad, entries, home_of, is_file, subfolders
from harmonygen.data.headers import turned_photos
from harmonygen.data.ids import refuse_unsafe, safe_id
from harmonygen.data.orientation import canvas, chosen_way, decide, shows_segment
from harmonygen.data.photo_masks import NO_SEGMENT, Unions
from harmonygen.data.splits import Split, choose, note, passed, split_of, split_of_folder
from harmonygen.errors import InputError, StorageError, UsageError, listed
from harmonygen.pictures.images import MAX_PIXELS
from harmonygen.pictures.masks import to_rle
from harmonygen.records import FileSource, Orientation, Pair, PairSet, PassedOver, Quarantined, SegmentSource

KEYS = ("images", "annotations")
_LONGEST_KEY = 16  # bytes of a key with its quotes, which may lie over two chunks
PHOTO_FOLDERS = ("images", "photos", "train", "val", "test", "data", "valid", "validation", "img", "JPEGImages")
_PROBED = 50  # photos looked for to choose the folder


@dataclass(frozen=True)
class Instances:
    """A COCO file: its images by id, its categories, and its annotations, read again each time they are asked for."""

    path: Path
    images: Mapping[Any, Mapping[str, Any]]
    categories: Categories
    notes: tuple[str, ...] = ()

    def annotations(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each annotation with its label: its ``name`` if it has one (the sample's have), else its ``id``."""
        with _json_errors(self.path):
            for key, elements in read_arrays(self.path):
                for number, each in enumerate(elements if key == "annotations" else ()):
                    known = each if isinstance(each, dict) else {}
                    yield str(known.get("name") or known.get("id", f"number {number}")), known

    def image_of(self, annotation: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the image of an annotation, None if the file does not list it."""
        image_id = annotation.get("image_id")
        return self.images.get(image_id) if isinstance(image_id, int | str) else None


def matches(path: Path) -> bool:
    """Return whether a path is a COCO instances file, or holds exactly one of the split that is read."""
    try:
        return len(instance_parts(path)[0]) == 1
    except UsageError:  # several splits and none to train on: the reader says so
        return False


def instance_parts(path: Path, split: Split = "train") -> tuple[list[Path], list[Path]]:
    """Return the instances files of a split, and those of others; ``instances_*`` goes before other names.

    Raises:
        UsageError: several splits, none of them for training.
    """
    found = instance_files(path)
    kept, others = choose(found, _split_of, split, str(path)) if len(found) > 1 else (found, [])
    called = [file for file in kept if file.name.lower().startswith("instances")]
    return (called, [*(file for file in kept if file not in called), *others]) if len(called) == 1 else (kept, others)


def _split_of(file: Path) -> Split:
    """Return the split of an instances file: by its name, else by its folder's (Roboflow's ``valid/``)."""
    return split_of(file.name) or split_of_folder(file.parent.name)


def instance_files(path: Path) -> list[Path]:
    """Return the JSON files with COCO's keys that ``path`` is or holds.

    Looked at: the folder, its ``annotations/``, and folders in it that are called by splits, as Roboflow's are.
    """
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" and _has_keys(path) else []
    if not path.is_dir():
        return []
    splits = [folder for folder in subfolders(path) if split_of_folder(folder.name)]
    folders = [folder for folder in (path, path / "annotations", *splits) if folder.is_dir()]
    files = [folder / entry.name for folder in folders for entry in entries(folder) if is_file(entry)]
    return [file for file in files if file.suffix.lower() == ".json" and _has_keys(file)]


def _has_keys(path: Path) -> bool:
    """Look for COCO's keys in the bytes, so that other JSON beside it is skipped without being parsed."""
    wanted = {f'"{key}"'.encode() for key in (*KEYS, "segmentation")}
    rest = b""
    try:
        with path.open("rb") as opened:
            while wanted and (chunk := opened.read(CHUNK)):
                text = rest + chunk
                wanted = {word for word in wanted if word not in text}
                rest = text[-_LONGEST_KEY:]
    except OSError:
        return False
    return not wanted


def read_coco(data: Path, photos: Path | None = None, split: Split = "train") -> PairSet:
    """Read a COCO instances file; annotations of unknown photos or without a mask go to ``PairSet.bad``.

    Photos without an annotation are in ``PairSet.left_out``.

    Args:
        data: the JSON file, or a folder that holds one.
        photos: the folder of the photos; looked for if not given.
        split: which file of a folder is read, where there are several.

    Raises:
        UsageError: not one JSON file with ``images`` and ``annotations``, ids twice, or no photo is found.
    """
    instances, folder, others = _open(data, photos, split)
    pairs, faults = pair_instances(instances, folder)
    paired = {pair.real_id for pair in pairs}
    unpaired = (name for name in dict.fromkeys(_names(instances)) if safe_id(_photo_id(name)) not in paired)
    left = tuple(bad(name, f"'{name}' has no annotation that makes a mask", NO_SEGMENT) for name in unpaired)
    found = PairSet(tuple(pairs), "coco", instances.path, tuple(faults), left)
    return _told(found, instances, others, (*instances.notes, *_labels_twice(pairs)))


def _told(found: PairSet, instances: Instances, others: Sequence[Path], notes: Sequence[str]) -> PairSet:
    """Add what is to be said about a file that was read, and of the files that were not."""
    read = _split_of(instances.path) if others else ""
    rows: tuple[PassedOver, ...] = tuple(passed(file, _split_of(file), read) for file in others)
    return replace(found, passed_over=rows, notes=(*note(rows, read), *notes), split=read)


def _labels_twice(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Say which annotation ids stand twice, of different photos; of one photo they collide, which is refused."""
    counts = Counter(pair.mask_id for pair in pairs)
    twice = [label for label, count in counts.items() if count > 1 and label.isdigit()]
    if not twice:
        return ()
    return (f"{len(twice)} annotation ids stand twice ({listed(twice)}): each is read, with the photo that it names",)


def read_coco_unions(
    data: Path, classes: str = "all", orientation: Orientation = "auto", anywhere: bool = False
) -> PairSet:
    """Read one pair per photo: the union of its annotations of the chosen classes; bad ones go to ``PairSet.bad``.

    Args:
        data: the JSON file, or a folder that holds one.
        classes: ``all``, ``garments``, or ids or names separated by commas (see :mod:`harmonygen.data.categories`).
        orientation: what polygons follow where EXIF turns a photo and neither sizes nor polygons tell.
        anywhere: read photos outside the data's folder too.

    Raises:
        UsageError: not one JSON file with ``images`` and ``annotations``, no photo is found, or unknown classes.
    """
    instances, folder, others = _open(data, None)
    within = None if anywhere else home_of(instances.path)
    canvases = _canvases(instances, folder, orientation, within)
    chosen = instances.categories.choose(classes)
    unions, seen = Unions("annotation"), set()
    for label, annotation in instances.annotations():
        name = str((instances.image_of(annotation) or {}).get("file_name", ""))
        seen.add(name)
        try:
            _unite(unions, label, annotation, instances, chosen, canvases)
        except InputError as error:
            unions.lose(name, label, str(error))
    found = unions.pair_set("coco", instances.path, partial(OnDisk().path, folder), _photo_id, within)
    unseen = [name for name in _names(instances) if name not in seen]
    without = tuple(bad(name, f"'{name}' has no annotation: it has no mask", NO_SEGMENT) for name in unseen)
    found = replace(found, left_out=found.left_out + without, classes=instances.categories.by_id)
    return _told(found, instances, others, instances.notes)


def _canvases(
    instances: Instances, folder: Path, orientation: Orientation, within: Path | None
) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the (height, width) that the polygons of photos on their side were drawn on, by photo and label."""
    names = set(_names(instances))
    heads = turned_photos(FileSource(folder / name, within=within) for name in names)
    turned = {path: head for path, head in heads.items() if head.on_its_side}
    if not turned:
        return {}
    found = []
    for label, annotation in instances.annotations():
        image = instances.image_of(annotation) or {}
        head, name = turned.get(folder / str(image.get("file_name", ""))), str(image.get("file_name", ""))
        if head is not None and not _fault(annotation, instances):
            size = image["height"], image["width"]
            found.append((name, label, size, head, shows_segment(annotation["segmentation"], size, head)))
    convention = decide([each[-1] for each in found]) if orientation == "auto" else chosen_way(orientation)
    return {(name, label): canvas(size, head, shown, convention) for name, label, size, head, shown in found}


def _unite(
    unions: Unions,
    label: str,
    annotation: Mapping[str, Any],
    instances: Instances,
    chosen: frozenset[int] | None,
    canvases: Mapping[tuple[str, str], tuple[int, int]],
) -> None:
    """Check an annotation and add it, if its class is chosen; raise InputError if it is bad."""
    why = _fault(annotation, instances) or _class_fault(annotation, instances.categories, chosen)
    if why:
        raise InputError(f"annotation {label} {why}: fix or drop it")
    class_id, image = annotation.get("category_id"), instances.images[annotation["image_id"]]
    name = str(image["file_name"])
    if chosen is not None and class_id not in chosen:
        unions.pass_over(name, int(annotation["category_id"]))
        return
    height, width = canvases.get((name, label), (image["height"], image["width"]))
    rle = to_rle(annotation["segmentation"], height, width, f"{name}, annotation {label}")
    unions.add(name, label, rle, class_id, annotation.get("attribute_ids") or ())


def _class_fault(annotation: Mapping[str, Any], categories: Categories, chosen: frozenset[int] | None) -> str:
    class_id, attributes = annotation.get("category_id"), annotation.get("attribute_ids") or ()
    if not isinstance(attributes, Sequence) or not all(isinstance(each, int) for each in attributes):
        return f"has attribute_ids {str(attributes)[:80]!r}, which are not a list of whole numbers"
    if class_id is None:
        return "" if chosen is None else "has no category_id"
    if not isinstance(class_id, int):
        return f"has category_id {str(class_id)[:80]!r}, which is not a whole number"
    why = categories.fault(class_id)
    return f"cannot be told: {why}" if why else ""


def _open(data: Path, photos: Path | None, split: Split = "train") -> tuple[Instances, Path, list[Path]]:
    found, others = instance_parts(data, split)
    if len(found) != 1:
        named = ", ".join(f"'{file}'" for file in found) or "none"
        raise UsageError(f"'{data}' is not one COCO instances file (found {named}): name one .json")
    instances = load_instances(found[0])
    return instances, photos or _photo_folder(found[0], _names(instances)), others


def _names(instances: Instances) -> list[str]:
    return [str(image["file_name"]) for image in instances.images.values()]


def load_instances(path: Path) -> Instances:
    """Load a COCO file's images and categories.

    Raises:
        UsageError: not JSON, images without ``id`` and ``file_name``, or ids that stand for two images or categories.
        StorageError: it cannot be read.
    """
    arrays: dict[str, list[Any]] = {}
    with _json_errors(path):
        for key, elements in read_arrays(path):
            arrays[key] = list(elements) if key in ("images", "categories") else []
        images = _by_id(arrays["images"], "image", path)
        names = [str(image["file_name"]) for image in images.values()]
        arrays["annotations"]  # to have them at all
        _by_id(arrays.get("categories", []), "category", path)
        categories = to_categories(arrays.get("categories", []), str(path))
    refuse_unsafe((_photo_id(name) for name in names), "photo name")
    return Instances(path, images, categories, _photos_twice(images, path))


def _by_id(elements: Sequence[Mapping[str, Any]], what: str, path: Path) -> dict[Any, Mapping[str, Any]]:
    """Return images or categories by id; raise UsageError if an id stands for two that differ."""
    found: dict[Any, Mapping[str, Any]] = {}
    twice = [each["id"] for each in elements if found.setdefault(each["id"], each) != each]
    if twice:
        raise UsageError(
            f"{len(set(twice))} {what} ids of '{path}' stand for several: {listed([repr(each) for each in twice])}: "
            "their annotations cannot be told apart; give each its own id (a merge of two files has to renumber)"
        )
    return found


def _photos_twice(images: Mapping[Any, Mapping[str, Any]], path: Path) -> tuple[str, ...]:
    """Say which photos stand under two ids; raise UsageError if what the file says of the two differs."""
    first: dict[str, Mapping[str, Any]] = {}
    twice: list[str] = []
    unlike: list[str] = []
    for image in images.values():
        name = str(image["file_name"])
        other = first.setdefault(name, image)
        if other is not image:
            (twice if _same_photo(image, other) else unlike).append(name)
    if unlike:
        raise UsageError(
            f"{len(unlike)} file names of '{path}' stand for photos of different sizes or sources: {listed(unlike)}: "
            "photos of two folders were merged; write the folder into file_name"
        )
    return (f"{len(twice)} photos are listed twice ({listed(twice)}): they are one photo each",) if twice else ()


def _same_photo(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one.get(key) == other.get(key) for key in ("height", "width", "coco_url", "flickr_url"))


@contextmanager
def _json_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot read '{path}': {error.strerror or error}: check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"'{path}' is not COCO instances JSON ({type(error).__name__} {error}): images need id and file_name, "
            "annotations image_id and segmentation"
        ) from error


def _photo_id(file_name: str) -> str:
    """Return a photo's id: its file name without suffix, folders joined by dashes."""
    return os.path.splitext(file_name)[0].replace("/", "-") if not file_name.startswith("/") else file_name


def _photo_folder(path: Path, names: list[str]) -> Path:
    """Choose, of the folders photos may lie in, the one that has most of the first ones."""
    split = path.stem.rpartition("_")[2]  # instances_train2017.json -> train2017
    above = [path.parent, path.parent.parent] if path.parent.name == "annotations" else [path.parent]
    places = [base / inner for base in above for inner in ("", *PHOTO_FOLDERS, split, f"images/{split}")]
    disk, probed = OnDisk(), names[:_PROBED]
    hits = {place: sum(disk.path(place, name).is_file() for name in probed) for place in places if place.is_dir()}
    best = max(hits, key=lambda place: hits[place])
    if names and not hits[best]:
        looked = ", ".join(f"'{place}'" for place in hits)
        raise UsageError(f"no photo of '{path}' (first '{names[0]}') was found in {looked}: put them in one of these")
    return best


def pair_instances(instances: Instances, photos: Path) -> tuple[list[Pair], list[Quarantined]]:
    """Make a pair of each annotation, sorted by id; return those that cannot be one beside them."""
    pairs, faults, disk = [], [], OnDisk()
    for label, annotation in instances.annotations():
        why = _fault(annotation, instances)
        if why:
            faults.append(bad(f"annotation {label}", f"annotation {label} {why}: fix or drop it"))
        else:
            image = instances.images[annotation["image_id"]]
            pairs.append(_pair(image, annotation, label, disk.path(photos, str(image["file_name"]))))
    return sorted(pairs, key=lambda pair: pair.pair_id), faults


def _fault(annotation: Mapping[str, Any], instances: Instances) -> str:
    image = instances.image_of(annotation)
    if image is None:
        return f"is of image {annotation.get('image_id')!r}, which the file does not list"
    if not annotation.get("segmentation"):
        return "has no segmentation (only a box?)"
    height, width = image.get("height"), image.get("width")
    if not (isinstance(height, int) and isinstance(width, int) and height > 0 < width):
        return f"is of image {image['file_name']!r}, which has no whole height and width"
    if height * width > MAX_PIXELS:
        return f"is of image {image['file_name']!r}, which is over the pixel limit of {MAX_PIXELS}"
    return ""


def _pair(image: Mapping[str, Any], annotation: Mapping[str, Any], label: str, photo: Path) -> Pair:
    file_name = str(image["file_name"])
    real_id, mask_id = safe_id(_photo_id(file_name)), safe_id(label).replace("_", "-")
    segmentation = json.dumps(annotation["segmentation"])
    return Pair(
        pair_id=f"{real_id}_{mask_id}",
        real_id=real_id,
        mask_id=mask_id,
        real=FileSource(photo),
        mask=SegmentSource(segmentation, image["height"], image["width"], f"{file_name}, annotation {label}"),
        extra={"category_id": str(annotation["category_id"])} if "category_id" in annotation else {},
    )


CHUNK = 2**20  # characters read at a time


def read_arrays(path: Path, chunk: int = CHUNK) -> Iterator[tuple[str, Iterator[Any]]]:
    """Yield (key, its elements) of each array directly in the object that the file holds; other values are skipped.

    Elements that are not asked for are skipped when the next array is.

    Raises:
        ValueError: the file is not one JSON object, or not UTF-8.
        OSError: it cannot be read.
    """
    with path.open(encoding="utf-8-sig") as opened:
        text = _Text(opened, chunk)
        text.expect("{")
        while text.peek() != "}":
            key = text.value()
            text.expect(":")
            if text.peek() == "[":
                elements = text.elements()
                yield key, elements
                for _ in elements:
                    pass
            else:
                text.value()
            if text.peek() != "}":
                text.expect(",")


class _Text:
    """A window of a file that moves on as values are taken from it."""

    def __init__(self, opened: TextIO, chunk: int) -> None:
        self._opened, self._chunk = opened, chunk
        self._text, self._place, self._ended = "", 0, False
        self._decoder = json.JSONDecoder()

    def _more(self) -> None:
        """Drop what was taken and read on, twice as much as there is left where that is more than a chunk."""
        rest = self._text[self._place :]
        read = self._opened.read(max(self._chunk, len(rest)))
        self._text, self._place, self._ended = rest + read, 0, not read

    def peek(self) -> str:
        """Return the next character that is no blank, "" at the end."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in " \t\r\n":
                self._place += 1
            if self._place < len(self._text) or self._ended:
                return self._text[self._place : self._place + 1]
            self._more()

    def expect(self, character: str) -> None:
        """Take one character; raise ValueError if it is another."""
        found = self.peek()
        if found != character:
            raise ValueError(f"{character!r} expected, {found or 'the end'!r} found")
        self._place += 1

    def value(self) -> Any:
        """Take one JSON value."""
        self.peek()
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._place)
            except json.JSONDecodeError:
                if self._ended:
                    raise
            except RecursionError as error:
                raise ValueError("a value is nested too deeply") from error
            else:
                if self._text[end : end + 3].strip(".eE+-") or self._ended:  # else a number might go on: 0 of 0.5
                    self._place = end
                    return found
            self._more()

    def elements(self) -> Iterator[Any]:
        """Take an array, element by element."""
        self.expect("[")
        while self.peek() != "]":
            yield self.value()
            if self.peek() != "]":
                self.expect(",")
        self.expect("]")
