"""Decoding around the foreground: what it is equal to, how near it is to the whole, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from skimage import data

from harmonygen.models.checkpoints import locate
from harmonygen.models.denoiser import Denoiser
from harmonygen.models.draw import PictureSampler, to_pm1
from harmonygen.models.harmony_vae import DOWN_BLOCK, UP_BLOCK, HarmonyVAE
from harmonygen.models.window_decoder import Window, WindowDecoder, window_around
from harmonygen.pictures.images import resize

SIDES = (96, 128)  # 12 x 16 cells


@pytest.fixture(scope="module")
def image():
    return resize(data.astronaut(), *SIDES)


@pytest.fixture(scope="module")
def mask():
    inside = np.zeros(SIDES, bool)
    inside[80:96, 96:120] = True
    return inside


@pytest.fixture(scope="module", params=["plain", "harmony"])
def decoding(request, image, mask):
    """A decoder of Stable Diffusion's blocks, a photo's latent and features, three changed latents, decoded."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=(DOWN_BLOCK,) * 4,
        up_block_types=(UP_BLOCK,) * 4,
        block_out_channels=(16, 32, 32, 32),
        norm_num_groups=8,
        layers_per_block=2,
    ).eval()
    if request.param == "harmony":
        vae = HarmonyVAE.from_autoencoder(vae).eval()
        for parameter in vae.conditional_encoder.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    vae.requires_grad_(False)
    picture = to_pm1(image)
    condition = vae.encode(picture).latent_dist.mode()
    features = None
    if request.param == "harmony":
        features = vae.features(picture, torch.from_numpy(mask[None, None].astype(np.float32)))
    cells = torch.nn.functional.max_pool2d(torch.from_numpy(mask[None, None].astype(np.float32)), 8)
    latents = condition + torch.randn(3, 4, 12, 16) * cells
    whole = vae.decode(latents, features) if features else vae.decode(latents).sample
    return vae, condition, features, latents, whole


def test_the_window_is_the_foregrounds_cells_and_a_halo():
    inside = np.zeros((64, 96), bool)
    inside[17:20, 88:96] = True
    assert Window.around(inside, 8, halo=1) == Window(slice(1, 4), slice(10, 12))
    assert Window.around(np.zeros((64, 96), bool), 8, halo=1) == Window.whole(8, 12)


@pytest.mark.parametrize("window", [None, Window.whole(12, 16)])
def test_a_whole_window_gives_the_autoencoders_own_pixels(decoding, window):
    vae, condition, features, latents, whole = decoding
    decoder = WindowDecoder(vae, condition, features, window)
    assert decoder.window is None
    assert torch.equal(decoder(latents), whole)


def test_a_window_gives_nearly_what_is_decoded_whole(decoding, mask):
    vae, condition, features, latents, whole = decoding
    window = window_around(vae, mask)
    decoder = WindowDecoder(vae, condition, features, window)
    inside = decoder(latents)
    goal = window.of(whole, 8)
    assert inside.shape == goal.shape
    assert goal[0, 0].numel() < 0.7 * whole[0, 0].numel()
    kept = window.of(torch.from_numpy(mask[None, None]), 8).expand_as(goal)
    change = (goal - window.of(vae.decode(condition, features) if features else vae.decode(condition).sample, 8))[kept]
    error = (inside - goal)[kept]
    assert error.abs().mean() < 0.1 * change.abs().mean()
    assert torch.allclose(inside[1:2], decoder(latents[1:2]), atol=1e-4)  # a candidate does not depend on its batch


def test_without_the_statistics_outside_it_would_be_far_off(decoding, mask, monkeypatch):
    vae, condition, features, latents, whole = decoding
    window = window_around(vae, mask)
    kept = window.of(torch.from_numpy(mask[None, None]), 8).expand(3, 3, -1, -1)

    def error(decoder: WindowDecoder) -> float:
        return float((decoder(latents) - window.of(whole, 8))[kept].abs().mean())

    usual = error(WindowDecoder(vae, condition, features, window))
    alone = WindowDecoder(vae, condition, features, window)
    monkeypatch.setattr(alone, "_window_norm", lambda layer, value, scale: layer(value))
    assert error(alone) > 2 * usual


def test_the_photos_own_latent_decodes_to_the_same_in_a_window(decoding, mask):
    vae, condition, features, _, _ = decoding
    decoder = WindowDecoder(vae, condition, features, window_around(vae, mask))
    kept = decoder.window.of(torch.from_numpy(mask[None, None]), 8).expand(1, 3, -1, -1)
    error = (decoder(condition) - decoder.condition)[kept].abs()
    assert error.mean() < 0.03 * decoder.condition.std()


def test_starter_pictures_differ_by_two_levels_at_most_and_not_at_all_outside(image, mask):
    model = Denoiser.from_pretrained(locate("starter", "inverse"))
    whole, part = (list(PictureSampler(model, decoded=what)(image, mask, [1, 2])) for what in ("whole", "foreground"))
    for one, other in zip(whole, part, strict=True):
        difference = np.abs(np.rint(one * 255) - np.rint(other * 255))[mask]
        assert difference.max() <= 2
        assert difference.mean() <= 0.7
        far = np.ones(SIDES, bool)
        far[56:, 72:] = False  # three cells around the mask's
        assert np.array_equal(np.rint(other * 255)[far], image[far])
