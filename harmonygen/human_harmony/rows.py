"""Write the Parquet dataset of a build: the selected composite of each photo, and all K, each with its provenance.

Configuration ``default`` lies in ``data/``, ``candidates`` in ``candidates/``; both have the columns :data:`COLUMNS`.
Rows are streamed: the photos of one shard of the run, a few composites and two row groups being filled are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from harmonygen.data.write_parquet import ShardedParquetWriter, SplitInfo, config_folder
from harmonygen.human_harmony import prepare
from harmonygen.runs.pair_cells import pair_cells
from harmonygen.runs.read import Run
from harmonygen.runs.tables import CANDIDATE_COLUMNS
from harmonygen.storage.parquet_cells import IMAGE, image_cell, image_schema

CONFIGS = ("default", "candidates")
SPLITS = ("train", "test")

_OWN = ("pair_id", "real_id", "mask_id", "subset", "width", "height", "fg_ratio")
_SCORES = ("k", "seed", "p_composite")
_OUTCOME = ("selected", "gate", "reason", "clipped", "fmse", "structure", "drift")
_MADE_BY = ("generator", "model_digest", "params_digest")
_FROM_RUN = (*_OWN, *_SCORES, *_OUTCOME, *_MADE_BY)
_FROM_PHOTO = {name: prepare.PREPARED_COLUMNS[name] for name in ("class_ids", "attributes", "segments", "phash")}

COLUMNS: dict[str, str] = {
    **dict.fromkeys(("real", "mask", "composite"), IMAGE),
    **{name: CANDIDATE_COLUMNS[name] for name in (*_OWN, *_SCORES)},
    "margin": "float64",
    **{name: CANDIDATE_COLUMNS[name] for name in (*_OUTCOME, *_MADE_BY)},
    "classifier_digest": "string",
    "run": "string",
    **_FROM_PHOTO,
    "license": "string",
}
"""Columns of both configurations; ``margin`` is the best score of a pair's usable candidates minus the second best."""

Progress = Callable[[int, int], None]
Row = dict[str, Any]
Written = dict[str, dict[str, SplitInfo]]
"""Configuration -> split -> what was written."""


@dataclass(frozen=True)
class Triplets:
    """What the rows are made from: the run, the split of each pair, and the columns that are the same for all rows."""

    run: Run
    work: Path
    split_of: Mapping[str, str]
    constants: Mapping[str, str | None]
    digest: str

    def parts(self) -> range:
        """Return the shards of the run."""
        return range(len(self.run.parts))

    def subsets(self) -> set[str]:
        """Return the subsets of the prepared photos."""
        tables = (pq.read_table(path, columns=["subset"]) for path in prepare.files(self.work))
        return {subset for table in tables for subset in table.column("subset").to_pylist()}


def write_triplets(triplets: Triplets, out: Path, progress: Progress | None = None) -> Written:
    """Write both configurations; the same call resumes after a kill, and writes nothing once all is there.

    Raises:
        UsageError: the folder holds finished files of another digest.
        StorageError: a photo is gone, or the disk is full.
    """
    written: Written = {config: {} for config in CONFIGS}
    schema = image_schema(COLUMNS)
    photos = photo_columns(triplets.work)
    parts = triplets.parts()
    for number, split in enumerate(SPLITS):
        with ExitStack() as stack:
            writers = {
                config: stack.enter_context(
                    ShardedParquetWriter(out, split, schema, triplets.digest, config=config_folder(config))
                )
                for config in CONFIGS
            }
            ahead = {config: writer.rows for config, writer in writers.items()}
            for index, part in enumerate(parts):
                for config, row in _new_rows(triplets, part, split, ahead, photos):
                    writers[config].write(row)
                if progress is not None:
                    progress(number * len(parts) + index + 1, len(SPLITS) * len(parts))
            for config, writer in writers.items():
                written[config][split] = writer.close()
    return written


def margins(rows: list[Row]) -> dict[str, float | None]:
    """Return each pair's best score minus its second best, of its usable candidates; None if there are fewer than two.

    >>> margins([{"pair_id": "a", "usable": True, "p_composite": p} for p in (0.5, 0.75, 0.25)])
    {'a': 0.25}
    """
    scores: dict[str, list[float]] = {}
    for row in rows:
        scores.setdefault(row["pair_id"], []).extend([row["p_composite"]] if row["usable"] else [])
    best = {pair_id: sorted(own, reverse=True)[:2] for pair_id, own in scores.items()}
    return {pair_id: own[0] - own[1] if len(own) > 1 else None for pair_id, own in best.items()}


def photo_columns(work: Path) -> dict[str, Row]:
    """Return what is known of each prepared photo besides its pixels, by pair."""
    names = ["pair_id", *_FROM_PHOTO]
    rows = (row for path in prepare.files(work) for row in pq.read_table(path, columns=names).to_pylist())
    return {row.pop("pair_id"): row for row in rows}


def _new_rows(
    triplets: Triplets, part: int, split: str, ahead: dict[str, int], photos: Mapping[str, Row]
) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a part and split that are not written yet, with their configuration.

    ``ahead`` counts, by configuration, the rows that are written already; it is counted down. A part whose rows are
    all written is not read but for its light columns.
    """
    light = triplets.run.part_rows(part).to_pylist()
    here = [triplets.split_of.get(row["pair_id"]) == split for row in light]
    counts = {"default": sum(map(_and_selected, light, here)), "candidates": sum(here)}
    if all(ahead[config] >= counts[config] for config in CONFIGS):
        for config in CONFIGS:
            ahead[config] -= counts[config]
        return
    gaps = margins(light)
    images = {pair_id: pair_cells(pair_id, both) for pair_id, both in triplets.run.images(part)}
    for row, encoded in triplets.run.composites(row for row, wanted in zip(light, here, strict=True) if wanted):
        composite = image_cell(encoded, row["composite"]["path"])
        for config in CONFIGS if row["selected"] else CONFIGS[1:]:
            if ahead[config]:
                ahead[config] -= 1
            else:
                pair_id = row["pair_id"]
                own = {name: row[name] for name in _FROM_RUN} | photos[pair_id] | dict(triplets.constants)
                yield config, {**own, **images[pair_id], "composite": composite, "margin": gaps[pair_id]}


def _and_selected(row: Row, wanted: bool) -> bool:
    return wanted and bool(row["selected"])
