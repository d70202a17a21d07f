"""The training loop: exact resume, guards, and what it leaves behind."""

from __future__ import annotations

import json
import math

import pytest
import torch

from harmonygen.errors import HarmonygenError, UsageError
from harmonygen.models.classifier import HarmonyResNet
from harmonygen.models.denoiser import Denoiser
from harmonygen.training import loop, run
from harmonygen.training.classifier import ClassifierTask
from harmonygen.training.run import train

TASKS = ("autoencoder", "inverse", "classifier")


class StoppedError(Exception):
    """What a test stops training with."""


def losses(history: list[dict]) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in history if "loss" in row}


def quiet(_: str) -> None:
    """A log that says nothing."""


@pytest.mark.parametrize(
    "task",
    [pytest.param(task, marks=pytest.mark.long if task in ("classifier", "autoencoder") else ()) for task in TASKS],
)
def test_an_interrupted_run_resumed_has_the_losses_of_one_left_alone(tiny_settings, tmp_path, monkeypatch, task):
    straight = train(tiny_settings(task), quiet)
    plain, calls = loop._Run._step, iter(range(4))

    def stopping(self, loader, step):
        if next(calls, None) is None:
            raise StoppedError
        return plain(self, loader, step)

    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "_step", stopping)
        with pytest.raises(StoppedError):
            train(tiny_settings(task, output_dir=out), quiet)
    assert [path.name for path in sorted(out.glob("checkpoint-*"))] == ["checkpoint-0000003"]
    torch.manual_seed(12345)  # the process's own random state has no say
    resumed = train(tiny_settings(task, output_dir=out, resume_from_checkpoint="latest"), quiet)
    assert list(losses(straight.history)) == [1, 2, 3, 4, 5, 6]
    assert losses(resumed.history) == losses(straight.history)
    assert resumed.validation == straight.validation
    assert len(set(losses(straight.history).values())) == 6


def test_resuming_from_a_named_checkpoint(tiny_settings, tmp_path):
    straight = train(tiny_settings("classifier"), quiet)
    checkpoint = tmp_path / "classifier" / "checkpoint-0000003"
    again = train(tiny_settings("classifier", output_dir=tmp_path / "x", resume_from_checkpoint=str(checkpoint)), quiet)
    assert losses(again.history) == losses(straight.history)


@pytest.mark.parametrize("name", ["latest", "nowhere"])
def test_resuming_without_a_checkpoint_is_refused(tiny_settings, name):
    with pytest.raises(UsageError, match=f"--resume-from-checkpoint {name}: no checkpoint"):
        train(tiny_settings("classifier", resume_from_checkpoint=name), quiet)


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_spoilt(tiny_settings, monkeypatch, tmp_path):
    plain, steps = ClassifierTask.loss, iter(range(1, 10))

    def spoilt(self, module, batch, generator):
        loss, figures = plain(self, module, batch, generator)
        return (loss * math.nan, figures) if next(steps) == 5 else (loss, figures)

    monkeypatch.setattr(ClassifierTask, "loss", spoilt)
    with pytest.raises(HarmonygenError, match="the loss is nan at step 5"):
        train(tiny_settings("classifier"), quiet)
    assert [path.name for path in (tmp_path / "classifier").glob("checkpoint-*")] == ["checkpoint-0000003"]
    assert not (tmp_path / "classifier" / "model").exists()


def test_validation_sees_the_average_and_leaves_the_live_weights(tiny_settings, monkeypatch):
    seen: dict[str, list[torch.Tensor]] = {"live": [], "validated": []}

    def weights(task) -> torch.Tensor:
        return task.module.network.fc.weight.detach().clone()

    plain_validate, plain_step = ClassifierTask.validate, loop._Run._step

    def validate(self, batches):
        seen["validated"].append(weights(self))
        assert not self.module.training
        return plain_validate(self, batches)

    def step(self, loader, number):
        seen["live"].append(weights(self.task))
        assert self.task.module.training
        return plain_step(self, loader, number)

    monkeypatch.setattr(ClassifierTask, "validate", validate)
    monkeypatch.setattr(loop._Run, "_step", step)
    with_validation = train(tiny_settings("classifier", ema_decay=0.9), quiet)
    live, validated = seen["live"], seen["validated"]
    assert not any(torch.equal(average, now) for average in validated for now in live)
    seen["live"], seen["validated"] = [], []
    without = train(tiny_settings("classifier", ema_decay=0.9, validation_steps=100, overwrite=True), quiet)
    assert losses(with_validation.history) == losses(without.history)
    assert all(torch.equal(one, other) for one, other in zip(live, seen["live"], strict=True))


def test_gradient_accumulation_descends_once_a_step(tiny_settings, monkeypatch):
    made = []
    plain = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *a, **k: made.append(1) or plain(self, *a, **k))
    train(tiny_settings("classifier", gradient_accumulation_steps=3, max_train_steps=2), quiet)
    assert len(made) == 2


def test_old_checkpoints_are_removed_and_settings_kept(tiny_settings, tmp_path):
    train(tiny_settings("classifier", checkpointing_steps=1, checkpoints_total_limit=2), quiet)
    out = tmp_path / "classifier"
    assert sorted(path.name for path in out.glob("checkpoint-*")) == ["checkpoint-0000005", "checkpoint-0000006"]
    assert json.loads((out / "settings.json").read_text())["max_train_steps"] == 6
    assert not list(out.glob(".*.tmp"))
    assert (out / "sheet.png").is_file()
    assert not list(out.rglob("*.bin"))


def test_finished_models_load_as_what_they_are(tiny_settings):
    classifier = HarmonyResNet.from_pretrained(train(tiny_settings("classifier"), quiet).folder)
    assert classifier.spec.labels == ("real", "composite")
    assert classifier.spec.input_size == 32
    inverse = Denoiser.from_pretrained(train(tiny_settings("inverse"), quiet).folder, "inverse")
    assert inverse.spec.target == "residual"
    assert inverse.spec.noise_share == 0.5
    assert inverse.spec.residual_scale > 0


def test_settings_of_no_known_task_are_refused(tiny_settings):
    with pytest.raises(UsageError, match="no task for settings"):
        run.build(loop.TrainSettings(), None)
