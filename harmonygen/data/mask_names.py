"""Which photo a mask belongs to, by their names: the habits of people and tools, tried from the surest on.

A mask has its photo's name (``a.png``, ``a.jpg.png``), continues after it (``a_1``, ``a_mask``, ``a-mask``, ``a.mask``,
``a-1``), has a word before it (``mask_a``), or says ``mask`` where the photo says ``image`` (``image_1``, ``mask_1``).
Names that differ by case, or by Unicode form, are the same name. Where two photos fit equally, none is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from harmonygen.data.files import is_image

SAME_NAME = "0"  # the mask id of a mask that bears its photo's own name

Key = tuple[str, str]
"""(folder inside the photo or mask folder, with a closing slash; stem)."""

MASK_WORDS = (
    "mask masks matte mattes alpha alphas seg segm segmentation segmented segmentations label labels labelids gt "
    "groundtruth ground-truth fg foreground silhouette annotation cutout saliency trimap parsing"
)
_MASK = "|".join(sorted(map(re.escape, MASK_WORDS.split()), key=len, reverse=True))
_PHOTO = "images|image|photos|photo|imgs|img|rgb|real|orig|original|input|pic"
_JOIN = r"[ ._-]+"
_AFTER = re.compile(rf"(?P<head>.+?){_JOIN}(?P<tail>(?:{_MASK})(?:{_JOIN}?[0-9]+)?|[0-9]+{_JOIN}(?:{_MASK}))", re.I)
_BEFORE = re.compile(rf"(?P<tail>{_MASK}){_JOIN}(?P<head>.+)", re.IGNORECASE)
_NUMBER = re.compile(r"(?P<head>.+?)(?:[-.]| ?\()(?P<tail>[0-9]+)\)?")
_PHOTO_AFTER = re.compile(rf"(?P<head>.+?){_JOIN}(?:{_PHOTO})", re.IGNORECASE)
_PHOTO_BEFORE = re.compile(rf"(?:{_PHOTO}){_JOIN}(?P<head>.+)", re.IGNORECASE)


class Owner(NamedTuple):
    """The photos that a mask fits equally well, and its id among the masks of the photo."""

    photos: tuple[Key, ...]
    mask_id: str


def is_mask_name(stem: str) -> bool:
    """Return whether a word in a name marks it as a mask's.

    >>> is_mask_name("a_mask"), is_mask_name("mask-a"), is_mask_name("a.matte"), is_mask_name("masked")
    (True, True, True, False)
    """
    return bool(_AFTER.fullmatch(stem) or _BEFORE.fullmatch(stem))


class Photos:
    """The photos of a folder, found by the names of masks."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._exact = dict.fromkeys(sorted(keys))
        self._folded = _grouped((_fold(key), key) for key in self._exact)
        self._bare = _grouped((_fold((key[0], bare)), key) for key in self._exact for bare in _without_word(key[1]))

    def owner(self, mask: Key) -> Owner | None:
        """Return the photo that a mask belongs to: one, several where it cannot be determined, or None."""
        inside, stem = mask
        if mask in self._exact:
            return Owner((mask,), SAME_NAME)
        head, _, tail = stem.rpartition("_")
        if head and tail and (inside, head) in self._exact:
            return Owner(((inside, head),), tail)
        for head, mask_id in _readings(stem):
            found = self._named((inside, head))
            if found:
                return Owner(found, mask_id)
        return None

    def owner_beside(self, mask: Key) -> Owner | None:
        """Return the photo of a mask that lies among the photos: its name has to say by a word that it is a mask."""
        if is_mask_name(mask[1]):
            for head, mask_id in _readings(mask[1]):
                found = tuple(key for key in self._named((mask[0], head)) if key != mask)
                if found and head != mask[1]:
                    return Owner(found, mask_id)
        return None

    def _named(self, key: Key) -> tuple[Key, ...]:
        if key in self._exact:
            return (key,)
        return self._folded.get(_fold(key)) or self._bare.get(_fold(key)) or ()


def _fold(key: Key) -> Key:
    return key[0].casefold(), key[1].casefold()


def _grouped(pairs: Iterable[tuple[Key, Key]]) -> Mapping[Key, tuple[Key, ...]]:
    found: dict[Key, tuple[Key, ...]] = {}
    for folded, key in pairs:
        found[folded] = (*found.get(folded, ()), key)
    return found


def _without_word(stem: str) -> Iterator[str]:
    """Yield a photo's name without the word that says that it is one: ``1`` of ``image_1``."""
    for pattern in (_PHOTO_AFTER, _PHOTO_BEFORE):
        found = pattern.fullmatch(stem)
        if found:
            yield found["head"]


def _readings(stem: str) -> Iterator[tuple[str, str]]:
    """Yield what a mask's name may mean, as (its photo's name, the mask's id), the surest first."""
    yield stem, SAME_NAME
    head, dot, suffix = stem.rpartition(".")
    if head and dot and is_image(f"a.{suffix}"):  # a.jpg.png
        yield head, SAME_NAME
    for pattern in (_AFTER, _BEFORE):
        found = pattern.fullmatch(stem)
        if found:
            yield found["head"], _id(found["tail"])
            inner, dot, suffix = found["head"].rpartition(".")
            if inner and dot and is_image(f"a.{suffix}"):  # a.jpg_mask.png
                yield inner, _id(found["tail"])
    head, _, tail = stem.rpartition("_")
    if head and tail:
        yield head, tail
    found = _NUMBER.fullmatch(stem)
    if found:
        yield found["head"], found["tail"]


def _id(tail: str) -> str:
    """Return a mask's id of what its name adds; the cut of a name goes by underscores, so it has none.

    >>> _id("mask"), _id("mask_2")
    ('mask', 'mask-2')
    """
    return re.sub(_JOIN, "-", tail).strip("-")
