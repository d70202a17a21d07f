from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

from harmonygen.errors import CheckpointError
from harmonygen.harmonization.zeroshot.attention import install, map_size, mean_maps

TOKENS = 9


@pytest.fixture(scope="module")
def unet(random_sd):
    return UNet2DConditionModel.from_pretrained(random_sd / "unet").eval()


@pytest.fixture(scope="module", params=["random_sd1", pytest.param("random_sd2", marks=pytest.mark.long)])
def random_sd(request):
    return request.getfixturevalue(request.param)


def inputs(unet, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(batch, 4, 16, 8, generator=generator)
    return latents, torch.randn(batch, TOKENS, unet.config.cross_attention_dim, generator=generator)


@torch.no_grad()
def run(unet, latents, states):
    return unet(latents, 300, encoder_hidden_states=states).sample


def test_the_processors_compute_what_diffusers_own_compute(unet):
    latents, states = inputs(unet)
    unet.set_attn_processor(AttnProcessor())
    expected = run(unet, latents, states)
    control = install(unet)
    torch.testing.assert_close(run(unet, latents, states), expected, rtol=1e-4, atol=1e-5)
    rows, columns = map_size(unet, 16, 8)
    with control.reading(rows * columns):
        torch.testing.assert_close(run(unet, latents, states), expected, rtol=1e-4, atol=1e-5)


def test_maps_are_probabilities_of_the_way_down_and_up(unet):
    latents, states = inputs(unet)
    control, size = install(unet), map_size(unet, 16, 8)
    with control.reading(size[0] * size[1]) as maps:
        run(unet, latents, states)
    assert len(maps) >= 2
    mean = mean_maps(maps, size)
    assert mean.shape == (2, TOKENS, *size)
    torch.testing.assert_close(mean.sum(1), torch.ones(2, *size))


def test_nothing_is_read_or_replaced_once_the_block_is_left(unet):
    latents, states = inputs(unet)
    control, size = install(unet), map_size(unet, 16, 8)
    before = run(unet, latents, states)
    with control.reading(size[0] * size[1]) as maps, control.replacing(torch.eye(TOKENS), True):
        run(unet, latents, states)
    kept = len(maps)
    assert torch.equal(run(unet, latents, states), before)
    assert (control.maps, len(maps)) == ([], kept)


def test_reading_has_gradients_to_the_text(unet):
    latents, states = inputs(unet)
    states.requires_grad_()
    control, size = install(unet), map_size(unet, 16, 8)
    with control.reading(size[0] * size[1]) as maps:
        unet(latents, 300, encoder_hidden_states=states)
        (gradient,) = torch.autograd.grad(mean_maps(maps, size)[0, 3].sum(), states)
    assert gradient[0].abs().sum() > 0
    assert gradient[1].abs().sum() == 0  # the other picture's text has no part in it


def test_replacing_cross_attention_gives_the_edit_the_source_maps(unet):
    latents, states = inputs(unet)
    latents = latents[:1].expand(2, -1, -1, -1)
    control, size = install(unet), map_size(unet, 16, 8)
    shifted = torch.eye(TOKENS).roll(1, 1)
    with control.reading(size[0] * size[1]) as maps, control.replacing(shifted, False):
        run(unet, latents, states)
    for layer in maps:
        source, edit = layer.chunk(2)
        torch.testing.assert_close(edit, source.roll(1, -1))


def test_the_source_is_untouched_by_what_the_edit_takes_over(unet):
    latents, states = inputs(unet)
    control = install(unet)
    plain = run(unet, latents, states)
    with control.replacing(torch.eye(TOKENS), True):
        replaced = run(unet, latents, states)
    torch.testing.assert_close(replaced[0], plain[0], rtol=1e-4, atol=1e-5)
    assert (replaced[1] - plain[1]).abs().max() > 1e-3


def test_replacing_with_an_equal_source_changes_nothing(unet):
    latents, states = inputs(unet)
    latents, states = (part[:1].expand(2, *part.shape[1:]) for part in (latents, states))
    control = install(unet)
    plain = run(unet, latents, states)
    with control.replacing(torch.eye(TOKENS), True):
        torch.testing.assert_close(run(unet, latents, states), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("sides", "expected"), [((64, 64), (16, 16)), ((64, 96), (16, 24)), ((96, 96), (24, 24))])
def test_maps_of_stable_diffusion_are_read_near_16_cells(sides, expected):
    down = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    config = {"block_out_channels": (4, 4, 4, 4), "norm_num_groups": 2, "attention_head_dim": 2}
    unet = UNet2DConditionModel(cross_attention_dim=4, down_block_types=down, **config)
    assert map_size(unet, *sides) == expected


def test_a_unet_without_text_is_refused():
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "mid_block_type": None}
    unet = UNet2DConditionModel(block_out_channels=(4,), norm_num_groups=2, **blocks)
    with pytest.raises(CheckpointError, match=r"no cross-attention on its way down \(DownBlock2D\)"):
        map_size(unet, 16, 16)
