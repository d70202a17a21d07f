"""Read composites with their masks, the input of harmonization, from every layout that has them.

A composite is a :class:`~harmonygen.records.Pair` whose ``real`` is the composite. Its ``pair_id`` is what its result
is named by: ``<Subset>/<composite stem>``, unique, so that results map to composites one to one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from harmonygen.data import HUB, SAMPLE, detect_layout, read_pairs
from harmonygen.data.files import bad, entries
from harmonygen.data.ids import check_pairs, refuse_collisions
from harmonygen.data.iharmony4 import COMPOSITES, default_lists, parse_lines, read_lines, subset_folders
from harmonygen.data.parquet import download, parquet_files, read_rows, read_schema
from harmonygen.errors import UsageError
from harmonygen.records import CellSource, FileSource, ImageSource, MaskSource, Pair, PairSet, Quarantined
from harmonygen.runs.read import Run, is_run


def read_composites(
    data: str | Path = SAMPLE,
    *,
    list_file: str | Path | None = None,
    subset: str | None = None,
    limit: int | None = None,
) -> PairSet:
    """Read the composites of a dataset, sorted by id.

    Layouts: iHarmony4 (every composite of the list), the sample, a table of paths with a column ``composite``,
    Parquet with an image column of that name, and a run folder of ``synthesize`` (the candidates that may be used:
    :meth:`~harmonygen.runs.read.Run.usable`).

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


COMPOSITE = "composite"


RUN = "run"


_TEST_LIST = re.compile(r".+_test\.(txt|jsonl)(\.gz)?", re.IGNORECASE)


_TEST_PART = re.compile(r"test-\d{5}-of-\d{5}.*\.parquet")


@dataclass(frozen=True, slots=True)
class Triplet:
    """One stored composite with its photo and mask; ``triplet_id`` is unique in a dataset, ``subset`` a part of it."""

    triplet_id: str
    real_id: str
    real: ImageSource
    mask: MaskSource
    composite: ImageSource
    subset: str = ""


def read_triplets(data: str | Path, layout: str | None = None) -> tuple[list[Triplet], list[Quarantined]]:
    """Read the composites of a dataset, in a stable order, and the rows or lines that name none.

    Args:
        data: an iHarmony4 root or list file, Parquet (file, folder or ``hf://``), or a run folder of ``synthesize``.
        layout: ``iharmony4``, ``parquet`` or ``run``; found out by default.

    Raises:
        UsageError: another layout, no composite column, or nothing to read.
    """
    layout = layout or (RUN if is_run(data) else detect_layout(data))
    faults: list[Quarantined] = []
    if layout == RUN:
        triplets = _of_run(Path(data))
    elif layout == "parquet":
        triplets, faults = _of_parquet(data)
    elif layout == "iharmony4":
        pairs = read_pairs(data, layout=layout)
        triplets, faults = list(_of_tree(pairs.pairs, pairs.root)), list(pairs.bad)
    else:
        raise UsageError(
            f"'{data}' is in layout '{layout}', which holds no composites: give an iHarmony4 tree or list, Parquet "
            "with a composite column or a run folder, or have composites made on the fly (source=on-the-fly)"
        )
    if not triplets:
        raise UsageError(f"'{data}' holds no composite ({layout}; {len(faults)} bad rows): check --data")
    return triplets, faults


def _of_tree(pairs: Sequence[Pair], root: Path) -> Iterator[Triplet]:
    for pair in pairs:
        for name in pair.originals:
            yield Triplet(name, pair.real_id, pair.real, pair.mask, FileSource(root / name), pair.subset)


def _of_parquet(data: str | Path) -> tuple[list[Triplet], list[Quarantined]]:
    root = download(str(data)) if str(data).startswith(HUB) else Path(data)
    triplets: list[Triplet] = []
    faults: list[Quarantined] = []
    for file in parquet_files(root):
        columns = read_schema(file).names
        if COMPOSITE not in columns:
            raise UsageError(f"'{file}' has no column '{COMPOSITE}' (found {', '.join(columns)}): rename the column")
        for row in read_rows(file):
            if isinstance(row, Quarantined):
                faults.append(row)
            else:
                triplets.append(_of_row(row))
    return triplets, faults


def _of_row(pair: Pair) -> Triplet:
    if not isinstance(pair.real, CellSource):
        raise TypeError(f"row {pair.pair_id} of a Parquet file has its photo in {pair.real!r}")
    cell = CellSource(pair.real.path, COMPOSITE, pair.real.row)
    return Triplet(f"{cell.path.name}-{cell.row:06d}", pair.real_id, pair.real, pair.mask, cell, pair.subset)


