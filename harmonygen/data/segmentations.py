"""Read photos with segmentations: one pair per photo, whose mask is the union of its segments of chosen classes.

A contest folder (iMaterialist) and COCO instances (Fashionpedia) come through this one door; what is already a mask
of one foreground (any other layout of :func:`harmonygen.data.read_pairs`) passes as it is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harmonygen.data import SAMPLE, checked, detect_layout, read_pairs
from harmonygen.data.categories import ALL
from harmonygen.data.files import cannot_read
from harmonygen.data.links import check_data, keep_inside
from harmonygen.data.orientation import with_mask_rule
from harmonygen.errors import UsageError
from harmonygen.records import Pair, PairSet, ReadOptions

SEGMENTED = ("imaterialist", "coco")


def read_segmentations(
    data: str | Path = SAMPLE, classes: str = ALL, limit: int | None = None, reading: ReadOptions | None = None
) -> PairSet:
    """Read one pair per photo, its mask the union of its valid segments of the chosen classes.

    ``Pair.extra`` has the strings ``class_ids`` (separated by blanks, sorted), ``attributes`` (a JSON list of ids,
    sorted) and ``segments`` (how many). ``PairSet.bad`` says why each segment or photo was lost, ``left_out`` which
    photos have no segment of the chosen classes.

    Args:
        data: a contest folder, COCO instances JSON, ``sample``, or any other layout that ``read_pairs`` reads.
        classes: ``all``; ``garments``; or ids, names or supercategories separated by commas.
        limit: keep the first ``limit`` pairs.
        reading: how the data are read, as for ``read_pairs``.

    Raises:
        UsageError: no layout fits, nothing can be read, classes are missing, or ids are refused or collide.
        StorageError: the data cannot be read.

    >>> [pair.pair_id for pair in read_segmentations("sample", limit=2)]
    ['astronaut_union', 'chelsea_union']
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}: it must be 1 or more")
    try:
        reading = reading or ReadOptions()
        check_data(Path(data), reading.allow_outside)
        found = keep_inside(_read(data, classes, reading), reading.allow_outside)
        return with_mask_rule(checked(found, None, limit), found.pairs, reading)
    except OSError as error:
        raise cannot_read(data, error) from error


def _read(data: str | Path, classes: str, reading: ReadOptions) -> PairSet:
    from harmonygen.data.imaterialist import read_imaterialist

    layout = reading.layout or detect_layout(data)
    if layout == SAMPLE:
        from harmonygen.data.sample import cached_sample
        from harmonygen.storage.remote import cache_folder

        return replace(read_imaterialist(cached_sample(cache_folder(), "imaterialist"), classes), layout=SAMPLE)
    if layout == "imaterialist":
        return read_imaterialist(Path(data), classes, reading.allow_outside)
    if layout == "coco":
        from harmonygen.data.coco import read_coco_unions

        return read_coco_unions(Path(data), classes, reading.mask_orientation, reading.allow_outside)
    if classes.strip().casefold() != ALL:
        raise UsageError(
            f"classes {classes!r} were given but '{data}' is in layout '{layout}', which has no classes: "
            f"leave them {ALL}, or give one of the layouts {', '.join(SEGMENTED)}"
        )
    found = read_pairs(data, layout=layout, reading=reading)
    return replace(found, pairs=tuple(map(of_one_segment, found.pairs)))


def of_one_segment(pair: Pair) -> Pair:
    """Return a pair whose mask counts as one segment of no class."""
    return replace(pair, extra={"class_ids": "", "attributes": "[]", "segments": "1", **pair.extra})
