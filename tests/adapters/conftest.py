"""Small randomly initialised models of the classes that the adapters load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

WORDS = ("photo", "subject", "light", "change", "colour")


def stable_diffusion(folder: Path, pipeline: str, channels: int) -> Path:
    """Write a tiny folder of a Stable Diffusion pipeline class, its tokenizer spelling words letter by letter."""
    pytest.importorskip("transformers")
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from tests.fakes.small_stable_diffusion import MODEL_INDEX, byte_pairs, write_stable_diffusion

    torch.manual_seed(0)
    vocabulary, _ = byte_pairs(WORDS)
    parts = {
        "vae": AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            norm_num_groups=4,
        ),
        "unet": UNet2DConditionModel(
            in_channels=channels,
            sample_size=16,
            block_out_channels=(8, 16),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=4,
        ),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(vocabulary),
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=77,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        ),
        "scheduler": DDIMScheduler(),
    }
    write_stable_diffusion(folder, parts, WORDS, 77)
    index = {**MODEL_INDEX, "scheduler": ["diffusers", "DDIMScheduler"], "_class_name": pipeline}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="session", params=["Inpaint", "InstructPix2Pix", ""])
def pipeline_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pipeline that paints in, one that follows instructions, and one of text to image."""
    channels = {"Inpaint": 9, "InstructPix2Pix": 8, "": 4}[request.param]
    name = f"StableDiffusion{request.param}Pipeline"
    return stable_diffusion(tmp_path_factory.mktemp("pipelines") / name, name, channels)


@pytest.fixture(scope="session")
def plain_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pipeline that paints in."""
    folder = tmp_path_factory.mktemp("pipelines") / "inpaint"
    return stable_diffusion(folder, "StableDiffusionInpaintPipeline", 9)
