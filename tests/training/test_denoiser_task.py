"""The denoiser's loss: which pixels and timesteps count, what is predicted, and what memory may be saved."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from pydantic import ValidationError

from harmonygen.models.denoiser import draw_noise
from harmonygen.training.composites import OnTheFlyComposites, load_photos
from harmonygen.training.denoiser import DenoiserTask
from harmonygen.training.loop import collate
from harmonygen.training.run import train
from harmonygen.training.settings import ForwardTraining, InverseTraining


class Answer:
    """Stands for the UNet and gives a fixed answer; keeps what it was asked."""

    def __init__(self, sample: torch.Tensor) -> None:
        self.sample = sample

    def __call__(self, noisy: torch.Tensor, steps: torch.Tensor, prompt: torch.Tensor) -> Answer:
        self.asked, self.steps = noisy, steps
        return self


@pytest.fixture
def batch(photo_folder, tiny_settings):
    """Four samples at 32 px: 4 x 4 latent cells."""
    from harmonygen.data import read_pairs

    photos, _ = load_photos(list(read_pairs(photo_folder)), 38)
    data = OnTheFlyComposites(photos, tiny_settings("inverse"), "train")
    return collate([data[index] for index in range(4)])


@pytest.fixture
def task(tiny_settings, batch):
    """A denoiser task; keywords are settings."""

    def make(**changes) -> DenoiserTask:
        plain = {"target": "latent", "noise": "white", "noise_share": 0.0}
        return DenoiserTask(tiny_settings("inverse", **{**plain, **changes}), [batch])

    return make


def loss_of(task: DenoiserTask, batch, answer: torch.Tensor) -> tuple[float, Answer]:
    module = Answer(answer)
    return float(task.loss(module, batch, torch.Generator().manual_seed(5))[0]), module


def goal_of(task: DenoiserTask, batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw what the loss draws: clean latent, noise, timesteps, mask."""
    generator = torch.Generator().manual_seed(5)
    clean, _, mask = task._latents(batch, generator)
    noise = draw_noise(tuple(clean.shape), generator, task.settings.noise_share)
    steps = torch.randint(0, 1000, (len(clean),), generator=generator)
    return clean, noise, steps, mask


def test_the_foreground_alone_counts_and_small_ones_count_more(task, batch):
    inverse = task()
    zero = torch.zeros(4, 4, 4, 4)
    value, asked = loss_of(inverse, batch, zero)
    _, noise, steps, mask = goal_of(inverse, batch)
    assert torch.equal(asked.steps, steps)
    expected = []
    for eps, m in zip(noise, mask, strict=True):
        weight = min(max(16 / float(m.sum()), 1.0), 5.0)
        expected.append(float((eps**2 * m).mean()) * weight)
    assert value == pytest.approx(sum(expected) / 4, rel=1e-5)
    elsewhere = zero + 7 * (1 - mask)
    assert loss_of(inverse, batch, elsewhere)[0] == pytest.approx(value, rel=1e-6)


def test_the_whole_image_may_count(task, batch):
    inverse = task(loss_region="image")
    _, noise, _, _ = goal_of(inverse, batch)
    assert loss_of(inverse, batch, torch.zeros(4, 4, 4, 4))[0] == pytest.approx(float((noise**2).mean()), rel=1e-5)


def test_velocity_is_what_is_predicted_if_asked_for(task, batch):
    inverse = task(prediction_type="v_prediction")
    clean, noise, steps, _ = goal_of(inverse, batch)
    kept = inverse.schedule.alphas_cumprod[steps][:, None, None, None]
    velocity = kept.sqrt() * noise - (1 - kept).sqrt() * clean
    value, asked = loss_of(inverse, batch, velocity)
    assert value == pytest.approx(0, abs=1e-8)
    noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    assert torch.allclose(asked.asked[:, :4], noisy, atol=1e-5)
    assert loss_of(task(), batch, noise)[0] == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("gamma", [0.5, 5.0, 100.0])
