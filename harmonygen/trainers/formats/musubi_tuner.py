"""musubi-tuner: targets with captions, a control folder with ``_0`` the source and ``_1`` the mask, one TOML config.

Models that take several control images (Qwen-Image-Edit-2509 and later, FLUX.2) see the mask as the second one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from harmonygen.trainers.formats.shape import Export, Format, command

CONFIG = "dataset.toml"
PLACES = {
    "target": "image/{key}",
    "text": "image/{key}.txt",
    "source": "control/{key}_0",
    "mask": "control/{key}_1.png",
}


def configs(export: Export) -> Mapping[str, str]:
    """Return the dataset's config; a TOML string is written as JSON writes it."""
    lines = [
        "[general]",
        "resolution = [1024, 1024]",
        'caption_extension = ".txt"',
        "batch_size = 1",
        "enable_bucket = true",
        "bucket_no_upscale = true",
        "",
        "[[datasets]]",
        f"image_directory = {json.dumps(export.at('image'))}",
        f"control_directory = {json.dumps(export.at('control'))}",
        f"cache_directory = {json.dumps(export.at('cache'))}",
        "control_resolution = [1024, 1024]",
        "num_repeats = 1",
    ]
    return {CONFIG: "\n".join(lines) + "\n"}


def commands(export: Export) -> Sequence[str]:
    """Return the lines that cache and train, in musubi-tuner's folder; DIT, VAE and TEXT_ENCODER name the weights."""
    data = {"dataset_config": export.at(CONFIG)}
    version = '--model_version edit-2509 --vae "$VAE"'
    train = command(
        "accelerate launch --num_cpu_threads_per_process 1 --mixed_precision bf16 "
        'src/musubi_tuner/qwen_image_train_network.py --dit "$DIT" --text_encoder "$TEXT_ENCODER"',
        version,
        "--sdpa --gradient_checkpointing",
        mixed_precision="bf16",
        timestep_sampling="shift",
        discrete_flow_shift=2.2,
        weighting_scheme="none",
        optimizer_type="adamw8bit",
        learning_rate=5e-5,
        network_module="networks.lora_qwen_image",
        network_dim=16,
        max_train_epochs=16,
        save_every_n_epochs=1,
        output_dir=export.at("output"),
        output_name="harmonygen",
        **data,
    )
    text = 'python src/musubi_tuner/qwen_image_cache_text_encoder_outputs.py --text_encoder "$TEXT_ENCODER"'
    return [
        command("python src/musubi_tuner/qwen_image_cache_latents.py", version, **data),
        command(f"{text} --batch_size 1 --model_version edit-2509", **data),
        train,
    ]


FORMAT = Format(PLACES, configs, commands, runs_in="musubi-tuner's folder, with DIT, VAE and TEXT_ENCODER set")
