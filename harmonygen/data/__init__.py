"""Read (real, mask) pairs from the layouts people have: :func:`read_pairs` finds out which one it is.

Reading is lazy: names, lists and tables are read, and the first bytes of photos, to see whether EXIF turns any. What
cannot be used is in ``PairSet.bad``. :mod:`harmonygen.data.segmentations` reads one pair per photo.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harmonygen.data.files import cannot_read, escaped
from harmonygen.data.links import check_data, keep_inside
from harmonygen.data.orientation import with_mask_rule
from harmonygen.data.splits import Split, split_of_folder
from harmonygen.errors import HarmonygenError, UsageError, listed
from harmonygen.records import PairSet, PassedOver, ReadOptions

__all__ = ["LAYOUTS", "SAMPLE", "PairSet", "ReadOptions", "detect_layout", "read_pairs"]

SAMPLE = "sample"
HUB = "hf://"
_AS_FOUND = ReadOptions()

LAYOUTS = {
    "iharmony4": "<Subset>/{composite_images,masks,real_images}, one such subset, or a list file (txt, jsonl, .gz)",
    "imaterialist": "train.csv (ImageId, EncodedPixels, Height, Width, ClassId) beside train/<ImageId>.jpg",
    "voc": "JPEGImages/ beside SegmentationClass/ or SegmentationObject/",
    "folders": "images/ (or photos, real ...) beside masks/ (or mask ...), or a.jpg beside a_mask.png",
    "labelme": "a .json of labelme beside each photo",
    "coco": "a COCO instances .json, or a folder with one (also in annotations/, or in train/, valid/)",
    "parquet": "a .parquet file, a folder of them or hf://datasets/<user>/<name>, with image columns real and mask",
    "table": "a .csv, .tsv or .parquet of paths with columns real and mask, or a folder with one",
    "sample": "the built-in sample, named by the word sample",
}
"""The layouts read, in the order they are tried, and how each looks."""


def read_pairs(
    data: str | Path = SAMPLE,
    *,
    layout: str | None = None,
    list_file: str | Path | None = None,
    subset: str | None = None,
    limit: int | None = None,
    reading: ReadOptions = _AS_FOUND,
    split: Split = "train",
) -> PairSet:
    """Read the (real, mask) pairs of a dataset, in an order that depends on its names alone.

    Args:
        data: a folder or file, ``hf://datasets/<user>/<name>``, or ``sample`` (write ``./sample`` for a folder); any
            other URL is copied into the cache first (:func:`harmonygen.storage.fetch.fetch`).
        layout: one of :data:`LAYOUTS`; detected if not given.
        list_file: iHarmony4 layout only: the list of composites to read.
        subset: read the pairs of this subset alone; where the data have splits, it may name one.
        limit: keep the first ``limit`` pairs.
        reading: how the data are read, as settings say it; ``layout`` may stand there too.
        split: which split is read where the data have several; another one where it is missing.

    Raises:
        UsageError: no layout fits, nothing can be read, or ids are refused or collide.
        StorageError: the data cannot be listed or downloaded.

    >>> read_pairs("sample", limit=1).layout
    'sample'
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}: it must be 1 or more")
    refuse_not_text(data)
    try:
        if is_url(data) or is_url(list_file or ""):
            return _read_copies(str(data), layout, list_file, subset, limit, reading, split)
        check_data(Path(data), reading.allow_outside)
        layout = layout or reading.layout or detect_layout(data)
        _refuse_options(layout, data, list_file)
        found = _read(layout, data, list_file, subset, reading, split_of_folder(subset or "") or split)
        found = keep_inside(found, reading.allow_outside)
        return with_mask_rule(checked(found, subset, limit), found.pairs, reading)
    except OSError as error:
        raise cannot_read(data, error) from error


