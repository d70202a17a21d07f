"""Decide whether the masks of photos that EXIF turns were drawn on the photo as it is stored or as it is seen.

A photo that is not square shows it by its mask's size, or by how far polygons reach. Mirrored, upside-down and square
photos show nothing and follow the others of the set. If no photo shows it, upright is assumed, and a note says so.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from harmonygen.data.headers import Header, read_header, turned_photos
from harmonygen.errors import InputError
from harmonygen.records import FileSource, MaskRule, MaskSource, Orientation, Pair, PairSet, ReadOptions, SegmentSource

Way = Literal["stored", "upright"]
_OTHER: dict[Way, Way] = {"stored": "upright", "upright": "stored"}
_OVER = 1  # pixels that a polygon may reach over the edge


@dataclass(frozen=True, slots=True)
class Shown:
    """What one mask shows: for certain (``fact``), by the size that its file states (``stated``), or nothing."""

    fact: Way | None = None
    stated: Way | None = None


@dataclass(frozen=True, slots=True)
class Convention:
    """What the masks of a set follow: ``way`` (None: nothing tells), and how many photos show each way for certain."""

    way: Way | None
    facts: Counter[Way]
    certain: bool = False


def with_mask_rule(found: PairSet, whole: Sequence[Pair], reading: ReadOptions) -> PairSet:
    """Return pairs whose masks have the rule that they are read by, with notes about what had to be decided.

    Args:
        found: the pairs that are used.
        whole: all pairs of the set, which may show a convention; read only if one of ``found`` needs it.
        reading: what the user chose.
    """
    rule = reading.mask_rule
    turned = _turned(found.pairs)
    asked = {pair.real for pair, _, shown in turned.values() if not shown.fact and not _has_own(pair.mask)}
    convention = chosen_way(rule.orientation)
    if rule.orientation == "auto" and asked:
        convention = decide(shown for _, _, shown in _turned(whole).values())
    ruled = {place: _ruled(pair, head, rule, convention, shown) for place, (pair, head, shown) in turned.items()}
    swapped = sum(_size(pair.mask) != _size(turned[place][0].mask) for place, pair in ruled.items())
    pairs = tuple(ruled.get(place) or _with_values(pair, rule) for place, pair in enumerate(found.pairs))
    notes = _notes(len(asked), convention) if rule.orientation == "auto" else []
    return replace(found, pairs=pairs, notes=(*found.notes, *notes, *_swapped_note(swapped)))


def _turned(pairs: Sequence[Pair]) -> dict[int, tuple[Pair, Header, Shown]]:
    """Return, by place, the pairs whose photo has an EXIF orientation; photos in cells are not looked at."""
    files = {place: pair.real for place, pair in enumerate(pairs) if isinstance(pair.real, FileSource)}
    heads = turned_photos(files.values())
    found = ((place, pairs[place], heads[file.path]) for place, file in files.items() if file.path in heads)
    return {place: (pair, head, shows(pair.mask, head)) for place, pair, head in found if not pair.borrows}


def chosen_way(orientation: Orientation) -> Convention:
    """Return the convention that the user chose; ``auto`` is none."""
    return Convention(None if orientation == "auto" else orientation, Counter(), certain=True)


def decide(shown: Iterable[Shown]) -> Convention:
    """Return the convention that the masks of a set show: by what is certain, else by what their sizes state."""
    each = list(shown)
    facts = Counter(one.fact for one in each if one.fact)
    ways = set(facts) or {one.stated for one in each if one.stated}
    return Convention(ways.pop() if len(ways) == 1 else None, facts, certain=len(facts) == 1)


def shows(mask: MaskSource, head: Header) -> Shown:
    """Return what the mask of a photo with an EXIF orientation shows about the convention."""
    if not head.on_its_side:
        return Shown()
    if isinstance(mask, SegmentSource):
        try:
            return shows_segment(json.loads(mask.segmentation), (mask.height, mask.width), head)
        except (ValueError, RecursionError):
            return Shown()  # it is refused, with its name, when it is decoded
    if not isinstance(mask, FileSource) or _has_own(mask):
        return Shown()
    try:
        return Shown(head.way_of(read_header(mask).stored))
    except InputError:
        return Shown()


def shows_segment(segmentation: Any, size: tuple[int, int], head: Header) -> Shown:
    """Return what a COCO segmentation of a stated (height, width) shows: runs by size, polygons by reach."""
    stated = head.way_of(size)
    if stated is None or not isinstance(segmentation, list):
        return Shown(stated)
    try:
        right = max(max(polygon[0::2]) for polygon in segmentation) - _OVER
        bottom = max(max(polygon[1::2]) for polygon in segmentation) - _OVER
    except (ValueError, TypeError, KeyError):
        return Shown()
    fits = [way for way in (stated, _OTHER[stated]) if bottom <= head.size(way)[0] and right <= head.size(way)[1]]
    return Shown(fits[0] if len(fits) == 1 else None, stated)


def canvas(size: tuple[int, int], head: Header, shown: Shown, convention: Convention) -> tuple[int, int]:
    """Return the (height, width) that polygons were drawn on, for which the file states ``size``."""
    way = shown.fact or (convention.way if convention.certain else None)
    return size if way is None or shown.stated is None else head.size(way)


def _ruled(pair: Pair, head: Header, rule: MaskRule, convention: Convention, shown: Shown) -> Pair:
    """Return a pair of a photo with an EXIF orientation, its mask read by the set's convention."""
    mask = replace(pair.mask, rule=replace(rule, orientation=convention.way or _undecided(convention)))
    if isinstance(mask, SegmentSource):
        height, width = canvas((mask.height, mask.width), head, shown, convention)
        mask = replace(mask, height=height, width=width)
    return replace(pair, mask=mask)


def _undecided(convention: Convention) -> Literal["upright", "auto"]:
    return "upright" if convention.facts else "auto"


def _with_values(pair: Pair, rule: MaskRule) -> Pair:
    if not rule.values or pair.borrows:
        return pair
    return replace(pair, mask=replace(pair.mask, rule=MaskRule(rule.values)))


def _has_own(mask: MaskSource) -> bool:
    """Return whether a mask file has an EXIF orientation of its own, by which it is turned."""
    return isinstance(mask, FileSource) and bool(turned_photos([mask]))


def _notes(asked: int, convention: Convention) -> list[str]:
    """Say what was decided about photos whose masks do not show what they follow."""
    if not asked or (convention.way and not convention.facts):  # the set's own sizes state it
        return []
    what = f"{asked} photos have an EXIF orientation, and the size of their masks does not tell what these follow"
    shown = [f"{count} masks of others are drawn on the photo {_WORDS[way]}" for way, count in convention.facts.items()]
    if convention.way:
        return [f"{what}; {shown[0]}: so are these"]
    return [
        f"{'; '.join([what, *shown])}: that they are drawn on the upright photo is assumed, --mask-orientation decides"
    ]


_WORDS: dict[Way, str] = {"stored": "as it is stored", "upright": "upright"}


def _swapped_note(swapped: int) -> list[str]:
    if not swapped:
        return []
    return [
        f"{swapped} masks have polygons that were drawn on the photo turned the other way than the sizes stated for "
        "it: they are read as they were drawn"
    ]


def _size(mask: MaskSource) -> tuple[int, int]:
    return (mask.height, mask.width) if isinstance(mask, SegmentSource) else (0, 0)
