"""The one training loop: accelerate, EMA, exact resume, NaN guard, checkpoints that are whole or absent.

A step's data and noise are functions of (seed, step) alone, so a resumed run needs only weights, optimiser,
schedule, EMA and the step number to continue with the losses it would have had. With several processes each has its
own share of every batch; checkpoints, validation and reports come from the main one.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from diffusers.optimization import get_scheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from harmonygen.errors import HarmonygenError, UsageError
from harmonygen.seeds import stable_seed
from harmonygen.training import checkpoints, state, tracking
from harmonygen.training.composites import Batch, IndexRange, Samples
from harmonygen.training.observe import Observer, Pace, collate, last_figures
from harmonygen.training.settings import TrainSettings
from harmonygen.training.stop import StopSignals, leave_process_group
from harmonygen.training.task import Log, Losses, Task, silent

__all__ = ["Log", "Losses", "Task", "TrainResult", "collate", "fit", "new_accelerator", "silent"]

_PATIENCE = timedelta(hours=2)  # what other processes wait while the main one validates
MODEL = "model"


@dataclass
class TrainResult:
    """Where the finished model lies, and what was measured; ``main`` is false in all processes but one.

    ``leak_guard`` says with which test lists the photos were compared.
    """

    folder: Path
    steps: int
    seconds: float
    losses: Losses
    validation: Losses
    history: list[dict[str, Any]] = field(default_factory=list)
    main: bool = True
    leak_guard: str = ""


def new_accelerator(settings: TrainSettings) -> Accelerator:
    """Return the accelerator of a run; ``accelerate launch`` says how many processes there are.

    Raises:
        UsageError: the device cannot compute in this precision, or a tracker's package is missing.
    """
    AcceleratorState._reset_state()  # a process may train several models, each in its own precision
    try:
        accelerator = Accelerator(
            mixed_precision=settings.mixed_precision,
            gradient_accumulation_steps=settings.gradient_accumulation_steps,
            log_with=tracking.new_trackers(settings) or None,
            kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
        )
        if settings.mixed_precision == "fp16" and accelerator.device.type == "cpu":
            raise ValueError("the CPU would compute in full precision")
    except ValueError as error:
        raise UsageError(
            f"--mixed-precision {settings.mixed_precision} cannot be used here ({error}): use no or bf16"
        ) from error
    return accelerator


def fit(
    task: Task,
    data: Samples,
    held_out: Samples,
    settings: TrainSettings,
    log: Log,
    accelerator: Accelerator | None = None,
) -> TrainResult:
    """Train ``task`` for ``max_train_steps`` and export it to ``output_dir/model``, a folder that the caller holds.

    A signal (Ctrl-C, SIGTERM) waits for the step at work, and a checkpoint of it is written before it acts.

    Raises:
        UsageError: ``--resume-from-checkpoint`` names no checkpoint or one of other settings.
        HarmonygenError: the loss or the gradient is not finite.
    """
    accelerator = accelerator or new_accelerator(settings)
    main = accelerator.is_main_process
    run = _Run(task, settings, accelerator, data.digest, log if main else silent)
    result = run.train(data, held_out, run.begin())
    accelerator.end_training()
    return result


def _fastest_format(module: nn.Module, device: torch.device) -> torch.memory_format:
    """Channels last is what convolutions run fastest in; a CPU's group norm loses more by it than they gain."""
    normed = any(isinstance(part, nn.GroupNorm) for part in module.modules())
    return torch.contiguous_format if device.type == "cpu" and normed else torch.channels_last