def is_url(text: str | Path) -> bool:
    """Return whether data are at a URL that fsspec opens; ``hf://`` has its own reader.

    >>> is_url("s3://bucket/photos"), is_url("/data/photos"), is_url("hf://datasets/a/b")
    (True, False, False)
    """
    return "://" in str(text) and not str(text).startswith(HUB)


def _read_copies(
    data: str,
    layout: str | None,
    list_file: str | Path | None,
    subset: str | None,
    limit: int | None,
    reading: ReadOptions,
    split: Split,
) -> PairSet:
    """Read data, or a list, at a URL: copied into the cache first."""
    from harmonygen.storage.fetch import fetch
    from harmonygen.storage.remote import by_url

    listed = fetch(str(list_file)) if list_file and is_url(list_file) else list_file
    here = fetch(data) if is_url(data) else Path(data)
    found = read_pairs(here, layout=layout, list_file=listed, subset=subset, limit=limit, reading=reading, split=split)
    return by_url(found, here, data) if is_url(data) else found


def _refuse_options(layout: str, data: str | Path, list_file: str | Path | None) -> None:
    if layout not in LAYOUTS:
        raise UsageError(f"layout '{layout}' is not known: use one of {', '.join(LAYOUTS)}")
    if list_file is not None and layout != "iharmony4":
        raise UsageError(f"a list file was given but '{data}' is in layout '{layout}': lists are for iharmony4 only")


def refuse_not_text(data: str | Path) -> None:
    """Refuse a path whose name is not UTF-8: it could neither be printed nor written into a plan."""
    if escaped(data) != str(data):
        raise UsageError(f"the path '{escaped(data)}' is not UTF-8 text: rename that folder or file")


def _read(
    layout: str,
    data: str | Path,
    list_file: str | Path | None,
    subset: str | None,
    reading: ReadOptions,
    split: Split,
) -> PairSet:
    """Call the layout's reader; each is imported when it is needed only."""
    if layout == "iharmony4":
        from harmonygen.data.iharmony4 import read_iharmony4

        return read_iharmony4(Path(data), list_file, subset)
    if layout == "imaterialist":
        from harmonygen.data.imaterialist import read_imaterialist

        return read_imaterialist(Path(data), anywhere=reading.allow_outside)
    if layout == "folders":
        from harmonygen.data.folders import read_folders

        return read_folders(Path(data), subset, reading, split)
    if layout == "voc":
        from harmonygen.data.voc import read_voc

        return read_voc(Path(data), subset, reading, split)
    if layout == "labelme":
        from harmonygen.data.labelme import read_labelme

        return read_labelme(Path(data), split)
    if layout == "coco":
        from harmonygen.data.coco import read_coco

        return read_coco(Path(data), split=split)
    if layout == "table":
        from harmonygen.data.table import read_table

        return read_table(Path(data), reading)
    if layout == "parquet":
        from harmonygen.data.parquet import read_parquet

        return read_parquet(data, split, reading)
    from harmonygen.data.sample import read_written_sample

    return read_written_sample()


def checked(found: PairSet, subset: str | None, limit: int | None) -> PairSet:
    """Keep the subset and the first ``limit`` pairs, and check that the ids are unique."""
    from harmonygen.data.ids import check_pairs

    whole = subset is None or (found.split and split_of_folder(subset) == found.split)
    kept = tuple(pair for pair in found.pairs if whole or pair.subset == subset)
    if not kept:
        known = ", ".join(sorted({pair.subset or "(no subset)" for pair in found.pairs})) or "no pair at all"
        first = f"; the first of {len(found.bad)} bad inputs: {found.bad[0].message}" if found.bad else ""
        if found.left_out:
            first += f"; {len(found.left_out)} photos left out: {found.left_out[0].message}"
        if found.passed_over:
            first += f"; {_counted(found.passed_over)} passed over, the first: {found.passed_over[0].message}"
        wanted = f" of subset '{subset}'" if subset else ""
        raise UsageError(f"'{found.root}' ({found.layout}) has no pair{wanted}, found {known}{first}: check --data")
    check_pairs(kept)
    return replace(found, pairs=kept[:limit])


