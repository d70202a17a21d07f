"""Training the refiner: what stage 1 gives it, its loss, its resolution, its resume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from harmonygen.errors import CheckpointError, UsageError
from harmonygen.models.denoiser import Denoiser
from harmonygen.models.device import Sampling
from harmonygen.models.draw import PictureSampler
from harmonygen.models.harmony_vae import HarmonyVAE
from harmonygen.models.refiner import RefinementUNet
from harmonygen.training.composites import Batch, to_pm1
from harmonygen.training.refiner import FrozenPipeline, RefinerTask, shrink
from harmonygen.training.run import train
from harmonygen.training.settings import RefinerTraining

SIZES = {"widths": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "resolution": 32}
SEEDS = [11, 12, 2**62 - 1]
FORMS = ("latent", "residual", "harmony-vae", "residual, harmony-vae")


def losses(history: list[dict]) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in history if "loss" in row}


def quiet(_: str) -> None:
    """A log that says nothing."""


@pytest.fixture(scope="module")
def photos(small_photos) -> list[np.ndarray]:
    return small_photos(3, 32, 32)


@pytest.fixture(scope="module")
def masks(ellipse) -> list[np.ndarray]:
    return [ellipse(32, 32, scale) for scale in (0.2, 0.3, 0.4)]


@pytest.fixture(scope="module")
def batch(photos, masks) -> Batch:
    """Three real photos and their darkened foregrounds."""
    composites = [
        np.where(mask[..., None], photo // 2, photo).astype(np.uint8) for photo, mask in zip(photos, masks, strict=True)
    ]
    return {
        "real": torch.stack([to_pm1(photo) for photo in photos]),
        "composite": torch.stack([to_pm1(composite) for composite in composites]),
        "mask": torch.stack([torch.from_numpy(mask[None].astype(np.float32)) for mask in masks]),
    }


def stage1(folder: Path, form: str) -> Denoiser:
    """The tiny forward model in one of the forms a checkpoint can have, its zero convolutions made random."""
    model = Denoiser.from_pretrained(folder, "forward")
    torch.manual_seed(1)
    if "harmony-vae" in form:
        vae = HarmonyVAE.from_autoencoder(model.vae, "forward")
        for name, parameter in vae.named_parameters():
            if "skip" in name or "add_conv_in" in name:
                torch.nn.init.normal_(parameter, std=0.3)
        model.vae = vae
    if "residual" in form:
        changes = {"target": "residual", "residual_scale": 0.5, "noise": "shared", "noise_share": 0.5}
        model.spec = model.spec.model_copy(update=changes)
    return model.to("cpu", torch.float32)


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_is_harmonized_as_each_composite_alone_would_be(tiny_forward, batch, form):
    pipeline = FrozenPipeline(stage1(tiny_forward, form), Sampling(3))
    together = pipeline(batch["composite"], batch["mask"], SEEDS)
    for i, seed in enumerate(SEEDS):
        alone = pipeline(batch["composite"][i : i + 1], batch["mask"][i : i + 1], [seed])
        assert torch.allclose(together[i], alone[0], atol=1e-4)
    other = pipeline(batch["composite"], batch["mask"], [1, 2, 3])
    assert all(float((one - two).abs().max()) > 1e-3 for one, two in zip(together, other, strict=True))
    assert float(together.abs().max()) <= 1


@pytest.mark.parametrize("sampler", ["euler-ancestral", "euler"])
def test_stage_one_gives_what_harmonizing_gives(tiny_forward, photos, masks, batch, sampler):
    model = stage1(tiny_forward, "residual, harmony-vae")
    ours = FrozenPipeline(model, Sampling(3, sampler))(to_pm1(photos[0])[None], batch["mask"][:1], [5])
    theirs = next(iter(PictureSampler(model, Sampling(3, sampler))(photos[0], masks[0], [5])))
    assert np.allclose((ours[0].permute(1, 2, 0).numpy() + 1) / 2, theirs, atol=1e-5)


@pytest.fixture
def make(tiny_forward: Path, photo_folder: Path, tmp_path: Path) -> Callable[..., RefinerTraining]:
    def settings(**changes: Any) -> RefinerTraining:
        common = {"data": str(photo_folder), "output_dir": tmp_path / "refiner", "pipeline": str(tiny_forward)}
        steps = {"max_train_steps": 4, "checkpointing_steps": 2, "validation_steps": 4, "validation_samples": 2}
        other = {"logging_steps": 1, "learning_rate": 1e-3, "train_batch_size": 2, "sampling_steps": 2}
        methods = {"composites": {"pitie": 0, "fecker": 0}}
        return RefinerTraining(**{**SIZES, **common, **steps, **other, **methods, **changes})

    return settings


def at(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_first_loss_is_stage_ones_full_image_error(make, batch):
    task = RefinerTask(make())
    loss, figures = task.loss(task.module, batch, at(0))
    assert loss.item() == figures["stage1"]
    seeds = torch.randint(2**62, (3,), generator=at(0)).tolist()
    harmonized = task.pipeline(batch["composite"], batch["mask"], seeds)
    assert loss.item() == pytest.approx(float(functional.mse_loss(harmonized, batch["real"])))
    assert loss.item() == float(task.loss(task.module, batch, at(0))[0].detach())
    assert loss.item() != float(task.loss(task.module, batch, at(1))[0].detach())


def test_the_network_is_given_harmonized_mask_and_composite_at_its_own_resolution(make, batch):
    task = RefinerTask(make(refiner_resolution=32, resolution=64))
    large = {name: functional.interpolate(value, scale_factor=2.0, mode="nearest") for name, value in batch.items()}
    seen: list[torch.Tensor] = []
    task.model.conv_in.register_forward_hook(lambda module, arguments, output: seen.append(arguments[0]))
    task.loss(task.module, large, at(0))
    seeds = torch.randint(2**62, (3,), generator=at(0)).tolist()
    harmonized = task.pipeline(large["composite"], large["mask"], seeds)
    assert harmonized.shape == (3, 3, 64, 64)
    assert seen[0].shape == (3, 7, 32, 32)
    assert torch.equal(seen[0][:, 3:4], batch["mask"])
    half = {"size": (32, 32), "mode": "bilinear", "antialias": True}
    assert torch.allclose(seen[0][:, :3], functional.interpolate(harmonized, **half))
    assert torch.allclose(seen[0][:, 4:], functional.interpolate(large["composite"], **half))
    assert task.model.spec.resolution == 32


def test_shrinking_keeps_masks_binary_and_equal_sizes_as_they_are(batch):
    assert shrink(batch, 32) is batch
    small = shrink(batch, 16)
    assert set(small["mask"].unique().tolist()) == {0.0, 1.0}
    assert small["mask"].mean() == pytest.approx(float(batch["mask"].mean()), abs=0.03)
    assert torch.allclose(small["real"].mean(dim=(2, 3)), batch["real"].mean(dim=(2, 3)), atol=0.02)


def test_training_changes_the_refiner_alone_and_lowers_the_error_of_stage_one(make, batch, tmp_path):
    task = RefinerTask(make())
    frozen = {name: value.clone() for name, value in task.pipeline.model.unet.state_dict().items()}
    task.module.eval()
    before = task.validate([batch, batch])
    assert before["n"] == 6
    assert before["change"] == 0
    assert before["fmse"] == before["fmse_stage1"] != before["fmse_composite"]
    assert before["mse"] == before["mse_stage1"] > before["mse_composite"]
    optimizer = torch.optim.AdamW([p for p in task.module.parameters() if p.requires_grad], lr=3e-3)
    task.module.train()
    for step in range(15):
        loss, _ = task.loss(task.module, batch, at(step))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    task.module.eval()
    after = task.validate([batch, batch])
    assert after["mse_stage1"] == before["mse_stage1"]  # held-out pictures have seeds of their own
    assert after["mse"] < 0.9 * after["mse_stage1"]
    assert after["change"] == pytest.approx(after["fmse"] / after["fmse_stage1"] - 1)
    assert all(torch.equal(value, frozen[name]) for name, value in task.pipeline.model.unet.state_dict().items())
    assert not any(parameter.requires_grad for parameter in task.pipeline.model.vae.parameters())
    task.sheet([batch], tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_a_resumed_run_has_the_losses_of_one_left_alone_and_its_model_loads(make, tmp_path):
    straight = train(make(), quiet)
    checkpoint = str(tmp_path / "refiner" / "checkpoint-0000002")
    resumed = train(make(output_dir=tmp_path / "again", resume_from_checkpoint=checkpoint), quiet)
    assert list(losses(straight.history)) == [1, 2, 3, 4]
    assert losses(resumed.history) == losses(straight.history)
    assert resumed.validation == straight.validation
    model = RefinementUNet.from_pretrained(straight.folder, "refiner")
    assert model.spec.in_channels == 7
    assert model.conv_out.weight.any()
    assert {path.name for path in straight.folder.iterdir()} == {"harmonygen.json", "model.safetensors"}


def test_stage_one_runs_in_the_precision_of_the_training(make, batch):
    task = RefinerTask(make(mixed_precision="bf16"))
    assert task.pipeline.model.unet.dtype == task.pipeline.model.vae.dtype == torch.bfloat16
    assert next(task.module.parameters()).dtype == torch.float32
    loss, _ = task.loss(task.module, batch, at(0))
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def test_a_pipeline_that_cannot_serve_is_refused(make, tiny_inverse, tmp_path):
    with pytest.raises(CheckpointError, match="inverse model, a forward one is needed"):
        RefinerTask(make(pipeline=str(tiny_inverse)))
    with pytest.raises(CheckpointError, match="is not a folder"):
        RefinerTask(make(pipeline=str(tmp_path / "nowhere")))
    with pytest.raises(UsageError, match=r"resolution 60 is not a multiple of 8.*choose 56"):
        RefinerTask(make(resolution=60))