class _Run:
    """The moving parts of one training run."""

    def __init__(self, task: Task, settings: TrainSettings, accelerator: Accelerator, digest: str, log: Log) -> None:
        self.task, self.settings, self.accelerator = task, settings, accelerator
        self.digest, self.log = digest, log
        task.module.to(accelerator.device)
        task.module.to(memory_format=_fastest_format(task.module, accelerator.device))
        if settings.gradient_checkpointing:
            state.checkpoint_gradients(task.module)
        self.parts = state.new_parts(task.module, settings, self._schedule)
        self.parameters = self.parts.parameters
        self.module, self.parts.optimizer, self.parts.schedule = accelerator.prepare(
            task.module, self.parts.optimizer, self.parts.schedule
        )
        self.parts.scaler = accelerator.scaler
        self.observer = Observer(task, self.parts, settings, accelerator, log)

    def _schedule(self, optimizer: torch.optim.Optimizer) -> Any:
        """Return the learning rate's schedule; accelerate takes one step of it a process."""
        processes = self.accelerator.num_processes
        return get_scheduler(
            self.settings.lr_scheduler,
            optimizer,
            num_warmup_steps=self.settings.warmup_steps * processes,
            num_training_steps=self.settings.max_train_steps * processes,
        )

    def begin(self) -> int:
        """Load the checkpoint to resume from, if there is one, and note the settings; return the first step."""
        settings = self.settings
        start = self.resume() if settings.resume_from_checkpoint else 0
        self.accelerator.wait_for_everyone()  # all have read what is there
        if self.accelerator.is_main_process:
            if not settings.resume_from_checkpoint:
                checkpoints.prune(settings.output_dir, newest=-1, limit=1)
            elif settings.resume_from_checkpoint == "latest":  # a kill may have come between the newest and its pruning
                checkpoints.prune(settings.output_dir, newest=start, limit=settings.checkpoints_total_limit)
            checkpoints.write_settings(settings)
            tracking.start_trackers(self.accelerator, settings)
        return start

    def resume(self) -> int:
        """Load the checkpoint that the settings name and return its step."""
        settings = self.settings
        folder = checkpoints.find(str(settings.resume_from_checkpoint), settings.output_dir)
        found = checkpoints.read_state(folder)
        checkpoints.check(folder, found, settings, self.digest, self.accelerator.num_processes)
        self.parts.load(folder, found)
        self.observer.history = list(found["history"])
        self.log(f"resumed at step {found['step']}")
        before = (found.get("settings") or {}).get("max_train_steps", settings.max_train_steps)
        if before != settings.max_train_steps:
            self.log(f"max_train_steps was {before}: the schedule is that of {settings.max_train_steps} from here on")
        return int(found["step"])

    def train(self, data: Samples, held_out: Samples, start: int) -> TrainResult:
        """Train from step ``start`` to the end, and export."""
        settings, began = self.settings, time.monotonic()
        self.observer.hold(held_out)
        if start and (start % settings.validation_steps == 0 or start == settings.max_train_steps):
            self.observer.validate(start)  # the run may have been killed before it could
        loader = iter(self._loader(data, start))
        with StopSignals(enabled=self.accelerator.num_processes == 1) as stop:
            for step in range(start, settings.max_train_steps):
                losses = self._step(loader, step)
                self._after(step + 1, losses, Pace(step + 1 - start, time.monotonic() - began), stop)
        folder = self._export()
        history, seconds = self.observer.history, time.monotonic() - began
        losses, validation = last_figures(history, validation=False), last_figures(history, validation=True)
        main = self.accelerator.is_main_process
        return TrainResult(folder, settings.max_train_steps, seconds, losses, validation, history, main)

    def _after(self, done: int, losses: Losses, pace: Pace, stop: StopSignals) -> None:
        """Log, save, validate and stop, where the step asks for it."""
        settings = self.settings
        last = done == settings.max_train_steps
        if done % settings.logging_steps == 0 or last:
            self.observer.record(done, losses, pace)
        if done % settings.checkpointing_steps == 0 or last or stop.received:
            self._checkpoint(done)
        if stop.received:
            self.log(f"stopped after step {done}: --resume-from-checkpoint latest resumes from there")
            stop.act()
        if done % settings.validation_steps == 0 or last:
            self.observer.validate(done)

    def _loader(self, data: Samples, start: int) -> Any:
        settings = self.settings
        batches = settings.gradient_accumulation_steps * self.accelerator.num_processes
        samples = settings.train_batch_size * batches  # of one step: accelerate deals the batches out to the processes
        loader = DataLoader(
            cast("Dataset[Batch]", data),
            batch_size=settings.train_batch_size,
            sampler=IndexRange(start * samples, settings.max_train_steps * samples),
            num_workers=settings.dataloader_num_workers,
            drop_last=True,
            persistent_workers=settings.dataloader_num_workers > 0,
            worker_init_fn=leave_process_group,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        return self.accelerator.prepare(loader)

    def _step(self, loader: Any, step: int) -> Losses:
        """Take one optimiser step; return the mean figures of its batches."""
        figures: list[Losses] = []
        for micro in range(self.settings.gradient_accumulation_steps):
            with self.accelerator.accumulate(self.module):
                figures.append(self._micro(_fetch(loader), step, micro))
        if self.parts.ema:
            self.parts.ema.step(self.parameters)
        return {name: sum(one[name] for one in figures) / len(figures) for name in figures[0]}

    def _micro(self, batch: Batch, step: int, micro: int) -> Losses:
        """Descend on one batch; its noise, and dropout's, are functions of (seed, step, micro, process)."""
        seed = stable_seed("loss", self.settings.seed, step, micro, self.accelerator.process_index)
        torch.manual_seed(seed + 1)
        loss, figures = self.task.loss(self.module, batch, torch.Generator("cpu").manual_seed(seed))
        self._guard("loss", loss.detach(), step)
        self.accelerator.backward(loss)
        if self.accelerator.sync_gradients and self.settings.max_grad_norm:
            norm = self.accelerator.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
            if self.accelerator.scaler is None:  # else the scaler leaves such a step out
                self._guard("gradient", norm, step)
        self.parts.optimizer.step()
        self.parts.schedule.step()
        self.parts.optimizer.zero_grad(set_to_none=True)
        return {"loss": float(loss.detach()), **figures}

    def _guard(self, what: str, value: Tensor, step: int) -> None:
        if not math.isfinite(float(value)):
            raise HarmonygenError(
                f"the {what} is {float(value)} at step {step + 1}: resume from an earlier checkpoint, or start again "
                "with a lower learning_rate"
            )

    def _export(self) -> Path:
        folder = self.settings.output_dir / MODEL
        if self.accelerator.is_main_process:
            with self.parts.averaged():
                checkpoints.replace_folder(folder, self.task.export)
        self.accelerator.wait_for_everyone()
        return folder

    def _checkpoint(self, done: int) -> None:
        """Write a checkpoint, and prune the older ones once it stands; the live weights are only read."""
        if not self.accelerator.is_main_process:
            return
        settings = self.settings
        about = {
            "step": done,
            "history": self.observer.history,
            "settings": checkpoints.written(settings),
            "data_digest": self.digest,
            "processes": self.accelerator.num_processes,
        }
        checkpoints.write(self.settings.output_dir, done, lambda folder: self.parts.save(folder, about))
        checkpoints.prune(self.settings.output_dir, done, self.settings.checkpoints_total_limit)


def _fetch(loader: Any) -> Batch:
    """Return the next batch; what stopped a loader's worker is said in its own words, without the traceback."""
    try:
        batch: Batch = next(loader)
    except HarmonygenError as error:
        kind, _, message = str(error).strip().rpartition("\n")[2].partition(": ")
        raise type(error)(message if kind.endswith(type(error).__name__) else str(error)) from error
    return batch
