"""Start a training run: read the photos, hold some out, build the task, and hand it to the loop."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from accelerate.utils import set_seed

from harmonygen.data import read_pairs
from harmonygen.errors import UsageError
from harmonygen.records import Pair
from harmonygen.training.autoencoder import AutoencoderTask
from harmonygen.training.classifier import ClassifierTask
from harmonygen.training.composites import OnTheFlyComposites, hold_out, load_photos
from harmonygen.training.denoiser import DenoiserTask, settled
from harmonygen.training.direct import DirectTask
from harmonygen.training.harmony_vae import HarmonyVaeTask
from harmonygen.training.loop import Log, Task, TrainResult, collate, fit
from harmonygen.training.refiner import RefinerTask
from harmonygen.training.settings import (
    AutoencoderTraining,
    ClassifierTraining,
    DenoiserTraining,
    DirectTraining,
    HarmonyVaeTraining,
    RefinerTraining,
    TrainSettings,
)

_CALIBRATION_SAMPLES = 128


def train(settings: TrainSettings, log: Log = print) -> TrainResult:
    """Train the model that ``settings`` describe; the finished checkpoint is ``output_dir/model``.

    Raises:
        UsageError: no readable photo, an empty split, or no checkpoint to resume from.
    """
    if isinstance(settings, DenoiserTraining):
        settings = settled(settings)
    pairs = select_split(read_pairs(settings.data, layout=settings.layout), settings.split_file, settings.split)
    pairs = [pair for pair in pairs if pair.real_id.rpartition("/")[2] not in settings.exclude]
    photos, bad = load_photos(pairs, round(settings.resolution * settings.crop_scale))
    training, validation = hold_out(photos, settings.validation_fraction)
    log(f"{len(training)} photos to train on, {len(validation)} held out, {len(bad)} unreadable")
    for message in bad[:10]:
        log(f"left out: {message}")
    data = OnTheFlyComposites(training, settings, "train")
    held_out = OnTheFlyComposites(validation, settings, "validation", augment=False)
    set_seed(settings.seed)  # of the new weights; samples and noise have seeds of their own
    task = build(settings, data)
    log(f"{sum(p.numel() for p in task.module.parameters() if p.requires_grad) / 1e6:.2f} M trainable parameters")
    return fit(task, data, held_out, settings, log)


def build(settings: TrainSettings, data: OnTheFlyComposites) -> Task:
    """Build the task that fits the kind of settings."""
    if isinstance(settings, AutoencoderTraining):
        return AutoencoderTask(settings)
    if isinstance(settings, HarmonyVaeTraining):
        return HarmonyVaeTask(settings)
    if isinstance(settings, DenoiserTraining):
        return DenoiserTask(settings, [collate([data[i] for i in range(_CALIBRATION_SAMPLES)])])
    if isinstance(settings, RefinerTraining):
        return RefinerTask(settings)
    if isinstance(settings, DirectTraining):
        return DirectTask(settings)
    if isinstance(settings, ClassifierTraining):
        return ClassifierTask(settings)
    raise UsageError(f"no task for settings of kind {type(settings).__name__}: see harmonygen.training.settings.TASKS")


def select_split(pairs: Sequence[Pair], split_file: Path | None, split: str) -> list[Pair]:
    """Keep the pairs that a CSV (columns ``kind name split``; kind is the subset) puts into ``split``.

    Raises:
        UsageError: a column is missing, or nothing is left.
    """
    if split_file is None:
        return list(pairs)
    try:
        with open(split_file, newline="", encoding="utf-8") as opened:
            rows = list(csv.DictReader(opened))
        wanted = {(row["kind"], row["name"]) for row in rows if row["split"] == split}
    except (OSError, KeyError) as error:
        raise UsageError(
            f"cannot use --split-file '{split_file}' ({error!r}): a CSV with kind, name and split is needed"
        ) from error
    kept = [pair for pair in pairs if (pair.subset, pair.real_id.rpartition("/")[2]) in wanted]
    if not kept:
        raise UsageError(
            f"no photo of the data is in split {split!r} of '{split_file}' ({len(wanted)} names): check both"
        )
    return kept
