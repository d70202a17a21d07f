"""Names that every harmonization trainer's loader cuts in the right places: no ``_`` and no dot within an id.

Loaders take ``<photo>_<mask>_<variant>.<suffix>`` apart at ``_`` and at dots, from the left or from the right. Ids that
hold neither are read alike by all of them. Ids that keep the rule already stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_CUT = re.compile(r"[_.]+")


class PairName(NamedTuple):
    """The names of a pair in a tree: subset folder (may be empty), photo and mask, without suffixes."""

    subset: str
    photo: str
    mask: str


def plain(text: str) -> str:
    """Return an id with ``-`` where it has ``_`` or dots.

    >>> plain("f1000"), plain("p0_jpg.rf.0a1b"), plain("_1")
    ('f1000', 'p0-jpg-rf-0a1b', '1')
    """
    return _CUT.sub("-", text).strip("-") or "x" if _CUT.search(text) else text


def plain_ids(wanted: Mapping[str, str]) -> dict[str, str]:
    """Give every key its own plain name: the wanted one, or the same with a number.

    Names that are plain already are given first, so that they stay as they are.

    >>> plain_ids({"a_1": "a_1", "a-1": "a-1", "x/b": "b", "y/b": "b"})
    {'a-1': 'a-1', 'x/b': 'b', 'y/b': 'b-2', 'a_1': 'a-1-2'}
    """
    named: dict[str, str] = {}
    used: set[str] = set()
    folded: set[str] = set()
    for key in sorted(wanted, key=lambda each: (plain(wanted[each]) != wanted[each], each)):
        name = base = plain(wanted[key])
        kept, number = base == wanted[key] and base not in used, 2
        while not kept and name.casefold() in folded:
            name, number = f"{base}-{number}", number + 1
        named[key] = name
        used.add(name)
        folded.add(name.casefold())
    return named


def plain_pairs(pairs: Iterable[tuple[str, PairName]]) -> dict[str, PairName]:
    """Return the plain names of pairs by their id, given the names that they have; a photo may have folders.

    Photos of one subset get different names, and so do masks of one photo.
    """
    given = dict(pairs)
    subsets = plain_ids({name.subset: name.subset for name in given.values()})
    photos: dict[str, dict[str, str]] = {}
    masks: dict[tuple[str, str], dict[str, str]] = {}
    for subset, photo, mask in given.values():
        photos.setdefault(subset, {})[photo] = photo.rpartition("/")[2]
        masks.setdefault((subset, photo), {})[mask] = mask
    photo_of = {subset: plain_ids(wanted) for subset, wanted in photos.items()}
    mask_of = {key: plain_ids(wanted) for key, wanted in masks.items()}
    return {
        key: PairName(subsets[subset], photo_of[subset][photo], mask_of[subset, photo][mask])
        for key, (subset, photo, mask) in given.items()
    }
