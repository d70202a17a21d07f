"""Read a run folder or a built dataset into the plain records of a report: ids, scores, facts and where pictures are.

Pixels are not read here, so gathering 100,000 candidates takes seconds. A run that was cut short is read as far as it
got.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harmonygen.errors import UsageError, shown
from harmonygen.records import CellSource, Quarantined
from harmonygen.report import datasets
from harmonygen.report.dropped import read_left_out
from harmonygen.report.rows import Gathered, PairRow, Tile, number, read_columns
from harmonygen.runs.identity import told
from harmonygen.runs.job_folder import PLAN, QUARANTINE, SUMMARY
from harmonygen.runs.read import Run, is_run
from harmonygen.runs.tables import DECIDED_BY
from harmonygen.storage.shards import read_json

_FACTS = ("harmonygen", "verb", "layout", "data_root", "plan_digest", "inputs_digest", "model_digest")


def gather(folder: Path) -> Gathered:
    """Gather a run folder, a build, a dataset in iHarmony4 layout with its manifest, or one of ``data/*.parquet``.

    Of a folder of build-human-harmony, it is the run inside, with what the build left out.

    Raises:
        UsageError: the folder is none of these.
        StorageError: a file of it cannot be read.
    """
    if is_run(folder):
        return _gather_run(Run.look(folder))
    if is_run(folder / "work" / "synthesize"):
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
    names = shown(path.name + "/" * path.is_dir() for path in folder.iterdir())
    return f"holds {names}" if names else "is empty"


def _gather_run(run: Run) -> Gathered:
    summary, done, changed = read_json(run.folder / SUMMARY), len(run.parts), run.changed()
    notes = []
    if done < run.planned:
        notes.append(
            f"The run is not finished: {done} of {run.planned} shards are done. Repeat the same command to resume it."
        )
    if changed:
        logging.getLogger("harmonygen").warning("%s", told(changed, f"'{run.folder}'"))
        notes.append(f"Since the run, {told(changed, 'it')}. Candidates of these pairs belong to other pictures.")
    return Gathered(
        "run",
        _name(run.folder),
        tuple(row for part in range(done) for row in _run_rows(run, part)),
        _facts(run.plan, summary),
        tuple(run.quarantine()),
        summary.get("candidates_per_second"),
        summary.get("seconds"),
        tuple(notes),
        changed=changed,
        judges=run.judges,
        combine=run.selection.get("combine", ""),
    )


def _gather_build(folder: Path) -> Gathered:
    """Gather the run inside a build: its photos that the dataset has, with the build's facts and what it left out."""
    run = _gather_run(Run.look(folder / "work" / "synthesize"))
    plan, summary = read_json(folder / PLAN), read_json(folder / SUMMARY)
    inner = {title: run.facts[title] for title in ("Model", "Selection", "Versions") if title in run.facts}
    split = folder / "work" / "split.parquet"
    shares = read_columns(split, ("pair_id", "split")) if split.is_file() else []
    leaks = {row["pair_id"] for row in shares if not row["split"]}
    return replace(
        run,
        name=_name(folder),
        rows=tuple(row for row in run.rows if row.pair_id not in leaks),
        facts={**_facts(plan, {}), **inner},
        quarantine=_quarantine(folder) or run.quarantine,
        left_out=read_left_out(folder / "work", summary.get("left_out", {})),
    )


def _run_rows(run: Run, part: int) -> Iterator[PairRow]:
    """Yield the pairs of a shard; a candidate that was not kept has no picture."""
    kept = run.part_rows(part).select(["pair_id", "k", "part", "row"]).to_pylist()
    pictures = {(row["pair_id"], row["k"]): run.composite_source(row) for row in kept}
    sources, scores = run.pair_sources(part), run.pair_scores(part)
    for pair in run.pairs(part):
        name = pair["pair_id"]
        tiles = [_tile(score, pictures.get((name, score["k"])), run.judges) for score in scores[name]]
        size = pair["width"] or 0, pair["height"] or 0
        yield PairRow(name, pair["subset"] or "", *sources[name], tuple(tiles), *size, number(pair["fg_ratio"]))


def _tile(score: Mapping[str, Any], picture: CellSource | None, judges: Sequence[str]) -> Tile:
    return Tile(
        int(score["k"]),
        picture,
        number(score.get("p_composite")),
        bool(score.get("selected")),
        score.get("gate") or "",
        score.get("reason") or "",
        number(score.get("fmse")),
        review=score.get("review") or "",
        judged=tuple(number(score.get(f"p_{name}")) for name in judges),
        decided_by=(score.get(DECIDED_BY) or "") if judges else "",
    )


def _quarantine(folder: Path) -> tuple[Quarantined, ...]:
    """Read the quarantine of a build, if it is there."""
    path = folder / QUARANTINE
    rows = read_columns(path, ("id", "stage", "error", "message")) if path.is_file() else []
    return tuple(Quarantined(**row) for row in rows)


def _with_facts(folder: Path, rows: tuple[PairRow, ...]) -> Gathered:
    plan, summary = read_json(folder / PLAN), read_json(folder / SUMMARY)
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
