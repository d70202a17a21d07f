"""The Stable Diffusion folders that the zero-shot tests stand on are whole, and of the versions they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from small_stable_diffusion import WORDS, byte_pairs, encode, whole_pieces
from toy_text_to_image import COLOURS, SHAPES, captions_of, draw, look


def load(folder):
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_random_folders_draw_pictures(random_sd):
    pipeline = load(random_sd)
    made = pipeline(
        "girl in a coat, sunny", num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="np"
    )
    assert made.images.shape == (1, 128, 128, 3)
    assert np.isfinite(made.images).all()


def test_random_folders_are_of_both_versions(random_sd1, random_sd2):
    first, second = load(random_sd1), load(random_sd2)
    assert first.scheduler.config.prediction_type == "epsilon"
    assert second.scheduler.config.prediction_type == "v_prediction"
    kinds = [type(x.unet.mid_block.attentions[0].proj_in) for x in (first, second)]
    assert kinds == [torch.nn.Conv2d, torch.nn.Linear]
    assert first.vae_scale_factor == second.vae_scale_factor == 8


def test_words_are_the_tokens_that_were_asked_for(random_sd1):
    tokenizer = load(random_sd1).tokenizer
    assert tokenizer.tokenize("girl, foggy night") == ["girl</w>", ",</w>", "fog", "gy</w>", "night</w>"]
    assert tokenizer("girl").input_ids[0] == 0
    assert tokenizer("girl").input_ids[-1] == 1


def test_byte_pairs_agree_with_the_tokenizer_on_other_words(random_sd1):
    tokenizer, merges = load(random_sd1).tokenizer, byte_pairs(WORDS)[1]
    for word in ("dogs", "rainforest", "coating", "z"):
        (spelt,) = whole_pieces(word)
        assert tokenizer.tokenize(word) == encode(spelt, merges)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", COLOURS)
def test_a_scene_shows_its_words(shape, colour):
    for seed in range(4):
        field = next(name for name in list(COLOURS)[seed:] + list(COLOURS) if name != colour)
        drawn = draw(seed, shape=shape, colour=colour, field=field)
        assert look(drawn.picture_u8) == (shape, colour, field)
        assert drawn.caption == f"{shape}, {colour}, field, {field}"


def test_another_colour_moves_nothing_else():
    red, blue = draw(3, colour="red"), draw(3, colour="blue")
    assert np.array_equal(red.mask, blue.mask)
    outside = ~binary_dilation(red.mask, iterations=2)
    assert np.array_equal(red.picture_u8[outside], blue.picture_u8[outside])


def test_captions_name_the_shape_the_field_or_nothing():
    assert captions_of("ring, red, field, blue") == ("ring, red", "ring, red, field, blue", "field, blue", "")
