"""Read composites with their masks, the input of harmonization, from every layout that has them.

A composite is a :class:`~harmonygen.records.Pair` whose ``real`` is the composite. Its ``pair_id`` is what its result
is named by: ``<Subset>/<composite stem>``, unique, so that results map to composites one to one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from harmonygen.data import SAMPLE, detect_layout, read_pairs
from harmonygen.data.files import bad
from harmonygen.data.ids import check_pairs
from harmonygen.data.pairset import PairSet
from harmonygen.data.triplets import COMPOSITE, RUN, is_run, read_triplets
from harmonygen.errors import UsageError
from harmonygen.records import CellSource, FileSource, ImageSource, Pair


def read_composites(
    data: str | Path = SAMPLE,
    *,
    list_file: str | Path | None = None,
    subset: str | None = None,
    limit: int | None = None,
) -> PairSet:
    """Read the composites of a dataset, sorted by id.

    Layouts: iHarmony4 (every composite of the list), the sample, a table of paths with a column ``composite``,
    Parquet with an image column of that name, and a run folder of ``synthesize`` (candidates that passed the gates).

    Raises:
        UsageError: no layout fits, the data have no composites, or two results would have one name.

    >>> [pair.pair_id for pair in read_composites("sample", limit=2)]
    ['Sample/astronaut_flag_1', 'Sample/astronaut_flag_2']
    """
    layout = RUN if is_run(data) else detect_layout(data)
    if layout in ("iharmony4", SAMPLE):
        found = _of_originals(read_pairs(data, list_file=list_file, subset=subset))
    elif list_file is not None:
        raise UsageError(f"a list file was given but '{data}' is in layout '{layout}': lists are for iharmony4 only")
    elif layout in (RUN, "parquet"):
        found = _of_triplets(data, layout)
    elif layout == "table":
        found = _of_column(read_pairs(data))
    else:
        raise UsageError(
            f"'{data}' is in layout '{layout}', which has photos and masks but no composites: name the two folders "
            "with --composites and --masks, or give an iHarmony4 folder"
        )
    return _sorted(found, subset, limit)


def read_composite_folders(composites: Path, masks: Path, limit: int | None = None) -> PairSet:
    """Read a folder of composites with a folder of masks named alike (``a.jpg`` with ``a.png``, or ``a_1.png`` ...).

    A result is named by the mask, with the folder it lies in: so it is named by the composite, where it has one mask.

    Raises:
        UsageError: one is not a folder, or no mask belongs to a composite.
    """
    from harmonygen.data.folders import read_two_folders

    found = read_two_folders(composites, masks)
    named = [_composite(pair, _stem(Path(str(pair.mask)).relative_to(masks).as_posix()), pair.real) for pair in found]
    return _sorted(replace(found, pairs=tuple(named)), None, limit)


def _stem(path: str) -> str:
    """Return a path without its suffix."""
    return PurePosixPath(path).with_suffix("").as_posix()


def _composite(pair: Pair, name: str, composite: ImageSource) -> Pair:
    """Return a pair with its composite in the photo's place, named by the result's name within its subset."""
    name = f"{pair.subset}/{name}" if pair.subset else name
    return replace(pair, pair_id=name, real_id=name, real=composite, originals=())


def _of_originals(pairs: PairSet) -> PairSet:
    found = (
        _composite(pair, PurePosixPath(name).stem, FileSource(pairs.root / name))
        for pair in pairs
        for name in pair.originals
    )
    return replace(pairs, pairs=tuple(found))


def _of_triplets(data: str | Path, layout: str) -> PairSet:
    triplets, faults = read_triplets(data, layout)
    found = []
    for triplet in triplets:
        name, cell = triplet.triplet_id, triplet.composite
        if layout == "parquet" and isinstance(cell, CellSource):
            name = f"{cell.path.stem}-{cell.row:06d}"
        found.append(Pair(name, name, "0", cell, triplet.mask, name.rpartition("/")[0]))
    return PairSet(tuple(found), layout, Path(data), tuple(faults))


def _of_column(pairs: PairSet) -> PairSet:
    """Return the composites that a table's column names; rows without one are bad."""
    if not any(COMPOSITE in pair.extra for pair in pairs):
        raise UsageError(
            f"'{pairs.root}' has no column '{COMPOSITE}': add it, or name folders with --composites and --masks"
        )
    found: list[Pair] = []
    faults = list(pairs.bad)
    for pair in pairs:
        path = pair.extra.get(COMPOSITE, "")
        if path and "\0" not in path:
            found.append(_composite(pair, PurePosixPath(path).stem, FileSource(pairs.root.parent / path)))
        else:
            message = f"'{pair.pair_id}' has no path in column {COMPOSITE}: fill it or drop the row"
            faults.append(bad(pair.pair_id, message))
    return replace(pairs, pairs=tuple(found), bad=tuple(faults))


def _sorted(found: PairSet, subset: str | None, limit: int | None) -> PairSet:
    """Keep the wanted subset and the first ``limit``, by id, and check that the ids are unique."""
    kept = sorted((pair for pair in found if subset in (None, pair.subset)), key=lambda pair: pair.pair_id)
    if not kept:
        first = f"; the first of {len(found.bad)} bad inputs: {found.bad[0].message}" if found.bad else ""
        raise UsageError(f"'{found.root}' ({found.layout}) has no composite of subset {subset or 'any'}{first}")
    check_pairs(kept)
    return replace(found, pairs=tuple(kept[:limit]))
