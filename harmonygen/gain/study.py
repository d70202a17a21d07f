"""`harmonygen gain`: does augmentation help? Base against augmented and controls, equal steps and seeds, paired.

OUT holds ``plan.json``, ``data/<arm>`` (iHarmony4 trees), ``candidates/`` (runs of synthesize),
``runs/<arm>/seed-<s>`` (ordinary trainings), and last ``gain.json`` and ``gain.html``. Every step leaves a marker when
it is whole, so that the same command resumes where it was stopped, and a finished study is left as it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from harmonygen import recipes
from harmonygen.data import read_pairs
from harmonygen.errors import UsageError
from harmonygen.gain import run as gain_run
from harmonygen.gain import sets as gain_data
from harmonygen.gain.arms import Arm, added, arm_folder, arms_of, extra_pairs, make_arm, table_path
from harmonygen.gain.page import write_gain_report
from harmonygen.gain.pool import run_all
from harmonygen.gain.result import result_of
from harmonygen.gain.settings import GainSettings
from harmonygen.inspection.inspect import foresee, glance
from harmonygen.inspection.told import as_json
from harmonygen.runs.job_folder import JobPlan, digest_of, is_resumed, job_folder
from harmonygen.settings import HOW, MayChange, asked, marked
from harmonygen.storage import shards
from harmonygen.synthesis.stated import with_stated_steps

_NO_MARK = MayChange("nothing: no setting bears this mark")
Say = Callable[[str], None]
RESULT, REPORT, COMPOSITE = "gain.json", "gain.html", "composite.parquet"
_FOLDERS = ("candidates", "data/*", "data/*/*", "data/*/*/*", "photos/*", "photos/*/*", "runs/*/*", "runs/*/*/cases")
_FILES = (gain_data.SUMMARY, "manifest.parquet", "pairs.csv", gain_run.JOB, "seconds.json", gain_run.SCORES)


@dataclass(frozen=True)
class GainResult:
    """Where a study lies, and ``gain.json``; ``finished_before`` when nothing was left to do."""

    out: Path
    result: dict[str, Any]
    finished_before: bool


@dataclass(frozen=True, slots=True)
class PlannedArm:
    """A row of the study's plan: composites of the base set and added, steps, epochs, and seeds done."""

    arm: Arm
    base: int
    added: int
    steps: int
    epochs: float
    seeds: int
    done: int


def smaller(settings: GainSettings, typed: Mapping[str, Any]) -> GainSettings:
    """Return the study in its small form; options that were typed (not None) override it.

    Raises:
        UsageError: it has none.
    """
    if not settings.small:
        raise UsageError("--small needs a recipe with a table [small]: paper/table2 and gain/study-parametric have one")
    values = settings.model_dump(exclude={"small"}, exclude_unset=True)
    own = {name: value for name, value in typed.items() if value is not None}
    return GainSettings.model_validate(recipes.merge(recipes.merge(values, settings.small), own))


def plan(settings: GainSettings) -> tuple[list[PlannedArm], float | None]:
    """Return the arms with their sizes and steps, and the seconds that are left, if a run has been timed; no writes."""
    done = gain_data.base_folder(settings) / gain_data.SUMMARY
    made = json.loads(done.read_text())["train"] if done.is_file() else gain_data.foreseen(settings)[1]
    batch = _batch(settings)
    rows = []
    for arm in arms_of(settings):
        more = added(settings, arm)
        whole = sum((folder / gain_run.SCORES).is_file() for folder in _runs(settings, arm))
        epochs = settings.steps * batch / max(1, made + more)
        rows.append(PlannedArm(arm, made, more, settings.steps, epochs, settings.seeds, whole))
    timed = [json.loads(path.read_text())["all"] for path in (settings.out / "runs").glob("*/seed-*/seconds.json")]
    left = sum(row.seeds - row.done for row in rows)
    return rows, left * sum(timed) / len(timed) / settings.workers if timed else None


def foresee_study(settings: GainSettings, say: Say) -> dict[str, Any]:
    """Look at the photos and masks that a study would take, and return what was found as JSON.

    Raises:
        UsageError: no layout fits, or too few photos.
        TooManyBadInputsError: the study would end with it.
    """
    if is_resumed(settings.out, _plan(_settled(settings))):
        return {}
    seen = foresee(gain_data.study_inputs(settings), settings.originals, say)
    if settings.extra_data and any(arm.extra for arm in arms_of(settings)):
        foresee(read_pairs(settings.extra_data, reading=settings.reading(layout=None)), settings.originals, say)
    return as_json(seen)


def _batch(settings: GainSettings) -> int:
    training = gain_run.training_of(settings, settings.out, settings.out, 0)
    return int(training.train_batch_size * training.gradient_accumulation_steps)


def _runs(settings: GainSettings, arm: Arm) -> list[Path]:
    """Return the run folders of an arm, one a seed."""
    seeds = range(settings.seed, settings.seed + settings.seeds)
    return [settings.out / "runs" / arm.name / f"seed-{seed}" for seed in seeds]


