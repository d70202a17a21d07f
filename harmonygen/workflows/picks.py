"""Which candidates of a run are mixed in: read the rows without their images, check them, pick per pair.

A pair's pick depends on the seed, the pair's id and its own candidates alone, never on the order or on other pairs;
with one seed, a larger gamma's random picks contain a smaller one's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harmonygen import seeds
from harmonygen.decisions import REJECTED
from harmonygen.errors import UsageError
from harmonygen.shards import SELECTION_KEY, file_metadata, read_parquet, unreadable
from harmonygen.workflows.plan import digest_of

Rule = Literal["random", "top", "selected"]

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

_SHOWN = 5  # ids in a message


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


def shown(ids: Iterable[str], of: str = "") -> str:
    """Return the first five ids for a message, and how many there are.

    >>> shown(["b", "a"]), shown("abcdefg", "photos")
    ('a, b', 'a, b, c, d, e and 2 more photos')
    """
    ordered = sorted(set(ids))
    more = len(ordered) - _SHOWN
    return ", ".join(ordered[:_SHOWN]) + (f" and {more} more {of}".rstrip() if more > 0 else "")


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
    _refuse_mixed_selections(folder, parts)
    tables = [_read_part(path, index) for index, path in enumerate(parts)]
    digest = str(json.loads(plan.read_text()).get("plan_digest", ""))
    candidates = pa.concat_tables(tables)
    emptied = _pair_ids(folder, parts) - set(pc.unique(candidates["pair_id"]).to_pylist())
    return Run(folder, parts, candidates, _quarantined(folder), digest, frozenset(emptied))


def _refuse_mixed_selections(folder: Path, parts: Sequence[Path]) -> None:
    """Raise UsageError if shards do not follow the selection that the run states: a rejected candidate may be in."""
    held = folder / "selection.json"
    stated = digest_of(json.loads(held.read_text(encoding="utf-8"))).encode() if held.is_file() else None
    with unreadable(folder / "candidates"):
        other = [path.name for path in parts if file_metadata(path).get(SELECTION_KEY) != stated]
    if other:
        raise UsageError(
            f"{len(other)} of {len(parts)} shards of '{folder}' follow another selection than the run states "
            f"({shown(other)}), because a selection was stopped half-way or a shard was made again: "
            f"run harmonygen select '{folder}' (or score again) first"
        )


def _pair_ids(folder: Path, parts: Sequence[Path]) -> set[str]:
    """Return the pairs that the run made candidates of."""
    files = [folder / "pairs" / part.name for part in parts]
    tables = [read_parquet(path, ["pair_id"])["pair_id"] for path in files if path.is_file()]
    return {pair_id for column in tables for pair_id in column.to_pylist()}


def _read_part(path: Path, index: int) -> pa.Table:
    with unreadable(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
        table = file.read(columns=list(COLUMNS)).replace_schema_metadata(None)
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


def pick(scores: Sequence[float], count: int, rule: Rule, seed: int, pair_id: str) -> list[int]:
    """Pick ``count`` of a pair's candidates, given their p_composite in order of ``k``; return indices, ascending.

    ``random`` and ``selected`` draw without replacement from (seed, pair); ``top`` takes the highest p_composite,
    the lower k on a tie.

    >>> pick([0.2, 0.9, 0.9, 0.1], 2, "top", 0, "a")
    [1, 2]
    """
    if rule == "top":
        order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    else:
        order = seeds.numpy_rng("augment", seed, pair_id).permutation(len(scores)).tolist()
    return sorted(order[:count])


@dataclass(frozen=True, slots=True)
class Picks:
    """Picked candidate rows by pair (metadata only).

    ``gated`` candidates had failed a gate or a review; ``skipped_pairs`` were quarantined by the run; ``unused``
    candidates are of pairs that were not asked for; ``short_pairs`` got fewer than gamma asks for, since no more
    passed the gates.
    """

    by_pair: dict[str, list[dict[str, Any]]]
    gated: int
    skipped_pairs: tuple[str, ...]
    unused: int
    short_pairs: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Number of picked candidates."""
        return sum(len(rows) for rows in self.by_pair.values())


