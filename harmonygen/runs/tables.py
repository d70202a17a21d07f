"""The columns of a run folder's Parquet files, rows made from records, and columns read back (DESIGN section 4)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from harmonygen.errors import UsageError
from harmonygen.pictures.images import ImageU8, encode, read_bytes
from harmonygen.pictures.masks import fg_ratio
from harmonygen.pictures.photo import Photo
from harmonygen.records import Dropped, FileSource, Scored, Selected
from harmonygen.runs.identity import CONTENT_COLUMNS, DIGEST_COLUMNS, content_columns, digest_columns
from harmonygen.storage.parquet_cells import IMAGE, cell_file, image_cell, image_schema
from harmonygen.storage.shards import open_parquet, reading

_AHEAD = 8  # composites in memory while a run is read: one at a time costs six times the time

CANDIDATE_COLUMNS = {
    "pair_id": "string",
    "real_id": "string",
    "mask_id": "string",
    "subset": "string",
    "k": "int32",
    "seed": "int64",
    "composite": IMAGE,
    "width": "int32",
    "height": "int32",
    "fg_ratio": "float64",
    "p_composite": "float64",
    "selected": "bool",
    "gate": "string",
    "generator": "string",
    "model_digest": "string",
    "params_digest": "string",
    "clipped": "float64",
    "fmse": "float64",
    "structure": "float64",
    "drift": "float64",
    "shift_r": "float64",
    "shift_g": "float64",
    "shift_b": "float64",
    "reason": "string",
    **DIGEST_COLUMNS,
}
DECIDED_BY = "decided_by"
"""The column that says which of several judges decided about a candidate."""
VETO = "judge:"
"""What the name of a gate begins with that is a judge's: its name follows."""
PAIR_COLUMNS = {
    "pair_id": "string",
    "real_id": "string",
    "mask_id": "string",
    "subset": "string",
    "width": "int32",
    "height": "int32",
    "fg_ratio": "float64",
    "real": IMAGE,
    "mask": IMAGE,
    "source": "string",
    "mask_source": "string",
    "originals": "string",
    "scores": "string",
    **CONTENT_COLUMNS,
    **DIGEST_COLUMNS,
}


def judge_columns(judges: Sequence[str]) -> dict[str, str]:
    """Return the columns that several judges add to the candidates': a score of each, and which of them decided.

    >>> judge_columns(["strict", "mild"])
    {'p_strict': 'float64', 'p_mild': 'float64', 'decided_by': 'string'}
    """
    return {**{f"p_{name}": "float64" for name in judges}, DECIDED_BY: "string"} if judges else {}


def candidate_schema(judges: Sequence[str] = ()) -> pa.Schema:
    """Return the Arrow schema of ``candidates/*.parquet``, with the columns of several judges."""
    return image_schema({**CANDIDATE_COLUMNS, **judge_columns(judges)})


def pair_schema() -> pa.Schema:
    """Return the Arrow schema of ``pairs/*.parquet``."""
    return image_schema(PAIR_COLUMNS)


def score_row(outcome: Selected | Dropped) -> dict[str, Any]:
    """Return what is stored of a candidate besides its pixels."""
    scored: Scored = outcome.scored
    gates = scored.gates
    return {
        "k": scored.candidate.k,
        "seed": scored.candidate.seed,
        "p_composite": scored.p_composite,
        "selected": isinstance(outcome, Selected),
        "gate": scored.failed_gate,
        "reason": "" if isinstance(outcome, Selected) else outcome.reason,
        "clipped": gates.clipped,
        "fmse": gates.fmse,
        "structure": gates.structure,
        "drift": gates.drift,
        "shift_r": gates.shift[0],
        "shift_g": gates.shift[1],
        "shift_b": gates.shift[2],
        **{f"p_{name}": score for name, score in scored.judged},
        **({DECIDED_BY: outcome.decided_by} if scored.judged else {}),
    }


