"""`harmonygen harmonize`: one composite, or all composites of a dataset, brought into harmony with their background.

A run folder holds ``plan.json``, one picture a composite under the composite's own name (``<Subset>/<stem>.png``),
``quarantine.parquet`` and, last, ``summary.json``. A picture under its final name is whole and is kept on a resume.
Of ``zero-shot``, a trace and a strip lie beside each picture (written before it), and ``report.html`` in the folder.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from harmonygen.data import SAMPLE, PairSet
from harmonygen.data.composites import read_composite_folders, read_composites
from harmonygen.errors import InputError, UsageError
from harmonygen.harmonization.load import Chosen, HarmonizationMethod, load_harmonizer, method_of
from harmonygen.harmonization.results import Made, files, is_made, output_path, refuse_clashes, target_of, write_result
from harmonygen.harmonization.settings import ONE_ANSWER, HarmonizeSettings
from harmonygen.harmonization.zeroshot import options as zero_shot
from harmonygen.harmonization.zeroshot.harmonizer import ZeroShotHarmonizer
from harmonygen.harmonization.zeroshot.page import write_zero_shot_report
from harmonygen.inspection.inspect import glance
from harmonygen.models.device import Device, Sampling
from harmonygen.models.installed import runtime_in_plan
from harmonygen.pictures.photo import Photo, Sizing, load_ahead, load_photo
from harmonygen.plugins.doors import HARMONIZERS
from harmonygen.plugins.guard import GuardedHarmonizer
from harmonygen.plugins.load import guard_object, object_name
from harmonygen.records import FileSource, Pair, Quarantined
from harmonygen.runs.inputs import allowance, check_bad, inputs_digest
from harmonygen.runs.job_folder import QUARANTINE, SUMMARY, Job, JobPlan, job_folder, versions
from harmonygen.seeds import candidate_seed
from harmonygen.storage.shards import make_folder, quarantine_table, write_parquet

Progress = Callable[[int, int], None]

_THREADS = 2


@dataclass(frozen=True)
class HarmonizeResult:
    """The result of a run: ``made`` pictures now, ``kept`` that were there; ``out`` is the file of a single picture."""

    out: Path
    made: int
    kept: int
    quarantined: int
    summary: dict[str, Any]


def harmonize(
    settings: HarmonizeSettings,
    progress: Progress | None = None,
    say: zero_shot.Say | None = None,
    *,
    harmonizer: Callable[..., Any] | None = None,
) -> HarmonizeResult:
    """Harmonize one composite (``settings.image``), or a dataset's composites into the folder ``settings.out``.

    A stopped run resumes with what is missing; a finished one is left as it is. ``say`` gets what is read,
    and what a method that takes minutes per picture needs and does. ``harmonizer`` is a callable instead of the
    method that the settings name (docs/plugins/README.md).

    Raises:
        UsageError: options that do not fit, a folder with another run, or a run that holds the folder.
        InputError: the one composite or its mask cannot be used.
        TooManyBadInputsError: more inputs quarantined than ``max_bad_fraction`` allows.
        StorageError: the folder cannot be written.
    """
    method = f"python:{object_name(harmonizer)}" if harmonizer else settings.method or method_of(settings.model)
    settings = settings.model_copy(update={"method": method})
    _refuse_contradictions(settings)
    if settings.image is not None:
        return _harmonize_one(settings, settings.image, say, harmonizer)
    inputs = _read_inputs(settings)
    glance(inputs, settings, say)
    refuse_clashes([output_path(settings.out, pair, settings) for pair in inputs], settings)
    loaded = load(settings, inputs, harmonizer)
    plan = _plan(settings, inputs, loaded)
    out, writes = settings.out, _writes(settings, inputs)
    with job_folder(out, plan, writes, finished=lambda: _finished(out, inputs, settings)) as job:
        if job.finished:
            summary = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
            return HarmonizeResult(out, 0, summary["harmonized"], summary["quarantined"], summary)
        return _run(settings, inputs, loaded, job, progress, say)


def _refuse_contradictions(settings: HarmonizeSettings) -> None:
    """Raise UsageError for options that exclude or need one another."""
    folders = settings.composites, settings.masks
    faults = {
        "IMAGE and --mask go together: give both": (settings.image is None) != (settings.mask is None),
        "--composites and --masks go together: give both": (folders[0] is None) != (folders[1] is None),
        "IMAGE, --data and --composites are three ways to name the input: give one": sum(
            (settings.image is not None, settings.data != SAMPLE, folders[0] is not None)
        )
        > 1,
        f"--draws averages random draws and --method {settings.method} has none: drop it": (
            settings.method in ONE_ANSWER and (settings.draws or 1) > 1
        ),
        "--method parametric changes the composite's own pixels and makes none: drop --detail decode (and --paper)": (
            settings.method == "parametric" and settings.detail == "decode"
        ),
        f"--runtime {settings.runtime} computes the UNet of diffharmony and diffharmony++ alone: drop it": (
            settings.runtime != "torch" and settings.method not in ("diffharmony", "diffharmony++")
        ),
        **zero_shot.faults(settings),
    }
    for message, wrong in faults.items():
        if wrong:
            raise UsageError(message)


def _read_inputs(settings: HarmonizeSettings) -> PairSet:
    if settings.composites is not None and settings.masks is not None:
        return read_composite_folders(
            settings.composites, settings.masks, settings.limit, settings.reading()
        ).as_pairs()
    found = read_composites(
        settings.data,
        list_file=settings.list_file,
        subset=settings.subset,
        limit=settings.limit,
        reading=settings.reading(),
    )
    return found.as_pairs()


def load(
    settings: HarmonizeSettings, composites: Sequence[Pair], given: Callable[..., Any] | None = None
) -> HarmonizationMethod:
    """Load the harmonizer that the settings name, for ``composites``; one that is ``given`` takes its place."""
    one_size = settings.fit == "square"
    device = Device.pick(settings.device, settings.dtype, settings.batch_size, settings.runtime, one_size)
    if given is not None:
        return guard_object(HARMONIZERS, given, device, partial(GuardedHarmonizer, detail=settings.detail))
    if settings.method == "zero-shot":
        return zero_shot.load_zero_shot(settings, composites, device)
    sampling = Sampling(settings.steps, settings.sampler, posterior=settings.posterior)
    assert settings.method is not None  # harmonize() found it out
    chosen = Chosen(settings.model, settings.refine, sampling, settings.detail)
    return load_harmonizer(settings.method, chosen, device, settings.method_settings)


def sizing_of(settings: HarmonizeSettings, harmonizer: HarmonizationMethod) -> Sizing:
    """Return how composites are sized; the result is always of the composite's own size (or ``max_side``)."""
    return Sizing(
        resolution=settings.resolution or harmonizer.resolution,
        multiple=harmonizer.multiple,
        fit=settings.fit,
        detail="transfer",
        max_side=settings.max_side,
        mask_resize=settings.mask_resize,
        max_pixels=settings.max_pixels,
        enlarge=settings.enlarge,
    )


