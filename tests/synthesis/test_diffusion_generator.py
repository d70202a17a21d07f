"""Candidates by the inverse diffusion model, with a small random one of the real classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harmonygen.models import denoiser
from harmonygen.models.denoiser import Denoiser, DenoiserSpec, draw_noise
from harmonygen.models.device import Device, Sampling
from harmonygen.models.draw import PictureDecoder
from harmonygen.synthesis.generators.diffusion import DiffusionGenerator
from harmonygen.synthesis.load import sizing_of
from harmonygen.synthesis.settings import SynthesizeSettings

TOLERANCE = 1  # 8-bit steps: batches of 1, 4 and 10 may add up in another order


@pytest.fixture
def generator(tiny_inverse: Path) -> DiffusionGenerator:
    return DiffusionGenerator.from_pretrained(tiny_inverse, Device("cpu", torch.float32, 4), Sampling(5), "decode")


@pytest.fixture
def noises(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Everything that draw_noise returned."""
    drawn: list[torch.Tensor] = []

    def spy(shape: tuple[int, ...], source: torch.Generator, share: float) -> torch.Tensor:
        drawn.append(draw_noise(shape, source, share))
        return drawn[-1]

    monkeypatch.setattr(denoiser, "draw_noise", spy)
    return drawn


def test_batch_size_changes_no_noise_and_no_composite(generator, make_photo, draw, noises):
    photo = make_photo(detail="decode")
    made, noise = {}, {}
    for size in (1, 4, 10):
        noises.clear()
        generator.draw.batch = size
        made[size] = np.stack(list(generator(photo, draw(photo, 10)))).astype(int)
        noise[size] = torch.cat(noises)
    assert noise[1].shape == (10, 4, 4, 5)
    assert torch.equal(noise[1], noise[4])
    assert torch.equal(noise[1], noise[10])
    assert np.abs(made[1] - made[4]).max() <= TOLERANCE
    assert np.abs(made[1] - made[10]).max() <= TOLERANCE


def test_candidates_are_distinct_in_noise_and_pixels(generator, make_photo, draw, noises):
    photo = make_photo(detail="decode")
    made = list(generator(photo, draw(photo, 10)))
    assert len({composite.tobytes() for composite in made}) == 10
    assert len({noise.numpy().tobytes() for noise in noises}) == 10


def test_a_candidate_does_not_depend_on_its_company(generator, make_photo, draw):
    photo = make_photo(detail="decode")
    generator.draw.batch = 1  # the same batch shape: bit for bit
    six = list(generator(photo, draw(photo, 6)))
    assert np.array_equal(six[5], next(iter(generator(photo, draw(photo, 6)[5:]))))
    assert np.array_equal(six[2], list(generator(photo, draw(photo, 6)[::-1]))[3])


def test_the_ancestral_noise_of_later_steps_is_each_candidates_own(generator, make_photo, draw):
    """With the first noise made equal, candidates still differ, and still do not depend on the batch."""
    photo = make_photo(detail="decode")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(denoiser, "draw_noise", lambda shape, source, share: torch.ones(shape))
        four = list(generator(photo, draw(photo, 4)))
        generator.draw.batch = 1
        alone = list(generator(photo, draw(photo, 4)))
    assert len({composite.tobytes() for composite in four}) == 4
    assert np.abs(np.stack(four).astype(int) - np.stack(alone)).max() <= TOLERANCE


@pytest.mark.parametrize("detail", ["transfer", "decode"])
@pytest.mark.parametrize("fit", ["native", "square"])
def test_sizes_and_background(generator, make_photo, draw, detail, fit):
    generator.detail = detail
    photo = make_photo(detail=detail, fit=fit)
    expected = (96, 128, 3) if detail == "transfer" else (32, 40 if fit == "native" else 32, 3)
    made = list(generator(photo, draw(photo, 3)))
    assert [composite.shape for composite in made] == [expected] * 3
    for composite in made:
        assert composite.dtype == np.uint8
        assert np.array_equal(composite[~photo.mask], photo.image_u8[~photo.mask])
    assert len({composite.tobytes() for composite in made}) == 3


def test_max_side_is_the_size_of_the_composite(generator, make_photo, draw):
    generator.detail = "transfer"
    photo = make_photo(max_side=64)
    assert next(iter(generator(photo, draw(photo, 1)))).shape == (48, 64, 3)


def test_the_photo_is_encoded_once(generator, make_photo, draw, monkeypatch):
    calls = []
    encode = generator.draw.model.condition
    monkeypatch.setattr(generator.draw.model, "condition", lambda *inputs: calls.append(1) or encode(*inputs))
    photo = make_photo(detail="decode")
    list(generator(photo, draw(photo, 9)))
    assert len(calls) == 1