def pick_all(
    run: Run, needed: Mapping[str, int], gamma: float, rule: Rule, seed: int, allow_fewer: bool = False
) -> Picks:
    """Pick ``needed[pair_id]`` candidates for every pair.

    ``random`` and ``top`` choose among all that passed the gates, ``selected`` at random among those that the run's
    rule selected. Pairs that the run has quarantined get none and are told; candidates that failed a gate, or that a
    reviewer rejected, are not eligible.

    Raises:
        UsageError: pairs without any candidate, or with fewer eligible ones than needed: the ids and the K needed.
    """
    table = run.candidates
    rows: dict[str, list[int]] = {**{pair_id: [] for pair_id in run.emptied}, **rows_by_pair(table)}
    wanted = {pair_id: count for pair_id, count in needed.items() if count}
    skipped = tuple(pair_id for pair_id in wanted if pair_id not in rows and pair_id in run.quarantined)
    _refuse_without(run, [pair_id for pair_id in wanted if pair_id not in rows and pair_id not in run.quarantined])
    allowed = pc.and_(usable(table), table["selected"]) if rule == "selected" else usable(table)
    passed, scores = allowed.to_pylist(), table["p_composite"].to_pylist()
    eligible = {pair_id: [row for row in rows[pair_id] if passed[row]] for pair_id in wanted if pair_id in rows}
    short = tuple(pair_id for pair_id, own in eligible.items() if len(own) < wanted[pair_id])
    if not allow_fewer:
        _refuse_short(short, eligible, rows, wanted, gamma)
    by_pair = {}
    for pair_id, own in eligible.items():
        chosen = pick([scores[row] for row in own], wanted[pair_id], rule, seed, pair_id)
        by_pair[pair_id] = [own[index] for index in chosen]
    gated = sum(len(rows[pair_id]) - len(own) for pair_id, own in eligible.items())
    unused = sum(len(own) for pair_id, own in rows.items() if pair_id not in needed)
    return Picks(_records(table, by_pair), gated, skipped, unused, short)


def _records(table: pa.Table, by_pair: Mapping[str, Sequence[int]]) -> dict[str, list[dict[str, Any]]]:
    taken = table.take([row for rows in by_pair.values() for row in rows]).to_pylist() if by_pair else []
    records = iter(taken)
    return {pair_id: [next(records) for _ in rows] for pair_id, rows in by_pair.items()}


def _refuse_without(run: Run, missing: Collection[str]) -> None:
    if missing:
        raise UsageError(
            f"{len(missing)} pairs of the dataset have no candidates in '{run.folder}': {shown(missing, 'pairs')}: "
            "synthesize from the same --data, --list-file and --subset (and without --limit)"
        )


def _refuse_short(
    short: Collection[str],
    eligible: Mapping[str, Sequence[int]],
    rows: Mapping[str, Sequence[int]],
    needed: Mapping[str, int],
    gamma: float,
) -> None:
    if not short:
        return
    most = max(needed[pair_id] for pair_id in short)
    few_made = [pair_id for pair_id in short if len(rows[pair_id]) < needed[pair_id]]
    if few_made:
        found = max(len(rows[pair_id]) for pair_id in few_made)
        raise UsageError(
            f"gamma {gamma:g} needs K >= {most}, found {found} for {len(few_made)} pairs: {shown(few_made, 'pairs')}: "
            f"synthesize with --k {most} or more (and --keep all), or lower --gamma"
        )
    worst = [f"{pair_id} ({len(eligible[pair_id])} of {len(rows[pair_id])})" for pair_id in short]
    raise UsageError(
        f"gamma {gamma:g} needs {most} candidates a pair that pass the gates; {len(short)} pairs have fewer: "
        f"{shown(worst, 'pairs')}: synthesize with --k over {most}, loosen the gates with harmonygen select, "
        "lower --gamma, or pass --allow-fewer to take what passed (--pick selected: harmonygen select --count)"
    )


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
    with unreadable(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
    start = 0
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        here = sorted(row for row in picked if start <= row < start + rows)
        if here:
            with unreadable(path):
                cells = file.read_row_group(group, columns=["composite"]).column("composite")
            for row in here:
                yield picked[row], cells[row - start].as_py()["bytes"]
        start += rows


def read_pair_images(run: Run, part: int) -> dict[str, tuple[bytes | None, bytes]]:
    """Return a shard's ``(real, mask)`` bytes by pair; real is None where the photo was used as it is on disk."""
    path = run.folder / "pairs" / run.parts[part].name
    rows = read_parquet(path, ["pair_id", "real", "mask"]).to_pylist()
    return {row["pair_id"]: (row["real"] and row["real"]["bytes"], row["mask"]["bytes"]) for row in rows}
