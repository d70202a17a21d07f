"""The trained toy draws what it is told, and its words attend where they should: the ground the edits stand on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from zero_shot_toy_measures import (
    attention_shares,
    load_pipeline,
    prompts,
    reconstruction_psnr,
    right_shares,
    sample,
)


@pytest.fixture(scope="module")
def pipeline(toy_sd):
    return load_pipeline(toy_sd)


def test_the_toy_is_small(toy_sd):
    assert sum(path.stat().st_size for path in toy_sd.rglob("*") if path.is_file()) <= 2_000_000


def test_its_parts_are_the_real_ones(pipeline):
    assert pipeline.unet.config.sample_size * pipeline.vae_scale_factor == 64
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert pipeline.tokenizer.model_max_length == pipeline.text_encoder.config.max_position_embeddings == 24


def test_words_of_two_tokens_are_among_its_words(pipeline):
    assert pipeline.tokenizer.tokenize("triangle, purple") == ["tri", "angle</w>", ",</w>", "pur", "ple</w>"]


def test_the_autoencoder_reconstructs(pipeline):
    assert reconstruction_psnr(pipeline.vae) >= 31


@pytest.mark.long
def test_it_draws_the_colours_of_the_words(pipeline):
    texts = prompts()[::8]
    shares = right_shares(texts, sample(pipeline, texts))
    assert shares["colour"] >= 0.9
    assert shares["field_colour"] >= 0.9


def test_words_of_the_shape_attend_to_it_and_those_of_the_field_elsewhere(toy_sd):
    shares = attention_shares(load_pipeline(toy_sd), count=24)  # a pipeline of its own: its attention is watched
    assert shares["colour"] > shares["shape_area"] * 1.3
    assert shares["field_colour"] < shares["shape_area"]


def test_half_precision_weights_load_whole(toy_sd):
    from diffusers import UNet2DConditionModel

    _, report = UNet2DConditionModel.from_pretrained(toy_sd / "unet", output_loading_info=True)
    assert report["missing_keys"] == report["unexpected_keys"] == []
    unet = UNet2DConditionModel.from_pretrained(toy_sd / "unet", torch_dtype=torch.float32)
    assert all(torch.isfinite(value).all() for value in unet.parameters())
