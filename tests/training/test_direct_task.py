"""Training the direct harmonizer: its loss, its figures, its resume, and that it learns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmonygen.errors import CheckpointError, UsageError
from harmonygen.evaluation import metrics
from harmonygen.models.refiner import RefinementUNet
from harmonygen.training.composites import Batch, to_pm1
from harmonygen.training.direct import DirectTask, fmse, region_mean, relative_change
from harmonygen.training.run import train
from harmonygen.training.settings import DirectTraining

SIZES = {"widths": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "resolution": 32}


def direct(**changes: Any) -> DirectTask:
    torch.manual_seed(0)
    return DirectTask(DirectTraining(**{**SIZES, **changes}))


def losses(history: list[dict]) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in history if "loss" in row}


def quiet(_: str) -> None:
    """A log that says nothing."""


@pytest.fixture(scope="module")
def batch(small_photos, ellipse) -> Batch:
    """Three real photos whose foreground is darkened, more red or bluer, under masks of three sizes."""
    photos = small_photos(3, 32, 32)
    shift = np.array([(-40, -40, -40), (50, 0, -20), (-30, 10, 45)])
    masks = [ellipse(32, 32, scale) for scale in (0.2, 0.3, 0.4)]
    composites = [
        np.where(mask[..., None], np.clip(photo + move, 0, 255), photo).astype(np.uint8)
        for photo, mask, move in zip(photos, masks, shift, strict=True)
    ]
    return {
        "real": torch.stack([to_pm1(photo) for photo in photos]),
        "composite": torch.stack([to_pm1(composite) for composite in composites]),
        "mask": torch.stack([torch.from_numpy(mask[None].astype(np.float32)) for mask in masks]),
    }


def to_u8(image_pm1: torch.Tensor) -> np.ndarray:
    return ((image_pm1 + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()


def test_fmse_is_the_evaluations(batch):
    expected = [
        metrics.fmse(to_u8(one), to_u8(other), mask[0].bool().numpy())
        for one, other, mask in zip(batch["composite"], batch["real"], batch["mask"], strict=True)
    ]
    assert fmse(batch["composite"], batch["real"], batch["mask"]).tolist() == pytest.approx(expected, rel=1e-4)
    assert min(expected) > 100


@given(seed=st.integers(0, 1000), share=st.floats(0.1, 0.9))
def test_a_regions_mean_is_of_its_pixels_alone(seed, share):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(2, 3, 5, 4, generator=generator)
    region = (torch.rand(2, 1, 5, 4, generator=generator) < share).float()
    expected = [value[:, mask[0] > 0].mean() if mask.any() else 0.0 for value, mask in zip(values, region, strict=True)]
    assert region_mean(values, region).tolist() == pytest.approx([float(value) for value in expected], abs=1e-5)
    outside = values + 7 * (1 - region)
    assert torch.allclose(region_mean(outside, region), region_mean(values, region))


def test_an_untrained_loss_is_that_of_the_raw_composites(batch):
    error = (batch["composite"] - batch["real"]).double()
    inside = [error[i][:, batch["mask"][i, 0] > 0] for i in range(3)]
    expected = {
        ("l2", "foreground"): np.mean([float((one**2).mean()) for one in inside]),
        ("l1", "foreground"): np.mean([float(one.abs().mean()) for one in inside]),
        ("l2", "image"): float((error**2).mean()),
        ("l1", "image"): float(error.abs().mean()),
    }
    for (loss, region), value in expected.items():
        task = direct(loss=loss, loss_region=region)
        found, figures = task.loss(task.module, batch, torch.Generator())
        assert found.item() == pytest.approx(value, rel=1e-4)
        raw = fmse(batch["composite"], batch["real"], batch["mask"]).mean()
        assert figures["fmse"] == pytest.approx(float(raw), rel=1e-4)


def test_only_the_image_loss_sees_the_background(batch):
    spoilt = {**batch, "real": batch["real"] + (1 - batch["mask"])}
    for region in ("foreground", "image"):
        task = direct(loss_region=region)
        one, other = (task.loss(task.module, given, torch.Generator())[0].item() for given in (batch, spoilt))
        assert (one == pytest.approx(other)) == (region == "foreground")


def test_it_learns_to_undo_what_was_done_to_three_photos(batch, tmp_path):
    task = direct()
    before = task.validate([batch])
    assert before["change"] == 0
    assert before["n"] == 3
    optimizer = torch.optim.AdamW(task.module.parameters(), lr=5e-3)
    task.module.train()
    for _ in range(50):
        loss, _ = task.loss(task.module, batch, torch.Generator())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    task.module.eval()
    after = task.validate([batch])
    assert after["fmse_composite"] == before["fmse_composite"] == before["fmse"]
    assert after["change"] < -0.7
    assert after["change"] == pytest.approx(after["fmse"] / after["fmse_composite"] - 1)
    output, _ = task._harmonize(batch)
    background = batch["mask"].expand(-1, 3, -1, -1) == 0
    assert torch.equal(output[background], batch["composite"][background])
    task.sheet([batch], tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_a_change_from_nothing_is_not_a_number():
    assert np.isnan(relative_change(0.0, 0.0))


@pytest.fixture
def settings(photo_folder: Path, tmp_path: Path) -> Callable[..., DirectTraining]:
    def make(**changes: Any) -> DirectTraining:
        common = {"data": str(photo_folder), "output_dir": tmp_path / "direct", "train_batch_size": 2}
        steps = {"max_train_steps": 4, "checkpointing_steps": 2, "validation_steps": 4, "validation_samples": 2}
        other = {"logging_steps": 1, "learning_rate": 1e-3, "composites": {"pitie": 0, "fecker": 0}}
        return DirectTraining(**{**SIZES, **common, **steps, **other, **changes})

    return make


def test_a_resumed_run_has_the_losses_of_one_left_alone_and_its_model_loads(settings, tmp_path):
    straight = train(settings(), quiet)
    checkpoint = str(tmp_path / "direct" / "checkpoint-0000002")
    resumed = train(settings(output_dir=tmp_path / "again", resume_from_checkpoint=checkpoint), quiet)
    assert list(losses(straight.history)) == [1, 2, 3, 4]
    assert losses(resumed.history) == losses(straight.history)
    assert resumed.validation == straight.validation
    model = RefinementUNet.from_pretrained(straight.folder, "direct")
    assert model.spec.widths == (8, 16)
    assert model.spec.resolution == 32
    assert model.spec.training_data == settings().data
    assert model.conv_out.weight.any()


def test_widths_that_do_not_divide_are_refused_before_training(settings):
    with pytest.raises(CheckpointError, match=r"widths \[10\] of a direct"):
        train(settings(widths=(8, 10)), quiet)


def test_unknown_settings_are_refused():
    from harmonygen.settings import resolve

    with pytest.raises(UsageError, match="loss_region"):
        resolve(DirectTraining, None, {}, ["loss_regoin=image"])


def test_a_run_from_init_starts_with_its_weights_and_its_widths(tmp_path):
    earlier = direct(widths=(8, 16, 24)).model
    torch.nn.init.normal_(earlier.conv_out.weight)
    earlier.save_pretrained(tmp_path / "earlier", torch.float32)
    started = direct(init=str(tmp_path / "earlier"), data="later").model
    assert started.spec.widths == (8, 16, 24)  # SIZES says (8, 16)
    assert "later" in started.spec.training_data
    assert all(
        torch.equal(mine, theirs) for mine, theirs in zip(started.parameters(), earlier.parameters(), strict=True)
    )
    assert started.training
    assert all(parameter.requires_grad for parameter in started.parameters())


def test_init_of_another_kind_is_refused(tmp_path):
    earlier = direct().model
    earlier.save_pretrained(tmp_path / "earlier")
    (tmp_path / "earlier" / "harmonygen.json").write_text(
        (tmp_path / "earlier" / "harmonygen.json").read_text().replace('"direct"', '"refiner"')
    )
    with pytest.raises(CheckpointError, match="'direct' is needed"):
        direct(init=str(tmp_path / "earlier"))
