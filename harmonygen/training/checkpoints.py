"""Checkpoints of a training run: whole under their final name or absent, found by step, refused if not one's own.

A checkpoint is a folder ``checkpoint-0000500`` with ``model.safetensors``, ``ema.safetensors`` (unless there is none),
``optimizer.pt`` (optimiser, schedule, loss scaler) and ``step.json`` (step, history, settings, digest of the data).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from harmonygen.errors import CheckpointError, UsageError
from harmonygen.models.checkpoints import writing_errors
from harmonygen.recipes import merge
from harmonygen.storage.shards import storage_errors, sync_folder
from harmonygen.training.settings import TrainSettings

STATE = "step.json"
_NAME = "checkpoint-"
_WHERE = ("output_dir", "data", "layout", "split_file", "resume_from_checkpoint", "overwrite", "report_to")
_HOW_OFTEN = ("checkpointing_steps", "validation_steps", "validation_samples", "logging_steps", "max_train_steps")
_HOW_LARGE = ("checkpoints_total_limit", "photo_memory_gb", "max_bad_fraction")
_HOW_FAST = ("dataloader_num_workers", "gradient_checkpointing")
_AFTERWARDS = ("calibrate", "detail_radius", "sampler", "steps", "draws")  # what is done with the finished model
HOW_ONLY = frozenset((*_WHERE, *_HOW_OFTEN, *_HOW_LARGE, *_HOW_FAST, *_AFTERWARDS))
"""Settings that do not decide a step's loss: where, how often, how fast. The data go by digest, not by path."""


def step_of(folder: Path) -> int | None:
    """Return the step in a checkpoint folder's name, or nothing if it is not one.

    >>> step_of(Path("out/checkpoint-0000500")), step_of(Path("out/checkpoint-old"))
    (500, None)
    """
    digits = folder.name.removeprefix(_NAME)
    return int(digits) if folder.name != digits and digits.isdigit() else None


def checkpoints(output_dir: Path) -> list[Path]:
    """Return the checkpoint folders of a run, by step."""
    found = {folder: step_of(folder) for folder in output_dir.glob(f"{_NAME}*") if (folder / STATE).is_file()}
    return sorted(
        (folder for folder, step in found.items() if step is not None), key=lambda folder: step_of(folder) or 0
    )


def find(name: str, output_dir: Path) -> Path:
    """Return the checkpoint folder that ``--resume-from-checkpoint`` names: ``latest``, or a path.

    Raises:
        UsageError: there is none.
    """
    found = checkpoints(output_dir)
    folder = (found[-1] if found else None) if name == "latest" else Path(name)
    if folder is None or not (folder / STATE).is_file():
        raise UsageError(
            f"--resume-from-checkpoint {name}: no checkpoint in '{folder or output_dir}': "
            "leave the option out to start anew"
        )
    return folder


def write(output_dir: Path, step: int, fill: Callable[[Path], None]) -> Path:
    """Have ``fill`` write a checkpoint into a temporary folder, sync it, and give it its final name.

    Raises:
        StorageError: no space or no permission; what was there is left as it was.
    """
    return replace_folder(output_dir / f"{_NAME}{step:07d}", fill)


def replace_folder(final: Path, fill: Callable[[Path], None]) -> Path:
    """Write a folder whole under its final name, or leave the one that was there."""
    temporary = final.with_name(f".{final.name}.tmp")
    with storage_errors(f"'{final}'"), writing_errors():
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        fill(temporary)
        for path in (*temporary.rglob("*"), temporary):
            _sync(path)
        remove(final)
        temporary.rename(final)
        sync_folder(final.parent)
    return final


def _sync(path: Path) -> None:
    if path.is_dir():
        sync_folder(path)
    else:
        with open(path, "rb") as written:
            os.fsync(written.fileno())


def remove(folder: Path) -> None:
    """Remove a folder so that a kill never leaves half of it under its name."""
    if folder.is_dir():
        retired = folder.with_name(f".{folder.name}.old.tmp")
        shutil.rmtree(retired, ignore_errors=True)
        folder.rename(retired)
        sync_folder(folder.parent)  # else a power cut may keep the removals and lose the name
        shutil.rmtree(retired)


def prune(output_dir: Path, newest: int, limit: int) -> None:
    """Keep ``limit`` checkpoints up to step ``newest``; those of later steps belong to a run that was left."""
    found = checkpoints(output_dir)
    kept = [folder for folder in found if (step_of(folder) or 0) <= newest][-limit:]
    for folder in found:
        if folder not in kept:
            remove(folder)


def sweep(output_dir: Path) -> None:
    """Remove what a killed run left half written or half removed."""
    for pattern in (f".{_NAME}*.tmp", ".model.tmp", ".model.old.tmp"):
        for folder in output_dir.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)
    for pattern in (".*.json.*.tmp", ".sheet.png.*.tmp", "sheets/.*.png.*.tmp"):
        for stray in output_dir.glob(pattern):  # of the history, the settings and the sheets
            stray.unlink(missing_ok=True)


def refuse_unasked(output_dir: Path) -> None:
    """Raise UsageError if a new run would write among the checkpoints of another."""
    found = checkpoints(output_dir)
    if found:
        raise UsageError(
            f"'{output_dir}' has checkpoints up to step {step_of(found[-1])}: go on with --resume-from-checkpoint "
            "latest, choose another --output-dir, or start anew with overwrite=true"
        )


def read_state(folder: Path) -> dict[str, Any]:
    """Read ``step.json``; one of an older version has its run's ``settings.json`` beside it.

    Raises:
        CheckpointError: damaged.
    """
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        beside = folder.parent / "settings.json"
        if "settings" not in state and beside.is_file():
            state["settings"] = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint '{folder}' is damaged ({error}): resume from an earlier one") from error
    return state


def check(folder: Path, state: Mapping[str, Any], settings: TrainSettings, digest: str, processes: int) -> None:
    """Refuse a checkpoint that would not go on as the same run.

    Raises:
        UsageError: other settings, other data, another number of processes, or a step past the end.
    """
    faults = list(_changes(state.get("settings") or {}, settings))
    if state.get("data_digest", digest) != digest:
        faults.append("the training photos or their order (the data set, its split or what could be read of it)")
    if state.get("processes", processes) != processes:
        faults.append(f"processes: {state['processes']} then, {processes} now")
    if faults:
        raise UsageError(
            f"checkpoint '{folder}' is of a run with other settings: {'; '.join(faults)}. Give the same, or start anew "
            "in another --output-dir"
        )
    if int(state["step"]) > settings.max_train_steps:
        raise UsageError(
            f"checkpoint '{folder}' is at step {state['step']}, past --max-train-steps {settings.max_train_steps}: "
            "raise it, or resume from an earlier checkpoint"
        )


def _changes(before: Mapping[str, Any], settings: TrainSettings) -> Iterable[str]:
    """Yield the settings that decide the losses and differ; one that the older run did not have had its default."""
    if not before:
        return
    fields = type(settings).model_fields.items()
    defaults = {name: field.get_default(call_default_factory=True) for name, field in fields}
    then = merge(type(settings).model_construct(**defaults).model_dump(mode="json"), dict(before))
    now = settings.model_dump(mode="json")
    if before.get("task", settings.task) != settings.task:
        yield f"task: {before['task']} then, {settings.task} now"
    for name in sorted(set(now) - HOW_ONLY):
        if now[name] != then[name]:
            yield f"{name}: {then[name]!r} then, {now[name]!r} now"