def _harmonize_one(
    settings: HarmonizeSettings, image: Path, say: zero_shot.Say | None, given: Callable[..., Any] | None
) -> HarmonizeResult:
    """Write one picture again each time."""
    target = target_of(settings, image)
    mask = FileSource(Path(settings.mask or ""), rule=settings.reading().mask_rule)
    composite = Pair(image.stem, image.stem, "0", FileSource(image), mask)
    harmonizer = load(settings, [composite], given)
    sizing = sizing_of(settings, harmonizer)
    photo = load_photo(composite, sizing)
    make_folder(target.parent)
    if say and isinstance(harmonizer, ZeroShotHarmonizer):
        say(zero_shot.memory_told(harmonizer, sizing, photo.low_mask.shape))
    write_result(target, _make(photo, harmonizer, settings, target, say))
    return HarmonizeResult(target, 1, 0, 0, {})


def _plan(settings: HarmonizeSettings, inputs: PairSet, harmonizer: HarmonizationMethod) -> JobPlan:
    """Return what is asked, of which inputs, by which weights."""
    weights = {"model_digest": harmonizer.digest, **runtime_in_plan(settings.runtime)}
    return JobPlan(
        "harmonize",
        settings,
        {"inputs_digest": inputs_digest(inputs), **weights},
        {"layout": inputs.layout, "data_root": str(inputs.root), "composites": len(inputs)},
        unused=() if settings.method == "zero-shot" else ("zero_shot",),
    )


