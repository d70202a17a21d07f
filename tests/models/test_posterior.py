"""A sampled condition: the order of its noise, who states it, and a residual model, which has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler

from harmonygen.models.denoiser import Denoiser
from harmonygen.models.device import Sampling
from harmonygen.models.draw import PictureSampler
from harmonygen.models.harmony_vae import HarmonyVAE

SAMPLE, MODE = Sampling(steps=3, posterior="sample"), Sampling(steps=3, posterior="mode")
CHANNELS, SIDE = 4, 32


@pytest.fixture(scope="module")
def model(tiny_forward) -> Denoiser:
    """A forward model with a Harmony-VAE whose convolutions to the decoder are random."""
    plain = Denoiser.from_pretrained(tiny_forward, "forward")
    torch.manual_seed(1)
    vae = HarmonyVAE.from_autoencoder(plain.vae, "forward").requires_grad_(False)
    for name, weights in vae.named_parameters():
        if "skip_conv" in name:
            torch.nn.init.normal_(weights, std=0.3)
    return Denoiser(plain.unet, vae, plain.scheduler, plain.null_embedding, plain.spec)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def mask() -> torch.Tensor:
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., 8:24, 8:24] = 1
    return mask


@torch.no_grad()
def published(model: Denoiser, image: torch.Tensor, mask: torch.Tensor, seed: int) -> torch.Tensor:
    """The papers' order on one generator: first noise, the condition's, each step's, the Harmony-VAE's."""
    generator = torch.Generator().manual_seed(seed)
    posterior, scale = model.vae.encode(image).latent_dist, model.vae.config.scaling_factor
    scheduler = EulerAncestralDiscreteScheduler.from_config(model.scheduler.config)
    scheduler.set_timesteps(3)
    latents = torch.randn(posterior.mean.shape, generator=generator) * scheduler.init_noise_sigma
    condition = posterior.sample(generator) * scale
    for timestep in scheduler.timesteps:
        stacked = torch.cat([scheduler.scale_model_input(latents, timestep), model.latent_mask(mask), condition], dim=1)
        predicted = model.unet(stacked, timestep, model.null_embedding).sample
        latents = scheduler.step(predicted, timestep, latents, generator=generator).prev_sample
    noise = torch.randn(posterior.mean.shape, generator=generator)
    decoded: torch.Tensor = model.vae(latents / scale, image, mask, noise).clamp(-1, 1)
    return decoded


def test_one_generator_gives_all_noise_in_the_published_order_whatever_the_batch(model, image, mask):
    expected = torch.cat([published(model, image, mask, seed) for seed in (5, 6)])
    assert torch.allclose(model.pictures(image, mask, [5, 6], SAMPLE), expected, atol=1e-4)
    assert not torch.allclose(model.pictures(image, mask, [5, 6], MODE), expected, atol=1e-2)
    drawn = PictureSampler(model, SAMPLE, batch=1)
    image_u8 = ((image[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    exact = published(model, torch.from_numpy(image_u8).permute(2, 0, 1)[None] / 127.5 - 1, mask, 6)
    last = list(drawn(image_u8, mask[0, 0].numpy() > 0, [5, 6]))[1]
    np.testing.assert_allclose(last, (exact[0].permute(1, 2, 0).numpy() + 1) / 2, atol=1e-4)


def test_noise_of_the_condition_is_a_sample_of_its_posterior(model, image, mask):
    vae, latents = model.vae, torch.randn(1, CHANNELS, 4, 4, generator=torch.Generator().manual_seed(2))
    features = vae.features(image, mask)
    assert features.std.shape == features.latent.shape
    assert (features.std > 0).all()
    still = vae.with_noise(features, torch.zeros_like(features.std))
    assert torch.allclose(vae.decode(latents, still), vae(latents, image, mask), atol=1e-6)
    moments, _, _ = vae.conditional_encoder(image, mask)
    posterior, noise = vae._posterior(moments), torch.ones_like(features.std)
    by_hand = vae.latent_skip_conv(vae.post_quant_conv(posterior.mean + posterior.std))
    assert torch.allclose(vae.with_noise(features, noise).latent, by_hand, atol=1e-5)


def test_the_checkpoint_states_it_and_an_option_overrules_it(model, image, mask, tmp_path):
    assert model.condition(image)[1] is None
    model.save_pretrained(tmp_path / "mode", torch.float32)
    stated = Denoiser.from_pretrained(tmp_path / "mode", "forward")
    stated.spec = stated.spec.model_copy(update={"posterior": "sample"})
    stated.vae.register_to_config(posterior="sample")
    stated.save_pretrained(tmp_path / "sample", torch.float32)
    again = Denoiser.from_pretrained(tmp_path / "sample", "forward")
    assert (again.spec.posterior, again.vae.config.posterior) == ("sample", "sample")
    three = Sampling(steps=3)
    for asked, other in ((three, SAMPLE), (MODE, three)):
        made, expected = again.pictures(image, mask, [5], asked), model.pictures(image, mask, [5], other)
        assert torch.allclose(made, expected, atol=1e-4)


def test_a_residual_model_takes_the_mode(tiny_inverse, image, mask):
    model = Denoiser.from_pretrained(tiny_inverse, "inverse")
    model.spec = model.spec.model_copy(update={"target": "residual"})
    assert torch.equal(model.pictures(image, mask, [5], SAMPLE), model.pictures(image, mask, [5], MODE))
