"""DiffSynth-Studio: ``metadata.csv`` with image, edit_image, inpaint_mask and prompt, paths relative to the root."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from harmonygen.trainers.formats.shape import Export, Format, Record, RowTable, command

COLUMNS = {"image": "target", "edit_image": "source", "inpaint_mask": "mask"}
PLACES = {"target": "image/{key}", "source": "edit_image/{key}", "mask": "inpaint_mask/{key}.png"}


def line(record: Record) -> str:
    """Return a row of the table."""
    return _csv([*(record["files"][role] for role in COLUMNS.values()), record["text"]])


def _csv(values: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def configs(export: Export) -> Mapping[str, str]:
    """Return nothing: the trainer is configured by its command line."""
    return {}


def commands(export: Export) -> Sequence[str]:
    """Return the line that starts it, in DiffSynth-Studio's folder.

    A pipeline that takes a mask reads it with ``inpaint_mask`` added to ``--data_file_keys`` and ``--extra_inputs``.
    """
    weights = "Qwen/Qwen-Image-Edit-2509:transformer/diffusion_pytorch_model*.safetensors"
    others = ("text_encoder/model*", "vae/diffusion_pytorch_model")
    start = command(
        "accelerate launch examples/qwen_image/model_training/train.py --use_gradient_checkpointing",
        dataset_base_path=export.at(""),
        dataset_metadata_path=export.at("metadata.csv"),
        data_file_keys="image,edit_image",
        extra_inputs="edit_image",
        max_pixels=1048576,
        dataset_repeat=1,
        model_id_with_origin_paths=",".join([weights, *(f"Qwen/Qwen-Image:{name}.safetensors" for name in others)]),
        learning_rate=1e-4,
        num_epochs=5,
        remove_prefix_in_ckpt="pipe.dit.",
        output_path=export.at("output"),
        lora_base_model="dit",
        lora_target_modules="to_q,to_k,to_v,add_q_proj,add_k_proj,add_v_proj,to_out.0,to_add_out",
        lora_rank=32,
    )
    return [start]


_TABLE = RowTable("metadata.csv", line, _csv([*COLUMNS, "prompt"]))
FORMAT = Format(PLACES, configs, commands, _TABLE, runs_in="DiffSynth-Studio's folder")