def _of_run(folder: Path) -> list[Triplet]:
    """Join each candidate that may be used with its pair's photo and mask, in the order of the run's files."""
    run = Run.open(folder.absolute())
    photos = [run.pair_sources(part) for part in range(len(run.parts))]
    triplets = []
    for row in run.usable().select(["pair_id", "real_id", "k", "part", "row"]).to_pylist():
        name, (real, mask) = row["pair_id"], photos[row["part"]][row["pair_id"]]
        composite = run.composite_source(row)
        triplets.append(Triplet(f"{name}_hg{row['k']}", row["real_id"], real, mask, composite, name.rpartition("/")[0]))
    return triplets


def photos_of_test_lists(data: str | Path) -> frozenset[str]:
    """Return the ids of the photos that a dataset's own test lists name; a model never trains on these.

    Looked at: ``*_test.txt`` and ``*_test.jsonl`` (``.gz`` too) at an iHarmony4 root and in its subsets' folders; for
    a list file, beside it; for a run folder, at the root that it was made from.
    """
    root = _root(Path(data))
    subsets = subset_folders(root)
    known = {folder.name for folder in subsets}
    found: set[str] = set()
    for folder in (root, *subsets) if root.is_dir() else ():
        lists = [entry.name for entry in entries(folder) if _TEST_LIST.fullmatch(entry.name) and entry.is_file()]
        for name in lists:
            head = name.rpartition("_")[0]
            subset = folder.name if folder.name in known else head if head in known else ""
            found |= {line.real_id for line in parse_lines(read_lines(folder / name), subset)[0]}
    return frozenset(found)


def _root(data: Path) -> Path:
    if is_run(data):
        data = Path(json.loads((data / "plan.json").read_text(encoding="utf-8")).get("data_root") or data)
    data = data.parent if data.is_file() else data
    return data.absolute().parent if (data / COMPOSITES).is_dir() else data


def is_test_part(data: str | Path) -> bool:
    """Tell whether ``data`` is a Parquet file of a split named ``test``."""
    return _TEST_PART.fullmatch(Path(data).name) is not None


@dataclass(frozen=True, slots=True)
class Case:
    """One composite to score predictions of: ``name`` is unique, cases of one photo share ``real_id``."""

    name: str
    subset: str
    real_id: str
    composite: ImageSource
    real: ImageSource
    mask: MaskSource


@dataclass(frozen=True)
class EvaluationSet:
    """Cases by name, the layout they came in, the dataset's root, and what chose them (a list, or in words)."""

    cases: tuple[Case, ...]
    layout: str
    root: Path
    chosen_by: str


def read_cases(
    data: str | Path = SAMPLE,
    *,
    list_file: str | Path | None = None,
    subset: str | None = None,
    limit: int | None = None,
) -> EvaluationSet:
    """Read the composites of a dataset with their photos, sorted by name.

    iHarmony4 and the sample: those of ``list_file``, else of the test lists; else, where there is no list at all, all
    on disk. Parquet: the files of split ``test`` if there are any. A run of ``synthesize``: the candidates that may
    be used. A table of paths: its column ``composite``. ``limit`` takes so many, spread evenly over the names.

    Raises:
        UsageError: no layout fits, no composites, a bad line or row (they are named), or names that collide.
    """
    layout = RUN if is_run(data) else detect_layout(data)
    if layout in ("iharmony4", SAMPLE):
        found, chosen, faults = _of_lists(data, layout, list_file, subset)
    elif list_file is not None:
        raise UsageError(f"a list file was given but '{data}' is in layout '{layout}': lists are for iharmony4 only")
    elif layout in (RUN, "parquet"):
        found, chosen, faults = _cases_of_triplets(data, layout)
    elif layout == "table":
        found, chosen, faults = _of_table(data)
    else:
        raise UsageError(
            f"'{data}' is in layout '{layout}', which holds no composites with their real photos: give an iHarmony4 "
            "tree or list, a table with a column composite, Parquet with one, or a run folder"
        )
    if faults:
        named = "; ".join(fault.message for fault in faults[:3])
        raise UsageError(f"{len(faults)} lines or rows of '{data}' name no composite: {named}: mend or drop them")
    kept = sorted((case for case in found if subset in (None, case.subset)), key=lambda case: case.name)
    if not kept:
        known = ", ".join(sorted({case.subset or "(no subset)" for case in found})) or "no composite at all"
        raise UsageError(f"'{data}' ({layout}) has no composite of subset {subset or 'any'}, found {known}")
    refuse_collisions(((case.name, str(case.composite)) for case in kept), "composite name")
    return EvaluationSet(tuple(_spread(kept, limit)), layout, Path(data), chosen)


