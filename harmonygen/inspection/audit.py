"""Look through the inputs of a job: the headers of all files, the pixels of some pairs, and what a run would refuse.

A header tells what is missing, what is not an image and what does not fit; such a pair is read as a run reads it, so
that the run's own code decides. Of the others an even sample is read where there are many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from harmonygen.inspection import twins
from harmonygen.inspection.check import STAGE, Checked, Rules, check_all
from harmonygen.inspection.headers import FileHeader, Headers, read_headers
from harmonygen.records import CellSource, ImageSource, Pair, PairSet, Quarantined, SegmentSource
from harmonygen.runs.inputs import allowance, refuse_bad

Progress = Callable[[int, int], None]
_T = TypeVar("_T")
_RUN_OF_CELLS = 50  # neighbouring rows of a Parquet file that are read together: a row group is read for one anyway


@dataclass(frozen=True, slots=True)
class Depth:
    """How thoroughly to look: pairs whose ``pixels`` are read (None: all), pairs whose ``headers`` are."""

    pixels: int | None = 2000
    headers: int | None = None


PLAN = Depth()
"""As a dry run looks."""
GLANCE = Depth(pixels=4, headers=500)
"""As a run looks that is about to read everything anyway."""


@dataclass(frozen=True)
class Audit:
    """What was found of a set of pairs.

    ``checked`` are the pairs that were read, in their order: ``sampled`` ones that were chosen evenly and those whose
    headers looked wrong; ``unread`` counts more pairs of the second kind, of which only the headers were read.
    ``looked_at`` counts the pairs whose headers were read. ``same_photos``, ``same_masks`` and
    ``look_alikes`` are groups of ids.
    """

    found: PairSet
    rules: Rules
    headers: Headers
    looked_at: int
    checked: tuple[Checked, ...]
    sampled: frozenset[str]
    unread: tuple[Quarantined, ...] = ()
    same_photos: twins.Groups = ()
    same_masks: twins.Groups = ()
    look_alikes: twins.Groups = ()

    @property
    def bad(self) -> tuple[Quarantined, ...]:
        """What is known to be bad: as read, and as a run would quarantine it."""
        return (*self.found.bad, *(each.fault for each in self.checked if each.fault), *self.unread)

    @property
    def complete(self) -> bool:
        """Whether every pair was read."""
        return len(self.checked) == len(self.found)

    @property
    def expected(self) -> int:
        """How many inputs a run would find bad: what is known, and in proportion what the sample's pixels showed."""
        even = [each for each in self.checked if each.pair_id in self.sampled]
        if self.complete or not even:
            return len(self.bad)
        share = sum(each.fault is not None for each in even) / len(even)
        return len(self.bad) + round(share * (len(self.found) - len(self.checked) - len(self.unread)))

    @property
    def allowed(self) -> int:
        """How many a run would allow."""
        return allowance(self.rules.max_bad_fraction, len(self.found))

    def refuse(self) -> None:
        """Raise TooManyBadInputsError where a run would."""
        refuse_bad(self.bad, self.allowed, len(self.found), expected=self.expected)


def audit(found: PairSet, rules: Rules, depth: Depth = PLAN, progress: Progress | None = None) -> Audit:
    """Look through pairs; ``progress`` gets how many files and pairs were looked at, and of how many."""
    pairs = found.pairs
    looked = pairs if depth.headers is None else spread(pairs, depth.headers)
    sample = pairs if depth.pixels is None else spread(pairs, depth.pixels)
    sources = _sources(looked)
    tell = _Steps(progress, len(sources) + len(sample))
    headers = read_headers(sources, tell)
    odd = [pair for pair in looked if not fits(pair, headers, rules)]
    chosen = {pair.pair_id for pair in sample}
    more = [pair for pair in odd if pair.pair_id not in chosen]
    most = max(len(sample), 20)
    checked = check_all(_in_order(pairs, [*sample, *more[:most]]), rules, tell)
    even = frozenset(chosen - {pair.pair_id for pair in odd})
    photos = _first_of_each(pairs, checked)
    same = twins.same_bytes({pair.real_id: pair.real for pair in looked}, headers) or twins.same_digest(photos)
    masks = {pair.pair_id: pair.mask for pair in looked if not isinstance(pair.mask, SegmentSource)}
    return Audit(
        found,
        rules,
        headers,
        len(looked),
        checked,
        even,
        tuple(_unread(pair) for pair in more[most:]),
        same,
        twins.same_bytes(masks, headers),
        twins.look_alike(photos, same),
    )


class _Steps:
    """Counts what is done and tells progress of it."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total
        self(0)

    def __call__(self, more: int) -> None:
        self._done = min(self._done + more, self._total)
        if self._progress:
            self._progress(self._done, self._total)


def spread(pairs: Sequence[_T], count: int) -> Sequence[_T]:
    """Return ``count`` items, evenly spread; of pairs in Parquet cells, runs of neighbouring rows.

    >>> spread("abcdefgh", 3)
    ['a', 'd', 'f']
    """
    if len(pairs) <= count:
        return pairs
    run = _RUN_OF_CELLS if isinstance(getattr(pairs[0], "real", None), CellSource) and count > _RUN_OF_CELLS else 1
    starts = -(-count // run)
    places = (round(step * len(pairs) / starts) + offset for step in range(starts) for offset in range(run))
    return [pairs[place] for place in sorted({place for place in places if place < len(pairs)})[:count]]


def _sources(pairs: Iterable[Pair]) -> list[ImageSource]:
    found = (source for pair in pairs for source in (pair.real, pair.mask) if not isinstance(source, SegmentSource))
    return [source for source in dict.fromkeys(found) if not isinstance(source, CellSource)]


def fits(pair: Pair, headers: Headers, rules: Rules) -> bool:
    """Return whether nothing speaks against a pair in the headers of its photo and mask."""
    if isinstance(pair.real, CellSource):
        return True
    photo = headers.get(pair.real)
    if photo is None or photo.width * photo.height > rules.max_pixels:
        return False
    if pair.borrows:
        return True
    mask = headers.get(pair.mask) if not isinstance(pair.mask, SegmentSource) else None
    if mask is None:
        return isinstance(pair.mask, SegmentSource) and (pair.mask.height, pair.mask.width) in _sizes(photo)
    small_enough = mask.width * mask.height <= rules.max_pixels
    return small_enough and (rules.mask_resize == "nearest" or mask.upright in _sizes(photo))


def _sizes(photo: FileHeader) -> tuple[tuple[int, int], ...]:
    return photo.upright, photo.stored


def _in_order(pairs: Sequence[Pair], chosen: Iterable[Pair]) -> list[Pair]:
    wanted = {pair.pair_id for pair in chosen}
    return list(pairs) if len(wanted) == len(pairs) else [pair for pair in pairs if pair.pair_id in wanted]


def _first_of_each(pairs: Sequence[Pair], checked: Sequence[Checked]) -> dict[str, Checked]:
    """Return what was read of each photo, by its id."""
    by_id = {each.pair_id: each for each in checked}
    found: dict[str, Checked] = {}
    for pair in pairs:
        if pair.pair_id in by_id:
            found.setdefault(pair.real_id, by_id[pair.pair_id])
    return found


def _unread(pair: Pair) -> Quarantined:
    message = f"by their headers, photo '{pair.real}' and mask '{pair.mask}' cannot be used together: inspect them"
    return Quarantined(pair.pair_id, STAGE, "InputError", message)
