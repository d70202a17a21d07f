"""Training the Harmony-VAE: what it is shown, what it weighs, what trains, and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from harmonygen.errors import CheckpointError, UsageError
from harmonygen.models.assemble import with_harmony_vae
from harmonygen.models.denoiser import Denoiser
from harmonygen.models.harmony_vae import HarmonyVAE, load_autoencoder
from harmonygen.training.harmony_vae import HarmonyVaeTask, foreground_psnr
from harmonygen.training.run import train
from harmonygen.training.settings import HarmonyVaeTraining, InverseTraining

UNET = {
    "block_out_channels": [8, 16],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "cross_attention_dim": 8,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}


def quiet(_: str) -> None:
    """A log that says nothing."""


@pytest.fixture
def settings(photo_folder: Path, tiny_inverse: Path, tmp_path: Path) -> Callable[..., HarmonyVaeTraining]:
    """Four steps at 32 px from the tiny autoencoder; keywords change them."""

    def make(**changes: Any) -> HarmonyVaeTraining:
        common = {
            "data": str(photo_folder), "output_dir": tmp_path / "harmony-vae", "vae": str(tiny_inverse),
            "resolution": 32, "train_batch_size": 2, "max_train_steps": 4, "checkpointing_steps": 2,
            "validation_steps": 2, "validation_samples": 2, "logging_steps": 1, "learning_rate": 1e-2,
            "composites": {"pitie": 0, "fecker": 0},
        }  # fmt: skip
        return HarmonyVaeTraining(**{**common, **changes})

    return make


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    mask = torch.zeros(2, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    real = torch.rand(2, 3, 32, 32) - 0.5
    return {"real": real, "composite": real + 0.3 * mask, "mask": mask}


@pytest.mark.parametrize(
    ("direction", "condition", "target"), [("inverse", "real", "composite"), ("forward", "composite", "real")]
)
def test_each_direction_is_shown_its_condition_with_the_mask_and_descends_to_its_target(
    settings, direction, condition, target
):
    task = HarmonyVaeTask(settings(direction=direction))
    shown: dict[str, torch.Tensor] = {}
    features = task.vae.features
    task.vae.features = lambda image, mask: shown.update(image=image, mask=mask) or features(image, mask)
    one = batch()
    loss, _ = task.loss(task.module, one, torch.Generator().manual_seed(0))
    assert torch.equal(shown["image"], one[condition])
    assert torch.equal(shown["mask"], one["mask"])
    posterior = task.vae.encode(one[target]).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(0))
    expected = task.vae(posterior.mean + posterior.std * noise, one[condition], one["mask"])
    assert float(loss.detach()) == pytest.approx(float((expected - one[target]).abs().mean().detach()), rel=1e-5)
    assert task.vae.config.direction == direction


@pytest.mark.parametrize(("loss", "power"), [("l1", 1), ("l2", 2)])
def test_a_foreground_pixel_counts_as_often_as_is_said(settings, loss, power):
    task, one = HarmonyVaeTask(settings(loss=loss, foreground_weight=3)), batch()
    output = torch.zeros(2, 3, 32, 32)
    found, _ = task.loss(lambda *_: output, one, torch.Generator())
    error = one["composite"].abs() ** power
    inside = one["mask"].expand_as(error) > 0
    expected = (3 * error[inside].sum() + error[~inside].sum()) / (3 * inside.sum() + (~inside).sum())
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_the_psnr_is_of_the_foreground_alone():
    image = torch.zeros(1, 3, 8, 8)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :2, :2] = 1
    target = torch.where(mask > 0, 0.2, 0.9).expand_as(image)
    assert float(foreground_psnr(image, target, mask)) == pytest.approx(20, abs=1e-4)  # 0.1 of the range of 1


@pytest.mark.parametrize("train_decoder", [True, False])
def test_only_what_was_chosen_trains_and_the_frozen_parts_stay_bit_for_bit(settings, tiny_inverse, train_decoder):
    result = train(settings(train_decoder=train_decoder, ema_decay=0), quiet)
    start = HarmonyVAE.from_autoencoder(load_autoencoder(tiny_inverse / "vae")).state_dict()
    moved = {
        name.split(".")[0]
        for name, value in load_autoencoder(result.folder).state_dict().items()
        if not torch.equal(value, start[name])
    }
    assert moved == {"conditional_encoder", "latent_skip_conv", *(["decoder"] if train_decoder else [])}


def test_validation_compares_with_the_plain_autoencoder_and_training_gains(settings, tmp_path):
    one_step = train(settings(max_train_steps=1, learning_rate=1e-8, output_dir=tmp_path / "one"), quiet)
    assert one_step.validation["psnr"] == pytest.approx(one_step.validation["psnr_plain"], abs=1e-3)
    result = train(settings(max_train_steps=20, ema_decay=0, validation_steps=20), quiet)
    found = result.validation
    assert found["psnr_plain"] == pytest.approx(one_step.validation["psnr_plain"], abs=1e-4)
    assert found["psnr"] > found["psnr_plain"]
    assert found["psnr_gain"] == pytest.approx(found["psnr"] - found["psnr_plain"])
    assert found["n"] == 2
    assert (tmp_path / "harmony-vae" / "sheet.png").is_file()


def test_the_sheet_has_condition_target_start_and_now(settings, tmp_path):
    from PIL import Image

    task = HarmonyVaeTask(settings())
    task.sheet([batch()], tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    assert sheet.shape == (4 * 32, 2 * 32, 3)
    rows = np.split(sheet, 4)
    columns = [batch()[name].permute(0, 2, 3, 1).numpy() for name in ("real", "composite")]
    for row, pictures in zip(rows, columns, strict=False):
        assert np.abs(row - (np.concatenate(list(pictures), axis=1) + 1) * 127.5).max() <= 1
    assert np.array_equal(rows[2], rows[3])  # step 0


def test_resumed_it_has_the_losses_of_a_run_left_alone(settings, tmp_path):
    straight = train(settings(), quiet)
    again = train(
        settings(
            output_dir=tmp_path / "again", resume_from_checkpoint=str(tmp_path / "harmony-vae" / "checkpoint-0000002")
        ),
        quiet,
    )
    assert [row["loss"] for row in again.history if "loss" in row] == [
        row["loss"] for row in straight.history if "loss" in row
    ]
    assert again.validation == straight.validation


def test_gradient_checkpointing_gives_the_same_losses(settings, tmp_path):
    plain = train(settings(max_train_steps=2), quiet)
    recomputed = train(settings(max_train_steps=2, gradient_checkpointing=True, output_dir=tmp_path / "gc"), quiet)
    assert recomputed.losses["loss"] == pytest.approx(plain.losses["loss"], rel=1e-5)


def test_what_it_exports_is_a_harmony_vae_that_denoisers_take(settings, tiny_inverse, photo_folder, tmp_path):
    """As ``vae=`` of the inverse training, which saves it in vae/; and put into a checkpoint that was trained apart."""
    folder = train(settings(), quiet).folder
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors", ".md"}
    vae = load_autoencoder(folder)
    assert isinstance(vae, HarmonyVAE)
    inverse = InverseTraining(
        data=str(photo_folder), output_dir=tmp_path / "inverse", vae=str(folder), model=UNET, target="residual",
        resolution=32, train_batch_size=2, max_train_steps=1, validation_samples=2,
        composites={"pitie": 0, "fecker": 0},
    )  # fmt: skip
    made = Denoiser.from_pretrained(train(inverse, quiet).folder, "inverse")
    put = Denoiser.from_pretrained(with_harmony_vae(tiny_inverse, folder, tmp_path / "put"), "inverse")
    for model in (made, put):
        assert isinstance(model.vae, HarmonyVAE)
        state = model.vae.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in vae.state_dict().items())


def test_a_denoiser_of_the_other_direction_refuses_it(settings, photo_folder, tmp_path):
    folder = train(settings(direction="forward", max_train_steps=1), quiet).folder
    inverse = InverseTraining(data=str(photo_folder), output_dir=tmp_path / "inverse", vae=str(folder), model=UNET)
    with pytest.raises(CheckpointError, match="trained for direction 'forward', 'inverse' is needed"):
        train(inverse.model_copy(update={"resolution": 32}), quiet)


def test_a_harmony_vae_can_be_trained_on(settings, tmp_path):
    first = train(settings(ema_decay=0), quiet)
    task = HarmonyVaeTask(settings(vae=str(first.folder)))
    figures = task.validate([batch()])
    assert figures["psnr"] == figures["psnr_start"]
    assert figures["psnr_gain"] == 0
    second = train(settings(vae=str(first.folder), output_dir=tmp_path / "second"), quiet)
    assert second.losses["loss"] != first.losses["loss"]
    with pytest.raises(CheckpointError, match="trained for direction 'inverse', 'forward' is needed"):
        HarmonyVaeTask(settings(vae=str(first.folder), direction="forward"))


def test_an_autoencoder_that_is_not_there_is_named(settings):
    with pytest.raises(UsageError, match="no autoencoder at 'nowhere'"):
        HarmonyVaeTask(settings(vae="nowhere"))


def test_the_autoencoder_compared_with_stays_plain(settings):
    task = HarmonyVaeTask(settings())
    assert type(task.start) is AutoencoderKL
    assert not {id(p) for p in task.start.parameters()} & {id(p) for p in task.module.parameters()}


def test_skips_start_at_zero_or_for_the_ablation_at_random(settings, tmp_path):
    one = batch()
    plain, drawn = HarmonyVaeTask(settings()), HarmonyVaeTask(settings(skip_init="random"))
    with torch.no_grad():
        latents = plain.start.encode(one["composite"]).latent_dist.mode()
        usual = plain.start.decode(latents).sample
        assert torch.equal(plain.vae.eval()(latents, one["real"], one["mask"]), usual)
        assert not torch.allclose(drawn.vae.eval()(latents, one["real"], one["mask"]), usual, atol=0.01)
    differing = {
        name for name, value in drawn.vae.state_dict().items() if (value != plain.vae.state_dict()[name]).any()
    }
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in differing} >= {"add_conv_in", "latent_skip_conv"}
    assert all("skip_conv" in name or "add_conv_in" in name for name in differing)
    plain.export(tmp_path / "trained")
    with pytest.raises(UsageError, match="is a Harmony-VAE with skips: give a plain autoencoder"):
        HarmonyVaeTask(settings(vae=str(tmp_path / "trained"), skip_init="random"))
