"""Write a run for an edit-model trainer: pairs, masks, words and the trainer's config, in one resumable job.

The unit of work is a shard of the run. What is said about its rows is noted in ``.rows/`` once all their files are
there, so a stopped export resumes at the shard where it was; tables, configs and the manifest are written from these
notes at the end, and the notes are removed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from harmonygen.augmentation.export import wanted
from harmonygen.augmentation.preferences import preferred_pairs
from harmonygen.augmentation.settings import ExportSettings
from harmonygen.errors import UsageError
from harmonygen.runs.job_folder import SUMMARY, Job, JobPlan, digest_of, job_folder
from harmonygen.runs.read import Run
from harmonygen.settings import asked
from harmonygen.storage import shards
from harmonygen.storage.parquet_cells import image_schema
from harmonygen.trainers.formats import FORMATS
from harmonygen.trainers.formats.shape import Export, Format, Record
from harmonygen.trainers.rows import EditRow, Reader, given_words, keys_of
from harmonygen.trainers.write import FolderWriter, write_tar, write_zips

Progress = Callable[[int, int], None]
Picked = Sequence[Mapping[str, Any]]

NOTES = ".rows"
START = "train.sh"
MANIFEST = {
    **dict.fromkeys(
        ("key", "pair_id", "real_id", "source", "target", "mask", "text", "change", "instruction"), "string"
    ),
    **dict.fromkeys(("k", "width", "height"), "int32"),
    "seed": "int64",
    **dict.fromkeys(("p_composite", "ev", "kelvin", "saturation", "contrast", "tint"), "float64"),
}
"""Columns of ``manifest.parquet``: from a row's files back to the run, its words and what they are made from."""


@dataclass(frozen=True)
class TrainerExport:
    """What was written: ``rows`` of ``pairs`` for a trainer, its config files, and the command that starts it.

    The command is run in ``runs_in``; where that is empty it starts no trainer, but shows what was written.
    ``gated`` candidates may not be used and were left out; ``unchanged`` rows change too little to be put into words.
    """

    folder: Path
    trainer: str
    pairs: int
    rows: int
    gated: int
    unchanged: int
    config: list[str]
    command: str
    runs_in: str
    finished_before: bool


def export_for(settings: ExportSettings, progress: Progress | None = None) -> TrainerExport:
    """Write a run's candidates that may be used (or only the selected ones) for ``settings.trainer``.

    Raises:
        UsageError: no trainer, not a finished run, nothing to write, photos that changed since the run, no words for
            some pairs, or a folder that holds something else.
        StorageError: a photo is gone, hard links across disks, disk full: rerun the same command to resume.
    """
    if settings.trainer is None:
        raise UsageError("no trainer is named: give --for NAME, or call harmonygen.augmentation.export.export")
    run, made = Run.open(settings.run), FORMATS[settings.trainer]
    chosen, gated, than = _chosen(run, settings)
    words = given_words(settings, chosen)
    run.refuse_changed({row["pair_id"] for row in chosen})
    reader = Reader(run, settings, keys_of(run), words, made.alike, than)
    plan, whole = _plan(settings, run, words), (settings.out / SUMMARY).is_file
    with job_folder(settings.out, plan, _writes(made, len(run.parts)), finished=whole) as job:
        if not job.finished:
            with shards.storage_errors(f"'{settings.out}'"):
                counts = _write(job, made, reader, chosen, progress)
            job.finish({**plan.inputs, **asked(settings), **counts, "gated": gated})
    told = shards.read_json(settings.out / SUMMARY)
    names = ("pairs", "rows", "gated", "unchanged", "config", "command")
    return TrainerExport(
        settings.out,
        settings.trainer,
        **{name: told[name] for name in names},
        runs_in=made.runs_in,
        finished_before=job.finished,
    )


def _chosen(run: Run, settings: ExportSettings) -> tuple[list[Mapping[str, Any]], int, dict[str, Mapping[str, Any]]]:
    """Return the rows to write, how many candidates may not be used, and of preferences the preferred row by pair.

    Of preferences, the rows to write are the rejected ones.
    """
    if not settings.preferences:
        rows, gated = wanted(run, settings.which)
        return list(rows), gated, {}
    found = [each for own in preferred_pairs(run, settings.min_margin).values() for each in own]
    than = {each.preferred["pair_id"]: each.preferred for each in found}
    return [each.rejected for each in found], run.rows().num_rows - run.usable().num_rows, than


def _plan(settings: ExportSettings, run: Run, words: Mapping[str, str] | None) -> JobPlan:
    inputs = {"run": run.plan_digest, "selection": run.reselected or None, "words": words and digest_of(dict(words))}
    return JobPlan("export", settings, inputs)


