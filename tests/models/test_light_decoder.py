"""The light decoder: a Harmony-VAE like any other, that starts at the photo and decodes a window as the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from skimage import data

from harmonygen.errors import CheckpointError
from harmonygen.models.denoiser import Denoiser, DenoiserSpec, new_scheduler, small_unet
from harmonygen.models.draw import PictureSampler, to_pm1
from harmonygen.models.harmony_vae import DOWN_BLOCK, UP_BLOCK, HarmonyVAE, load_autoencoder
from harmonygen.models.window_decoder import Window, WindowDecoder, window_around
from harmonygen.pictures.images import resize

SIDES = (192, 256)  # 24 x 32 cells


@pytest.fixture(scope="module")
def full() -> HarmonyVAE:
    """A Harmony-VAE whose conditional features are not zero."""
    torch.manual_seed(0)
    plain = AutoencoderKL(
        down_block_types=(DOWN_BLOCK,) * 4,
        up_block_types=(UP_BLOCK,) * 4,
        block_out_channels=(8, 8, 16, 16),
        norm_num_groups=4,
        mid_block_add_attention=False,
    )
    vae = HarmonyVAE.from_autoencoder(plain, "inverse").eval()
    for parameter in (*vae.conditional_encoder.parameters(), *vae.latent_skip_conv.parameters()):
        parameter.data += 0.05 * torch.randn_like(parameter)
    return vae.requires_grad_(False)


@pytest.fixture(scope="module")
def light(full) -> HarmonyVAE:
    """Its light copy with random weights."""
    torch.manual_seed(1)
    vae = full.lightened((16, 8), 1).eval().requires_grad_(False)
    for parameter in vae.decoder.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return vae


@pytest.fixture(scope="module")
def photo() -> tuple[np.ndarray, torch.Tensor, np.ndarray, torch.Tensor]:
    image = resize(data.astronaut(), *SIDES)
    mask = np.zeros(SIDES, bool)
    mask[72:100, 120:150] = True
    return image, to_pm1(image), mask, torch.from_numpy(mask[None, None].astype(np.float32))


def test_a_new_light_decoder_returns_the_photo(full, photo):
    _, picture, _, mask = photo
    vae = full.lightened((16, 8), 2)
    features = vae.features(picture, mask)
    assert torch.equal(vae.decode(torch.randn(3, 4, 24, 32), features), picture.expand(3, -1, -1, -1))


def test_it_has_the_interface_and_the_features_of_the_full_one(full, light, photo):
    _, picture, _, mask = photo
    latents = light.encode(picture).latent_dist.mode()
    assert torch.equal(latents, full.encode(picture).latent_dist.mode())
    ours, theirs = light.features(picture, mask), full.features(picture, mask)
    assert torch.equal(ours.mid, theirs.mid)
    assert torch.equal(ours.latent, theirs.latent)
    at_patches = [skip for skip in theirs.skips if skip.shape[-2:] == (48, 64)]
    assert torch.equal(ours.skips[0], at_patches[0])
    assert light.decode(latents, ours).shape == full.decode(latents, theirs).shape == picture.shape
    noisy = light.with_noise(ours, torch.ones(1, 4, 24, 32))
    assert not torch.equal(noisy.latent, ours.latent)


def test_a_window_is_decoded_to_the_pixels_of_the_whole(light, photo):
    _, picture, mask, mask01 = photo
    features = light.features(picture, mask01)
    condition = light.encode(picture).latent_dist.mode()
    latents = condition + torch.randn(3, 4, 24, 32)
    whole = light.decode(latents, features)
    for rows, columns in [((8, 14), (14, 20)), ((0, 3), (29, 32)), ((0, 24), (0, 32))]:
        window = Window(slice(*rows), slice(*columns))
        decoder = WindowDecoder(light, condition, features, window)
        torch.testing.assert_close(decoder(latents), window.of(whole, 8), rtol=1e-4, atol=1e-4)
    around = window_around(light, mask)
    assert around == Window(slice(9, 13), slice(15, 19))
    assert WindowDecoder(light, condition, features, around).condition.shape == (1, 3, 32, 32)


def test_it_depends_on_the_cells_within_its_reach_alone(light, photo):
    _, picture, _, mask = photo
    features = light.features(picture, mask)
    latents = torch.zeros(1, 4, 24, 32)
    changed = latents.clone()
    changed[..., 12, 16] = 5
    differs = (light.decode(latents, features) - light.decode(changed, features)).abs().amax(dim=(0, 1)) > 0
    rows = torch.nonzero(differs.any(dim=1)).flatten() // 8
    assert 12 - light.decoder.reach <= int(rows.min()) < int(rows.max()) <= 12 + light.decoder.reach


def test_it_is_saved_and_loaded_and_serves_a_denoiser(light, photo, tmp_path):
    image, _, mask, _ = photo
    unet = small_unet(
        {
            "block_out_channels": (8, 16),
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "layers_per_block": 1,
            "cross_attention_dim": 8,
            "attention_head_dim": 2,
            "norm_num_groups": 4,
        }
    )
    spec = DenoiserSpec(resolution=32, target="residual", steps=1, sampler="euler")
    copied = HarmonyVAE.from_config(light.config)
    copied.load_state_dict(light.state_dict())
    Denoiser(unet, copied, new_scheduler("v_prediction"), torch.zeros(1, 1, 8), spec).save_pretrained(
        tmp_path / "model", torch.float32
    )
    loaded = load_autoencoder(tmp_path / "model" / "vae")
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in light.state_dict().items())
    model = Denoiser.from_pretrained(tmp_path / "model")
    drawn = {kind: list(PictureSampler(model, decoded=kind)(image, mask, [1, 2])) for kind in ("whole", "foreground")}
    for whole, part in zip(drawn["whole"], drawn["foreground"], strict=True):
        np.testing.assert_allclose(whole[mask], part[mask], atol=1e-4)
        np.testing.assert_array_equal(part[:40], (to_pm1(image)[0].permute(1, 2, 0).numpy()[:40] + 1) / 2)


def test_one_that_is_light_already_and_one_of_a_single_block_are_refused(light):
    with pytest.raises(CheckpointError, match="has a light decoder already"):
        light.lightened((16, 8), 1)
    with pytest.raises(CheckpointError, match=r"a light decoder of 2 widths for an autoencoder of 1 blocks"):
        HarmonyVAE(light_widths=(16, 8), norm_num_groups=4, mid_block_add_attention=False)
