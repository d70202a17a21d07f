"""One training of a gain study: train on an arm's data set, score the test set, and keep a few pictures.

A run folder holds ``job.json`` (all that the run needs), what an ordinary training leaves, ``cases/`` and, last,
``scores.parquet``. As a program (``python -m harmonygen.gain.run FOLDER``) it is one of several side by side.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from harmonygen import recipes
from harmonygen.errors import HarmonygenError
from harmonygen.evaluation.cases import read_cases
from harmonygen.evaluation.predictors import Loaded, predictor_of
from harmonygen.evaluation.protocols import ProtocolRules
from harmonygen.evaluation.scores import COMPOSITE, Row, full_row, score
from harmonygen.evaluation.settings import MethodSpec
from harmonygen.gain.page import shown_cases
from harmonygen.gain.settings import GainSettings
from harmonygen.harmonization.settings import Method
from harmonygen.pictures.images import ImageU8, encode, read_image
from harmonygen.pictures.masks import read_mask
from harmonygen.records import Composite
from harmonygen.seeds import stable_seed
from harmonygen.settings import resolve
from harmonygen.storage import shards

Log = Callable[[str], None]
JOB, SCORES, CASES = "job.json", "scores.parquet", "cases"
_RECIPES = {"direct": "starter/direct", "parametric": "starter/parametric", "diffusion": "starter/forward"}
_TASKS = {"direct": "direct", "parametric": "parametric", "diffusion": "forward"}
_METHODS: dict[str, Method] = {"direct": "direct", "parametric": "parametric", "diffusion": "diffharmony"}
_DATA_KEYS = ("data", "layout", "split_file", "split", "exclude", "source", "output_dir", "seed")
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("name", "subset", "photo")),
        ("step", pa.int32()),
        *((name, pa.float64()) for name in ("mse", "psnr", "fmse", "fg_ratio")),
    ]
)
_POLL_SECONDS = 2.0
_HOW = ("fit", "enlarge", "detail", "posterior")
"""How composites reach the scored model, and its pictures the scored size."""


def training_of(settings: GainSettings, data: Path, out: Path, seed: int) -> Any:
    """Return the settings of one training: the recipe, what the study lays over it, then the data, steps and seed.

    Raises:
        UsageError: settings that the model does not have.
    """
    from harmonygen.training.settings import TASKS

    recipe = recipes.load(settings.train_recipe or _RECIPES[settings.arch])
    values = recipes.merge({key: recipe[key] for key in recipe if key not in _DATA_KEYS}, settings.train)
    own = {
        "data": str(data),
        "source": "stored",
        "output_dir": out,
        "seed": seed,
        "resolution": settings.resolution,
        "max_train_steps": settings.steps,
        "checkpointing_steps": curve_every(settings),
        "checkpoints_total_limit": settings.curve_points + 1,
        "validation_steps": settings.steps,
        "validation_samples": 16,
    }
    return resolve(TASKS[_TASKS[settings.arch]], None, recipes.merge(values, own))


def curve_every(settings: GainSettings) -> int:
    """Return the steps between points of the learning curve."""
    return max(1, settings.steps // settings.curve_points)


def job_of(settings: GainSettings, test: Path, data: Path, out: Path, seed: int) -> dict[str, Any]:
    """Return what a run folder's ``job.json`` holds."""
    training = training_of(settings, data, out, seed)
    return {
        "task": training.task,
        "training": training.model_dump(mode="json"),
        "test": str(test),
        "arch": settings.arch,
        "sampling_steps": settings.sampling_steps,
        "draws": settings.draws,
        "background": settings.background,
        "how": settings.model_dump(include=set(_HOW)),
        "device": settings.device,
        "curve_images": settings.curve_images,
        "cases": settings.cases,
    }


def run_job(folder: Path, log: Log) -> None:
    """Do what is left of a run: training from its last checkpoint on, then scoring; nothing if it is whole.

    Raises:
        HarmonygenError: what training and scoring raise.
    """
    if (folder / SCORES).is_file():
        return
    job = shards.read_json(folder / JOB)
    began = time.monotonic()
    _train(folder, job, log)
    trained = time.monotonic() - began
    cases, probe = test_cases(Path(job["test"])), _load(folder, job)
    rows = [row for step, part in _checkpoints(folder, job) for row in _curve(probe, part, step, job, cases)]
    rows += _final(_load(folder, job), job, cases, folder)
    shards.write_json(folder / "seconds.json", {"training": trained, "all": time.monotonic() - began})
    shards.write_parquet(folder / SCORES, pa.Table.from_pylist(rows, schema=_SCHEMA))
    for checkpoint in folder.glob("checkpoint-*"):  # the model and its curve are kept, the optimiser's state is not
        shutil.rmtree(checkpoint)


def _train(folder: Path, job: Mapping[str, Any], log: Log) -> None:
    from harmonygen.training.checkpoints import checkpoints
    from harmonygen.training.run import train
    from harmonygen.training.settings import TASKS

    if (folder / "model").is_dir():
        return
    values = {**job["training"], "resume_from_checkpoint": "latest" if checkpoints(folder) else None}
    train(TASKS[job["task"]].model_validate(values), log)


