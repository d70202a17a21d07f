"""What a model to train is to the loop: a Task, with its losses and its log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from harmonygen.training.composites import Batch

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


def silent(_: str) -> None:
    """Say nothing: the log of all processes but the main one."""
