"""Tiny settings of every task."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from harmonygen.training import checkpoints
from harmonygen.training.loop import fit
from harmonygen.training.observe import save_rows
from harmonygen.training.settings import AutoencoderTraining, ClassifierTraining, InverseTraining, TrainSettings

VAE = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [16, 16, 16, 16],
    "norm_num_groups": 1,
    "layers_per_block": 1,
    "mid_block_add_attention": False,
}
UNET = {
    "block_out_channels": [8, 16],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "cross_attention_dim": 8,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}


@pytest.fixture
def tiny_settings(photo_folder: Path, tiny_inverse: Path, tmp_path: Path) -> Callable[..., TrainSettings]:
    """Six steps at 32 px with a checkpoint after three, for one task; keywords change them."""

    def make(task: str, **changes: Any) -> TrainSettings:
        common = {
            "data": str(photo_folder),
            "output_dir": tmp_path / task,
            "resolution": 32,
            "train_batch_size": 2,
            "max_train_steps": 6,
            "checkpointing_steps": 3,
            "validation_steps": 3,
            "validation_samples": 2,
            "logging_steps": 1,
            "learning_rate": 1e-3,
            "lr_warmup_steps": 2,
            "composites": {"pitie": 0, "fecker": 0},
        }
        own: dict[str, tuple[type[TrainSettings], dict[str, Any]]] = {
            "autoencoder": (AutoencoderTraining, {"model": VAE}),
            "inverse": (
                InverseTraining,
                {"model": UNET, "vae": str(tiny_inverse), "target": "residual", "noise": "shared", "noise_share": 0.5},
            ),
            "classifier": (ClassifierTraining, {"depth": "resnet10", "in_channels": 4}),
        }
        kind, extra = own[task]
        return kind(**{**common, **extra, **changes})

    return make


class Noise(torch.utils.data.Dataset):
    """Samples of the shape of photos, a function of their index, which they carry."""

    digest = "noise"

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(index)
        real, composite = (torch.rand(3, 4, 4, generator=generator) * 2 - 1 for _ in range(2))
        return {"real": real, "composite": composite, "mask": torch.ones(1, 4, 4), "index": torch.tensor(index)}


class ToyTask:
    """The smallest real task: a convolution, dropout unless it is 0, and the loop's own noise unless it is off."""

    def __init__(self, dropout: float = 0.5, noise: float = 0.1) -> None:
        torch.manual_seed(0)
        self.module = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.Dropout(dropout))
        self.noise, self.seen = noise, []

    def loss(self, module, batch, generator):
        self.seen.append(batch["index"].tolist())
        noise = self.noise * torch.randn(batch["real"].shape, generator=generator)
        loss = ((module(batch["composite"]) - batch["real"] + noise) ** 2).mean()
        return loss, {"first": float(batch["index"][0])}

    def validate(self, batches):
        with torch.no_grad():
            return {"mse": float(((self.module(batches[0]["composite"]) - batches[0]["real"]) ** 2).mean())}

    def export(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        save_file({name: w.contiguous() for name, w in self.module.state_dict().items()}, folder / "model.safetensors")

    def sheet(self, batches, path: Path) -> None:
        save_rows([batches[0]["real"]], path)


@pytest.fixture
def toy(tmp_path: Path) -> Callable[..., Any]:
    """Train the toy task by :func:`fit`; keywords are settings, ``task`` and ``log`` may be given."""

    def run(task: ToyTask | None = None, log: Callable[[str], None] = lambda _: None, **changes: Any):
        common = {
            "output_dir": tmp_path / "toy",
            "train_batch_size": 2,
            "max_train_steps": 8,
            "checkpointing_steps": 3,
            "validation_steps": 4,
            "validation_samples": 2,
            "logging_steps": 1,
            "learning_rate": 1e-2,
            "ema_decay": 0.9,
        }
        settings = TrainSettings(**{**common, **changes})
        main = os.environ.get("RANK", "0") == "0"  # of several processes one holds the folder, as in training.run
        with checkpoints.held(settings) if main else nullcontext():
            return fit(task or ToyTask(), Noise(), Noise(), settings, log)

    return run


@pytest.fixture(name="toy_task")
def toy_task_fixture() -> type[ToyTask]:
    """The class of the toy task."""
    return ToyTask