def test_min_snr_weighs_the_clean_latents_error_whatever_is_predicted(task, batch, gamma):
    """One guess of the clean latent, said as noise or as velocity, has one loss: min(SNR, gamma) x squared error."""
    options = {"snr_gamma": gamma, "loss_region": "image"}
    epsilon, velocity = task(**options), task(prediction_type="v_prediction", **options)
    clean, noise, steps, _ = goal_of(epsilon, batch)
    kept = epsilon.schedule.alphas_cumprod[steps][:, None, None, None]
    noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    guess = clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    as_noise = (noisy - kept.sqrt() * guess) / (1 - kept).sqrt()
    as_velocity = (kept.sqrt() * noisy - guess) / (1 - kept).sqrt()
    snr = kept / (1 - kept)
    expected = float((snr.clamp(max=gamma) * (guess - clean) ** 2).mean())
    assert loss_of(epsilon, batch, as_noise)[0] == pytest.approx(expected, rel=1e-3)
    assert loss_of(velocity, batch, as_velocity)[0] == pytest.approx(expected, rel=1e-3)


def test_min_snr_is_off_unless_asked_for(task, batch):
    assert InverseTraining().snr_gamma == 0
    zero = torch.zeros(4, 4, 4, 4)
    assert loss_of(task(), batch, zero)[0] > loss_of(task(snr_gamma=1e-3), batch, zero)[0]
    assert loss_of(task(), batch, zero)[0] == pytest.approx(loss_of(task(snr_gamma=1e7), batch, zero)[0])


def test_the_residual_is_scaled_to_unit_variance_in_the_foreground(task, batch):
    residual = task(target="residual")
    clean, _, mask = residual._latents(batch, None)
    inside = clean.permute(0, 2, 3, 1)[mask[:, 0] > 0]
    assert float(inside.std()) == pytest.approx(1, rel=1e-3)
    assert not (clean * (1 - mask)).any()


@pytest.mark.parametrize("wrong", [{"noise": "white", "noise_share": 0.5}, {"noise": "shared"}])
def test_noise_that_contradicts_its_share_is_refused(wrong):
    with pytest.raises(ValidationError, match="noise_share"):
        ForwardTraining(**wrong)


def test_gradient_checkpointing_computes_again_and_gives_the_same_losses(tiny_settings, tmp_path, monkeypatch):
    calls = []
    plain = UNet2DConditionModel.enable_gradient_checkpointing

    def enable(self, *args, **kwargs):
        calls.append(self)
        plain(self, *args, **kwargs)

    monkeypatch.setattr(UNet2DConditionModel, "enable_gradient_checkpointing", enable)
    without = train(tiny_settings("inverse", max_train_steps=3), lambda _: None)
    assert not calls
    changes = {"max_train_steps": 3, "output_dir": tmp_path / "less", "gradient_checkpointing": True}
    less = train(tiny_settings("inverse", **changes), lambda _: None)
    assert len(calls) == 1
    assert calls[0].is_gradient_checkpointing
    rows = [[row["loss"] for row in result.history if "loss" in row] for result in (without, less)]
    assert rows[0] == pytest.approx(rows[1], rel=1e-5)


def test_gradient_checkpointing_of_a_model_that_cannot_is_refused(tiny_settings):
    from harmonygen.errors import UsageError

    with pytest.raises(UsageError, match="gradient_checkpointing: a HarmonyResNet cannot do it"):
        train(tiny_settings("classifier", gradient_checkpointing=True), lambda _: None)


@pytest.mark.long
def test_bf16_trains_close_to_full_precision(tiny_settings, tmp_path):
    full = train(tiny_settings("inverse", max_train_steps=3), lambda _: None)
    half = train(
        tiny_settings("inverse", max_train_steps=3, mixed_precision="bf16", output_dir=tmp_path / "half"),
        lambda _: None,
    )
    assert half.losses["loss"] != full.losses["loss"]
    assert half.losses["loss"] == pytest.approx(full.losses["loss"], rel=0.1)
