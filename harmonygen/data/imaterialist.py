"""Read an iMaterialist-Fashion folder: ``train.csv`` with one run-length code a garment, photos in ``train/``.

The mask of a photo is the union of its valid segments (REFERENCE section 1). Runs are 1-based and column-major, as
COCO's counts are column-major too, so the union is made of the runs themselves and no pixel is touched.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harmonygen.data.files import Listing, bad, read_text
from harmonygen.data.ids import refuse_unsafe, safe_id
from harmonygen.data.pairset import PairSet
from harmonygen.errors import InputError, UsageError
from harmonygen.masks import parse_runs
from harmonygen.records import FileSource, Pair, Quarantined, SegmentSource

TABLE, PHOTOS = "train.csv", "train"
COLUMNS = ("ImageId", "EncodedPixels", "Height", "Width", "ClassId")
UNION = "union"

Runs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""0-based starts and lengths."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One row of the table: a garment's runs in a photo of ``height`` x ``width``; ``row`` counts from 1."""

    image_id: str
    runs: Runs
    height: int
    width: int
    class_id: str
    row: int


def matches(path: Path) -> bool:
    """Tell whether a folder has ``train.csv`` with iMaterialist's columns."""
    table = path / TABLE
    if not table.is_file():
        return False
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as opened:
        return set(COLUMNS) <= set(next(csv.reader(opened), []))


def read_imaterialist(data: Path) -> PairSet:
    """Read one pair a photo: the union of its valid segments; bad rows go to ``PairSet.bad``.

    Raises:
        UsageError: no ``train.csv`` with the columns, or ids that cannot name files.
    """
    if not matches(data):
        raise UsageError(f"'{data}' has no {TABLE} with columns {', '.join(COLUMNS)}: name the contest's folder")
    segments, faults = read_segments(data / TABLE)
    photos = Listing(data / PHOTOS, (".jpg", ".jpeg", ".png"))
    groups: dict[str, list[Segment]] = {}
    for segment in segments:
        groups.setdefault(segment.image_id, []).append(segment)
    refuse_unsafe(sorted(groups), "ImageId")
    pairs = []
    for image_id, group in sorted(groups.items()):
        path = photos.path(image_id)
        kept, wrong = _of_one_size(group, path)
        faults += wrong
        if kept:
            pairs.append(_pair(image_id, kept, path))
    return PairSet(tuple(pairs), "imaterialist", data, tuple(faults))


def read_segments(table: Path) -> tuple[list[Segment], list[Quarantined]]:
    """Read and check the rows of a ``train.csv``; return the valid segments and the rows that are not."""
    segments, faults = [], []
    rows = csv.DictReader(io.StringIO(read_text(table), newline=""))
    for number, row in enumerate(rows, 1):
        try:
            segments.append(_segment(row, number))
        except InputError as error:
            faults.append(bad(f"{row.get('ImageId') or '?'} row {number}", str(error)))
    return segments, faults


def _segment(row: dict[str, str | None], number: int) -> Segment:
    name = f"{row['ImageId']}, row {number}"
    try:
        height, width = (int(float(row[key] or "")) for key in ("Height", "Width"))
    except (ValueError, OverflowError) as error:
        raise InputError(f"Height or Width of '{name}' is not a number ({error}): drop the row") from error
    if height < 1 or width < 1:
        raise InputError(f"Height and Width of '{name}' are {height} and {width}: they must be 1 or more")
    runs = parse_runs(row["EncodedPixels"] or "", height * width, name)
    return Segment(row["ImageId"] or "", runs, height, width, (row["ClassId"] or "").partition("_")[0], number)


def _of_one_size(group: Sequence[Segment], photo: Path) -> tuple[list[Segment], list[Quarantined]]:
    """Where rows of a photo disagree about its size, keep those that agree with the file's header."""
    sizes = {(segment.width, segment.height) for segment in group}
    if len(sizes) == 1:
        return list(group), []
    size = _file_size(photo)
    kept = [segment for segment in group if (segment.width, segment.height) == size]
    faults = [
        bad(
            f"{segment.image_id} row {segment.row}",
            f"row {segment.row} says {segment.width}x{segment.height} but '{photo}' is "
            f"{f'{size[0]}x{size[1]}' if size else 'not readable'}: fix or drop the row",
        )
        for segment in group
        if (segment.width, segment.height) != size
    ]
    return kept, faults


def _file_size(photo: Path) -> tuple[int, int] | None:
    from PIL import Image

    try:
        with Image.open(photo) as opened:
            return opened.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _pair(image_id: str, segments: Sequence[Segment], photo: Path) -> Pair:
    real_id = safe_id(image_id)
    return Pair(
        pair_id=f"{real_id}_{UNION}",
        real_id=real_id,
        mask_id=UNION,
        real=FileSource(photo),
        mask=union_source(segments, f"{image_id}, union of {len(segments)} segments"),
        extra={"class_ids": " ".join(sorted({segment.class_id for segment in segments}, key=lambda c: (len(c), c)))},
    )


def union_source(segments: Sequence[Segment], name: str) -> SegmentSource:
    """Return the union of segments of one photo as a compressed COCO RLE."""
    from pycocotools import mask as coco

    height, width = segments[0].height, segments[0].width
    counts = union_counts([segment.runs for segment in segments], height * width)
    rle = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    text = json.dumps({"size": [height, width], "counts": rle["counts"].decode()})
    return SegmentSource(text, height, width, name)


def union_counts(runs: Iterable[Runs], size: int) -> list[int]:
    """Return the union of runs over ``size`` pixels as COCO counts: off, on, off, on ... from the first pixel.

    >>> one, two = (np.array([1]), np.array([2])), (np.array([2, 5]), np.array([2, 1]))
    >>> union_counts([one, two], 8)
    [1, 3, 1, 1, 2]
    """
    runs = list(runs)
    starts = np.concatenate([start for start, _ in runs])
    ends = starts + np.concatenate([length for _, length in runs])
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    opens = np.concatenate([[True], starts[1:] > reach[:-1]])
    closes = np.concatenate([opens[1:], [True]])
    edges = np.stack([starts[opens], reach[closes]], axis=1).ravel()
    counts: list[int] = np.diff(np.concatenate([[0], edges, [size]])).tolist()
    return counts if counts[-1] else counts[:-1]
