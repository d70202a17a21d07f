"""Read stored composites: every (real, mask, composite) of a dataset, for models that train on what is already made.

An iHarmony4 tree or list gives the composites it names; Parquet with ``real``, ``mask`` and ``composite`` columns
(``augment --format parquet``, a Hugging Face dataset) gives its rows; a run folder of ``synthesize`` gives the
candidates that passed the gates. No image is opened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from harmonygen.data import HUB, detect_layout, read_pairs
from harmonygen.data.composite_names import COMPOSITES, parse_lines
from harmonygen.data.files import entries
from harmonygen.data.iharmony4 import read_lines, subset_folders
from harmonygen.data.parquet import download, parquet_files, read_rows, read_schema
from harmonygen.errors import UsageError
from harmonygen.records import CellSource, FileSource, ImageSource, MaskSource, Pair, Quarantined

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


def is_run(data: str | Path) -> bool:
    """Tell whether ``data`` is a run folder of ``synthesize``."""
    return (Path(data) / "plan.json").is_file() and (Path(data) / "candidates").is_dir()


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


def _of_run(run: Path) -> list[Triplet]:
    """Join each candidate that passed the gates with its pair's photo and mask, part by part."""
    triplets = []
    for part in parquet_files((run / "candidates").absolute()):
        pairs = run.absolute() / "pairs" / part.name
        rows = {row: number for number, row in enumerate(_column(pairs, "pair_id"))}
        columns = ("pair_id", "real_id", "k", "gate")
        for number, (pair_id, real_id, k, gate) in enumerate(
            zip(*(_column(part, name) for name in columns), strict=True)
        ):
            if not gate:
                real, mask = (CellSource(pairs, name, rows[pair_id]) for name in ("real", "mask"))
                composite = CellSource(part, COMPOSITE, number)
                subset = pair_id.rpartition("/")[0]
                triplets.append(Triplet(f"{pair_id}_hg{k}", real_id, real, mask, composite, subset))
    return triplets


def _column(path: Path, name: str) -> list[Any]:
    if name not in read_schema(path).names:
        raise UsageError(f"'{path}' has no column '{name}': it is no part of a run of synthesize")
    return list(pq.read_table(path, columns=[name])[name].to_pylist())


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
