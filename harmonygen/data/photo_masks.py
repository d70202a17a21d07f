"""Unite the segments of each photo, wherever they stand in a table, into one mask per photo.

Segments are kept as compressed run-length codes and merged, through pycocotools, whenever those that wait hold more
than :data:`WAITING` bytes; so memory grows with the unions, not with the segments, and no pixel is touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harmonygen.data.files import bad, photo_sizes
from harmonygen.data.ids import refuse_unsafe, safe_id
from harmonygen.errors import InputError
from harmonygen.pictures.masks import Rle
from harmonygen.records import FileSource, Pair, PairSet, Quarantined, SegmentSource

UNION = "union"
WAITING = 64 * 2**20
NOT_CHOSEN, NO_SEGMENT = "NotChosen", "NoSegment"

Size = tuple[int, int]
"""Height and width."""


@dataclass(slots=True)
class _Stack:
    """The segments of a photo that state one size: codes still to be merged, and what they are."""

    codes: list[bytes] = field(default_factory=list)
    numbers: list[int | str] = field(default_factory=list)
    classes: set[int] = field(default_factory=set)
    attributes: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Photo:
    """What is known of a photo: its segments by stated size, classes that were not chosen, segments lost."""

    stacks: dict[Size, _Stack] = field(default_factory=dict)
    others: set[int] = field(default_factory=set)
    lost: int = 0


class Unions:
    """Segments by photo. ``unit`` is what a segment is called: ``row`` or ``annotation``."""

    def __init__(self, unit: str, waiting: int = WAITING) -> None:
        self._unit, self._limit, self._waiting = unit, waiting, 0
        self._photos: dict[str, _Photo] = {}
        self._bad: list[Quarantined] = []
        self._within: Path | None = None

    def _photo(self, name: str) -> _Photo:
        photo = self._photos.get(name)
        if photo is None:
            photo = self._photos[name] = _Photo()
        return photo

    def add(self, name: str, number: int | str, rle: Rle, class_id: int | None, attributes: Collection[int]) -> None:
        """Add a valid segment of the photo ``name``."""
        stacks = self._photo(name).stacks
        height, width = rle["size"]
        stack = stacks.get((height, width))
        if stack is None:
            stack = stacks[height, width] = _Stack()
        stack.codes.append(rle["counts"])
        stack.numbers.append(number)
        stack.attributes.update(attributes)
        if class_id is not None:
            stack.classes.add(class_id)
        self._waiting += len(rle["counts"])
        if self._waiting > self._limit:
            self._settle()

    def pass_over(self, name: str, class_id: int) -> None:
        """Note a segment of a class that was not chosen."""
        self._photo(name).others.add(class_id)

    def lose(self, name: str, number: int | str, message: str) -> None:
        """Quarantine a segment; ``name`` is empty where its photo is not known."""
        self._bad.append(bad(f"{name or '?'} {self._unit} {number}", message))
        if name:
            self._photo(name).lost += 1

    def _settle(self) -> None:
        for photo in self._photos.values():
            for size, stack in photo.stacks.items():
                if len(stack.codes) > 1:
                    stack.codes = [_merged(stack.codes, size)]
        self._waiting = 0

    def pair_set(
        self,
        layout: str,
        root: Path,
        path_of: Callable[[str], Path],
        id_of: Callable[[str], str] = str,
        within: Path | None = None,
    ) -> PairSet:
        """Return one pair per photo, sorted by name; nothing is left in here.

        Args:
            layout: the reader's name.
            root: the data set.
            path_of: the file of a photo; its header says which size is right where segments disagree.
            id_of: the id of a photo, by its name.
            within: the folder that photos have to lie in, links followed; None is anywhere.

        Raises:
            UsageError: photos whose names cannot be file names.
        """
        refuse_unsafe(sorted(map(id_of, self._photos)), "photo name")
        left_out: list[Quarantined] = []
        self._within = within
        pairs = tuple(self._pairs(path_of, id_of, left_out))
        return PairSet(pairs, layout, root, tuple(self._bad), tuple(left_out))

    def _pairs(
        self, path_of: Callable[[str], Path], id_of: Callable[[str], str], left_out: list[Quarantined]
    ) -> Iterator[Pair]:
        for name in sorted(self._photos):
            photo, path = self._photos[name], path_of(name)
            if photo.stacks:
                chosen = self._of_the_files_size(name, photo, path)
                if chosen is not None:
                    yield _pair(safe_id(id_of(name)), photo.stacks[chosen], chosen, path)
            elif photo.lost:
                self._bad.append(bad(name, f"none of the {photo.lost} {self._unit}s of '{name}' can be used: fix one"))
            else:
                classes = ", ".join(map(str, sorted(photo.others)))
                left_out.append(bad(name, f"'{name}' has segments of class {classes} only: none is chosen", NOT_CHOSEN))
            del self._photos[name]

    def _of_the_files_size(self, name: str, photo: _Photo, path: Path) -> Size | None:
        """Return the size to unite: the file's (or that of the upright photo, if more state it); lose the others."""
        try:
            right = photo_sizes(path, self._within)
        except InputError as error:
            count = sum(len(stack.numbers) for stack in photo.stacks.values())
            self._bad.append(bad(name, f"{count} {self._unit}s of '{name}' are lost: {error}"))
            return None
        known = [size for size in right if size in photo.stacks]
        chosen = max(known, key=lambda size: len(photo.stacks[size].numbers), default=None)
        for size, stack in photo.stacks.items():
            for number in stack.numbers if size != chosen else []:
                self.lose(name, number, self._other_size(name, number, size, path, chosen or right[0]))
        if chosen is None:
            self._bad.append(bad(name, f"none of the {photo.lost} {self._unit}s of '{name}' can be used: fix one"))
        return chosen

    def _other_size(self, name: str, number: int | str, size: Size, path: Path, right: Size) -> str:
        return (
            f"Height and Width of '{name}, {self._unit} {number}' are {size[0]} and {size[1]} but those of '{path}' "
            f"are {right[0]} and {right[1]}: fix or drop it"
        )


def _merged(codes: list[bytes], size: Size) -> bytes:
    from pycocotools import mask as coco

    if len(codes) == 1:
        return codes[0]
    return bytes(coco.merge([{"size": list(size), "counts": code} for code in codes])["counts"])


def _pair(real_id: str, stack: _Stack, size: Size, path: Path) -> Pair:
    text = json.dumps({"size": list(size), "counts": _merged(stack.codes, size).decode()})
    return Pair(
        pair_id=f"{real_id}_{UNION}",
        real_id=real_id,
        mask_id=UNION,
        real=FileSource(path),
        mask=SegmentSource(text, *size, f"{real_id}, union of {len(stack.numbers)} segments"),
        extra={
            "class_ids": " ".join(map(str, sorted(stack.classes))),
            "attributes": json.dumps(sorted(stack.attributes)),
            "segments": str(len(stack.numbers)),
        },
    )