def _spread(cases: list[Case], limit: int | None) -> list[Case]:
    """Return ``limit`` cases spread evenly over the names: the first ones would be of one subset, or of one photo."""
    if limit is None or limit >= len(cases):
        return cases
    return [cases[index * len(cases) // limit] for index in range(limit)]


_Found = tuple[list[Case], str, list[Quarantined]]


def _of_lists(data: str | Path, layout: str, list_file: str | Path | None, subset: str | None) -> _Found:
    path = _sample_root() if layout == SAMPLE else Path(data)
    if list_file is not None or path.is_file():
        lists: list[Path | None] = [Path(list_file) if list_file is not None else None]
    else:
        lists = [*_test_lists(path, subset)] or [None]
    cases: dict[str, Case] = {}
    faults: list[Quarantined] = []
    for one in lists:
        pairs = read_pairs(path, layout="iharmony4", list_file=one, subset=subset)
        faults += list(pairs.bad)
        for pair in pairs:
            cases.update((name, _case(pair, FileSource(pairs.root / name))) for name in pair.originals)
    named = ", ".join(one.name for one in lists if one) or (path.name if path.is_file() else "every composite on disk")
    return list(cases.values()), named, faults


def _sample_root() -> Path:
    from harmonygen.data.sample import cached_sample
    from harmonygen.storage.remote import cache_folder

    return cached_sample(cache_folder())


def _test_lists(path: Path, subset: str | None) -> list[Path]:
    """Return the test lists of a root or a subset's folder; none stands for every composite on disk.

    Raises:
        UsageError: there are training lists alone.
    """
    root, subset = (path.absolute().parent, path.absolute().name) if (path / COMPOSITES).is_dir() else (path, subset)
    whole = root / "IHD_test.txt"
    if whole.is_file():
        return [whole.absolute()]
    wanted = [subset] if subset else [folder.name for folder in subset_folders(root)]
    places = ((root / f"{name}_test.txt", root / name / f"{name}_test.txt") for name in wanted)
    found = [next(place.absolute() for place in both if place.is_file()) for both in places if any(map(_is_file, both))]
    if not found and default_lists(root, subset):
        raise UsageError(
            f"'{root}' has training lists but no IHD_test.txt or <Subset>_test.txt: name the list to score with "
            "--list-file"
        )
    return found


def _is_file(path: Path) -> bool:
    return path.is_file()


def _case(pair: Pair, composite: FileSource) -> Case:
    stem = composite.path.stem
    name = f"{pair.subset}/{stem}" if pair.subset else stem
    return Case(name, pair.subset, pair.real_id, composite, pair.real, pair.mask)


def _cases_of_triplets(data: str | Path, layout: str) -> _Found:
    parts: Iterable[str | Path] = [data]
    chosen = "the candidates that passed the gates or a review" if layout == RUN else "every row"
    if layout == "parquet" and not str(data).startswith(HUB) and Path(data).is_dir():
        tests = [
            path for folder in (Path(data), Path(data) / "data") if folder.is_dir() for path in _test_parts(folder)
        ]
        parts, chosen = (tests, "split test") if tests else (parts, chosen)
    triplets: list[Triplet] = []
    faults: list[Quarantined] = []
    for part in parts:
        found, wrong = read_triplets(part, layout)
        triplets += found
        faults += wrong
    return [_of_triplet(triplet, layout) for triplet in triplets], chosen, faults


def _test_parts(folder: Path) -> list[Path]:
    names = [entry.name for entry in entries(folder)]
    return [folder / name for name in names if name.startswith("test-") and name.endswith(".parquet")]


def _of_triplet(triplet: Triplet, layout: str) -> Case:
    name, cell = triplet.triplet_id, triplet.composite
    if layout == "parquet" and isinstance(cell, CellSource):
        name = f"{cell.path.stem}-{cell.row:06d}"
    return Case(name, triplet.subset, triplet.real_id, triplet.composite, triplet.real, triplet.mask)


def _of_table(data: str | Path) -> _Found:
    pairs = read_pairs(data)
    lacking = [pair.pair_id for pair in pairs if not pair.extra.get(COMPOSITE)]
    if lacking:
        raise UsageError(
            f"{len(lacking)} rows of '{data}' have no path in column '{COMPOSITE}' ({', '.join(lacking[:3])}): fill it"
        )
    found = [_case(pair, FileSource(pairs.root.parent / PurePosixPath(pair.extra[COMPOSITE]))) for pair in pairs]
    return found, "every row", list(pairs.bad)
