"""Start a training run: read the photos, hold some out, build the task, and hand it to the loop."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

from accelerate import Accelerator
from accelerate.utils import set_seed

from harmonygen.data.composites import held_out_of
from harmonygen.errors import UsageError
from harmonygen.models.device import keep_memory
from harmonygen.training import checkpoints
from harmonygen.training.autoencoder import AutoencoderTask
from harmonygen.training.classifier import ClassifierTask
from harmonygen.training.composites import Samples
from harmonygen.training.data_sets import read_samples
from harmonygen.training.denoiser import DenoiserTask, settled
from harmonygen.training.direct import DirectTask
from harmonygen.training.distill import DistillTask
from harmonygen.training.harmony_vae import HarmonyVaeTask
from harmonygen.training.light_decoder import LightDecoderTask
from harmonygen.training.loop import TrainResult, collate, fit, new_accelerator
from harmonygen.training.parametric import ParametricTask
from harmonygen.training.parametric_inverse import ParametricInverseTask
from harmonygen.training.photos import QUARANTINE
from harmonygen.training.refiner import RefinerTask
from harmonygen.training.settings import (
    AutoencoderTraining,
    ClassifierTraining,
    DenoiserTraining,
    DirectTraining,
    DistillTraining,
    HarmonyVaeTraining,
    LightDecoderTraining,
    ParametricInverseTraining,
    ParametricTraining,
    RefinerTraining,
    TrainSettings,
)
from harmonygen.training.sources import select_split
from harmonygen.training.task import Log, Task, silent

__all__ = ["build", "select_split", "train"]

_CALIBRATION_SAMPLES = 128
_HELD_OUT_SAMPLES = 32


def train(settings: TrainSettings, log: Log = print) -> TrainResult:
    """Train the model that ``settings`` describe; the finished checkpoint is ``output_dir/model``.

    Raises:
        UsageError: no readable photo, an empty split, photos of a test list alone, no checkpoint to resume from, or a
            folder that is not a run's or is held by another.
        TooManyBadInputsError: more photos or composites are bad than ``max_bad_fraction`` allows.
    """
    keep_memory()
    if isinstance(settings, DenoiserTraining):
        settings = settled(settings)
    accelerator = new_accelerator(settings)
    checkpoints.look(settings.output_dir)  # by every process, before one of them writes
    accelerator.wait_for_everyone()
    main = accelerator.is_main_process
    with checkpoints.held(settings) if main else nullcontext():
        accelerator.wait_for_everyone()
        return _train(settings, log if main else silent, accelerator)


def _train(settings: TrainSettings, say: Log, accelerator: Accelerator) -> TrainResult:
    """Read the data, build the task and train it, in a folder that is held."""
    quarantine = settings.output_dir / QUARANTINE
    test = held_out_of(settings.data)
    say(f"leak guard: {test.told}")
    data, held_out = read_samples(settings, say, test)
    set_seed(settings.seed)  # of the new weights; samples and noise have seeds of their own
    task = build(settings, data)
    say(f"{sum(p.numel() for p in task.module.parameters() if p.requires_grad) / 1e6:.2f} M trainable parameters")
    if isinstance(task, DistillTask):
        task.calibration = collate([held_out[i] for i in range(_HELD_OUT_SAMPLES)])
        data = _kept_draws(task, data, say, accelerator) if task.settings.teacher_draws else data
    result = fit(task, data, held_out, settings, say, accelerator)
    bad = len(list(quarantine.glob("*.json")))
    if bad:
        say(f"{bad} inputs could not be read and were left out: see '{quarantine}'")
    return replace(result, leak_guard=test.told)


def _kept_draws(task: DistillTask, data: Samples, say: Log, accelerator: Accelerator) -> Samples:
    """Have the teacher draw what is kept and missing, each process its share of it, and return the draws."""
    store = task.store(data)
    task.move(accelerator.device)
    store.fill(task.teach, say, accelerator.process_index, accelerator.num_processes)
    accelerator.wait_for_everyone()
    return store.read()


def build(settings: TrainSettings, data: Samples) -> Task:
    """Build the task that fits the kind of settings."""
    if isinstance(settings, AutoencoderTraining):
        return AutoencoderTask(settings)
    if isinstance(settings, HarmonyVaeTraining):
        return HarmonyVaeTask(settings)
    if isinstance(settings, LightDecoderTraining):
        return LightDecoderTask(settings)
    if isinstance(settings, DenoiserTraining):
        residual = settled(settings).target == "residual"
        return DenoiserTask(settings, [collate([data[i] for i in range(_CALIBRATION_SAMPLES)])] if residual else [])
    if isinstance(settings, DistillTraining):
        return DistillTask(settings)
    if isinstance(settings, RefinerTraining):
        return RefinerTask(settings)
    if isinstance(settings, DirectTraining):
        return DirectTask(settings)
    if isinstance(settings, ParametricTraining):
        return ParametricTask(settings)
    if isinstance(settings, ParametricInverseTraining):
        return ParametricInverseTask(settings, data)
    if isinstance(settings, ClassifierTraining):
        return ClassifierTask(settings)
    raise UsageError(f"no task for settings of kind {type(settings).__name__}: see harmonygen.training.settings.TASKS")
