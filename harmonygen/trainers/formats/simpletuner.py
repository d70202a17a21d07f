"""SimpleTuner: an image set with a reference set and a mask set of the same file names; also its masked Flow-DPO.

Flow-DPO prefers the photo to the composite, inside the mask: it has configs where the target is the photo. In an
export of preferences, the target is the preferred composite and the reference the rejected one, and only Flow-DPO's
files are written.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from harmonygen.trainers.formats.shape import Export, Format

BACKENDS, CONFIG = "multidatabackend.json", "config.json"
DPO_BACKENDS, DPO_CONFIG = "multidatabackend-dpo.json", "config-dpo.json"
PLACES = {"target": "target/{key}", "text": "target/{key}.txt", "source": "reference/{key}", "mask": "mask/{key}.png"}
_CAPTIONS = {"caption_strategy": "textfile"}
_PREFERENCE = {"caption_strategy": "instanceprompt", "instance_prompt": "a photo whose foreground fits its background"}
_OF_COMPOSITES = {**_PREFERENCE, "instance_prompt": "a photo whose foreground does not fit its background"}
_DPO = {
    "distillation_method": "flow_dpo",
    "distillation_config": {
        "flow_dpo": {
            "beta": 1.0,
            "auto_beta": True,
            "norm_type": "masked_mean",
            "mask_dilate": 1,
            "sft_loss_weight": 0.0,
        }
    },
    "flow_custom_timesteps": "801,694,548,338",
    "flow_timesteps_mode": "round-robin",
}


def configs(export: Export) -> Mapping[str, str]:
    """Return the backends and the config of an edit LoRA, and those of masked Flow-DPO; of preferences, these alone."""
    edit = _config(export, BACKENDS, "output", {"model_flavour": "kontext"})
    made = {BACKENDS: _dumped(_backends(export, "edit", _CAPTIONS)), CONFIG: _dumped(edit)}
    if export.preferences:
        made = {}
    if export.harmonize or export.preferences:
        prompt = _OF_COMPOSITES if export.preferences else _PREFERENCE
        made[DPO_BACKENDS] = _dumped(_backends(export, "preference", prompt))
        made[DPO_CONFIG] = _dumped(_config(export, DPO_BACKENDS, "output-dpo", _DPO))
    return made


def _backends(export: Export, name: str, captions: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the list of backends: the images trained on, the reference and the mask that belong to each, the text."""

    def backend(folder: str, **more: Any) -> dict[str, Any]:
        place = {"id": f"{name}-{folder}", "type": "local", "instance_data_dir": export.at(folder)}
        sizes = {"resolution": 1024, "resolution_type": "pixel_area", "crop": False}
        return {**place, **sizes, "cache_dir_vae": export.at(f"cache/{name}/{folder}"), **more}

    conditions = {"reference": "reference_strict", "mask": "mask"}
    tied = [f"{name}-{folder}" for folder in conditions]
    return [
        backend("target", dataset_type="image", conditioning_data=tied, **captions),
        *(
            backend(
                folder,
                dataset_type="conditioning",
                conditioning_type=kind,
                source_dataset_id=f"{name}-target",
                caption_strategy=None,
            )
            for folder, kind in conditions.items()
        ),
        {
            "id": f"{name}-text",
            "type": "local",
            "dataset_type": "text_embeds",
            "default": True,
            "cache_dir": export.at(f"cache/{name}/text"),
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
    edit, preference = (_start(export.at(name).removesuffix(".json")) for name in (CONFIG, DPO_CONFIG))
    if export.preferences:
        return [preference]
    return [edit, f"# masked Flow-DPO instead: {preference}"] if export.harmonize else [edit]


def _start(config: str) -> str:
    return f"CONFIG_BACKEND=json CONFIG_PATH={shlex.quote(config)} simpletuner train"


FORMAT = Format(PLACES, configs, commands, alike="pictures", runs_in="a shell where SimpleTuner is installed")
