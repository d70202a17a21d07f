"""Read what predictions are scored on: composites with their masks and real photos, by test list where there is one.

A case is named as ``harmonize`` names its result: ``<Subset>/<composite stem>``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harmonygen.data import HUB, SAMPLE, detect_layout, read_pairs
from harmonygen.data.files import entries
from harmonygen.data.ids import refuse_collisions
from harmonygen.data.iharmony4 import COMPOSITES, default_lists, subset_folders
from harmonygen.data.triplets import COMPOSITE, RUN, Triplet, is_run, read_triplets
from harmonygen.errors import UsageError
from harmonygen.records import CellSource, FileSource, ImageSource, MaskSource, Pair, Quarantined


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
    on disk. Parquet: the files of split ``test`` if there are any. A run of ``synthesize``: the candidates that passed
    the gates. A table of paths: its column ``composite``. ``limit`` takes so many, spread evenly over the names.

    Raises:
        UsageError: no layout fits, no composites, a bad line or row (they are named), or names that collide.
    """
    layout = RUN if is_run(data) else detect_layout(data)
    if layout in ("iharmony4", SAMPLE):
        found, chosen, faults = _of_lists(data, layout, list_file, subset)
    elif list_file is not None:
        raise UsageError(f"a list file was given but '{data}' is in layout '{layout}': lists are for iharmony4 only")
    elif layout in (RUN, "parquet"):
        found, chosen, faults = _of_triplets(data, layout)
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
    from harmonygen.data.sample import cache_folder, cached_sample

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


def _of_triplets(data: str | Path, layout: str) -> _Found:
    parts: Iterable[str | Path] = [data]
    chosen = "the candidates that passed the gates" if layout == RUN else "every row"
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
