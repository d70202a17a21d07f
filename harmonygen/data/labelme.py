"""Read labelme: a JSON beside each photo, with its shapes. One pair a shape, or a group of shapes (``group_id``).

Polygons, rectangles and circles are areas; lines and points are none and are skipped. The photo is the file that
``imagePath`` names, else the one that has the JSON's name.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from harmonygen.data.files import OnDisk, bad, entries, is_image, passed_over, subfolders
from harmonygen.data.folders import Found
from harmonygen.data.ids import fault, safe_id
from harmonygen.data.splits import Split, choose, passed, split_of_folder
from harmonygen.errors import InputError, UsageError
from harmonygen.pictures.images import MAX_PIXELS
from harmonygen.records import FileSource, Pair, PairSet, SegmentSource

_KEYS = {"shapes", "imagePath"}
_PLACES = ("", "annotations", "json", "jsons", "labels", "labelme")
_CORNERS = 64  # of the polygon that stands for a circle
_Point = tuple[float, float]
_MAX_JSON = 256 * 2**20  # bytes; it may hold the photo as base64


@dataclass(frozen=True, slots=True)
class _Shape:
    """One area of a photo: its polygons, flat lists of x and y."""

    label: str
    polygons: list[list[float]]


def matches(path: Path) -> bool:
    """Return whether a folder holds labelme's JSON, there, in ``annotations/`` or in folders called by splits."""
    return any(_is_labelme(file) for folder in _folders(path) for file in _jsons(folder)[:1])


def _folders(path: Path) -> list[Path]:
    """Return the folder and those in it where labelme's JSON may lie."""
    if not path.is_dir():
        return []
    splits = [folder for folder in subfolders(path) if split_of_folder(folder.name)]
    return [folder for folder in (*(path / place for place in _PLACES), *splits) if folder.is_dir()]


def _jsons(folder: Path) -> list[Path]:
    return [folder / entry.name for entry in entries(folder) if entry.name.lower().endswith(".json")]


def _is_labelme(path: Path) -> bool:
    try:
        return set(_load(path)) >= _KEYS
    except (InputError, OSError):
        return False


def _load(path: Path) -> Mapping[str, Any]:
    if not path.is_file() or path.stat().st_size > _MAX_JSON:
        raise InputError(f"'{path}' is not a file, or is over {_MAX_JSON} bytes")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{path}' is not JSON ({error}): export it again") from error
    if not isinstance(found, dict):
        raise InputError(f"'{path}' is not labelme's JSON: it holds no object")
    return found


def read_labelme(data: Path, split: Split = "train") -> PairSet:
    """Read one pair a shape of labelme's JSON files; a file or shape that is broken is quarantined.

    Raises:
        UsageError: no labelme JSON, or no shape that is an area.
    """
    folders = [folder for folder in _folders(data) if any(map(_is_labelme, _jsons(folder)[:1]))]
    if not folders:
        raise UsageError(f"'{data}' has no labelme JSON (with shapes and imagePath): name the folder that holds them")
    others: list[Path] = []
    if len(folders) > 1:
        folders, others = choose(folders, lambda folder: split_of_folder(folder.name), split, str(data))
    read = split_of_folder(folders[0].name) if others else ""
    found, disk = Found(split=read), OnDisk()
    found.passed += [passed(folder, split_of_folder(folder.name), read) for folder in others]
    for folder in folders:
        seen = {path for file in _jsons(folder) if (path := _read_file(file, data, disk, found)) is not None}
        lone = (folder / entry.name for entry in entries(folder) if is_image(entry.name))
        found.bad += [bad(str(path), f"photo '{path}' has no labelme JSON") for path in lone if path not in seen]
    if not found.pairs:
        why = f"; {found.bad[0].message}" if found.bad else ""
        raise UsageError(f"no shape in '{data}' is an area of a photo (polygon, rectangle, circle){why}")
    return found.pair_set("labelme", data)


