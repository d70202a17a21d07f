"""Write the Parquet dataset of a build: the selected composite of each photo, and all K, each with its provenance.

Configuration ``default`` lies in ``data/``, ``candidates`` in ``candidates/``; both have the columns :data:`COLUMNS`.
Rows are streamed: the photos of one shard of the run, one composite and two row groups being filled are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harmonygen.data.write_parquet import ShardedParquetWriter, SplitInfo, config_folder
from harmonygen.errors import StorageError
from harmonygen.human_harmony import prepare
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
"""Columns of both configurations; ``margin`` is the pair's best score minus its second best, gated ones left out."""

Progress = Callable[[int, int], None]
Row = dict[str, Any]
Written = dict[str, dict[str, SplitInfo]]
"""Configuration -> split -> what was written."""


@dataclass(frozen=True)
class Triplets:
    """What the rows are made from: the run, the split of each pair, and the columns that are the same for all rows."""

    run: Path
    work: Path
    split_of: Mapping[str, str]
    constants: Mapping[str, str | None]
    digest: str

    def parts(self) -> list[Path]:
        """Return the run's candidate files in order."""
        return sorted((self.run / "candidates").glob("part-*.parquet"))

    def subsets(self) -> set[str]:
        """Return the subsets of the prepared photos."""
        tables = (pq.read_table(path, columns=["subset"]) for path in prepare.files(self.work))
        return {subset for table in tables for subset in table.column("subset").to_pylist()}


def write_triplets(triplets: Triplets, out: Path, progress: Progress | None = None) -> Written:
    """Write both configurations; the same call goes on after a kill, and writes nothing once all is there.

    Raises:
        UsageError: the folder holds finished files of another digest.
        StorageError: a photo is gone, or the disk is full.
    """
    written: Written = {config: {} for config in CONFIGS}
    schema = image_schema(COLUMNS)
    photos = _photo_columns(triplets.work)
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


def read_light(part: Path) -> list[Row]:
    """Return the rows of a candidates file without their pictures."""
    names = [name for name in CANDIDATE_COLUMNS if name != "composite"]
    rows: list[Row] = pq.ParquetFile(part).read(columns=names).to_pylist()
    return rows


def margins(rows: list[Row]) -> dict[str, float | None]:
    """Return each pair's best score minus its second best, of candidates that passed the gates; None of fewer than two.

    >>> margins([{"pair_id": "a", "gate": "", "p_composite": p} for p in (0.5, 0.75, 0.25)])
    {'a': 0.25}
    """
    scores: dict[str, list[float]] = {}
    for row in rows:
        scores.setdefault(row["pair_id"], []).extend([] if row["gate"] else [row["p_composite"]])
    best = {pair_id: sorted(own, reverse=True)[:2] for pair_id, own in scores.items()}
    return {pair_id: own[0] - own[1] if len(own) > 1 else None for pair_id, own in best.items()}


def _photo_columns(work: Path) -> dict[str, Row]:
    """Return what is known of each prepared photo besides its pixels, by pair."""
    names = ["pair_id", *_FROM_PHOTO]
    rows = (row for path in prepare.files(work) for row in pq.read_table(path, columns=names).to_pylist())
    return {row.pop("pair_id"): row for row in rows}


def _new_rows(
    triplets: Triplets, part: Path, split: str, ahead: dict[str, int], photos: Mapping[str, Row]
) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a part and split that are not written yet, with their configuration.

    ``ahead`` counts, by configuration, the rows that are written already; it is counted down. A part whose rows are
    all written is not read but for its light columns.
    """
    light = read_light(part)
    here = [triplets.split_of.get(row["pair_id"]) == split for row in light]
    counts = {"default": sum(map(_and_selected, light, here)), "candidates": sum(here)}
    if all(ahead[config] >= counts[config] for config in CONFIGS):
        for config in CONFIGS:
            ahead[config] -= counts[config]
        return
    gaps, images = margins(light), _pair_images(triplets.run / "pairs" / part.name)
    for row, wanted, composite in zip(light, here, _composites(part), strict=True):
        if not wanted:
            continue
        for config in CONFIGS if row["selected"] else CONFIGS[1:]:
            if ahead[config]:
                ahead[config] -= 1
            else:
                pair_id = row["pair_id"]
                own = {name: row[name] for name in _FROM_RUN} | photos[pair_id] | dict(triplets.constants)
                yield config, {**own, **images[pair_id], "composite": composite, "margin": gaps[pair_id]}


def _and_selected(row: Row, wanted: bool) -> bool:
    return wanted and bool(row["selected"])


def _composites(part: Path) -> Iterator[dict[str, Any]]:
    """Yield the composite cells of a candidates file, one row in memory at a time."""
    for batch in pq.ParquetFile(part, pre_buffer=False).iter_batches(batch_size=1, columns=["composite"]):
        yield batch.column("composite")[0].as_py()


def _pair_images(path: Path) -> dict[str, dict[str, Any]]:
    """Return a shard's photos and masks as image cells by pair; a photo used as it is on disk is read from there."""
    try:
        rows = pq.read_table(path, columns=["pair_id", "real", "mask"]).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read '{path}': {error}: remove it and repeat the command") from error
    return {row["pair_id"]: {"real": _with_bytes(row["real"]), "mask": row["mask"]} for row in rows}


def _with_bytes(cell: dict[str, Any]) -> dict[str, Any]:
    if cell["bytes"] is not None:
        return cell
    path = Path(cell["path"])
    try:
        return image_cell(path.read_bytes(), path.name)
    except OSError as error:
        raise StorageError(
            f"photo '{path}' cannot be read ({error.strerror or error}): bring it back, then repeat the command"
        ) from error
