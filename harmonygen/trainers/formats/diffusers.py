"""Writes for diffusers' training scripts: an image folder of ``datasets`` with the columns that a script expects.

A row of ``train/metadata.jsonl`` names its pictures as ``<column>_file_name`` (the column ``image`` as ``file_name``);
`datasets` makes each an image column.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence

from harmonygen.trainers.formats.shape import Export, Format, Record, RowTable, command

SCRIPTS = "a checkout of diffusers (which has examples/)"
FIGURES = ("change", "ev", "kelvin", "saturation", "contrast", "tint", "pair_id", "real_id", "k", "seed", "p_composite")


def image_folder(
    columns: Mapping[str, str], text: str, commands: Callable[[Export], Sequence[str]], runs_in: str = SCRIPTS
) -> Format:
    """Return the format of an image folder: ``columns`` are those of the roles, ``text`` is the caption's."""
    places = {role: f"train/{column}/{{key}}" for role, column in columns.items()}
    places["mask"] += ".png"

    def line(record: Record) -> str:
        named = {role: record["files"][role].removeprefix("train/") for role in columns}
        keys = {role: "file_name" if column == "image" else f"{column}_file_name" for role, column in columns.items()}
        files = {keys[role]: name for role, name in named.items()}
        row = {**files, text: record["text"], **{name: record[name] for name in FIGURES}}
        return json.dumps(row, ensure_ascii=False) + "\n"

    return Format(places, lambda _: {}, commands, RowTable("train/metadata.jsonl", line), runs_in=runs_in)


def _instruct_pix2pix(export: Export) -> Sequence[str]:
    start = command(
        "accelerate launch --mixed_precision fp16 examples/instruct_pix2pix/train_instruct_pix2pix.py "
        "--gradient_checkpointing --random_flip",
        pretrained_model_name_or_path="stable-diffusion-v1-5/stable-diffusion-v1-5",
        train_data_dir=export.at("train"),
        original_image_column="original_image",
        edited_image_column="edited_image",
        edit_prompt_column="edit_prompt",
        resolution=256,
        train_batch_size=4,
        gradient_accumulation_steps=4,
        max_train_steps=15000,
        checkpointing_steps=5000,
        learning_rate=5e-5,
        conditioning_dropout_prob=0.05,
        seed=42,
        output_dir=export.at("output"),
    )
    return [start]


def _kontext(export: Export) -> Sequence[str]:
    start = command(
        "accelerate launch examples/dreambooth/train_dreambooth_lora_flux_kontext.py --gradient_checkpointing",
        pretrained_model_name_or_path="black-forest-labs/FLUX.1-Kontext-dev",
        dataset_name=export.at(""),
        image_column="image",
        cond_image_column="cond_image",
        caption_column="caption",
        instance_prompt="harmonize the foreground",
        mixed_precision="bf16",
        resolution=1024,
        train_batch_size=1,
        guidance_scale=1,
        gradient_accumulation_steps=4,
        optimizer="adamw",
        learning_rate=1e-4,
        lr_scheduler="constant",
        max_train_steps=3000,
        rank=16,
        seed=0,
        output_dir=export.at("output"),
    )
    return [start]


def _controlnet(export: Export) -> Sequence[str]:
    start = command(
        "accelerate launch examples/controlnet/train_controlnet.py --gradient_checkpointing",
        pretrained_model_name_or_path="stable-diffusion-v1-5/stable-diffusion-v1-5",
        dataset_name=export.at(""),
        image_column="image",
        conditioning_image_column="conditioning_image",
        caption_column="text",
        resolution=512,
        learning_rate=1e-5,
        train_batch_size=4,
        gradient_accumulation_steps=4,
        max_train_steps=15000,
        mixed_precision="fp16",
        output_dir=export.at("output"),
    )
    return [start]


def _load(export: Export) -> Sequence[str]:
    code = f'import datasets; print(datasets.load_dataset("imagefolder", data_dir={json.dumps(export.at(""))}))'
    return [f"python -c {shlex.quote(code)}"]


INSTRUCT_PIX2PIX = image_folder(
    {"source": "original_image", "target": "edited_image", "mask": "mask"}, "edit_prompt", _instruct_pix2pix
)
KONTEXT = image_folder({"target": "image", "source": "cond_image", "mask": "mask"}, "caption", _kontext)
CONTROLNET = image_folder({"target": "image", "source": "conditioning_image", "mask": "mask"}, "text", _controlnet)
IMAGEFOLDER = image_folder({"composite": "composite", "real": "real", "mask": "mask"}, "instruction", _load, "")
