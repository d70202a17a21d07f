"""SimpleTuner: an image set with a reference set and a mask set of the same file names; also its masked Flow-DPO.

Flow-DPO prefers the photo (``real``) to the composite (``composite``), inside the mask, whatever the direction is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harmonygen.trainers.formats.shape import Export, Format

BACKENDS, CONFIG = "multidatabackend.json", "config.json"
DPO_BACKENDS, DPO_CONFIG = "multidatabackend-dpo.json", "config-dpo.json"
PLACES = {
    "real": "real/{key}",
    "composite": "composite/{key}",
    "mask": "mask/{key}.png",
    "text": "real/{key}.txt",
    "text of composite": "composite/{key}.txt",
}


def configs(export: Export) -> Mapping[str, str]:
    """Return the backends and the config of an edit LoRA, and those of masked Flow-DPO."""
    edit = _backends(export, export.target, export.source)
    preferred = _backends(export, "real", "composite")
    dpo = {
        "beta": 1.0,
        "auto_beta": True,
        "norm_type": "masked_mean",
        "mask_dilate": 1,
        "anchor_alpha": 0.0,
        "sft_loss_weight": 0.0,
    }
    flow = {
        "distillation_method": "flow_dpo",
        "distillation_config": {"flow_dpo": dpo},
        "flow_custom_timesteps": "801,694,548,338",
        "flow_timesteps_mode": "round-robin",
    }
    return {
        BACKENDS: _dumped(edit),
        CONFIG: _dumped(_config(export, BACKENDS, "output", {"model_flavour": "kontext"})),
        DPO_BACKENDS: _dumped(preferred),
        DPO_CONFIG: _dumped(_config(export, DPO_BACKENDS, "output-dpo", flow)),
    }


def _backends(export: Export, main: str, reference: str) -> list[dict[str, Any]]:
    """Return the list of backends: the images trained on, the reference and the mask that belong to each, the text."""

    def backend(name: str, **more: Any) -> dict[str, Any]:
        place = {"id": name, "type": "local", "instance_data_dir": export.at(name)}
        sizes = {"resolution": 1024, "resolution_type": "pixel_area", "crop": False}
        return {**place, **sizes, "cache_dir_vae": export.at(f"cache/vae/{name}"), **more}

    conditions = {"reference": (reference, "reference_strict"), "mask": ("mask", "mask")}
    return [
        backend(
            main, dataset_type="image", caption_strategy="textfile", conditioning_data=[reference, "mask"], repeats=0
        ),
        *(
            backend(name, dataset_type="conditioning", conditioning_type=kind, source_dataset_id=main)
            for name, kind in conditions.values()
        ),
        {
            "id": "text",
            "type": "local",
            "dataset_type": "text_embeds",
            "default": True,
            "cache_dir": export.at("cache/text"),
        },
    ]


def _config(export: Export, backends: str, output: str, more: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model_type": "lora",
        "model_family": "flux",
        "data_backend_config": export.at(backends),
        "output_dir": export.at(output),
        "lora_rank": 16,
        "train_batch_size": 1,
        "max_train_steps": 3000,
        "num_train_epochs": 0,
        "learning_rate": 1e-4,
        "lr_scheduler": "constant",
        "optimizer": "adamw_bf16",
        "mixed_precision": "bf16",
        "gradient_checkpointing": True,
        "checkpointing_steps": 500,
        "seed": 42,
        "validation_disable": True,
        **more,
    }


def _dumped(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def commands(export: Export) -> Sequence[str]:
    """Return the line that starts it, and that of Flow-DPO as a comment; CONFIG_PATH lacks its ``.json``."""
    edit, dpo = (export.at(name).removesuffix(".json") for name in (CONFIG, DPO_CONFIG))
    start = "CONFIG_BACKEND=json CONFIG_PATH={} simpletuner train"
    return [start.format(f"'{edit}'"), f"# masked Flow-DPO instead: {start.format(f'{chr(39)}{dpo}{chr(39)}')}"]


FORMAT = Format(PLACES, configs, commands, one_suffix=True)