def _writes(settings: HarmonizeSettings, inputs: PairSet) -> list[str]:
    """Return the files of all results, relative to the run's folder."""
    pictures = [output_path(settings.out, pair, settings) for pair in inputs]
    return [path.relative_to(settings.out).as_posix() for picture in pictures for path in files(picture, settings)]


def _finished(out: Path, inputs: PairSet, settings: HarmonizeSettings) -> bool:
    """Return whether the run is summed up and every composite has its result or its reason."""
    if not all((out / name).is_file() for name in (SUMMARY, QUARANTINE)):
        return False
    bad = set(pq.read_table(out / QUARANTINE, columns=["id"]).column("id").to_pylist())
    return all(pair.pair_id in bad or is_made(output_path(out, pair, settings), settings) for pair in inputs)


def _run(
    settings: HarmonizeSettings,
    inputs: PairSet,
    harmonizer: HarmonizationMethod,
    job: Job,
    progress: Progress | None,
    say: zero_shot.Say | None,
) -> HarmonizeResult:
    """Harmonize what has no result yet, then sum up."""
    began, out = time.monotonic(), settings.out
    waiting = [pair for pair in inputs if not is_made(output_path(out, pair, settings), settings)]
    if say and waiting and isinstance(harmonizer, ZeroShotHarmonizer):
        say(zero_shot.memory_told(harmonizer, sizing_of(settings, harmonizer)))
    bad = _harmonize_all(settings, waiting, harmonizer, list(inputs.bad), len(inputs), progress, say)
    write_parquet(out / QUARANTINE, quarantine_table(bad))
    failed = len(bad) - len(inputs.bad)
    seconds = time.monotonic() - began
    summary = {
        "method": settings.method,
        "composites": len(inputs),
        "harmonized": len(inputs) - failed,
        "quarantined": len(bad),
        "seconds": round(seconds, 3),
        "seconds_per_picture": round(seconds / len(waiting), 4) if waiting else None,
        "model": {"name": settings.model, "refine": settings.refine, "digest": harmonizer.digest},
        "versions": versions(),
    }
    if settings.method == "zero-shot":
        refused = {row.id for row in bad}
        made = [output_path(out, pair, settings) for pair in inputs if pair.pair_id not in refused]
        summary["zero_shot"] = zero_shot.summarised(made)
        write_zero_shot_report(out)
    whole = job.finish(summary)
    return HarmonizeResult(out, len(waiting) - failed, len(inputs) - len(waiting), len(bad), whole)


def _harmonize_all(
    settings: HarmonizeSettings,
    waiting: Sequence[Pair],
    harmonizer: HarmonizationMethod,
    bad: list[Quarantined],
    total: int,
    progress: Progress | None,
    say: zero_shot.Say | None,
) -> list[Quarantined]:
    """Write the results of ``waiting``, decoding ahead and encoding behind the model; return all that was bad."""
    allowed, out = allowance(settings.max_bad_fraction, total), settings.out
    check_bad(bad, allowed, total, out)
    writing: deque[Future[None]] = deque()
    if progress and waiting:
        progress(0, len(waiting))
    with ThreadPoolExecutor(_THREADS) as threads:
        for done, (pair, loaded) in enumerate(load_ahead(waiting, sizing_of(settings, harmonizer), threads), 1):
            path = output_path(out, pair, settings)
            try:
                made = _make(loaded.result(), harmonizer, settings, path, say)
            except InputError as error:
                bad.append(Quarantined(pair.pair_id, "harmonize", type(error).__name__, str(error)))
                check_bad(bad, allowed, total, out)
            else:
                writing.append(threads.submit(write_result, path, made))
            while len(writing) > (_THREADS if done < len(waiting) else 0):
                writing.popleft().result()
            if progress:
                progress(done, len(waiting))
    return bad


def _make(
    photo: Photo, harmonizer: HarmonizationMethod, settings: HarmonizeSettings, target: Path, say: zero_shot.Say | None
) -> Made:
    """Harmonize a composite; of zero-shot, with what explains the result."""
    seed = candidate_seed(settings.seed, photo.pair.pair_id, 0)
    if isinstance(harmonizer, ZeroShotHarmonizer):
        told = zero_shot.harmonize_told(harmonizer, photo, seed, say)
        return Made(told.image_u8, zero_shot.beside(told, photo.pair, target))
    return Made(harmonizer(photo, seed, settings.draws))
