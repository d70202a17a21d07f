"""`harmonygen evaluate`: score predictions, or models run on the fly, against real photos.

OUT holds ``plan.json``, ``parts/`` (per-image rows, committed one range of images at a time), and when all are there
``per_image.parquet`` and ``.csv``, ``table.md``, ``table.tex``, ``report.html`` and, last, ``summary.json``.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harmonygen.data.composites import CompositeSet
from harmonygen.data.files import photo_sizes
from harmonygen.errors import InputError, UsageError, listed
from harmonygen.evaluation.bootstrap import METHOD
from harmonygen.evaluation.cases import read_cases, score_triplets
from harmonygen.evaluation.measured import counted_photos, told, told_of_few
from harmonygen.evaluation.parts import PARTS, ScoringJob, is_done, part_digest, read_parts, run_parts
from harmonygen.evaluation.predictions import match_predictions
from harmonygen.evaluation.predictors import Models, expanded
from harmonygen.evaluation.protocols import ProtocolRules
from harmonygen.evaluation.scores import COMPOSITE, Scores, gather
from harmonygen.evaluation.settings import EvaluateSettings
from harmonygen.evaluation.summary import comparisons, foreground, group_figures, over_seeds
from harmonygen.evaluation.tables import PAIRED, Table, latex, markdown, tables
from harmonygen.inspection.inspect import Say, glance
from harmonygen.pictures.images import open_checked, read_bytes
from harmonygen.records import FileSource, ImageSource
from harmonygen.runs.job_folder import SUMMARY, JobPlan, digest_of, job_folder, versions
from harmonygen.settings import SHOWN, marked
from harmonygen.storage.parquet_cells import plain_texts
from harmonygen.storage.shards import Shard, cut, make_folder, write_bytes, write_parquet

__all__ = ["EvaluateResult", "evaluate", "score_triplets"]

Progress = Callable[[int, int], None]

PER_IMAGE, FILES = "per_image", ("per_image.parquet", "per_image.csv", "table.md", "table.tex", "report.html")
_PART = {"paper": 32, "fullres-fg": 4}  # images; a stopped run loses no more than this a worker
_ON_THE_FLY = 8
_NAMED = 20


@dataclass(frozen=True)
class EvaluateResult:
    """The result of an evaluation: images ``scored`` now and ``kept`` from before, the summary and its tables."""

    out: Path
    scored: int
    kept: int
    summary: dict[str, Any]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]

    @property
    def shown(self) -> tuple[Table, ...]:
        """The table that was asked for, and the paired comparison."""
        return (self.tables[0], *(table for table in self.tables[1:] if table.title == PAIRED))


def evaluate(settings: EvaluateSettings, progress: Progress | None = None, say: Say | None = None) -> EvaluateResult:
    """Score every method on every composite of ``settings.data``; the raw composite is always the first.

    A stopped run resumes with the parts that are missing; a finished one is left as it is. ``say`` gets a line
    about what is read.

    Raises:
        UsageError: options that do not fit, a folder with another run, or a run that holds the folder.
        InputError: predictions missing, ambiguous, of the wrong size or unreadable (listed).
        StorageError: the folder cannot be written.
    """
    began = time.monotonic()
    rules = ProtocolRules(settings.protocol, settings.background, settings.compat_floor, settings.resize_predictions)
    found = read_cases(
        settings.data,
        list_file=settings.list_file,
        subset=settings.subset,
        limit=settings.limit,
        reading=settings.reading(),
    )
    glance(found.as_pairs(), settings, say)
    methods, bases = expanded(settings.methods)
    _refuse_idle_floor(settings)
    job = _job(settings, found, methods, rules)
    check_sizes(job)
    models = job.models()
    plan = _plan(settings, found, job, models)
    shards = cut(len(found.composites), settings.shard_size or part_size(job))
    job = replace(job, digests={shard.index: part_digest(job, shard, plan.digest) for shard in shards})
    shown = digest_of([job.digests, {name: settings.model_dump(mode="json")[name] for name in _shown()}])

    def finished() -> bool:
        return _finished(settings.out, shown) is not None and all(is_done(job, shard) for shard in shards)

    writes = [*FILES, *(f"{PARTS}/{shard.filename}" for shard in shards)]
    with job_folder(settings.out, plan, writes, finished=finished) as held:
        if held.finished and (before := _finished(settings.out, shown)):
            return _result(settings, before, 0, len(found.composites))
        make_folder(job.folder)
        waiting = [shard for shard in shards if not is_done(job, shard)]
        predictors = job.predictors(models) if job.methods else {}
        scored = _run(settings, job, predictors, waiting, progress)
        table = read_parts(job.folder, shards)
        scores = gather(table, [COMPOSITE, *predictors], [case.real_id for case in found.composites])
        summary = _summarise(settings, rules, found, scores, bases, scored, time.monotonic() - began)
        _write_all(settings, job, predictors, scores, table, summary)
        whole = held.finish({**summary, "shown_digest": shown})
    return _result(settings, whole, scored, len(found.composites) - scored)


def _refuse_idle_floor(settings: EvaluateSettings) -> None:
    """Raise UsageError if there are no decoded pixels that could be floored."""
    if settings.compat_floor and not any(spec.model and spec.detail == "decode" for spec in settings.methods):
        raise UsageError(
            "--compat-floor floors what a model decodes, and no method is a model with detail decode (files of "
            "predictions are 8-bit already): drop it, or add --paper to --model"
        )


def _shown() -> tuple[str, ...]:
    """Return the settings of the tables and pictures: when they change, these alone are made again."""
    return marked(EvaluateSettings, SHOWN)


def _job(settings: EvaluateSettings, found: CompositeSet, methods: Any, rules: ProtocolRules) -> ScoringJob:
    names = [case.name for case in found.composites]
    files = {
        spec.name: match_predictions(spec.predictions, names, spec.match)
        for spec in methods
        if spec.predictions is not None
    }
    return ScoringJob(
        found.composites,
        methods,
        files,
        rules,
        settings.ssim,
        settings.max_pixels,
        settings.device,
        settings.dtype,
        settings.batch_size,
        settings.out / PARTS,
        threads=max(1, cores() // (settings.workers or 1)),
    )


def part_size(job: ScoringJob) -> int:
    """Return how many images a part holds, unless ``shard_size`` says it."""
    return min(_PART[job.rules.protocol], _ON_THE_FLY if job.on_the_fly() else _PART["paper"])


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_sizes(job: ScoringJob) -> None:
    """Compare the size of every prediction with its composite's, by the headers alone.

    Raises:
        InputError: some are wrong; they are listed.
    """
    if job.rules.resize_predictions or not job.files:
        return
    faults: list[str] = []
    for case in job.cases:
        wanted = _size(case.composite)
        for method, files in job.files.items():
            fault = job.rules.wrong_size(_size(FileSource(files[case.name])), wanted)
            if fault:
                faults.append(f"'{case.name}' of {method} {fault}")
    if faults:
        raise InputError(
            f"{len(faults)} predictions are of the wrong size: {_listed(faults)}: predict at the right size, or pass "
            "--resize-predictions"
        )


def _size(source: ImageSource) -> tuple[int, int]:
    """Return the (height, width) of a picture, upright, from its header."""
    if isinstance(source, FileSource):
        return photo_sizes(source.path, source.within)[-1]
    width, height = open_checked(read_bytes(source), str(source)).size
    return height, width


def _listed(faults: Sequence[str]) -> str:
    return listed(faults, most=_NAMED, between="; ")


def _plan(settings: EvaluateSettings, found: CompositeSet, job: ScoringJob, models: Models) -> JobPlan:
    """Return what is scored, by what rules, with which weights."""
    weights = [models.harmonizer(spec).digest for spec in job.methods if spec.model is not None]
    return JobPlan(
        "evaluate",
        settings,
        {"inputs_digest": digest_of([case.name for case in found.composites]), "model_digest": digest_of(weights)},
        {"layout": found.layout, "data_root": str(found.root), "images": len(found.composites)},
    )


def _finished(out: Path, shown: str) -> dict[str, Any] | None:
    """Return the summary of a run that is whole and shows what is asked, else None."""
    if not all((out / name).is_file() for name in (*FILES, SUMMARY)):
        return None
    summary: dict[str, Any] = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    return summary if summary.get("shown_digest") == shown else None


def _run(
    settings: EvaluateSettings,
    job: ScoringJob,
    predictors: Mapping[str, Any],
    waiting: Sequence[Shard],
    progress: Progress | None,
) -> int:
    """Score the parts that wait and return how many images that were.

    Raises:
        InputError: pictures that cannot be scored, all of them listed; the other parts are written.
    """
    workers = settings.workers or (1 if job.on_the_fly() else cores())  # a model uses all cores by itself
    total, done, faults = sum(shard.stop - shard.start for shard in waiting), 0, []
    if progress and waiting:
        progress(0, total)
    for shard, wrong in run_parts(job, predictors, waiting, workers):
        done += shard.stop - shard.start
        faults += wrong
        if progress:
            progress(done, total)
    if faults:
        raise InputError(f"{len(faults)} images cannot be scored: {_listed(faults)}: mend them and repeat the command")
    return done


def _summarise(
    settings: EvaluateSettings,
    rules: ProtocolRules,
    found: CompositeSet,
    scores: Scores,
    bases: Mapping[str, str],
    scored: int,
    seconds: float,
) -> dict[str, Any]:
    """Return ``summary.json`` but for its head and the digests."""
    subsets = sorted(set(scores.subsets))
    return {
        "title": settings.title,
        "protocol": settings.protocol,
        "background": "real" if settings.protocol == "fullres-fg" else settings.background,
        "rounding": "floor" if settings.compat_floor else "round",
        "stated": rules.stated(),
        "data": settings.data,
        "chosen_by": found.chosen_by,
        "images": len(scores.names),
        "photos": len(set(scores.photos)),
        "methods": list(scores.methods),
        "only_subset": subsets[0] if len(subsets) == 1 else None,
        "groups": group_figures(scores, settings.seed, settings.resamples),
        "paired": comparisons(scores, settings.seed, settings.resamples),
        "seeds": over_seeds(scores, bases),
        "foreground": foreground(scores),
        "flagged": [{"name": name, "method": method, "flag": flag} for name, method, flag in scores.flags],
        "published": [row.model_dump(mode="json") for row in settings.published],
        "bootstrap": {
            "interval": METHOD,
            "resamples": settings.resamples,
            "level": 0.95,
            "unit": "photo",
            "seed": settings.seed,
        },
        "seconds": round(seconds, 3),
        "images_per_second": round(scored / seconds, 3) if scored else None,
        "versions": versions(),
    }


def notes_of(summary: dict[str, Any]) -> tuple[str, ...]:
    """Return the sentences that belong to every table of a run: protocol, n, intervals, and what was left out."""
    title = [f"{summary['title']}."] if summary["title"] else []
    notes = [
        *title,
        f"{summary['stated']}; {summary['images']} images of {counted_photos(summary['photos'])} ({summary['data']}, "
        f"{summary['chosen_by']}); mean over images [95 % interval: {METHOD}, "
        f"{summary['bootstrap']['resamples']} resamples].",
        f"Intervals: {told(summary['photos'])}.",
    ]
    few = told_of_few({name: group["photos"] for name, group in summary["groups"].items()})
    notes += [f"Intervals: {few}."] if few else []
    flags: dict[tuple[str, str], int] = {}
    for row in summary["flagged"]:
        flags[row["method"], row["flag"]] = flags.get((row["method"], row["flag"]), 0) + 1
    left = {"empty foreground": "left out of the foreground means", "equal to the photo": "left out of the PSNR mean"}
    notes += [f"{method}: {count} {flag}, {left[flag]}." for (method, flag), count in flags.items()]
    return tuple(notes)


def _result(settings: EvaluateSettings, summary: dict[str, Any], scored: int, kept: int) -> EvaluateResult:
    made = tables(summary, settings.table, settings.published)
    return EvaluateResult(settings.out, scored, kept, summary, tuple(made), notes_of(summary))


def _write_all(
    settings: EvaluateSettings,
    job: ScoringJob,
    predictors: Mapping[str, Any],
    scores: Scores,
    table: Any,
    summary: dict[str, Any],
) -> None:
    """Write everything that sums the run up, but for ``summary.json``."""
    import pyarrow.csv

    from harmonygen.evaluation.pictures import write_pictures

    out = settings.out
    write_parquet(out / f"{PER_IMAGE}.parquet", table)
    lines = io.BytesIO()
    pyarrow.csv.write_csv(plain_texts(table), lines)
    write_bytes(out / f"{PER_IMAGE}.csv", lines.getvalue())
    made, notes = tables(summary, settings.table, settings.published), notes_of(summary)
    write_bytes(out / "table.md", markdown(made, notes).encode())
    write_bytes(out / "table.tex", latex(made, notes).encode())
    write_pictures(settings, job, predictors, scores, summary, made, notes)
