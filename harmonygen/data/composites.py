"""Read composites with their masks and photos, from every layout that has them.

A composite's ``name`` is what its result is named by: ``<Subset>/<composite stem>``, or ``<pair_id>_hg<k>`` for a
candidate of a run, so that results map to composites one to one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from harmonygen.data import HUB, SAMPLE, checked, detect_layout, read_pairs
from harmonygen.data.files import bad
from harmonygen.data.folders import read_two_folders
from harmonygen.data.ids import refuse_collisions, refuse_repeats
from harmonygen.data.iharmony4 import read_iharmony4
from harmonygen.data.links import check_data, keep_inside
from harmonygen.data.lists import HeldOut, Role, held_out, place_of
from harmonygen.data.orientation import with_mask_rule
from harmonygen.data.parquet import bounds, download, parquet_parts, read_rows, read_schema
from harmonygen.data.sample import cached_sample
from harmonygen.data.splits import note, passed, split_of_file
from harmonygen.errors import UsageError
from harmonygen.records import CellSource, Composite, FileSource, Pair, PairSet, PassedOver, Quarantined, ReadOptions
from harmonygen.runs.read import Run, is_run
from harmonygen.storage.remote import cache_folder

COMPOSITE = "composite"
RUN = "run"
_REMEDY = "name the two folders with --composites and --masks, or give an iHarmony4 folder"


@dataclass(frozen=True)
class CompositeSet:
    """Composites, the layout they came in, the dataset's root, the rows that name none, and what chose them.

    ``notes`` are sentences about how the data were understood, and ``passed_over`` is what is not read, as those of
    :class:`harmonygen.records.PairSet`.
    """

    composites: tuple[Composite, ...]
    layout: str
    root: Path
    bad: tuple[Quarantined, ...] = ()
    chosen_by: str = "every row"
    notes: tuple[str, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()

    def __len__(self) -> int:
        return len(self.composites)

    def __iter__(self) -> Iterator[Composite]:
        return iter(self.composites)

    def as_pairs(self) -> PairSet:
        """Return the pairs that a harmonizer works on (:meth:`harmonygen.records.Composite.as_pair`)."""
        pairs = tuple(each.as_pair() for each in self)
        return PairSet(pairs, self.layout, self.root, self.bad, passed_over=self.passed_over, notes=self.notes)

    def with_mask_rule(self, reading: ReadOptions) -> CompositeSet:
        """Return the composites with the rule that their masks are read by.

        Raises:
            UsageError: values were chosen for a run, whose masks were read when it was made.
        """
        if self.layout == RUN:
            if reading.mask_values:
                raise UsageError(f"'{self.root}' is a run, whose masks were read when it was made: drop --mask-values")
            return self
        pairs = self.as_pairs()
        ruled = with_mask_rule(pairs, pairs.pairs, reading)
        masks = (pair.mask for pair in ruled)
        known = tuple(
            each if each.mask is mask else replace(each, mask=mask) for each, mask in zip(self, masks, strict=True)
        )
        return replace(self, composites=known, notes=ruled.notes)

    def by_name(self, subset: str | None = None, limit: int | None = None) -> CompositeSet:
        """Return the composites of a subset, or the first ``limit`` of them, sorted by name.

        Raises:
            UsageError: there is none, or two results would have one name.
        """
        kept = sorted((each for each in self if subset in (None, each.subset)), key=lambda each: each.name)
        if not kept:
            known = ", ".join(sorted({each.subset or "(no subset)" for each in self}))
            raise UsageError(f"'{self.root}' ({self.layout}) has no composite of subset '{subset}', found {known}")
        refuse_collisions(((each.name, f"{each.composite} + {each.mask}") for each in kept), "composite name")
        refuse_repeats((each.name for each in kept), "composite name", "composites")
        return replace(self, composites=tuple(kept[:limit]))


def read_composites(
    data: str | Path = SAMPLE,
    *,
    list_file: str | Path | None = None,
    subset: str | None = None,
    limit: int | None = None,
    reading: ReadOptions | None = None,
) -> CompositeSet:
    """Read the composites of a dataset, sorted by name (:func:`composites_of`, :meth:`CompositeSet.by_name`).

    Raises:
        UsageError: no layout fits, the data have no composites, or two results would have one name.

    >>> [each.name for each in read_composites("sample", limit=2)]
    ['Sample/astronaut_flag_1', 'Sample/astronaut_flag_2']
    """
    return composites_of(data, list_file=list_file, subset=subset, reading=reading).by_name(subset, limit)


def composites_of(
    data: str | Path,
    *,
    layout: str | None = None,
    list_file: str | Path | None = None,
    subset: str | None = None,
    role: Role = "train",
    remedy: str = _REMEDY,
    reading: ReadOptions | None = None,
) -> CompositeSet:
    """Read the composites of a dataset in its own order, and the rows or lines that name none.

    Layouts: iHarmony4 (every composite of the lists of ``role``), the sample, a table of paths with a column
    ``composite``, Parquet with an image column of that name (the files of ``role``), and a run folder of
    ``synthesize`` (the candidates that may be used).

    Args:
        data: as for :func:`harmonygen.data.read_pairs`, or a run folder.
        layout: detected if not given.
        list_file: iHarmony4 layout and sample only: the list to read.
        subset: read this subset alone, where the layout knows it before reading.
        role: which lists, or files of a Parquet dataset, are read where none is named.
        remedy: how the message continues if the layout has no composites.
        reading: how the data are read, as for :func:`harmonygen.data.read_pairs`.

    Raises:
        UsageError: another layout, no composite column, or nothing to read.
    """
    reading = reading or ReadOptions(allow_outside=True)  # a tree of this program's own
    check_data(Path(data), reading.allow_outside)
    layout = layout or reading.layout or (RUN if is_run(data) else detect_layout(data))
    if list_file is not None and layout not in ("iharmony4", SAMPLE):
        raise UsageError(f"a list file was given but '{data}' is in layout '{layout}': lists are for iharmony4 only")
    if layout in ("iharmony4", SAMPLE):
        found = _of_tree(data, layout, list_file, subset, role, reading.allow_outside)
    elif layout == RUN:
        found = _of_run(Path(data))
    elif layout == "parquet":
        found = _of_parquet(data, role, reading)
    elif layout == "table":
        found = _of_table(read_pairs(data, layout=layout, reading=reading))
    else:
        raise UsageError(f"'{data}' is in layout '{layout}', which holds no composites: {remedy}")
    if not found.composites:
        first = f", the first: {found.bad[0].message}" if found.bad else ""
        raise UsageError(f"'{data}' holds no composite ({layout}; {len(found.bad)} bad rows{first}): check --data")
    return found.with_mask_rule(reading)


def read_composite_folders(
    composites: Path, masks: Path, limit: int | None = None, reading: ReadOptions | None = None
) -> CompositeSet:
    """Read a folder of composites with a folder of masks named alike (``a.jpg`` with ``a.png``, or ``a_1.png`` ...).

    A result is named by the mask, with the folder it lies in: so it is named by the composite, where it has one mask.

    Raises:
        UsageError: one is not a folder, or no mask belongs to a composite.
    """
    found = read_two_folders(composites, masks)
    named = [
        Composite(
            _stem(Path(str(pair.mask)).relative_to(masks).as_posix()), "", pair.real_id, pair.real, None, pair.mask
        )
        for pair in found
    ]
    read = CompositeSet(tuple(named), found.layout, found.root, found.bad).by_name(None, limit)
    return read.with_mask_rule(reading or ReadOptions())


def _stem(path: str) -> str:
    """Return a path without its suffix."""
    return PurePosixPath(path).with_suffix("").as_posix()


def _of_pair(pair: Pair, path: Path) -> Composite:
    """Return the composite of a pair that lies in a file; both are read as they are stored."""
    name = f"{pair.subset}/{path.stem}" if pair.subset else path.stem
    composite = FileSource(path, within=pair.real.within, as_stored=True)
    real = replace(pair.real, as_stored=True)
    return Composite(name, pair.subset, pair.real_id, composite, real, pair.mask, pair.extra)


def _of_tree(
    data: str | Path, layout: str, list_file: str | Path | None, subset: str | None, role: Role, anywhere: bool
) -> CompositeSet:
    pairs = keep_inside(read_iharmony4(dataset_folder(data), list_file, subset, role), anywhere)
    pairs = checked(pairs, subset, None)
    chosen = ", ".join(path.name for path in pairs.lists) or "every composite on disk"
    found = (_of_pair(pair, pairs.root / name) for pair in pairs for name in pair.originals)
    return CompositeSet(tuple(found), layout, pairs.root, pairs.bad, chosen, pairs.notes, pairs.passed_over)


def _of_table(pairs: PairSet) -> CompositeSet:
    """Return the composites that a table's column names; rows without one are bad."""
    if not any(COMPOSITE in pair.extra for pair in pairs):
        raise UsageError(f"'{pairs.root}' has no column '{COMPOSITE}': add it, with a path in each row")
    found: list[Composite] = []
    faults = list(pairs.bad)
    for pair in pairs:
        path = pair.extra.get(COMPOSITE, "")
        if path and "\0" not in path:
            found.append(_of_pair(pair, pairs.root.parent / path))
        else:
            message = f"'{pair.pair_id}' has no path in column {COMPOSITE}: fill it or drop the row"
            faults.append(bad(pair.pair_id, message))
    chosen = "every row"
    return CompositeSet(tuple(found), pairs.layout, pairs.root, tuple(faults), chosen, pairs.notes, pairs.passed_over)


