"""Training the parametric inverse: what its samples state, its loss, its figures, a whole run and a resumed one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from harmonygen.data.composites import composites_of
from harmonygen.models.parametric_inverse import ParametricInverseNet
from harmonygen.recolor.foreground_terms import NUMBERS, change_numbers
from harmonygen.records import Candidate
from harmonygen.synthesis.generators.parametric import ParametricGenerator
from harmonygen.training.composites import OnTheFlyComposites
from harmonygen.training.data_sets import read_samples
from harmonygen.training.loop import collate
from harmonygen.training.parametric_inverse import ParametricInverseTask
from harmonygen.training.run import train
from harmonygen.training.settings import ParametricInverseTraining, ParametricTraining
from harmonygen.training.stored import StoredComposites

FAST = {"pitie": 0, "fecker": 0, "xiao": 0}


def quiet(_: str) -> None:
    """A log that says nothing."""


@pytest.fixture
def of(photo_folder, tmp_path):
    """Small settings of three photos; keywords change them."""

    def make(kind=ParametricInverseTraining, **changes):
        common = {"data": str(photo_folder), "output_dir": tmp_path / "out", "resolution": 32, "composites": FAST}
        sizes = {"train_batch_size": 4, "validation_samples": 4, "logging_steps": 1}
        own = {"components": 4, "gaussians": 2, "prior_samples": 24}
        return kind(**{**common, **sizes, **(own if kind is ParametricInverseTraining else {}), **changes})

    return make


def u8(image_pm1: torch.Tensor) -> np.ndarray:
    return np.rint((image_pm1.permute(1, 2, 0).numpy() + 1) * 127.5).astype(np.uint8)


def test_a_sample_states_its_change_as_it_was_before_the_chain(of):
    plain, chained = (
        read_samples(of(chain={"probability": share, "noise": 1, "max_noise": 20}), quiet)[0] for share in (0, 1)
    )
    for index in range(4):
        one, other = plain[index], chained[index]
        assert torch.equal(one["change"], other["change"])
        assert not torch.equal(one["real"], other["real"])
        measured = change_numbers(u8(one["real"]), u8(one["composite"]), one["mask"][0].numpy() > 0.5)
        assert np.allclose(one["change"].numpy(), measured, atol=1e-6)
        assert one["change"].shape == (NUMBERS,)


def test_other_models_samples_state_none(of):
    assert "change" not in read_samples(of(kind=ParametricTraining), quiet)[0][0]


def test_stored_composites_state_their_own_changes(of, finished_run):
    settings = of(data=str(finished_run), source="stored")
    samples = StoredComposites(composites_of(str(finished_run)).composites, settings, "train", augment=False)
    changes = torch.stack([samples[index]["change"] for index in range(8)])
    assert (changes.square().sum(1) > 1e-4).all()
    task = ParametricInverseTask(settings, samples)
    prior = torch.stack([samples[index]["change"] for index in range(24)])
    assert torch.allclose(task.model.mean, prior.mean(0), atol=1e-6)


def test_the_loss_falls_and_photos_come_to_matter(of):
    """Dark photos get lighter and light ones darker: only a look at the photo tells which."""
    torch.manual_seed(0)
    settings = of(components=2, prior_samples=24)
    samples = [toy_sample(index) for index in range(24)]
    task = ParametricInverseTask(settings, samples)
    batch, optimizer = collate(samples), torch.optim.AdamW(task.module.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss, _ = task.loss(task.module, batch, torch.Generator())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    figures = task.validate([batch])
    assert losses[-1] < losses[0] - 1
    assert figures["nll"] < min(figures["nll_prior"], figures["nll_exchanged"]) - 1
    assert figures["nll"] == pytest.approx(losses[-1], abs=0.3)


def toy_sample(index: int) -> dict[str, torch.Tensor]:
    """A grey photo, dark or light by turns, and a change that follows from which it is."""
    dark = index % 2 == 0
    rng = np.random.default_rng(index)
    real = torch.from_numpy((0.25 if dark else 0.75) + 0.1 * rng.standard_normal((3, 32, 32))).float().clamp(0, 1)
    mask = torch.zeros(1, 32, 32)
    mask[:, 8:24, 8:24] = 1
    change = torch.zeros(NUMBERS)
    change[:3] = (0.1 if dark else -0.1) + 0.02 * torch.from_numpy(rng.standard_normal(3)).float()
    return {"real": real * 2 - 1, "composite": real * 2 - 1, "mask": mask, "change": change}


def test_a_run_leaves_a_checkpoint_that_makes_candidates_as_strong_as_its_pairs(of, make_photo):
    settings = of(max_train_steps=3, validation_steps=3, validation_samples=24, chain={"probability": 1})
    result = train(settings, quiet)
    figures = result.validation
    assert all(map(math.isfinite, figures.values()))
    assert {"nll", "nll_prior", "nll_exchanged", "fmse", "fmse_composite", "redrawn", "n"} <= set(figures)
    assert 0.2 < figures["fmse"] / figures["fmse_composite"] < 5
    model = ParametricInverseNet.from_pretrained(result.folder)
    assert model.spec.training_data == settings.data
    assert (model.spec.components, model.spec.gaussians, model.spec.resolution) == (4, 2, 32)
    candidates = [Candidate("astronaut/0", k, k) for k in range(2)]
    assert len(list(ParametricGenerator(model)(make_photo(), candidates))) == 2


def test_a_resumed_run_has_the_losses_of_one_left_alone(of, tmp_path):
    steps = {"max_train_steps": 4, "checkpointing_steps": 2, "validation_steps": 4, "checkpoints_total_limit": 3}
    straight = train(of(**steps), quiet)
    checkpoint = tmp_path / "out" / "checkpoint-0000002"
    resumed = train(of(**steps, output_dir=tmp_path / "again", resume_from_checkpoint=str(checkpoint)), quiet)
    assert [row for row in resumed.history if row["step"] > 2] == [row for row in straight.history if row["step"] > 2]
    weights = [(result.folder / "model.safetensors").read_bytes() for result in (straight, resumed)]
    assert weights[0] == weights[1]


def test_init_goes_on_from_a_checkpoint_with_its_prior(of, photo_folder, tiny_parametric_inverse):
    settings = of(init=str(tiny_parametric_inverse), components=9)
    task = ParametricInverseTask(settings, OnTheFlyComposites([], settings, "train"))
    begun = ParametricInverseNet.from_pretrained(tiny_parametric_inverse)
    assert torch.equal(task.model.axes, begun.axes)
    assert task.model.spec.components == begun.spec.components
    assert task.model.spec.training_data == f"{photo_folder}; before that not stated"
    assert all(parameter.requires_grad for parameter in task.model.parameters())


def test_fewer_samples_than_components_are_refused(of):
    with pytest.raises(ValidationError, match="give more samples than components"):
        of(components=30)
