"""Distilling a denoiser: what the teacher draws, what the student's step is, exact resume, and what comes out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harmonygen.errors import UsageError
from harmonygen.models.denoiser import Denoiser, new_scheduler
from harmonygen.models.device import Sampling
from harmonygen.runs.read import Run
from harmonygen.settings import resolve
from harmonygen.storage.shards import remove_folder
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.synthesize import synthesize
from harmonygen.training.checkpoints import DRAWS
from harmonygen.training.distill import ONE_STEP, DistillTask
from harmonygen.training.run import train
from harmonygen.training.settings import DistillTraining
from harmonygen.training.taught import shrunk, teach


def quiet(_: str) -> None:
    """A log that says nothing."""


@pytest.fixture
def settings(photo_folder: Path, tiny_inverse: Path, tmp_path: Path) -> Callable[..., DistillTraining]:
    """Six steps on twelve draws at 64 and at 32 px of the tiny inverse model in three steps; keywords change them."""

    def make(**changes: Any) -> DistillTraining:
        common = {
            "data": str(photo_folder), "output_dir": tmp_path / "distill", "teacher": str(tiny_inverse),
            "teacher_steps": 3, "teacher_draws": 12, "resolution": 64, "also_at": (32,), "train_batch_size": 4,
            "max_train_steps": 6, "checkpointing_steps": 3, "validation_steps": 3, "validation_samples": 4,
            "logging_steps": 1, "learning_rate": 1e-3, "ema_decay": 0.5,
            "composites": {"pitie": 0, "fecker": 0},
        }  # fmt: skip
        return DistillTraining(**{**common, **changes})

    return make


def batch(count: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    mask = torch.zeros(count, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    return {name: torch.rand(count, 3, 32, 32) - 0.5 for name in ("real", "composite")} | {"mask": mask}


def losses(history: list[dict[str, Any]]) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in history if "loss" in row}


def test_what_the_teacher_draws_is_a_function_of_photo_and_seed_alone(settings):
    task, three = DistillTask(settings()), batch()
    together = task.teach(three, [5, 6, 7])
    alone = task.teach({name: value[1:2] for name, value in three.items()}, [6])
    for name, value in alone.items():
        torch.testing.assert_close(value, together[name][1:2], rtol=1e-4, atol=1e-4)
    other = task.teach(three, [8, 6, 7])["goal"]
    assert not torch.allclose(other[0], together["goal"][0], atol=1e-2)
    torch.testing.assert_close(other[1:], together["goal"][1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_students_step_is_the_samplers_single_step(settings, prediction_type):
    task = DistillTask(settings())
    task.model.scheduler.register_to_config(prediction_type=prediction_type)
    task.schedule.register_to_config(prediction_type=prediction_type)
    drawn = task.teach(batch(2), [3, 4])
    with torch.no_grad():
        made = task._one_step(task.module, drawn)
    sampled = task.model.sample(drawn["condition"], drawn["cells"], [3, 4], ONE_STEP)
    torch.testing.assert_close(made, sampled, rtol=1e-4, atol=1e-3)


def test_a_residual_teachers_goal_is_the_scaled_residual(settings):
    task = DistillTask(settings())
    changes = {"target": "residual", "residual_scale": 2.0, "noise": "shared", "noise_share": 0.5}
    task.teacher.spec = task.teacher.spec.model_copy(update=changes)
    drawn = teach(task.teacher, 3, batch(2), [3, 4])
    whole = task.teacher.sample(drawn["condition"], drawn["cells"], [3, 4], Sampling(3, "euler"))
    torch.testing.assert_close(drawn["condition"] + 2 * drawn["goal"], whole)
    assert float((drawn["goal"] * (1 - drawn["cells"])).abs().max()) < 1e-5


def test_the_loss_is_the_error_in_the_foreground_and_falls_to_nothing_at_the_teachers_result(settings):
    task = DistillTask(settings())
    drawn = task.teach(batch(2), [3, 4])
    with torch.no_grad():
        own = task._one_step(task.module, drawn)
        zero, _ = task.loss(task.module, {**drawn, "goal": own}, torch.Generator())
        outside, _ = task.loss(task.module, {**drawn, "goal": own + 1 - drawn["cells"]}, torch.Generator())
        weighted, _ = task.loss(task.module, {**drawn, "goal": own + drawn["cells"]}, torch.Generator())
        assert [float(zero), float(outside)] == pytest.approx([0, 0], abs=1e-9)
    assert float(weighted) == pytest.approx(1.0, rel=1e-3)  # a quarter of the cells, counted four times


def test_crops_are_shrunk_with_their_masks():
    one = batch(1)
    one["mask"].zero_()[0, 0, 3, 3] = 1  # nearest would lose it
    small = shrunk(one, 16)
    assert small["real"].shape == small["composite"].shape == (1, 3, 16, 16)
    assert small["mask"].sum() == 1
    assert shrunk(one, 32) is one


def test_sides_that_do_not_divide_the_crops_are_refused():
    with pytest.raises(UsageError, match=r"also_at has 48, and crops of resolution 64 .* such as 32"):
        resolve(DistillTraining, overrides=["resolution=64", "also_at=[48]"])


def test_a_killed_distillation_resumes_with_the_same_losses_and_draws_nothing_again(settings, tmp_path):
    straight = train(settings(), quiet)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "distill" / DRAWS).iterdir()}
    assert len(files) == 2  # one a side
    remove_folder(tmp_path / "distill" / "checkpoint-0000006")
    again = train(settings(resume_from_checkpoint="latest"), quiet)
    assert losses(again.history) == losses(straight.history)
    assert again.validation == straight.validation
    assert {path: path.stat().st_mtime_ns for path in files} == files
    weights = [load_file(run.folder / "unet" / "diffusion_pytorch_model.safetensors") for run in (straight, again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_draws_that_are_damaged_or_of_another_teacher_are_made_again(settings, tmp_path):
    train(settings(max_train_steps=1), quiet)
    first, second = sorted((tmp_path / "distill" / DRAWS).iterdir())
    whole = first.read_bytes()
    first.write_bytes(whole[:100])
    kept = second.stat().st_mtime_ns
    train(settings(max_train_steps=2, resume_from_checkpoint="latest"), quiet)
    assert first.read_bytes() == whole
    assert second.stat().st_mtime_ns == kept
    train(settings(max_train_steps=1, teacher_steps=2, overwrite=True), quiet)
    assert first.read_bytes() != whole


def test_a_students_draws_come_nearer_to_its_teachers(settings, tiny_inverse, tmp_path):
    teacher = Denoiser.from_pretrained(tiny_inverse)
    teacher.scheduler = new_scheduler("v_prediction")
    teacher.unet.conv_out.weight.data *= 6  # a new UNet predicts so little that its steps hardly matter
    teacher.save_pretrained(tmp_path / "teacher", torch.float32)
    changes = {"max_train_steps": 40, "validation_steps": 40, "resolution": 32, "also_at": ()}
    found = losses(train(settings(teacher=str(tmp_path / "teacher"), **changes), quiet).history)
    assert sum(found[step] for step in range(36, 41)) < 0.5 * sum(found[step] for step in range(1, 6))


def test_validation_sees_a_student_that_makes_the_mean_of_all_draws(settings, monkeypatch):
    task = DistillTask(settings())
    _, goals, _ = task._held_out(0, batch())
    monkeypatch.setattr(task, "_one_step", lambda module, drawn: goals.mean(dim=0))
    found = task.validate([batch()])
    assert found["spread"] == pytest.approx(0, abs=1e-6)
    assert found["error"] == pytest.approx(1, rel=1e-4)
    by_seed = {tuple(task._held[0][0]["seed"][k].tolist()): goals[k] for k in range(len(goals))}
    monkeypatch.setattr(task, "_one_step", lambda module, drawn: by_seed[tuple(drawn["seed"].tolist())])
    assert task.validate([batch()])["error"] == 0
    assert task.validate([batch()])["spread"] == pytest.approx(1, rel=1e-4)


def test_the_exported_residual_is_as_large_as_the_teachers(settings, monkeypatch):
    task = DistillTask(settings(resolution=32, also_at=()))
    task.model.spec = task.model.spec.model_copy(update={"target": "residual", "residual_scale": 2.0})
    assert task.matched_scale() == 2.0  # nothing to measure on
    task.calibration = batch()
    for short, scale in ((0.95, 2 / 0.95), (0.5, 2.2)):
        monkeypatch.setattr(task, "_one_step", lambda module, drawn, short=short: short * drawn["goal"])
        assert task.matched_scale() == pytest.approx(scale, rel=1e-4)
    task.model.spec = task.model.spec.model_copy(update={"target": "latent", "residual_scale": 1.0})
    assert task.matched_scale() == 1.0


def test_without_kept_draws_the_teacher_draws_for_each_batch(settings, tmp_path):
    straight = train(settings(teacher_draws=0), quiet)
    assert not (tmp_path / "distill" / DRAWS).exists()
    remove_folder(tmp_path / "distill" / "checkpoint-0000006")
    assert losses(train(settings(teacher_draws=0, resume_from_checkpoint="latest"), quiet).history) == losses(
        straight.history
    )


def test_the_checkpoint_states_one_step_and_synthesize_takes_it(settings, photo_folder, tiny_classifier, tmp_path):
    folder = train(settings(max_train_steps=2), quiet).folder
    stated = json.loads((folder / "harmonygen.json").read_text())
    assert (stated["steps"], stated["sampler"], stated["direction"]) == (1, "euler", "inverse")
    out = tmp_path / "run"
    gates = {"max_clipped": 1, "max_fmse": 70000, "min_structure": -1}
    made = SynthesizeSettings(
        data=str(photo_folder), model=str(folder), classifier=str(tiny_classifier), out=out, k=3, gates=gates
    )
    synthesize(made)
    assert Run.open(out).plan["settings"]["steps"] == 1
    pictures = [bytes_ for _, bytes_ in Run.open(out).composites(Run.open(out).rows().to_pylist())]
    assert len(pictures) == len(set(pictures)) == 9
    again = synthesize(made.model_copy(update={"steps": 1}))  # what was left to the checkpoint, spelled out
    assert again.shards_run == 0


def test_a_student_starts_as_its_teacher_or_as_another_student(settings):
    task = DistillTask(settings())
    for name, value in task.teacher.unet.state_dict().items():
        assert torch.equal(value, task.module.state_dict()[name])
    folder = train(settings(max_train_steps=2), quiet).folder
    begun = DistillTask(settings(init=str(folder))).module.state_dict()
    left = Denoiser.from_pretrained(folder).unet.state_dict()
    assert all(torch.equal(begun[name], left[name]) for name in left)
