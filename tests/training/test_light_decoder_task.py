"""Distilling a light decoder: its target, exact resume, what comes out, and what cannot be distilled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from harmonygen.errors import CheckpointError
from harmonygen.models.assemble import with_harmony_vae
from harmonygen.models.denoiser import Denoiser
from harmonygen.models.harmony_vae import HarmonyVAE, load_autoencoder
from harmonygen.storage.shards import remove_folder
from harmonygen.training.light_decoder import LightDecoderTask
from harmonygen.training.run import train
from harmonygen.training.settings import LightDecoderTraining


def quiet(_: str) -> None:
    """A log that says nothing."""


@pytest.fixture(scope="module")
def harmony_vae(tiny_inverse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny inverse model's autoencoder as a Harmony-VAE whose features are not zero."""
    torch.manual_seed(0)
    plain = AutoencoderKL.from_pretrained(tiny_inverse / "vae")
    vae = HarmonyVAE.from_autoencoder(plain, "inverse")
    for parameter in vae.conditional_encoder.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    folder = tmp_path_factory.mktemp("harmony-vae")
    vae.save_pretrained(folder)
    return folder


@pytest.fixture
def settings(photo_folder: Path, harmony_vae: Path, tmp_path: Path) -> Callable[..., LightDecoderTraining]:
    """Six steps at 32 px; keywords change them."""

    def make(**changes: Any) -> LightDecoderTraining:
        common = {
            "data": str(photo_folder), "output_dir": tmp_path / "light", "vae": str(harmony_vae), "widths": (16, 8),
            "resolution": 32, "train_batch_size": 4, "max_train_steps": 6, "checkpointing_steps": 3,
            "validation_steps": 3, "validation_samples": 4, "logging_steps": 1, "learning_rate": 1e-2,
            "ema_decay": 0.5, "composites": {"pitie": 0, "fecker": 0},
        }  # fmt: skip
        return LightDecoderTraining(**{**common, **changes})

    return make


def batch(count: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    mask = torch.zeros(count, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    real = torch.rand(count, 3, 32, 32) - 0.5
    return {"real": real, "composite": real + 0.3 * mask, "mask": mask}


def test_its_target_is_the_full_decoders_change_of_the_photo(settings):
    task, one = LightDecoderTask(settings()), batch()
    full = task.full
    features = full.features(one["real"], one["mask"])
    latents, own = (full.encode(one[name]).latent_dist.mode() for name in ("composite", "real"))
    expected = full.decode(latents, features) - full.decode(own, features)
    torch.testing.assert_close(task._taught(one, None)[3], expected)
    loss, figures = task.loss(task.module, one, torch.Generator().manual_seed(0))  # at first it returns the photo
    sampled = task._taught(one, torch.Generator().manual_seed(0))[3]
    weight = 1 + 9 * one["mask"]
    assert figures["photo"] == 0
    assert float(loss.detach()) == pytest.approx(float((sampled.abs() * weight).sum() / (3 * weight.sum())), rel=1e-5)


def test_it_learns_the_starters_changes_and_only_the_decoder_moves(settings):
    sizes = {"max_train_steps": 60, "validation_steps": 60, "checkpointing_steps": 60}
    result = train(settings(vae="starter", learning_rate=3e-3, **sizes), quiet)
    start = LightDecoderTask(settings(vae="starter"))
    before = start.vae.state_dict()
    after = load_autoencoder(result.folder).float().state_dict()
    assert result.validation["left"] < 0.8  # at first all of it is left
    frozen = [name for name in before if not name.startswith("decoder.")]
    assert all(torch.equal(before[name].half().float(), after[name]) for name in frozen)
    assert any(not torch.equal(before[name], after[name]) for name in before if name not in frozen)


def test_it_resumes_with_the_same_losses(settings, tmp_path):
    straight = train(settings(), quiet)
    remove_folder(tmp_path / "light" / "checkpoint-0000006")
    again = train(settings(resume_from_checkpoint="latest"), quiet)
    assert again.history == straight.history
    assert again.validation == straight.validation
    assert (tmp_path / "light" / "sheet.png").is_file()


def test_the_light_decoder_takes_the_place_of_the_full_one_in_a_checkpoint(settings, tiny_inverse, tmp_path):
    folder = train(settings(max_train_steps=2), quiet).folder
    model = Denoiser.from_pretrained(with_harmony_vae(tiny_inverse, folder, tmp_path / "fast"))
    assert model.vae.config.light_widths == [16, 8]
    picture, mask = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    assert model.pictures(picture, mask, [1, 2]).shape == (2, 3, 32, 32)


def test_a_plain_autoencoder_and_one_that_is_light_already_are_refused(settings, tiny_inverse, tmp_path):
    with pytest.raises(CheckpointError, match=r"is a plain autoencoder: .* train one first"):
        LightDecoderTask(settings(vae=str(tiny_inverse)))
    folder = train(settings(max_train_steps=1), quiet).folder
    with pytest.raises(CheckpointError, match="has a light decoder already"):
        LightDecoderTask(settings(vae=str(folder)))
