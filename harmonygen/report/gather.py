"""Read a run folder or a built dataset into the plain records of a report: ids, scores, facts and where pictures are.

Pixels are not read here, so gathering 100,000 candidates takes seconds. A run that was cut short is read as far as it
got.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harmonygen.errors import UsageError
from harmonygen.records import CellSource, Quarantined
from harmonygen.report import datasets
from harmonygen.report.dropped import read_left_out
from harmonygen.report.files import number, read_columns, read_json
from harmonygen.report.rows import Gathered, Row, Tile
from harmonygen.shards import read_parquet, unpack_quarantine

_PAIR_COLUMNS = ("pair_id", "subset", "width", "height", "fg_ratio", "scores")
_FACTS = ("harmonygen", "verb", "layout", "data_root", "plan_digest", "inputs_digest", "model_digest")


def gather(folder: Path) -> Gathered:
    """Gather a run folder, a build, a dataset in iHarmony4 layout with its manifest, or one of ``data/*.parquet``.

    Of a folder of build-human-harmony, it is the run inside, with what the build left out.

    Raises:
        UsageError: the folder is none of these.
        StorageError: a file of it cannot be read.
    """
    if (folder / "plan.json").is_file() and (folder / "pairs").is_dir():
        return _gather_run(folder)
    if (folder / "work" / "synthesize" / "pairs").is_dir():
        return _gather_build(folder)
    if (folder / datasets.MANIFEST).is_file():
        return _with_facts(folder, datasets.tree_rows(folder))
    if any((folder / "data").glob("*.parquet")):
        return _with_facts(folder, datasets.parquet_rows(folder))
    raise UsageError(
        f"'{folder}' {_found(folder)}: a report needs a run folder (plan.json and pairs/), a dataset in iHarmony4 "
        f"layout with {datasets.MANIFEST}, or one with data/*.parquet"
    )


def _found(folder: Path) -> str:
    if not folder.exists():
        return "does not exist"
    if not folder.is_dir():
        return "is a file"
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"holds {', '.join(names[:6])}{more}" if names else "is empty"


def _gather_run(folder: Path) -> Gathered:
    parts = sorted((folder / "pairs").glob("part-*.parquet"))
    plan, summary = read_json(folder / "plan.json"), read_json(folder / "summary.json")
    rows = [row for part in parts for row in _run_rows(part, folder / "candidates" / part.name)]
    planned = len(plan.get("shards", parts))
    notes = []
    if len(parts) < planned:
        notes.append(
            f"The run is not finished: {len(parts)} of {planned} shards are done. The same command goes on with it."
        )
    rate, seconds = summary.get("candidates_per_second"), summary.get("seconds")
    return Gathered(
        "run",
        _name(folder),
        tuple(rows),
        _facts(plan, summary),
        _quarantine(folder, parts),
        rate,
        seconds,
        tuple(notes),
    )


def _gather_build(folder: Path) -> Gathered:
    """Gather the run inside a build: its photos that the dataset has, with the build's facts and what it left out."""
    run = _gather_run(folder / "work" / "synthesize")
    plan, summary = read_json(folder / "plan.json"), read_json(folder / "summary.json")
    inner = {title: run.facts[title] for title in ("Model", "Selection", "Versions") if title in run.facts}
    split = folder / "work" / "split.parquet"
    shares = read_columns(split, ("pair_id", "split")) if split.is_file() else []
    leaks = {row["pair_id"] for row in shares if not row["split"]}
    return replace(
        run,
        name=_name(folder),
        rows=tuple(row for row in run.rows if row.pair_id not in leaks),
        facts={**_facts(plan, {}), **inner},
        quarantine=_quarantine(folder, ()) or run.quarantine,
        left_out=read_left_out(folder / "work", summary.get("left_out", {})),
    )


def _run_rows(pairs: Path, candidates: Path) -> Iterable[Row]:
    pictures = _pictures(candidates)
    for index, pair in enumerate(read_parquet(pairs, _PAIR_COLUMNS).to_pylist()):
        tiles = [_tile(score, pictures.get((pair["pair_id"], score["k"]))) for score in json.loads(pair["scores"])]
        real, mask = (CellSource(pairs, column, index) for column in ("real", "mask"))
        ratio = number(pair["fg_ratio"])
        size = pair["width"] or 0, pair["height"] or 0
        yield Row(pair["pair_id"], pair["subset"] or "", real, mask, tuple(tiles), *size, ratio)


def _tile(score: Mapping[str, Any], picture: CellSource | None) -> Tile:
    p_composite, fmse = number(score.get("p_composite")), number(score.get("fmse"))
    gate, reason = score.get("gate") or "", score.get("reason") or ""
    review = score.get("review") or ""
    return Tile(int(score["k"]), picture, p_composite, bool(score.get("selected")), gate, reason, fmse, review=review)


def _pictures(candidates: Path) -> dict[tuple[str, int], CellSource]:
    """Return where the picture of each (pair, k) of a shard is."""
    if not candidates.is_file():
        return {}
    rows = read_parquet(candidates, ("pair_id", "k")).to_pylist()
    return {(row["pair_id"], row["k"]): CellSource(candidates, "composite", i) for i, row in enumerate(rows)}


def _quarantine(folder: Path, parts: Iterable[Path]) -> tuple[Quarantined, ...]:
    """Read the run's quarantine; of an unfinished run, what its shards carry."""
    path = folder / "quarantine.parquet"
    if path.is_file():
        return tuple(Quarantined(**row) for row in read_columns(path, ("id", "stage", "error", "message")))
    shards = (folder / "candidates" / part.name for part in parts)
    return tuple(row for shard in shards if shard.is_file() for row in unpack_quarantine(shard))


def _with_facts(folder: Path, rows: tuple[Row, ...]) -> Gathered:
    plan, summary = read_json(folder / "plan.json"), read_json(folder / "summary.json")
    return Gathered("dataset", _name(folder), rows, _facts(plan, summary))


def _facts(plan: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    tables = {
        "Run": {key: plan[key] for key in _FACTS if plan.get(key)},
        "Model": {"generator": summary.get("generator"), **summary.get("model", {})},
        "Settings": plan.get("settings", {}),
        "Selection": summary.get("selection", {}),
        "Versions": summary.get("versions", {}),
    }
    flat = {title: flatten(table) for title, table in tables.items()}
    return {title: table for title, table in flat.items() if table}


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Spell out nested values as ``a.b: text``, leaving out what is not set.

    >>> flatten({"k": 10, "gates": {"min_fmse": 20.0}, "limit": None, "cube": []})
    {'k': '10', 'gates.min_fmse': '20.0'}
    """
    flat: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        elif value is not None and value != [] and value != "":
            flat[prefix + key] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return flat


def _name(folder: Path) -> str:
    return folder.resolve().name