def photo_columns(photo: Photo) -> dict[str, Any]:
    """Return the columns that a pair's row and its candidates' rows share: ids, size and digests of the pixels."""
    pair = photo.pair
    return {
        "pair_id": pair.pair_id,
        "real_id": pair.real_id,
        "mask_id": pair.mask_id,
        "subset": pair.subset,
        "width": photo.mask.shape[1],
        "height": photo.mask.shape[0],
        "fg_ratio": fg_ratio(photo.mask),
        **digest_columns(photo.image_u8, photo.mask),
    }


def candidate_row(
    shared: Mapping[str, Any], outcome: Selected | Dropped, encoded: bytes, run: Mapping[str, str], suffix: str
) -> dict[str, Any]:
    """Return one row of ``candidates/*.parquet``.

    ``shared`` are the :func:`photo_columns`; ``run`` holds generator, model_digest and params_digest.
    """
    name = f"{shared['pair_id'].replace('/', '_')}_{outcome.scored.candidate.k}.{suffix}"
    return {**shared, **run, **score_row(outcome), "composite": image_cell(encoded, name)}


def pair_row(photo: Photo, shared: Mapping[str, Any], outcomes: Sequence[Selected | Dropped]) -> dict[str, Any]:
    """Return one row of ``pairs/*.parquet``: the photo (see :func:`_real`), mask, what identifies both, all scores."""
    real = photo.pair.real
    file = None if isinstance(real, FileSource) else cell_file(real)
    return {
        **shared,
        **content_columns(photo.real_file, photo.mask_file),
        "real": _real(photo),
        "mask": _png(photo.mask, photo),
        "source": str(file or real),
        "mask_source": str(photo.pair.mask),
        "originals": json.dumps(photo.pair.originals),
        "scores": json.dumps([score_row(outcome) for outcome in outcomes]),
    }


def _real(photo: Photo) -> dict[str, Any]:
    """Return the photo's cell: what the composites were made from, as any reader decodes it.

    It is a path if plain decoding of that file gives these pixels, the file's bytes if it is a copy, else a PNG.
    """
    real = photo.pair.real
    if photo.converted:
        return _png(photo.image_u8, photo)
    if isinstance(real, FileSource) and real.url:  # a cache is no part of the run
        return image_cell(read_bytes(real), f"{photo.pair.pair_id.replace('/', '_')}{real.path.suffix}")
    file = real.path if isinstance(real, FileSource) else cell_file(real)
    return _png(photo.image_u8, photo) if file is None else {"bytes": None, "path": str(file.absolute())}


def _png(image: ImageU8 | Any, photo: Photo) -> dict[str, Any]:
    return image_cell(encode(image), f"{photo.pair.pair_id.replace('/', '_')}.png")


def read_light(path: Path, columns: Sequence[str]) -> pa.Table:
    """Read columns of a file of a run.

    Raises:
        UsageError: the file lacks one.
        StorageError: it cannot be read.
    """
    with reading(path):
        file = open_parquet(path)
        present = file.schema_arrow.names
        if missing := [name for name in columns if name.partition(".")[0] not in present]:
            raise UsageError(f"'{path}' lacks the columns {', '.join(missing)}: it is not a file of a synthesize run")
        return file.read(columns=list(columns), use_threads=False).replace_schema_metadata(None)


def read_cells(path: Path, picked: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], bytes]]:
    """Yield picked rows of a file with their encoded composites; row groups without any are not read."""
    with reading(path):
        file = open_parquet(path, pre_buffer=False)
    ends = accumulate(file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups))
    groups = [range(start, stop) for start, stop in pairwise((0, *ends))]
    wanted = [group for group, rows in enumerate(groups) if not picked.keys().isdisjoint(rows)]
    cells = _cells(path, file.iter_batches(batch_size=_AHEAD, row_groups=wanted, columns=["composite"]))
    for row, cell in zip(chain.from_iterable(groups[group] for group in wanted), cells, strict=True):
        if row in picked:
            yield picked[row], cell.as_py()["bytes"]


def _cells(path: Path, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Scalar]:
    while True:
        with reading(path):
            batch = next(batches, None)
        if batch is None:
            return
        yield from batch.column("composite")
