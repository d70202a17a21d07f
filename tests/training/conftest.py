"""Tiny settings of every task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