def _read_file(file: Path, root: Path, disk: OnDisk, found: Found) -> Path | None:
    """Add the pairs of one JSON file; return its photo."""
    photo: Path | None = None
    try:
        held = _load(file)
        if not set(held) >= _KEYS:
            found.passed.append(passed_over(file, "not a picture", "is JSON of another kind"))
            return None
        photo = _photo(file, str(held["imagePath"] or ""), root, disk)
        height, width = _size(held, file)
        name = os.path.splitext(photo.relative_to(root).as_posix())[0].replace("/", "-")
        why = fault(name)
        if why:
            raise InputError(f"the name of '{photo}' {why}: rename it")
        for number, shape in enumerate(_shapes(held, file, found)):
            found.pairs.append(_pair(safe_id(name), photo, shape, number, height, width))
    except InputError as error:
        found.bad.append(bad(str(file), str(error)))
    return photo


def _photo(file: Path, spelled: str, root: Path, disk: OnDisk) -> Path:
    """Return the photo of a JSON file: it has to lie in the data's folder."""
    named = PurePosixPath(spelled.replace("\\", "/"))
    if spelled and "\0" not in spelled:
        path = Path(os.path.normpath(disk.path(file.parent, named.as_posix())))
        if path.is_relative_to(os.path.normpath(root)) and path.is_file():
            return root / path.relative_to(os.path.normpath(root))
        beside = disk.path(file.parent, named.name)
        if named.name and beside.is_file():
            return beside
    alike = [file.parent / entry.name for entry in entries(file.parent) if is_image(entry.name)]
    alike = [path for path in alike if path.stem == file.stem]
    if len(alike) != 1:
        raise InputError(f"the photo '{spelled}' of '{file}' is not in '{root}': put it beside the JSON")
    return alike[0]


def _size(held: Mapping[str, Any], file: Path) -> tuple[int, int]:
    height, width = held.get("imageHeight"), held.get("imageWidth")
    if isinstance(height, int) and isinstance(width, int) and height > 0 < width and height * width <= MAX_PIXELS:
        return height, width
    raise InputError(f"'{file}' has imageHeight {height!r} and imageWidth {width!r}: save it again with labelme")


def _shapes(held: Mapping[str, Any], file: Path, found: Found) -> Iterator[_Shape]:
    """Yield the areas of a file; shapes of one label and ``group_id`` are one."""
    groups: dict[tuple[Any, ...], _Shape] = {}
    shapes = held["shapes"] if isinstance(held["shapes"], list) else []
    for number, shape in enumerate(shapes):
        try:
            polygon, label = _polygon(shape), str(shape.get("label", ""))
        except (TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
            found.bad.append(bad(f"{file} shape {number}", f"shape {number} of '{file}' cannot be read: {error!r}"))
            continue
        if polygon is None:
            kind = f"is a {shape.get('shape_type')!r}, which is not read as an area: draw a polygon"
            found.passed.append(passed_over(f"{file} shape {number}", "not an area", kind))
        else:
            group = shape.get("group_id")
            key = (number,) if group is None else (label, str(group))
            groups.setdefault(key, _Shape(label, [])).polygons.append(polygon)
    yield from groups.values()


def _polygon(shape: Mapping[str, Any]) -> list[float] | None:
    """Return a shape's outline as x and y in turn, None if it is no area."""
    kind = shape.get("shape_type") or "polygon"
    if kind not in ("polygon", "rectangle", "circle"):
        return None
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if not all(math.isfinite(each) for point in points for each in point):
        raise ValueError("a point is not finite")
    if kind == "polygon" and len(points) < 3:
        raise ValueError(f"a polygon of {len(points)} points")
    return [each for point in _OUTLINES[kind](points) for each in point]


def _rectangle(points: Sequence[_Point]) -> list[_Point]:
    (left, top), (right, bottom) = points
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _circle(points: Sequence[_Point]) -> list[_Point]:
    (x, y), edge = points
    radius, turns = math.dist((x, y), edge), [2 * math.pi * step / _CORNERS for step in range(_CORNERS)]
    return [(x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns]


_OUTLINES: Mapping[str, Callable[[Sequence[_Point]], Sequence[_Point]]] = {
    "polygon": list,
    "rectangle": _rectangle,
    "circle": _circle,
}


def _pair(real_id: str, photo: Path, shape: _Shape, number: int, height: int, width: int) -> Pair:
    source = SegmentSource(json.dumps(shape.polygons), height, width, f"{photo.name}, shape {number} ({shape.label})")
    return Pair(
        pair_id=f"{real_id}_{number}",
        real_id=real_id,
        mask_id=str(number),
        real=FileSource(photo),
        mask=source,
        extra={"label": shape.label},
    )