def _writes(made: Format, parts: int) -> list[str]:
    """Return names in every folder that is written to; what a killed run left half written in them is removed."""
    table = [made.table.name] if made.table else []
    places = [] if made.pack == "zip" else [place.format(key="x") for place in made.places.values()]
    return ["manifest.parquet", START, *table, *places, *(f"{NOTES}/{_note(part)}" for part in range(parts))]


def _note(unit: int) -> str:
    return f"part-{unit:05d}.jsonl"


def _write(job: Job, made: Format, reader: Reader, chosen: Picked, progress: Progress | None) -> dict[str, Any]:
    out = job.out
    notes = shards.make_folder(out / NOTES)
    by_part: dict[int, list[Mapping[str, Any]]] = {}
    for row in chosen:
        by_part.setdefault(row["part"], []).append(row)
    units = [by_part] if made.pack == "zip" else [{part: own} for part, own in sorted(by_part.items())]
    done = 0
    for index, unit in enumerate(units):
        count = sum(map(len, unit.values()))
        if not (notes / _note(index)).is_file():
            rows = chain.from_iterable(reader.rows(part, own) for part, own in sorted(unit.items()))
            records = _unit(out, made, reader.settings, index, rows)
            _note_down(notes / _note(index), _told(records, progress, done, len(chosen)))
        done += count
        if progress is not None:
            progress(done, len(chosen))
    counts = _finish(out, made, reader.settings, [notes / _note(index) for index in range(len(units))])
    shards.remove_folder(notes)
    return counts


def _told(
    records: Iterable[dict[str, Any]], progress: Progress | None, done: int, total: int
) -> Iterator[dict[str, Any]]:
    for index, record in enumerate(records, 1):
        if progress is not None:
            progress(done + index, total)
        yield record


def _unit(
    out: Path, made: Format, settings: ExportSettings, index: int, rows: Iterable[EditRow]
) -> Iterator[dict[str, Any]]:
    """Write the rows of a unit in their format and yield their records."""
    harmonize = settings.direction == "harmonize"
    if made.pack == "tar":
        return write_tar(out / f"train-{index:05d}.tar", rows, made.places, harmonize)
    if made.pack == "zip":
        return write_zips(out, rows, made.places, harmonize)
    return FolderWriter(out, made, harmonize, settings.link).write(rows)


def _note_down(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write records as they come; the note gets its name when all are there."""
    with shards.whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as opened:
        for record in records:
            opened.write(json.dumps(record, ensure_ascii=False) + "\n")


def _records(notes: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for note in notes:
        with note.open(encoding="utf-8") as opened:
            yield from map(json.loads, opened)


def _finish(out: Path, made: Format, settings: ExportSettings, notes: Sequence[Path]) -> dict[str, Any]:
    """Write the table, the manifest, the configs and ``train.sh``; return what the summary says."""
    if made.table:
        with shards.whole_file(out / made.table.name) as temporary, temporary.open("w", encoding="utf-8") as opened:
            opened.write(made.table.header)
            opened.writelines(map(made.table.line, _records(notes)))
    rows = _write_manifest(out, notes, settings.direction == "harmonize")
    harmonize = settings.direction == "harmonize"
    export = Export(out.absolute(), harmonize, rows["rows"], len(notes), settings.preferences)
    configs, commands = made.configs(export), list(made.commands(export))
    where = [f"# Run it in {made.runs_in}."] if made.runs_in else []
    for name, text in {**configs, START: "\n".join(["#!/bin/sh", *where, "set -e", *commands, ""])}.items():
        shards.write_bytes(out / name, text.encode())
    return {
        **rows,
        "config": [*configs, START],
        "command": commands[0] if len(commands) == 1 else f"sh {export.at(START)}",
    }


def _write_manifest(out: Path, notes: Sequence[Path], harmonize: bool) -> dict[str, int]:
    """Write ``manifest.parquet``, a row group per note; return the numbers of rows, pairs and rows without a change."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = image_schema(MANIFEST)
    rows, unchanged, pairs = 0, 0, set[str]()
    with shards.whole_file(out / "manifest.parquet") as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for note in notes:
            records = list(_records([note]))
            writer.write_table(
                pa.Table.from_pylist([_manifest_row(each, harmonize) for each in records], schema=schema)
            )
            rows, unchanged = rows + len(records), unchanged + sum(not each["said"] for each in records)
            pairs |= {each["pair_id"] for each in records}
    return {"rows": rows, "pairs": len(pairs), "unchanged": unchanged}


def _manifest_row(record: Record, harmonize: bool) -> dict[str, Any]:
    files = record["files"]
    both = {"source": "composite", "target": "real"} if harmonize else {"source": "real", "target": "composite"}
    named = {role: files.get(role) or files.get(other) for role, other in both.items()}
    return {name: record.get(name) for name in MANIFEST} | named | {"mask": files["mask"]}
