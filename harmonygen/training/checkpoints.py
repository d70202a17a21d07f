"""Checkpoints of a training run: whole under their final name or absent, found by step, refused if not one's own.

A checkpoint is a folder ``checkpoint-0000500`` with ``model.safetensors``, ``ema.safetensors`` (unless there is none),
``optimizer.pt`` (optimiser, schedule, loss scaler) and ``step.json`` (step, history, settings, digest of the data).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harmonygen.errors import CheckpointError, UsageError
from harmonygen.models.checkpoints import writing_errors
from harmonygen.recipes import merge
from harmonygen.settings import asked
from harmonygen.storage.shards import (
    locked,
    make_folder,
    refuse_files,
    remove_folder,
    remove_strays,
    storage_errors,
    strays,
    whole_folder,
    write_json,
)
from harmonygen.training.photos import QUARANTINE
from harmonygen.training.settings import TrainSettings

STATE, SHEETS = "step.json", "sheets"
DRAWS = "teacher"
"""Folder of what a distillation keeps of its teacher's draws."""
_QUARANTINED = re.compile(r"[0-9a-f]{16}\.json")
_NAME, SETTINGS = "checkpoint-", "settings.json"
_STUDY = ("job.json", "train.log")  # what a gain study puts into a run's folder before its training
_OLD = re.compile(r"\.(checkpoint-\d+|model)(\.old)?\.tmp|\.(history|settings)\.json\.\d+\.tmp")
"""Names that an older version gave to what it was writing."""


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
            "leave the option out to start again"
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
    with storage_errors(f"'{final}'"), writing_errors(), whole_folder(final, replace=True) as temporary:
        fill(temporary)
    return final


def prune(output_dir: Path, newest: int, limit: int) -> None:
    """Keep ``limit`` checkpoints up to step ``newest``; those of later steps belong to a run that was left."""
    found = checkpoints(output_dir)
    kept = [folder for folder in found if (step_of(folder) or 0) <= newest][-limit:]
    for folder in found:
        if folder not in kept:
            remove_folder(folder)


def sweep(output_dir: Path) -> None:
    """Remove what a killed run left half written or half removed, as this version and an older one named it."""
    old = [path for path in output_dir.glob(".*.tmp") if _OLD.fullmatch(path.name)]
    inside = [stray for name in (QUARANTINE, SHEETS, DRAWS) for stray in strays(output_dir / name)]
    remove_strays([*strays(output_dir), *inside, *old])


@contextmanager
def held(settings: TrainSettings) -> Iterator[None]:
    """Hold the folder of a run while the block trains: it is looked at first, then locked, swept and marked as a run's.

    The settings of an older run stay until its checkpoint is compared with these.

    Raises:
        UsageError: the folder holds somebody else's files, checkpoints of a run that was not to be resumed, or none to
            resume from, or another run is writing to it.
        StorageError: it is a file, or cannot be written.
    """
    out, again = settings.output_dir, settings.resume_from_checkpoint
    look(out)
    if again:
        find(again, out)
    elif not settings.overwrite:
        refuse_unasked(out)
    with locked(make_folder(out), "train"):
        sweep(out)
        for path in [] if again else list((out / QUARANTINE).glob("*.json")):
            if _QUARANTINED.fullmatch(path.name):
                path.unlink()
        if not (out / SETTINGS).exists():
            write_settings(settings)
        yield


def look(output_dir: Path) -> None:
    """Refuse a folder of something else than a training run; write nothing. A new one may hold a gain study's files.

    Raises:
        UsageError: it holds somebody else's files.
        StorageError: it is a file.
    """
    refuse_files(output_dir)
    if checkpoints(output_dir) or _is_settings(output_dir / SETTINGS) or not output_dir.is_dir():
        return
    names = sorted(path.name for path in output_dir.iterdir())
    strangers = [name for name in names if not name.startswith(".") and name not in _STUDY]
    if strangers:
        raise UsageError(
            f"'{output_dir}' is not empty and not a training run (found {', '.join(strangers[:3])}): choose another "
            "--output-dir"
        )


def _is_settings(path: Path) -> bool:
    try:
        return "task" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def written(settings: TrainSettings) -> dict[str, Any]:
    """Return what is written of the settings, to ``settings.json`` and into every checkpoint."""
    return {"task": settings.task, **settings.model_dump(mode="json")}


def write_settings(settings: TrainSettings) -> None:
    """Write ``settings.json``, which marks the folder as a run's."""
    write_json(settings.output_dir / SETTINGS, written(settings))


def refuse_unasked(output_dir: Path) -> None:
    """Raise UsageError if a new run would write among the checkpoints of another."""
    found = checkpoints(output_dir)
    if found:
        raise UsageError(
            f"'{output_dir}' has checkpoints up to step {step_of(found[-1])}: resume with --resume-from-checkpoint "
            "latest, choose another --output-dir, or start again with overwrite=true"
        )


def read_state(folder: Path) -> dict[str, Any]:
    """Read ``step.json``; one of an older version has its run's ``settings.json`` beside it.

    Raises:
        CheckpointError: damaged.
    """
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        beside = folder.parent / SETTINGS
        if "settings" not in state and beside.is_file():
            state["settings"] = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint '{folder}' is damaged ({error}): resume from an earlier one") from error
    return state


def check(folder: Path, state: Mapping[str, Any], settings: TrainSettings, digest: str, processes: int) -> None:
    """Refuse a checkpoint that would not continue as the same run.

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
            f"checkpoint '{folder}' is of a run with other settings: {'; '.join(faults)}. Give the same, or start "
            "again in another --output-dir"
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
    if before.get("task", settings.task) != settings.task:
        yield f"task: {before['task']} then, {settings.task} now"
    for name, now in sorted(asked(settings).items()):
        if now != then[name]:
            yield f"{name}: {then[name]!r} then, {now!r} now"