def _load(folder: Path, job: Mapping[str, Any]) -> Any:
    """Load the finished model as a harmonizer."""
    from harmonygen.harmonization.load import Chosen, load_harmonizer
    from harmonygen.models.device import Device, Sampling

    device, spec = Device.pick(job["device"], "float32"), _spec(job)
    sampling = Sampling(job["sampling_steps"], posterior=spec.posterior)
    chosen = Chosen(folder / "model", sampling=sampling, detail=spec.detail)
    return load_harmonizer(_METHODS[job["arch"]], chosen, device)


def _spec(job: Mapping[str, Any]) -> MethodSpec:
    """Return how a job's model is scored; jobs of before say nothing of it."""
    return MethodSpec(model="model", draws=job["draws"], **job.get("how", {}))


def _checkpoints(folder: Path, job: Mapping[str, Any]) -> Iterator[tuple[int, Path]]:
    """Yield the curve's checkpoints before the last step; one of a run that was stopped is no point of it."""
    from harmonygen.training.checkpoints import checkpoints, step_of

    for checkpoint in checkpoints(folder):
        step = step_of(checkpoint) or 0
        if 0 < step < job["training"]["max_train_steps"] and step % job["training"]["checkpointing_steps"] == 0:
            yield step, checkpoint


def _curve(
    harmonizer: Any, checkpoint: Path, step: int, job: Mapping[str, Any], cases: Sequence[Composite]
) -> list[Row]:
    """Score a checkpoint on the curve's images."""
    _load_weights(harmonizer, checkpoint)
    few = curve_cases(cases, job["curve_images"])
    return [_row(case, figures, step) for case, figures, _ in scored(harmonizer, few, job)]


def _load_weights(harmonizer: Any, checkpoint: Path) -> None:
    """Put a checkpoint's averaged weights into a loaded harmonizer of the same architecture."""
    from harmonygen.training.state import load_averaged

    load_averaged(harmonizer.model if hasattr(harmonizer, "model") else harmonizer.draw.model.unet, checkpoint)


def _final(harmonizer: Any, job: Mapping[str, Any], cases: Sequence[Composite], folder: Path) -> list[Row]:
    """Score the finished model on the whole test set, and keep the pictures of the shown cases."""
    shown = {case.name: index for index, case in enumerate(shown_cases(cases, job["cases"]))}
    pictures = shards.make_folder(folder / CASES)
    rows = []
    for case, figures, picture in scored(harmonizer, cases, job):
        rows.append(_row(case, figures, job["training"]["max_train_steps"]))
        if case.name in shown:
            shards.write_bytes(pictures / f"{shown[case.name]}.png", encode(picture))
    return rows


def _row(case: Composite, figures: Row, step: int) -> Row:
    kept = {name: figures[name] for name in ("mse", "psnr", "fmse", "fg_ratio")}
    return {"name": case.name, "subset": case.subset, "photo": case.real_id, "step": step, **kept}


def test_cases(base: Path) -> list[Composite]:
    """Return the test composites of a tree."""
    return list(read_cases(base, list_file=base / "IHD_test.txt").composites)


def curve_cases(cases: Sequence[Composite], count: int) -> list[Composite]:
    """Return ``count`` of the cases, the same in every run: by a hash of their names."""
    return sorted(cases, key=lambda case: stable_seed("curve", case.name))[:count]


def scored(
    harmonizer: Any, cases: Sequence[Composite], job: Mapping[str, Any]
) -> Iterator[tuple[Composite, Row, ImageU8]]:
    """Yield each case with its figures (protocol paper) and the picture; without a harmonizer the composite's own."""
    rules = ProtocolRules(background=job["background"])
    predict = predictor_of(harmonizer, _spec(job), rules) if harmonizer is not None else None
    for case in cases:
        decoded = read_image(case.composite)
        loaded = Loaded(case, decoded, read_image(case.photo).image_u8, read_mask(case.mask, decoded))
        target = rules.target(decoded.image_u8, loaded.real_u8, loaded.mask)
        picture = predict(loaded) if predict else decoded.image_u8
        figures = score(rules.prediction(picture, target, case.name), target, with_ssim=False)
        yield case, full_row(case.name, case.subset, COMPOSITE, figures, target), picture


def write_composite_scores(path: Path, base: Path, job: Mapping[str, Any]) -> None:
    """Score the raw composites of the test set, unless that is done."""
    if not path.is_file():
        rows = [_row(case, figures, 0) for case, figures, _ in scored(None, test_cases(base), job)]
        shards.write_parquet(path, pa.Table.from_pylist(rows, schema=_SCHEMA))


def _end_with_parent() -> None:
    """Stop, with a checkpoint, when the process that started this one is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Run the job of the folder that is named; return the exit code."""
    _end_with_parent()
    try:
        run_job(Path(sys.argv[1]), lambda line: print(line, flush=True))
    except HarmonygenError as error:
        print(f"error: {error}", flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
