"""What a run reports: figures and sheets to trackers, the rate and the time left to the log."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from harmonygen.errors import HarmonygenError, UsageError
from harmonygen.training import loop, tracking
from harmonygen.training.observe import Pace

FAKE_WANDB = """
import json, os

class Run:
    def log(self, values, step=None, **kwargs):
        kept = {key: v if isinstance(v, (int, float)) else [list(i.shape) for i in v] for key, v in values.items()}
        with open(os.environ["FAKE_WANDB"], "a") as opened:
            opened.write(json.dumps([step, kept]) + chr(10))
    def finish(self):
        self.log({"finished": 1})

class Config:
    def update(self, values, allow_val_change=True):
        run.log({"settings": float(len(values)), "seed": values["seed"]})

def Image(picture):
    return picture

def init(project, **kwargs):
    run.log({project + "/" + kwargs["name"]: 1})
    return run

run, config = Run(), Config()
"""


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_tracker_that_is_not_installed_is_said_so_before_training(toy, monkeypatch, name):
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=f"--report-to {name}: the package {name} is not installed: 'pip install"):
        toy(report_to=name)


def test_figures_settings_and_sheets_reach_wandb(toy, tmp_path, monkeypatch):
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "wandb.py").write_text(FAKE_WANDB)
    monkeypatch.syspath_prepend(tmp_path / "fake")
    monkeypatch.setenv("FAKE_WANDB", str(tmp_path / "log"))
    result = toy(report_to="wandb")
    rows = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    logged = {(step, name): value for step, values in rows for name, value in values.items()}
    assert logged[None, "harmonygen/toy"] == 1
    assert logged[None, "seed"] == 0
    for row in result.history:
        for name, value in row.items():
            if name != "step":
                kind = "validation" if name.startswith("validation_") else "train"
                assert logged[row["step"], f"{kind}/{name.removeprefix('validation_')}"] == value
    assert logged[1, "train/lr"] == pytest.approx(0.01)
    assert logged[8, "sheet"] == [[4, 8, 3]]
    assert logged[None, "finished"] == 1


def test_figures_and_sheets_reach_tensorboard(toy, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = toy(report_to="tensorboard")
    events = EventAccumulator(str(tmp_path / "toy" / "tensorboard"))
    events.Reload()
    losses = {event.step: event.value for event in events.Scalars("train/loss")}
    assert losses == pytest.approx({row["step"]: row["loss"] for row in result.history if "loss" in row})
    assert [event.step for event in events.Scalars("validation/mse")] == [4, 8]
    assert [event.step for event in events.Images("sheet")] == [4, 8]


def test_every_validation_leaves_a_sheet_and_the_newest_has_one_name(toy, tmp_path):
    toy()
    sheets = sorted((tmp_path / "toy" / "sheets").iterdir())
    assert [path.name for path in sheets] == ["step-0000004.png", "step-0000008.png"]
    assert np.asarray(Image.open(sheets[0])).shape == (4, 8, 3)
    assert (tmp_path / "toy" / "sheet.png").read_bytes() == sheets[1].read_bytes()


def test_the_log_says_rate_and_time_left(toy):
    said: list[str] = []
    toy(log=said.append, gradient_accumulation_steps=2)
    line = next(line for line in said if line.startswith("step 4/8 loss "))
    steps, images = (float(found) for found in re.search(r"\| ([\d.]+) steps/s, ([\d.]+) images/s", line).groups())
    assert images == pytest.approx(4 * steps, rel=0.05)
    assert Pace(10, 5.0).said(100, 16) == "2.00 steps/s, 32.0 images/s, 0:00:50 left"


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_spoilt(toy, toy_task):
    task = toy_task()
    task.module[0].weight.register_hook(lambda grad: grad * (torch.nan if len(task.seen) == 5 else 1))
    with pytest.raises(HarmonygenError, match="the gradient is nan at step 5"):
        toy(task)
    assert torch.isfinite(task.module[0].weight).all()


def test_a_precision_that_the_device_has_not_is_refused(toy, monkeypatch):
    def refuse(**_):
        raise ValueError("bf16 mixed precision requires a supported device")

    monkeypatch.setattr(loop, "Accelerator", refuse)
    with pytest.raises(UsageError, match=r"--mixed-precision bf16 cannot be used here \(bf16 mixed precision requires"):
        toy(mixed_precision="bf16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this device has it")
def test_half_precision_that_would_not_be_used_is_refused(toy):
    with pytest.raises(UsageError, match=r"--mixed-precision fp16 cannot be used here \(the CPU would"):
        toy(mixed_precision="fp16")


def test_several_precisions_may_be_trained_in_one_process(toy):
    full, half, again = (toy(mixed_precision=kind, overwrite=True).losses["loss"] for kind in ("no", "bf16", "no"))
    assert full == again != half
    assert half == pytest.approx(full, rel=0.05)


def test_the_warm_up_may_be_a_share_of_all_steps(toy):
    ratio = toy(lr_warmup_ratio=0.5, lr_scheduler="constant_with_warmup").history
    assert ratio == toy(lr_warmup_steps=4, lr_scheduler="constant_with_warmup", overwrite=True).history
    assert ratio != toy(lr_scheduler="constant_with_warmup", overwrite=True).history


def test_two_warm_ups_are_refused_in_one_line():
    from harmonygen.settings import resolve
    from harmonygen.training.settings import ClassifierTraining

    with pytest.raises(UsageError, match=r"^settings: lr_warmup_steps and lr_warmup_ratio are two ways"):
        resolve(ClassifierTraining, options={"lr_warmup_steps": 5, "lr_warmup_ratio": 0.1})
