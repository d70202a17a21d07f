"""Read a finished run: its candidates without their images, which rows count, and the images when they are needed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harmonygen.errors import StorageError, UsageError
from harmonygen.runs.decisions import REJECTED


def count_scores(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sum up scores and outcomes: selected, dropped by reason, P(composite), medians of fMSE and structure."""
    reasons = Counter(row["reason"].partition(" rank")[0] for row in scores if row["reason"])
    p, fmse, structure = ([row[name] for row in scores] for name in ("p_composite", "fmse", "structure"))
    return {
        "selected": sum(row["selected"] for row in scores),
        "dropped": dict(sorted(reasons.items())),
        "p_composite": {
            "mean": _figure(np.mean, p),
            "median": _figure(np.median, p),
            "min": _figure(np.min, p),
            "max": _figure(np.max, p),
        },
        "fmse_median": _figure(np.median, fmse),
        "structure_median": _figure(np.median, structure),
    }


def _figure(of: Callable[[Sequence[float]], Any], values: Sequence[float]) -> float | None:
    """Return a statistic of values, or None (JSON has no NaN) of none."""
    return float(of(values)) if values else None


def read_scores(out: Path) -> Iterator[dict[str, Any]]:
    """Yield the scores of every candidate made, kept or not."""
    for path in sorted((out / "pairs").glob("part-*.parquet")):
        for packed in pq.read_table(path, columns=["scores"]).column("scores").to_pylist():
            yield from json.loads(packed)


COLUMNS = (
    "pair_id",
    "real_id",
    "k",
    "seed",
    "width",
    "height",
    "p_composite",
    "selected",
    "gate",
    "reason",
    "model_digest",
    "clipped",
    "fmse",
    "structure",
    "drift",
    "composite.path",
)
"""The columns that planning reads: of ``composite`` the file name alone, since its bytes are the run's size."""


@dataclass(frozen=True, slots=True)
class Run:
    """A finished synthesis run: its candidates (:data:`COLUMNS` + ``part`` and ``row``) and quarantined pair ids.

    ``emptied`` are the pairs none of whose candidates was kept (``--keep N``, and all failed a gate).
    """

    folder: Path
    parts: tuple[Path, ...]
    candidates: pa.Table
    quarantined: frozenset[str]
    plan_digest: str
    emptied: frozenset[str] = frozenset()

    def real_ids(self) -> set[str]:
        """Return the ids of the photos that have candidates."""
        return set(pc.unique(self.candidates["real_id"]).to_pylist())


def read_run(folder: Path) -> Run:
    """Read a run's plan, quarantine and candidate rows, without the images.

    Raises:
        UsageError: not a run folder, or a run that is not finished.
    """
    parts = tuple(sorted((folder / "candidates").glob("part-*-of-*.parquet")))
    plan = folder / "plan.json"
    if not plan.is_file() or not parts:
        raise UsageError(f"'{folder}' holds no candidates: run harmonygen synthesize --out '{folder}' first")
    expected = int(parts[0].stem.rpartition("-")[2])
    if len(parts) != expected:
        raise UsageError(
            f"the run '{folder}' is not finished: {len(parts)} of {expected} shards are there: "
            "repeat its synthesize command, it goes on where it stopped"
        )
    tables = [_read_part(path, index) for index, path in enumerate(parts)]
    digest = str(json.loads(plan.read_text()).get("plan_digest", ""))
    candidates = pa.concat_tables(tables)
    emptied = _pair_ids(folder, parts) - set(pc.unique(candidates["pair_id"]).to_pylist())
    return Run(folder, parts, candidates, _quarantined(folder), digest, frozenset(emptied))


def _pair_ids(folder: Path, parts: Sequence[Path]) -> set[str]:
    """Return the pairs that the run made candidates of."""
    files = [folder / "pairs" / part.name for part in parts]
    tables = [pq.read_table(path, columns=["pair_id"])["pair_id"] for path in files if path.is_file()]
    return {pair_id for column in tables for pair_id in column.to_pylist()}


def _read_part(path: Path, index: int) -> pa.Table:
    try:
        table = pq.ParquetFile(path).read(columns=list(COLUMNS)).replace_schema_metadata(None)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read '{path}': {error}: remove it and repeat the synthesize command") from error
    if missing := [name for name in COLUMNS if name.partition(".")[0] not in table.column_names]:
        raise UsageError(f"'{path}' lacks the columns {', '.join(missing)}: it is no candidate file of harmonygen")
    rows = pa.array(range(table.num_rows), pa.int64())
    return table.append_column("row", rows).append_column("part", pa.array([index] * table.num_rows, pa.int32()))


def _quarantined(folder: Path) -> frozenset[str]:
    path = folder / "quarantine.parquet"
    return frozenset(pq.read_table(path, columns=["id"])["id"].to_pylist()) if path.is_file() else frozenset()


def usable(candidates: pa.Table) -> pa.ChunkedArray:
    """Tell of each row whether it may be used: it passed the gates or a reviewer accepted it, and none rejected it."""
    kept = pc.or_(pc.equal(candidates["gate"], ""), candidates["selected"])
    return pc.and_(kept, pc.not_equal(candidates["reason"], REJECTED))


def rows_by_pair(candidates: pa.Table) -> dict[str, list[int]]:
    """Return row numbers of the table by pair, in order of ``k``."""
    ordered = pc.sort_indices(candidates, [("pair_id", "ascending"), ("k", "ascending")])
    rows: dict[str, list[int]] = {}
    pair_ids = candidates["pair_id"].take(ordered)
    for row, pair_id in zip(ordered.to_pylist(), pair_ids.to_pylist(), strict=True):
        rows.setdefault(pair_id, []).append(row)
    return rows


def in_file_order(picked: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return picked rows in the order that :func:`read_composites` yields them."""
    return sorted(picked, key=lambda row: (row["part"], row["row"]))


def read_composites(run: Run, picked: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], bytes]]:
    """Yield each picked row with its encoded composite, one row group of the run in memory at a time."""
    by_part: dict[int, dict[int, Mapping[str, Any]]] = {}
    for row in picked:
        by_part.setdefault(row["part"], {})[row["row"]] = row
    for part in sorted(by_part):
        yield from _read_cells(run.parts[part], by_part[part])


def _read_cells(path: Path, picked: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], bytes]]:
    file = pq.ParquetFile(path)
    start = 0
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        here = sorted(row for row in picked if start <= row < start + rows)
        if here:
            cells = file.read_row_group(group, columns=["composite"]).column("composite")
            for row in here:
                yield picked[row], cells[row - start].as_py()["bytes"]
        start += rows


def read_pair_images(run: Run, part: int) -> dict[str, tuple[bytes | None, bytes]]:
    """Return a shard's ``(real, mask)`` bytes by pair; real is None where the photo was used as it is on disk."""
    path = run.folder / "pairs" / run.parts[part].name
    try:
        rows = pq.read_table(path, columns=["pair_id", "real", "mask"]).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read '{path}': {error}: remove it and repeat the synthesize command") from error
    return {row["pair_id"]: (row["real"] and row["real"]["bytes"], row["mask"]["bytes"]) for row in rows}