def _of_parquet(data: str | Path, role: Role, reading: ReadOptions) -> CompositeSet:
    root = download(str(data)) if str(data).startswith(HUB) else Path(data)
    files, others = parquet_parts(root, role)
    found: list[Composite] = []
    faults: list[Quarantined] = []
    for file in files:
        columns = read_schema(file).names
        if COMPOSITE not in columns:
            raise UsageError(f"'{file}' has no column '{COMPOSITE}' (found {', '.join(columns)}): rename the column")
        for row in read_rows(file, bounds(root, reading)):
            if isinstance(row, Quarantined):
                faults.append(row)
            else:
                found.append(_of_row(row))
    split = split_of_file(files[0]) if files else ""
    rows = tuple(passed(file, split_of_file(file), split) for file in others)
    chosen = f"split {split}" if split else "every row"
    return CompositeSet(tuple(found), "parquet", Path(data), tuple(faults), chosen, note(rows, split), rows)


def _of_row(pair: Pair) -> Composite:
    if not isinstance(pair.real, CellSource):
        raise TypeError(f"row {pair.pair_id} of a Parquet file has its photo in {pair.real!r}")
    cell = CellSource(pair.real.path, COMPOSITE, pair.real.row, within=pair.real.within, as_stored=True)
    real = replace(pair.real, as_stored=True)
    return Composite(f"{cell.path.stem}-{cell.row:06d}", pair.subset, pair.real_id, cell, real, pair.mask)


