"""`harmonygen masks`: photos without masks -> a folder of photos and masks that every verb reads as ``--data``.

The folder holds ``plan.json``, ``images/`` (the photos, linked) beside ``masks/``, and ``parts/``: a Parquet file for
each shard of photos with what was found in each. A part under its final name is the record that the shard's masks are
there; what could not be read travels in its footer. ``overlay.png``, ``report.html``, ``quarantine.parquet`` and, last,
``summary.json`` follow.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from harmonygen.data.photos import read_photos
from harmonygen.data.write_tree import place
from harmonygen.errors import InputError, UsageError
from harmonygen.inspection.inspect import inspect_data
from harmonygen.inspection.settings import InspectSettings
from harmonygen.pictures.images import encode, read_bytes, read_image
from harmonygen.pictures.masks import fg_ratio
from harmonygen.records import FileSource, Pair, PairSet, Quarantined
from harmonygen.runs.identity import (
    CONTENT_COLUMNS,
    DIGEST_COLUMNS,
    content_columns,
    noted_of,
    pixels_digest,
    refuse_changed,
)
from harmonygen.runs.inputs import allowance, check_bad, inputs_digest
from harmonygen.runs.job_folder import QUARANTINE, REPORT, SUMMARY, Job, JobPlan, job_folder, versions
from harmonygen.segmentation.foreground import NoForeground, choose_foreground
from harmonygen.segmentation.segmenters import NamedSegmenter, check_segmenter, load_segmenter
from harmonygen.segmentation.settings import MaskSettings
from harmonygen.segmentation.sheet import write_overlay
from harmonygen.storage import shards
from harmonygen.storage.content import NotingReader
from harmonygen.storage.parquet_cells import image_schema

VERB = "masks"
IMAGES, MASKS, PARTS, OVERLAY = "images", "masks", "parts", "overlay.png"
SHARD = 32  # photos: as many are segmented again after a kill
_THREADS = 4
_CHECKED = 200  # masks that the page looks at

COLUMNS = {
    "pair_id": "string",
    "photo": "string",
    "mask": "string",
    "width": "int32",
    "height": "int32",
    "fg_ratio": "float64",
    "count": "int32",
    "sureness": "float64",
    "reason": "string",
    "detail": "string",
    "seconds": "float64",
    **CONTENT_COLUMNS,
    **DIGEST_COLUMNS,
}
"""Columns of ``parts/*.parquet``, one row a photo that could be read.

``photo`` and ``mask`` are paths in the folder, ``mask`` empty where ``reason`` says why there is none. ``count`` people
or objects were seen, ``sureness`` is the mean probability inside the mask, ``seconds`` is what the segmenter took.
"""

Progress = Callable[[int, int], None]
Row = dict[str, Any]


@dataclass(frozen=True)
class MaskResult:
    """The result of a job: photos read, masks made, photos without one by reason, and how many were unreadable.

    ``summary`` is ``summary.json``, empty for a dry run. ``passed_over`` counts files that are not read, by reason, and
    ``bad`` says why each of the quarantined could not be used.
    """

    out: Path
    photos: int
    masks: int
    left_out: dict[str, int]
    quarantined: int
    passed_over: dict[str, int]
    finished_before: bool = False
    dry_run: bool = False
    summary: dict[str, Any] = field(default_factory=dict)
    bad: tuple[Quarantined, ...] = ()


def make_masks(settings: MaskSettings, progress: Progress | None = None, *, dry_run: bool = False) -> MaskResult:
    """Make a mask for each photo of ``settings.photos`` in which the foreground is found, in ``settings.out``.

    The same call resumes a stopped job; a finished one is left as it is.

    Raises:
        UsageError: no photo, no mask at all, a segmenter that is not known, a folder of something else, or photos
            that changed since the job began.
        CheckpointError: weights that are missing or do not fit.
        TooManyBadInputsError: more photos are unreadable than ``max_bad_fraction`` allows.
        StorageError: the folder cannot be written, or photos cannot be linked: rerun the same call to resume.
    """
    check_segmenter(settings.found_by, settings.segmenter_settings)
    pairs = read_photos(settings.photos, settings.limit, settings.allow_outside)
    passed = dict(Counter(row.reason for row in pairs.passed_over))
    if dry_run:
        return MaskResult(settings.out, len(pairs), 0, {}, len(pairs.bad), passed, dry_run=True)
    segmenter = load_segmenter(settings.found_by, settings.segmenter_settings, settings.device)
    inputs = {"inputs_digest": inputs_digest(pairs), "segmenter_digest": segmenter.digest}
    facts = {"data_root": str(pairs.root), "photos_read": len(pairs)}
    plan = JobPlan(VERB, settings, inputs, facts)
    cut = shards.cut(len(pairs), SHARD)
    done = [part for part in _parts(settings.out, cut) if shards.is_whole(part, plan.digest)]
    refuse_changed(noted_of(done), {pair.pair_id: (pair.real, None) for pair in pairs}, f"'{settings.out}'")
    writes = [OVERLAY, *(f"{PARTS}/{shard.filename}" for shard in cut), *_pictures(pairs)]
    with job_folder(settings.out, plan, writes, finished=lambda: _finished(settings, plan, cut)) as job:
        summary = (
            shards.read_json(settings.out / SUMMARY)
            if job.finished
            else _run(settings, pairs, segmenter, job, progress)
        )
    bad = [*pairs.bad, *(row for part in _parts(settings.out, cut) for row in shards.unpack_quarantine(part))]
    counts = (summary["masks"], summary["left_out"], summary["quarantined"])
    return MaskResult(
        settings.out, len(pairs), *counts, passed, finished_before=job.finished, summary=summary, bad=tuple(bad)
    )


def _parts(out: Path, cut: Sequence[shards.Shard]) -> list[Path]:
    return [out / PARTS / shard.filename for shard in cut]


def _pictures(pairs: PairSet) -> Iterator[str]:
    """Yield the paths of all photos and masks in the job's folder."""
    for pair in pairs:
        yield from paths_of(pair)


def paths_of(pair: Pair) -> tuple[str, str]:
    """Return the paths of a photo and of its mask in the job's folder, with slashes."""
    inside = PurePosixPath(pair.extra["inside"])
    return f"{IMAGES}/{inside}", f"{MASKS}/{inside.parent / inside.stem}.png"


def _finished(settings: MaskSettings, plan: JobPlan, cut: Sequence[shards.Shard]) -> bool:
    out = settings.out
    held = shards.read_json(out / SUMMARY)
    if held.get("shown") != settings.shown or not all((out / name).is_file() for name in (QUARANTINE, REPORT, OVERLAY)):
        return False
    return all(_is_done(out, part, plan.digest) for part in _parts(out, cut))


def _is_done(out: Path, part: Path, digest: str) -> bool:
    """Return whether a part is whole and all its masks and photos are there."""
    if not shards.is_whole(part, digest):
        return False
    rows = shards.read_parquet(part, ("photo", "mask")).select(["photo", "mask"]).to_pylist()
    return all((out / name).is_file() for row in rows if row["mask"] for name in (row["photo"], row["mask"]))


def _run(
    settings: MaskSettings, pairs: PairSet, segmenter: NamedSegmenter, job: Job, progress: Progress | None
) -> dict[str, Any]:
    """Segment the photos of the shards that are not done, then sum up."""
    out, allowed = settings.out, allowance(settings.max_bad_fraction, len(pairs) + len(pairs.bad))
    total = len(pairs) + len(pairs.bad)
    bad = list(pairs.bad)
    check_bad(bad, allowed, total, out)
    for folder in {*(str(PurePosixPath(name).parent) for name in _pictures(pairs)), PARTS}:
        shards.make_folder(out / folder)
    cut = shards.cut(len(pairs), SHARD)
    worker = _Worker(settings, segmenter)
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as threads:
        for shard, part in zip(cut, _parts(out, cut), strict=True):
            if not _is_done(out, part, job.plan.digest):
                outcomes = list(threads.map(worker, pairs[shard.start : shard.stop]))
                _write_part(part, outcomes, job.plan.digest)
            bad += shards.unpack_quarantine(part)
            check_bad(bad, allowed, total, out)
            if progress is not None:
                progress(shard.stop, len(pairs))
    return _sum_up(settings, pairs, segmenter, bad, job)


def _write_part(part: Path, outcomes: Sequence[Row | Quarantined], digest: str) -> None:
    rows = [outcome for outcome in outcomes if not isinstance(outcome, Quarantined)]
    bad = [outcome for outcome in outcomes if isinstance(outcome, Quarantined)]
    marks = {shards.PLAN_KEY: digest.encode(), shards.QUARANTINE_KEY: shards.pack_quarantine(bad)}
    shards.write_parquet(part, pa.Table.from_pylist(rows, schema=image_schema(COLUMNS)), marks)


class _Worker:
    """Makes the mask of one photo: decoding and encoding run in several threads, the segmenter in one at a time."""

    def __init__(self, settings: MaskSettings, segmenter: NamedSegmenter) -> None:
        self._settings, self._segmenter, self._alone = settings, segmenter, Lock()

    def __call__(self, pair: Pair) -> Row | Quarantined:
        """Return the row of a photo whose files are written, or why it cannot be used."""
        try:
            return self._row(pair)
        except InputError as error:
            return Quarantined(pair.pair_id, VERB, type(error).__name__, str(error))

    def _row(self, pair: Pair) -> Row:
        settings, read = self._settings, NotingReader(read_bytes)
        image_u8 = read_image(pair.real, settings.max_pixels, read).image_u8
        shape = image_u8.shape[0], image_u8.shape[1]
        with self._alone:
            began = time.perf_counter()
            found = self._segmenter(image_u8)
            seconds = time.perf_counter() - began
        chosen = choose_foreground(found, shape, settings, settings.subject)
        photo, mask = paths_of(pair)
        row = {
            "pair_id": pair.pair_id,
            "photo": photo,
            "mask": "",
            "width": shape[1],
            "height": shape[0],
            "count": chosen.count,
            "seconds": seconds,
            **content_columns(read.content_of(pair.real), None),
            "real_digest": pixels_digest(image_u8),
            "mask_digest": "",
        }
        if isinstance(chosen, NoForeground):
            return {**row, "fg_ratio": 0.0, "sureness": 0.0, "reason": chosen.reason, "detail": chosen.detail}
        assert isinstance(pair.real, FileSource)
        shards.write_bytes(settings.out / mask, encode(chosen.mask.astype(np.uint8) * 255))
        place(pair.real.path, settings.out / photo, settings.link)
        made = {"mask": mask, "fg_ratio": fg_ratio(chosen.mask), "sureness": chosen.sureness}
        return {**row, **made, "reason": "", "detail": ""}


def read_rows(out: Path) -> list[Row]:
    """Return the rows (:data:`COLUMNS`) of a job's folder, in the order of the photos.

    Raises:
        StorageError: a part cannot be read.
    """
    return [row for part in shards.shard_files(out / PARTS) for row in shards.read_parquet(part, COLUMNS).to_pylist()]


def _sum_up(
    settings: MaskSettings, pairs: PairSet, segmenter: NamedSegmenter, bad: Sequence[Quarantined], job: Job
) -> dict[str, Any]:
    """Write the quarantine, the sheet, the page and the summary."""
    out, rows = settings.out, read_rows(settings.out)
    made = [row for row in rows if row["mask"]]
    reasons = Counter(row["reason"] for row in rows if row["reason"])
    left = [Quarantined(row["pair_id"], VERB, row["reason"], row["detail"]) for row in rows if row["reason"]]
    shards.write_parquet(out / QUARANTINE, shards.quarantine_table([*bad, *left]))
    if not made:
        counts = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()) or "none can be read"
        raise UsageError(
            f"no photo of {len(pairs)} got a mask ({counts}; the reasons are in '{out / QUARANTINE}'): loosen "
            "--min-fg, --max-fg or --keep, or give other photos"
        )
    write_overlay(out / OVERLAY, rows, {pair.pair_id: pair.real for pair in pairs}, settings.shown)
    checked = min(_CHECKED, len(made))
    page = InspectSettings(
        data=str(out), layout="folders", allow_outside=True, sample=checked, out=out / REPORT, shown=settings.shown
    )
    inspect_data(page)
    return job.finish(
        {
            "photos": len(pairs),
            "masks": len(made),
            "left_out": dict(reasons.most_common()),
            "quarantined": len(bad),
            "several": sum(row["count"] > 1 for row in made),
            "subject": settings.subject,
            "fg_ratio": {"median": float(np.median([row["fg_ratio"] for row in made]))},
            "sureness": {"median": float(np.median([row["sureness"] for row in made]))},
            "seconds_per_photo": {"median": round(float(np.median([row["seconds"] for row in rows])), 4)},
            "segmenter": {"name": settings.found_by, "digest": segmenter.digest},
            "shown": settings.shown,
            "versions": versions(),
        }
    )
