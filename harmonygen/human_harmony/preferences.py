"""Write the configuration ``preferences`` of a build: for each photo, a composite that is preferred to another one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from harmonygen.data.write_parquet import ShardedParquetWriter, SplitInfo
from harmonygen.human_harmony.card import PREFERENCES
from harmonygen.human_harmony.rows import SPLITS, Triplets, photo_columns
from harmonygen.runs.preferences import PREFERENCE_COLUMNS, preference_rows, preferences
from harmonygen.storage.parquet_cells import image_schema

_LATER = {"classifier_digest": "string", "license": "string"}
COLUMNS = {**PREFERENCE_COLUMNS, **_LATER, "class_ids": "string"}
"""Columns of the configuration."""


def write_preferences(triplets: Triplets, out: Path, min_margin: float) -> dict[str, SplitInfo]:
    """Write the preferences of all splits; the same call resumes after a kill, and writes nothing once all is there.

    Raises:
        UsageError: the folder holds finished files of another digest.
        StorageError: a photo is gone, or the disk is full.
    """
    written: dict[str, SplitInfo] = {}
    photos = photo_columns(triplets.work)
    for split in SPLITS:
        with ShardedParquetWriter(out, split, image_schema(COLUMNS), triplets.digest, config=PREFERENCES) as writer:
            ahead = writer.rows
            for part in triplets.parts():
                found = [
                    each
                    for each in preferences(triplets.run.part_rows(part).to_pylist(), min_margin)
                    if triplets.split_of.get(each.preferred["pair_id"]) == split
                ]
                skipped = min(ahead, len(found))
                ahead -= skipped
                for row in preference_rows(triplets.run, part, found[skipped:]):
                    known = {name: triplets.constants.get(name) for name in ("run", *_LATER)}
                    writer.write({**row, **known, "class_ids": photos[row["pair_id"]]["class_ids"]})
            written[split] = writer.close()
    if not any(info.rows for info in written.values()):
        with suppress(OSError):  # somebody else's files are in it
            (out / PREFERENCES).rmdir()
        return {}
    return written
