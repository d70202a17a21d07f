"""The one training loop: accelerate, EMA, exact resume, NaN guard, checkpoints that are whole or absent.

A step's data and noise are functions of (seed, step) alone, so a resumed run needs only weights, optimiser,
schedule, EMA and the step number to continue with the losses it would have had.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from harmonygen.errors import HarmonygenError, UsageError
from harmonygen.seeds import stable_seed
from harmonygen.shards import make_folder, write_json
from harmonygen.training.composites import Batch, IndexRange, OnTheFlyComposites
from harmonygen.training.settings import TrainSettings

Log = Callable[[str], None]
Losses = dict[str, float]


class Task(Protocol):
    """What the loop needs to know of a model."""

    module: nn.Module

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Losses]:
        """Return the loss to descend and the figures to print."""

    def validate(self, batches: list[Batch]) -> Losses:
        """Return held-out figures, with the module as it is now (the EMA's weights are in it)."""

    def export(self, folder: Path) -> None:
        """Write the finished checkpoint folder, with the module as it is now."""

    def sheet(self, batches: list[Batch], path: Path) -> None:
        """Save a picture to look at."""


@dataclass
class TrainResult:
    """Where the finished model lies, and what was measured."""

    folder: Path
    steps: int
    seconds: float
    losses: Losses
    validation: Losses
    history: list[dict[str, Any]] = field(default_factory=list)


def fit(
    task: Task, data: OnTheFlyComposites, held_out: OnTheFlyComposites, settings: TrainSettings, log: Log
) -> TrainResult:
    """Train ``task`` for ``max_train_steps`` and export it to ``output_dir/model``.

    Raises:
        UsageError: ``--resume-from-checkpoint`` names no checkpoint.
        HarmonygenError: the loss is not finite.
    """
    accelerator = Accelerator(
        mixed_precision=settings.mixed_precision,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        log_with=None if settings.report_to == "none" else settings.report_to,
        project_dir=settings.output_dir,
    )
    make_folder(settings.output_dir)
    if accelerator.is_main_process:
        write_json(settings.output_dir / "settings.json", settings.model_dump(mode="json"))
    run = _Run(task, settings, accelerator)
    start = run.resume() if settings.resume_from_checkpoint else 0
    if start:
        log(f"resumed at step {start}")
    return run.train(data, held_out, start, log)


class _Run:
    """The moving parts of one training run."""

    def __init__(self, task: Task, settings: TrainSettings, accelerator: Accelerator) -> None:
        self.task, self.settings, self.accelerator = task, settings, accelerator
        task.module.to(accelerator.device)
        task.module.to(memory_format=torch.channels_last)  # what convolutions run fastest in
        self.parameters = [p for p in task.module.parameters() if p.requires_grad]
        self.ema = EMAModel(self.parameters, decay=settings.ema_decay) if settings.ema_decay else None
        optimizer = torch.optim.AdamW(
            self.parameters,
            lr=settings.learning_rate,
            betas=(settings.adam_beta1, settings.adam_beta2),
            weight_decay=settings.adam_weight_decay,
        )
        schedule = get_scheduler(
            settings.lr_scheduler,
            optimizer,
            num_warmup_steps=settings.lr_warmup_steps * accelerator.num_processes,
            num_training_steps=settings.max_train_steps * accelerator.num_processes,
        )
        self.module, self.optimizer, self.schedule = accelerator.prepare(task.module, optimizer, schedule)
        self.history: list[dict[str, Any]] = []

    def train(self, data: OnTheFlyComposites, held_out: OnTheFlyComposites, start: int, log: Log) -> TrainResult:
        settings = self.settings
        began, losses, validation = time.monotonic(), {}, {}
        batches = [collate([held_out[i] for i in chunk]) for chunk in _chunks(settings)]
        loader = iter(self._loader(data, start))
        for step in range(start, settings.max_train_steps):
            losses = self._step(loader, step)
            done = step + 1
            last = done == settings.max_train_steps
            if done % settings.logging_steps == 0 or last:
                self._record(done, losses, log, done - start, time.monotonic() - began)
            if done % settings.checkpointing_steps == 0 or last:
                self._checkpoint(done)
            if done % settings.validation_steps == 0 or last:
                validation = self._validate(batches, done, log)
        folder = self._export()
        seconds = time.monotonic() - began
        return TrainResult(folder, settings.max_train_steps, seconds, losses, validation, self.history)

    def _loader(self, data: OnTheFlyComposites, start: int) -> Any:
        settings = self.settings
        micro = settings.train_batch_size * settings.gradient_accumulation_steps
        processes = self.accelerator.num_processes
        sampler = IndexRange(start * micro * processes, settings.max_train_steps * micro * processes)
        loader = DataLoader(
            data,
            batch_size=settings.train_batch_size,
            sampler=sampler,
            num_workers=settings.dataloader_num_workers,
            drop_last=True,
            persistent_workers=settings.dataloader_num_workers > 0,
        )
        return self.accelerator.prepare(loader)

    def _step(self, loader: Any, step: int) -> Losses:
        settings = self.settings
        figures: Losses = {}
        for micro in range(settings.gradient_accumulation_steps):
            with self.accelerator.accumulate(self.module):
                generator = torch.Generator("cpu").manual_seed(
                    stable_seed("loss", settings.seed, step, micro, self.accelerator.process_index)
                )
                loss, figures = self.task.loss(self.module, next(loader), generator)
                if not math.isfinite(float(loss.detach())):
                    raise HarmonygenError(
                        f"the loss is {float(loss.detach())} at step {step + 1}: lower learning_rate or resume earlier"
                    )
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients and settings.max_grad_norm:
                    self.accelerator.clip_grad_norm_(self.parameters, settings.max_grad_norm)
                self.optimizer.step()
                self.schedule.step()
                self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.step(self.parameters)
        return {"loss": float(loss.detach()), **figures}

    def _record(self, done: int, losses: Losses, log: Log, steps: int, seconds: float) -> None:
        left = seconds / steps * (self.settings.max_train_steps - done)
        self.history.append({"step": done, **losses})
        figures = " ".join(f"{name} {value:.4f}" for name, value in losses.items())
        rate = f"{steps / seconds:.2f} steps/s, {left / 60:.1f} min left"
        log(f"step {done}/{self.settings.max_train_steps} {figures} | {rate}")

    def _validate(self, batches: list[Batch], done: int, log: Log) -> Losses:
        with self._averaged():
            figures = self.task.validate(batches)
            if self.accelerator.is_main_process:
                self.task.sheet(batches, self.settings.output_dir / "sheet.png")
        self.history.append({"step": done, **{f"validation_{name}": value for name, value in figures.items()}})
        write_json(self.settings.output_dir / "history.json", self.history)
        log(f"validation at step {done}: " + ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))
        return figures

    def _averaged(self) -> _Averaged:
        return _Averaged(self)

    def _export(self) -> Path:
        folder = self.settings.output_dir / "model"
        if self.accelerator.is_main_process:
            temporary = self.settings.output_dir / ".model.tmp"
            shutil.rmtree(temporary, ignore_errors=True)
            with self._averaged():
                self.task.export(temporary)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        self.accelerator.wait_for_everyone()
        return folder

    def _checkpoint(self, done: int) -> None:
        if not self.accelerator.is_main_process:
            return
        folder = self.settings.output_dir / f"checkpoint-{done:07d}"
        temporary = self.settings.output_dir / f".checkpoint-{done:07d}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        module = self.accelerator.unwrap_model(self.module)
        save_file(_contiguous(module.state_dict()), temporary / "model.safetensors")
        if self.ema:
            save_file(
                {str(i): p.detach().cpu().contiguous() for i, p in enumerate(self.ema.shadow_params)},
                temporary / "ema.safetensors",
            )
        torch.save(
            {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()},
            temporary / "optimizer.pt",
        )
        write_json(
            temporary / "step.json",
            {"step": done, "history": self.history, "ema_steps": self.ema.optimization_step if self.ema else 0},
        )
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        for old in sorted(self.settings.output_dir.glob("checkpoint-*"))[: -self.settings.checkpoints_total_limit]:
            shutil.rmtree(old)

    def resume(self) -> int:
        """Load the checkpoint that the settings name and return its step."""
        name = str(self.settings.resume_from_checkpoint)
        found = sorted(self.settings.output_dir.glob("checkpoint-*"))
        folder = (found[-1] if found else None) if name == "latest" else Path(name)
        if folder is None or not (folder / "step.json").is_file():
            raise UsageError(
                f"--resume-from-checkpoint {name}: no checkpoint in '{folder or self.settings.output_dir}': "
                "leave the option out to start anew"
            )
        state: dict[str, Any] = json.loads((folder / "step.json").read_text())
        self.accelerator.unwrap_model(self.module).load_state_dict(load_file(folder / "model.safetensors"))
        if self.ema:
            shadow = load_file(folder / "ema.safetensors")
            self.ema.shadow_params = [shadow[str(i)].to(p.device) for i, p in enumerate(self.ema.shadow_params)]
            self.ema.optimization_step = int(state["ema_steps"])
        saved = torch.load(folder / "optimizer.pt", weights_only=True, map_location="cpu")
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.history = list(state["history"])
        return int(state["step"])


class _Averaged:
    """Puts the EMA's weights into the module for a block, and the live weights back after it."""

    def __init__(self, run: _Run) -> None:
        self.run = run

    def __enter__(self) -> None:
        self.run.task.module.eval()
        if self.run.ema:
            self.run.ema.store(self.run.parameters)
            self.run.ema.copy_to(self.run.parameters)

    def __exit__(self, *_: object) -> None:
        if self.run.ema:
            self.run.ema.restore(self.run.parameters)
        self.run.task.module.train()


def _chunks(settings: TrainSettings) -> list[range]:
    total, size = settings.validation_samples, settings.train_batch_size
    return [range(start, min(start + size, total)) for start in range(0, total, size)]


def collate(samples: list[Batch]) -> Batch:
    """Stack samples into a batch."""
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def _contiguous(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}