def gain(settings: GainSettings, say: Say = print) -> GainResult:
    """Run what is left of a study, and write its result and report.

    Raises:
        UsageError: settings that do not fit, another study in the folder, or photos or masks that changed.
        HarmonygenError: what its steps raise; rerun the same command to resume.
    """
    settings = _settled(settings)
    arms, plan = arms_of(settings), _plan(settings)
    out, digest = settings.out, _study_digest(settings, arms)
    resumed = is_resumed(out, plan)
    if not resumed:
        glance(gain_data.study_inputs(settings), settings.originals, say)
    _refuse_early(settings, arms, resumed)
    gain_data.refuse_changed_runs(settings)
    with job_folder(out, plan, _writes(out), finished=lambda: bool(_finished(settings, digest))) as job:
        if job.finished:
            return GainResult(out, _finished(settings, digest), finished_before=True)
        base = gain_data.make_base(settings, say)
        for arm in arms:
            make_arm(settings, arm, say)
        _train_all(settings, arms, base, say)
        runs = {arm.name: _runs(settings, arm) for arm in arms}
        result = {"digest": digest, **result_of(settings, arms, runs, base)}
        write_gain_report(result, base, runs, settings.cases, out / REPORT)
        shards.write_json(out / RESULT, result)
    return GainResult(out, result, finished_before=False)


def _settled(settings: GainSettings) -> GainSettings:
    """Fill in the number of sampling steps that is left to the checkpoint."""
    made = {name: with_stated_steps(getattr(settings, name)) for name in ("originals", "candidates")}
    return settings.model_copy(update=made)


def _writes(out: Path) -> list[str]:
    """Return names of files in the folders that a study writes to; runs and trainings inside it sweep their own."""
    found = [folder.relative_to(out).as_posix() for pattern in _FOLDERS for folder in out.glob(pattern)]
    return [RESULT, REPORT, COMPOSITE, *(f"{folder}/{name}" for folder in found for name in _FILES)]


def _refuse_early(settings: GainSettings, arms: tuple[Arm, ...], resumed: bool) -> None:
    """Refuse settings of training and data that are wrong, before a new study's folder is taken."""
    _batch(settings)
    if not resumed and not gain_data.has_composites(settings):
        gain_data.split_pairs(settings)
    if any(arm.extra for arm in arms) and not table_path(settings).is_file():
        extra_pairs(settings)


def _plan(settings: GainSettings) -> JobPlan:
    """Return the plan; its digest is of the settings that decide the sets and the trainings."""
    dumped, decides = _dumped(settings), asked(settings)
    before = digest_of({name: dumped[name] for name in decides})  # which told other devices of the steps inside apart
    return JobPlan("gain", settings, digest_now=digest_of(decides), digests_before=(before,))


def _study_digest(settings: GainSettings, arms: tuple[Arm, ...]) -> str:
    """Digest all that the result depends on."""
    free = marked(GainSettings, HOW)
    dumped = {name: value for name, value in _dumped(settings).items() if name not in free}
    return digest_of({**dumped, "arms": [arm.name for arm in arms]})


def _dumped(settings: GainSettings) -> dict[str, Any]:
    """Return all settings; how candidates are made without what came later and was not asked for."""
    made = {name: asked(getattr(settings, name), _NO_MARK) for name in ("candidates", "originals")}
    return settings.model_dump(mode="json") | made


def _finished(settings: GainSettings, digest: str) -> dict[str, Any]:
    """Return the result of this very study, if it is there."""
    path = settings.out / RESULT
    if not path.is_file():
        return {}
    result: dict[str, Any] = json.loads(path.read_text())
    return result if result.get("digest") == digest else {}


def _train_all(settings: GainSettings, arms: tuple[Arm, ...], base: Path, say: Say) -> None:
    """Run every training that is not whole: seed by seed, so that all arms have their first soon."""
    by_arm = {arm: _runs(settings, arm) for arm in arms}
    waiting = []
    for place in range(settings.seeds):
        for arm, folders in by_arm.items():
            folder = folders[place]
            if not (folder / gain_run.SCORES).is_file():
                job = gain_run.job_of(settings, base, arm_folder(settings, arm), folder, settings.seed + place)
                shards.write_json(shards.make_folder(folder) / gain_run.JOB, job)
                waiting.append(folder)
    first = by_arm[arms[0]][0]
    if waiting:
        job = json.loads((first / gain_run.JOB).read_text())
        gain_run.write_composite_scores(settings.out / COMPOSITE, base, job)
    began = time.monotonic()
    for done, folder in enumerate(run_all(waiting, settings.workers, say), 1):
        left = timedelta(seconds=round((time.monotonic() - began) / done * (len(waiting) - done)))
        say(f"{folder.parent.name} {folder.name} is whole: {done} of {len(waiting)} runs, {left} left")
