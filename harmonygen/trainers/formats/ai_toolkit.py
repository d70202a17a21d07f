"""ai-toolkit: a folder of targets with captions, control and mask folders of the same names, one YAML config."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

import yaml  # type: ignore[import-untyped]

from harmonygen.trainers.formats.shape import Export, Format

CONFIG = "config.yaml"
PLACES = {"target": "target/{key}", "text": "target/{key}.txt", "source": "control/{key}", "mask": "mask/{key}.png"}


def configs(export: Export) -> Mapping[str, str]:
    """Return the config: a LoRA of FLUX.1 Kontext; where the mask is white, the loss weighs more."""
    dataset = {
        "folder_path": export.at("target"),
        "control_path": export.at("control"),
        "mask_path": export.at("mask"),
        "mask_min_value": 0.1,
        "invert_mask": False,
        "caption_ext": "txt",
        "caption_dropout_rate": 0.05,
        "cache_latents_to_disk": True,
        "resolution": [512, 768, 1024],
    }
    process = {
        "type": "sd_trainer",
        "training_folder": export.at("output"),
        "device": "cuda:0",
        "network": {"type": "lora", "linear": 16, "linear_alpha": 16},
        "save": {"dtype": "float16", "save_every": 250, "max_step_saves_to_keep": 4},
        "datasets": [dataset],
        "train": {
            "batch_size": 1,
            "steps": 3000,
            "gradient_accumulation": 1,
            "train_unet": True,
            "train_text_encoder": False,
            "gradient_checkpointing": True,
            "noise_scheduler": "flowmatch",
            "timestep_type": "weighted",
            "optimizer": "adamw8bit",
            "lr": 1e-4,
            "dtype": "bf16",
            "disable_sampling": True,
        },
        "model": {"name_or_path": "black-forest-labs/FLUX.1-Kontext-dev", "arch": "flux_kontext", "quantize": True},
    }
    whole = {"job": "extension", "config": {"name": "harmonygen", "process": [process]}}
    return {CONFIG: yaml.safe_dump(whole, sort_keys=False)}


def commands(export: Export) -> Sequence[str]:
    """Return the line that starts it, in ai-toolkit's folder."""
    return [f"python run.py {shlex.quote(export.at(CONFIG))}"]


FORMAT = Format(PLACES, configs, commands, runs_in="ai-toolkit's folder")