def _of_run(folder: Path) -> CompositeSet:
    """Join each candidate that may be used with its pair's photo and mask, in the order of the run's files."""
    run = Run.open(folder.absolute())
    run.refuse_changed()
    photos = [run.pair_sources(part) for part in range(len(run.parts))]
    found = []
    for row in run.usable().select(["pair_id", "real_id", "k", "part", "row"]).to_pylist():
        pair_id, (real, mask) = row["pair_id"], photos[row["part"]][row["pair_id"]]
        name, subset = f"{pair_id}_hg{row['k']}", pair_id.rpartition("/")[0]
        found.append(Composite(name, subset, row["real_id"], run.composite_source(row), real, mask))
    return CompositeSet(tuple(found), RUN, folder, (), "the candidates that passed the gates or a review")


def dataset_folder(data: str | Path) -> Path:
    """Return the folder or file of a dataset: of the word ``sample``, where the sample is written out."""
    return cached_sample(cache_folder()) if str(data) == SAMPLE else Path(data)


def held_out_of(data: str | Path) -> HeldOut:
    """Return what the test lists of a dataset name: a model never trains on these photos.

    Looked at: every test list at the root and in the subsets' folders; for a list file, beside it; for a run folder,
    at the root that it was made from.
    """
    folder = dataset_folder(data)
    if is_run(folder):
        folder = Path(Run.look(folder).plan.get("data_root") or folder)
    return held_out(place_of(folder)[0])