def _counted(rows: Sequence[PassedOver]) -> str:
    """Count files that are not read by their reasons."""
    counts = Counter(row.reason for row in rows)
    return ", ".join(f"{count} ({reason})" for reason, count in counts.most_common())


def detect_layout(data: str | Path) -> str:
    """Find out the layout of ``data``: the first of :data:`LAYOUTS` that fits what is there.

    Raises:
        UsageError: the path is missing or no layout fits; the message lists them and what was found.
    """
    if str(data) == SAMPLE:
        return SAMPLE
    if str(data).startswith(HUB):
        return "parquet"
    path = Path(data)
    refuse_not_text(path)
    if not path.exists():
        raise UsageError(f"'{path}' is not there: check the path, or use the word sample for the built-in sample")
    from harmonygen.data import coco, folders, iharmony4, imaterialist, labelme, parquet, table, voc

    tests = {
        "iharmony4": iharmony4.matches,
        "imaterialist": imaterialist.matches,
        "voc": voc.matches,
        "folders": folders.matches,
        "labelme": labelme.matches,
        "coco": coco.matches,
        "parquet": parquet.matches,
        "table": table.matches,
    }
    for name, fits in tests.items():
        if fits(path):
            return name
    if folders.masks_lie_beside(path):  # last, since pictures lie beside tables and the like
        return "folders"
    raise UsageError(_no_layout(path))


def _no_layout(path: Path) -> str:
    """Say what a path holds, why the readers that come nearest cannot read it, and what can be read."""
    from harmonygen.data.foreign import advice

    known = "\n".join(f"  {name}: {look}" for name, look in LAYOUTS.items())
    reasons = [f"  {name}: {why}" for name in _near(path) if (why := _why_not(name, path))]
    said = advice(path)
    nearest = "\n".join(["", "Nearest:", *reasons]) if reasons else ""
    nearest += f"\nIt looks like data of another tool: {said}." if said else ""
    return (
        f"no layout fits '{path}', where there is {_glance(path)}.{nearest}\nSupported (a layout can be named, then "
        f"its reader says what it lacks):\n{known}"
    )


def _near(path: Path) -> list[str]:
    """Return the layouts whose marks a path has, though it is in none of them."""
    from harmonygen.data import folders, voc
    from harmonygen.data.files import entries, is_folder, subfolders

    if path.is_file():
        names, inner = [path.name.lower()], []
    else:
        places = [folder for folder in (path, path / "annotations", path / "data") if folder.is_dir()]
        names = [entry.name.lower() for place in places for entry in entries(place) if not is_folder(entry)]
        inner = [folder.name for folder in subfolders(path)]
    marks = {
        "imaterialist": "train.csv" in names,
        "voc": voc.PHOTOS in inner,
        "folders": any(folders.side_of(name.lower()) for name in inner),
        "coco": any(name.endswith(".json") for name in names),
        "parquet": any(name.endswith(".parquet") for name in names),
        "table": any(name.endswith((".csv", ".tsv")) for name in names),
    }
    return [name for name, bears in marks.items() if bears]


def _why_not(layout: str, path: Path) -> str:
    """Return the message of a layout's reader for a path that it cannot read."""
    try:
        _read(layout, path, None, None, _AS_FOUND, "train")
    except HarmonygenError as error:
        return str(error)
    except (OSError, ValueError) as error:
        return f"{type(error).__name__} {escaped(error)}"
    return ""


def _glance(path: Path) -> str:
    """Say in a few words what a path holds."""
    if path.is_file():
        return f"a file of type '{path.suffix or 'none'}'"
    from harmonygen.data.files import entries, is_folder

    found = [f"{escaped(entry.name)}{'/' if is_folder(entry) else ''}" for entry in entries(path)]
    return listed(found, most=8) or "nothing"
