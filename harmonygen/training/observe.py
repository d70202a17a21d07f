"""What is seen of a run while it trains: the log, the history, validation, sample sheets and trackers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import default_collate

from harmonygen.pictures.images import encode, to_u8
from harmonygen.storage.shards import make_folder, write_bytes, write_json
from harmonygen.training import tracking
from harmonygen.training.composites import Batch, Samples
from harmonygen.training.settings import TrainSettings
from harmonygen.training.state import Parts

if TYPE_CHECKING:
    from harmonygen.training.task import Losses, Task

SHEET = "sheet.png"


def collate(samples: list[Batch]) -> Batch:
    """Stack samples into a batch."""
    batch: Batch = default_collate(samples)
    return batch


class Observer:
    """Records figures and validates with the averaged weights; only the main process says, draws and writes."""

    def __init__(
        self, task: Task, parts: Parts, settings: TrainSettings, accelerator: Accelerator, log: Callable[[str], None]
    ) -> None:
        self.task, self.parts, self.settings, self.accelerator, self.log = task, parts, settings, accelerator, log
        self.history: list[dict[str, Any]] = []
        self._batches: list[Batch] = []

    def hold(self, held_out: Samples) -> None:
        """Read the samples to validate on, ``validation_samples`` of them, the same in every run."""
        if self.accelerator.is_main_process:
            total, size = self.settings.validation_samples, self.settings.train_batch_size
            starts = range(0, total, size)
            self._batches = [collate([held_out[i] for i in range(s, min(s + size, total))]) for s in starts]

    def record(self, done: int, losses: Losses, pace: Pace) -> None:
        """Write the mean figures of all processes after step ``done`` into the history, the log and the trackers."""
        device, settings = self.accelerator.device, self.settings
        if self.accelerator.num_processes > 1:
            mean = self.accelerator.reduce(torch.tensor(list(losses.values()), device=device), "mean")
            losses = dict(zip(losses, mean.tolist(), strict=True))
        self.history.append({"step": done, **losses})
        images = settings.train_batch_size * settings.gradient_accumulation_steps * self.accelerator.num_processes
        figures = " ".join(f"{name} {value:.4f}" for name, value in losses.items())
        said = pace.said(settings.max_train_steps - done, images)
        self.log(f"step {done}/{settings.max_train_steps} {figures} | {said}")
        rates = {"lr": self.parts.schedule.get_last_lr()[0], "steps_per_second": pace.rate}
        self._track({**losses, **rates}, "train", done)

    def validate(self, done: int) -> None:
        """Validate on the main process, unless this step's figures are there."""
        known = any(row["step"] == done and is_validation(row) for row in self.history)
        if self.accelerator.is_main_process and not known:
            self._validate(done)
        self.accelerator.wait_for_everyone()

    def _validate(self, done: int) -> None:
        sheet = make_folder(self.settings.output_dir / "sheets") / f"step-{done:07d}.png"
        with self.parts.averaged():
            figures = self.task.validate(self._batches)
            self.task.sheet(self._batches, sheet)
        if sheet.is_file():
            write_bytes(self.settings.output_dir / SHEET, sheet.read_bytes())  # the newest, under one name
        self.history.append({"step": done, **{f"validation_{name}": value for name, value in figures.items()}})
        write_json(self.settings.output_dir / "history.json", self.history)
        self.log(f"validation at step {done}: " + ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))
        self._track(figures, "validation", done)
        tracking.log_sheet(self.accelerator, sheet, done)

    def _track(self, figures: Losses, kind: str, done: int) -> None:
        self.accelerator.log({f"{kind}/{name}": value for name, value in figures.items()}, step=done)


def save_rows(rows: Sequence[Tensor], path: Path) -> None:
    """Save rows of images (N, 3, H, W) in [-1, 1], one row a tensor, as one PNG picture."""
    lines = [torch.cat(list(row.float().cpu()), dim=2) for row in rows]
    sheet = torch.cat(lines, dim=1).clamp(-1, 1) / 2 + 0.5
    write_bytes(path, encode(to_u8(np.ascontiguousarray(sheet.permute(1, 2, 0).numpy()))))


_VALIDATION = "validation_"


def is_validation(row: Mapping[str, Any]) -> bool:
    """Return whether a row of the history holds validation's figures.

    >>> is_validation({"step": 5, "validation_psnr": 30.0}), is_validation({"step": 5, "loss": 0.1})
    (True, False)
    """
    return any(name.startswith(_VALIDATION) for name in row)


def last_figures(history: Sequence[Mapping[str, Any]], validation: bool) -> dict[str, float]:
    """Return the last figures of training or of validation, none if there are none.

    >>> last_figures([{"step": 5, "loss": 0.1}, {"step": 5, "validation_psnr": 30.0}], validation=True)
    {'psnr': 30.0}
    """
    rows = [row for row in history if is_validation(row) == validation]
    last = rows[-1] if rows else {}
    return {name.removeprefix(_VALIDATION): float(value) for name, value in last.items() if name != "step"}


@dataclass(frozen=True)
class Pace:
    """Steps done by this process and the seconds they took."""

    steps: int
    seconds: float

    @property
    def rate(self) -> float:
        """Steps a second."""
        return self.steps / max(self.seconds, 1e-9)

    def said(self, steps_left: int, images: int) -> str:
        """Say the rate and the time left, for ``images`` a step."""
        left = timedelta(seconds=round(steps_left / self.rate))
        return f"{self.rate:.2f} steps/s, {self.rate * images:.1f} images/s, {left} left"