def test_a_batch_too_large_for_memory_is_halved_and_nothing_is_lost(generator, make_photo, draw, monkeypatch):
    photo = make_photo(detail="decode")
    generator.draw.batch = 2
    expected = list(generator(photo, draw(photo, 5)))
    sample, seen = generator.draw.model.sample, []

    def scarce(condition, mask, seeds, *how):
        seen.append(len(seeds))
        if len(seeds) > 2:
            raise torch.OutOfMemoryError("no memory")
        return sample(condition, mask, seeds, *how)

    monkeypatch.setattr(generator.draw.model, "sample", scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    generator.draw.batch = 8
    made = list(generator(photo, draw(photo, 5)))
    assert seen == [5, 2, 2, 1]
    assert np.abs(np.stack(made).astype(int) - np.stack(expected)).max() <= TOLERANCE


def test_where_the_decoder_runs_out_of_memory_nothing_is_denoised_again(generator, make_photo, draw, monkeypatch):
    photo = make_photo(detail="decode")
    expected = list(generator(photo, draw(photo, 5)))
    sample, decode, denoised, decoded = generator.draw.model.sample, PictureDecoder.__call__, [], []

    def noted(condition, mask, seeds, *how):
        denoised.append(len(seeds))
        return sample(condition, mask, seeds, *how)

    def scarce(self, latents, features=None):
        decoded.append(len(latents))
        if len(latents) > 1:
            raise torch.OutOfMemoryError("no memory")
        return decode(self, latents, features)

    monkeypatch.setattr(generator.draw.model, "sample", noted)
    monkeypatch.setattr(PictureDecoder, "__call__", scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    generator.draw.batch = generator.draw.decode_batch = 8
    made = list(generator(photo, draw(photo, 5)))
    assert denoised == [5]
    assert decoded == [5, 2, 1, 1, 1, 1, 1]
    assert np.abs(np.stack(made).astype(int) - np.stack(expected)).max() <= TOLERANCE
    list(generator(photo, draw(photo, 2)))
    assert decoded[7:] == [1, 1]  # it stays so


@pytest.fixture
def residual(tiny_inverse: Path) -> Denoiser:
    model = Denoiser.from_pretrained(tiny_inverse)
    model.spec = DenoiserSpec(
        target="residual", noise="shared", noise_share=0.5, residual_scale=0.7, mask_pooling="max", resolution=32
    )
    return model


def test_a_residual_model_decodes_the_difference(residual, make_photo, draw, monkeypatch):
    """No change of the latent gives the photo back bit for bit, whatever the autoencoder's own error."""
    photo = make_photo(detail="decode")
    monkeypatch.setattr(residual, "sample", lambda condition, mask, seeds, *_: condition.expand(len(seeds), -1, -1, -1))
    for composite in DiffusionGenerator(residual, detail="decode")(photo, draw(photo, 2)):
        assert np.array_equal(composite, photo.image_u8)


def test_a_residual_picture_is_the_photo_plus_the_decoded_change(residual):
    torch.manual_seed(0)
    image, condition, change = torch.rand(1, 3, 32, 32) - 0.5, torch.randn(1, 4, 4, 4), torch.randn(2, 4, 4, 4) / 10
    picture = residual.picture(condition + change, condition, residual.decode(condition), image)
    expected = image + residual.decode(condition + change) - residual.decode(condition)
    assert torch.allclose(picture, expected.clamp(-1, 1), atol=1e-6)
    assert not torch.allclose(picture[0], picture[1])


def test_a_residual_sample_leaves_latents_outside_the_mask(residual):
    condition, mask = torch.randn(1, 4, 4, 4), torch.zeros(1, 1, 4, 4)
    mask[..., 1:3, 1:3] = 1
    drawn = residual.sample(condition, mask, [1, 2, 3], Sampling(3))
    assert torch.equal((drawn - condition) * (1 - mask), torch.zeros(3, 4, 4, 4))
    assert ((drawn - condition) * mask).abs().amin(dim=(1, 2, 3)).max() == 0
    assert len({row.numpy().tobytes() for row in drawn}) == 3


def test_shared_noise_has_unit_variance_and_its_share_in_common():
    source = torch.Generator().manual_seed(0)
    noise = torch.cat([draw_noise((1, 4, 8, 8), source, 0.5) for _ in range(400)])
    assert float(noise.var()) == pytest.approx(1, abs=0.06)
    assert float(noise.mean(dim=(2, 3)).var()) == pytest.approx(0.5 + 0.5 / 64, abs=0.05)
    white = torch.cat([draw_noise((1, 4, 8, 8), source, 0.0) for _ in range(400)])
    assert float(white.mean(dim=(2, 3)).var()) == pytest.approx(1 / 64, abs=0.004)


@pytest.mark.parametrize(("compiled", "resolution", "multiple"), [(False, 128, 8), (True, 128, 64), (True, 32, 32)])
def test_a_compiled_model_works_at_few_sizes(generator, compiled, resolution, multiple):
    settings = SynthesizeSettings(compile=compiled, resolution=resolution)
    assert sizing_of(settings, generator).multiple == multiple
