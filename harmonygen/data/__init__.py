"""Read (real, mask) pairs from the layouts people have: :func:`read_pairs` finds out which one it is.

Reading is lazy: names, lists and tables are read, photos are not opened (of iMaterialist's, the headers are). What
cannot be used is in ``PairSet.bad``. :mod:`harmonygen.data.segmentations` reads one pair per photo.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harmonygen.errors import StorageError, UsageError, listed
from harmonygen.records import PairSet, ReadOptions

__all__ = ["LAYOUTS", "SAMPLE", "PairSet", "ReadOptions", "detect_layout", "read_pairs"]

SAMPLE = "sample"
HUB = "hf://"
_AS_FOUND = ReadOptions()

LAYOUTS = {
    "iharmony4": "<Subset>/{composite_images,masks,real_images}, one such subset, or a list file (txt, jsonl, .gz)",
    "imaterialist": "train.csv (ImageId, EncodedPixels, Height, Width, ClassId) beside train/<ImageId>.jpg",
    "folders": "images/ (or photos, real, reals, real_images) beside masks/ (or mask, annotations)",
    "coco": "a COCO instances .json, or a folder with one (also in annotations/)",
    "parquet": "a .parquet file, a folder of them or hf://datasets/<user>/<name>, with image columns real and mask",
    "table": "a .csv or .parquet of paths with columns real and mask, or a folder with one",
    "sample": "the word sample: the built-in sample",
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
) -> PairSet:
    """Read the (real, mask) pairs of a dataset, in an order that depends on its names alone.

    Args:
        data: a folder or file, ``hf://datasets/<user>/<name>``, or ``sample`` (write ``./sample`` for a folder); any
            other URL is copied into the cache first (:func:`harmonygen.storage.fetch.fetch`).
        layout: one of :data:`LAYOUTS`; found out from what is there if not given.
        list_file: iHarmony4 layout only: the list of composites to read.
        subset: read the pairs of this subset alone.
        limit: keep the first ``limit`` pairs.
        reading: how the data are read, as settings say it; ``layout`` may stand there too.

    Raises:
        UsageError: no layout fits, nothing can be read, or ids are refused or collide.
        StorageError: the data cannot be listed or downloaded.

    >>> read_pairs("sample", limit=1).layout
    'sample'
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}: it must be 1 or more")
    try:
        if is_url(data) or is_url(list_file or ""):
            return _read_copies(str(data), layout, list_file, subset, limit, reading)
        layout = layout or reading.layout or detect_layout(data)
        _refuse_options(layout, data, list_file)
        return checked(_read(layout, data, list_file, subset), subset, limit)
    except OSError as error:
        raise StorageError(
            f"cannot read '{data}': {error.strerror or error}: check the path and permissions"
        ) from error


def is_url(text: str | Path) -> bool:
    """Tell whether data are at a URL that fsspec opens; ``hf://`` has its own reader.

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
) -> PairSet:
    """Read data, or a list, at a URL: copied into the cache first."""
    from harmonygen.storage.fetch import fetch
    from harmonygen.storage.remote import by_url

    listed = fetch(str(list_file)) if list_file and is_url(list_file) else list_file
    here = fetch(data) if is_url(data) else Path(data)
    found = read_pairs(here, layout=layout, list_file=listed, subset=subset, limit=limit, reading=reading)
    return by_url(found, here, data) if is_url(data) else found


def _refuse_options(layout: str, data: str | Path, list_file: str | Path | None) -> None:
    if layout not in LAYOUTS:
        raise UsageError(f"layout '{layout}' is not known: use one of {', '.join(LAYOUTS)}")
    if list_file is not None and layout != "iharmony4":
        raise UsageError(f"a list file was given but '{data}' is in layout '{layout}': lists are for iharmony4 only")


def _read(layout: str, data: str | Path, list_file: str | Path | None, subset: str | None) -> PairSet:
    """Call the layout's reader; each is imported when it is needed only."""
    if layout == "iharmony4":
        from harmonygen.data.iharmony4 import read_iharmony4

        return read_iharmony4(Path(data), list_file, subset)
    if layout == "imaterialist":
        from harmonygen.data.imaterialist import read_imaterialist

        return read_imaterialist(Path(data))
    if layout == "folders":
        from harmonygen.data.folders import read_folders

        return read_folders(Path(data), subset)
    if layout == "coco":
        from harmonygen.data.coco import read_coco

        return read_coco(Path(data))
    if layout == "table":
        from harmonygen.data.table import read_table

        return read_table(Path(data))
    if layout == "parquet":
        from harmonygen.data.parquet import read_parquet

        return read_parquet(data)
    from harmonygen.data.sample import read_written_sample

    return read_written_sample()


def checked(found: PairSet, subset: str | None, limit: int | None) -> PairSet:
    """Keep the subset and the first ``limit`` pairs, and check that the ids are unique."""
    from harmonygen.data.ids import check_pairs

    kept = tuple(pair for pair in found.pairs if subset is None or pair.subset == subset)
    if not kept:
        known = ", ".join(sorted({pair.subset or "(no subset)" for pair in found.pairs})) or "no pair at all"
        first = f"; the first of {len(found.bad)} bad inputs: {found.bad[0].message}" if found.bad else ""
        if found.left_out:
            first += f"; {len(found.left_out)} photos left out: {found.left_out[0].message}"
        wanted = f" of subset '{subset}'" if subset else ""
        raise UsageError(f"'{found.root}' ({found.layout}) has no pair{wanted}, found {known}{first}: check --data")
    check_pairs(kept)
    return replace(found, pairs=kept[:limit])


def detect_layout(data: str | Path) -> str:
    """Find out the layout of ``data``: the first of :data:`LAYOUTS` that fits what is there.

    Raises:
        UsageError: the path is not there or no layout fits; the message lists them and what was found.
    """
    if str(data) == SAMPLE:
        return SAMPLE
    if str(data).startswith(HUB):
        return "parquet"
    path = Path(data)
    if not path.exists():
        raise UsageError(f"'{path}' is not there: check the path, or use the word sample for the built-in sample")
    from harmonygen.data import coco, folders, iharmony4, imaterialist, parquet, table

    tests = {
        "iharmony4": iharmony4.matches,
        "imaterialist": imaterialist.matches,
        "folders": folders.matches,
        "coco": coco.matches,
        "parquet": parquet.matches,
        "table": table.matches,
    }
    for name, fits in tests.items():
        if fits(path):
            return name
    known = "\n".join(f"  {name}: {look}" for name, look in LAYOUTS.items())
    raise UsageError(f"no layout fits '{path}', where there is {_glance(path)}. Supported:\n{known}")


def _glance(path: Path) -> str:
    """Say in a few words what a path holds."""
    if path.is_file():
        return f"a file of type '{path.suffix or 'none'}'"
    from harmonygen.data.files import entries

    found = [f"{entry.name}{'/' if entry.is_dir() else ''}" for entry in entries(path)]
    return listed(found, most=8) or "nothing"
