"""A run that is stopped or killed goes on as if it had not been."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time

import pytest
import torch
from safetensors.torch import load_file

from harmonygen.errors import CheckpointError, UsageError
from harmonygen.storage.shards import remove_folder
from harmonygen.training import checkpoints

FORK = multiprocessing.get_context("fork")


def losses(history: list[dict]) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in history if "loss" in row}


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.glob("checkpoint-*"))


def hang_at(step: int, task):
    """Make a task's loss wait for ever at a step."""
    plain = task.loss

    def loss(module, batch, generator):
        if len(task.seen) == step:
            time.sleep(600)
        return plain(module, batch, generator)

    task.loss = loss
    return task


def slowly(task):
    """Make each step of a task take a tenth of a second more."""
    plain = task.loss

    def loss(module, batch, generator):
        time.sleep(0.1)
        return plain(module, batch, generator)

    task.loss = loss
    return task


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_killed_by_the_system_resumes_with_the_same_losses(toy, toy_task, tmp_path, workers):
    out = tmp_path / "killed"
    changes = {"dataloader_num_workers": workers, "gradient_accumulation_steps": 2, "lr_scheduler": "cosine"}
    straight = toy(**changes)
    child = FORK.Process(target=lambda: toy(hang_at(10, toy_task()), output_dir=out, **changes))
    child.start()
    for _ in range(600):
        if names(out) == ["checkpoint-0000003"]:
            break
        time.sleep(0.05)
    time.sleep(0.2)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert names(out) == ["checkpoint-0000003"]
    torch.manual_seed(99)  # the process's own random state has no say
    resumed = toy(output_dir=out, resume_from_checkpoint="latest", **changes)
    assert list(losses(straight.history)) == list(range(1, 9))
    assert resumed.history == straight.history
    assert len(set(losses(straight.history).values())) == 8
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (out, tmp_path / "toy"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_signal_to_the_whole_group_leaves_the_workers_to_finish_the_step(toy, toy_task, tmp_path):
    out, changes = tmp_path / "group", {"dataloader_num_workers": 1, "max_train_steps": 400}

    def train():
        os.setsid()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        toy(slowly(toy_task()), output_dir=out, **changes)

    child = FORK.Process(target=train)
    child.start()
    for _ in range(600):
        if names(out):
            break
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGTERM)
    child.join(30)
    assert child.exitcode == 143
    last = checkpoints.find("latest", out)
    assert 3 <= checkpoints.step_of(last) < 400


def test_validation_that_a_kill_prevented_is_made_up_for(toy):
    straight = toy(checkpointing_steps=4)
    folder = checkpoints.find("latest", straight.folder.parent)
    assert checkpoints.step_of(folder) == 8
    assert not any("validation_mse" in row and row["step"] == 8 for row in checkpoints.read_state(folder)["history"])
    again = toy(checkpointing_steps=4, resume_from_checkpoint="latest")
    assert again.history == straight.history
    assert again.validation == straight.validation
    assert again.losses == straight.losses


@pytest.fixture
def interruptible():
    """Ctrl-C as in a terminal: a shell's background jobs, and some CI runners, are started with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_waits_for_the_step_and_leaves_a_checkpoint_of_it(toy, toy_task, tmp_path, number, raised):
    straight, out, said = toy(), tmp_path / "stopped", []
    task = toy_task()
    plain = task.loss

    def loss(module, batch, generator):
        if len(task.seen) == 4:
            os.kill(os.getpid(), number)
        return plain(module, batch, generator)

    def leave(*_):
        raise SystemExit

    task.loss, before = loss, signal.signal(signal.SIGTERM, leave)
    try:
        with pytest.raises(raised):
            toy(task, said.append, output_dir=out)
        assert signal.getsignal(signal.SIGTERM) is leave
    finally:
        signal.signal(signal.SIGTERM, before)
    assert names(out) == ["checkpoint-0000003", "checkpoint-0000005"]
    assert "stopped after step 5: --resume-from-checkpoint latest resumes from there" in said
    assert toy(output_dir=out, resume_from_checkpoint="latest").history == straight.history


@pytest.mark.usefixtures("interruptible")
def test_a_second_signal_acts_at_once(toy, toy_task, tmp_path):
    task = toy_task()
    plain = task.loss

    def loss(module, batch, generator):
        if len(task.seen) == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return plain(module, batch, generator)

    task.loss = loss
    with pytest.raises(KeyboardInterrupt):
        toy(task)
    assert names(tmp_path / "toy") == ["checkpoint-0000003"]
    assert len(task.seen) == 4


def test_training_works_outside_the_main_thread(toy):
    done = []
    thread = threading.Thread(target=lambda: done.append(toy(max_train_steps=2).steps))
    thread.start()
    thread.join()
    assert done == [2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train_batch_size": 4}, "train_batch_size: 2 then, 4 now"),
        ({"seed": 1}, "seed: 0 then, 1 now"),
        ({"learning_rate": 0.5}, "learning_rate: 0.01 then, 0.5 now"),
        ({"composites": {"lut": 0.9}}, "composites"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(toy, change, said):
    toy()
    with pytest.raises(UsageError, match=said):
        toy(resume_from_checkpoint="latest", **change)


def test_other_data_and_other_processes_are_refused(toy, tmp_path):
    toy()
    path = tmp_path / "toy" / "checkpoint-0000008" / "step.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "data_digest": "other"}))
    with pytest.raises(UsageError, match="the training photos or their order"):
        toy(resume_from_checkpoint="latest")
    path.write_text(json.dumps({**state, "processes": 4}))
    with pytest.raises(UsageError, match="processes: 4 then, 1 now"):
        toy(resume_from_checkpoint="latest")


def test_settings_that_do_not_decide_the_losses_may_change(toy, tmp_path):
    toy(max_train_steps=6)
    said: list[str] = []
    again = toy(
        log=said.append, resume_from_checkpoint="latest", logging_steps=2, checkpoints_total_limit=1, validation_steps=2
    )
    assert again.steps == 8
    assert "max_train_steps was 6: the schedule is that of 8 from here on" in said
    with pytest.raises(UsageError, match="is at step 8, past --max-train-steps 4"):
        toy(resume_from_checkpoint="latest", max_train_steps=4)


def test_another_architecture_is_refused(toy, toy_task):
    toy()
    other = toy_task()
    other.module = torch.nn.Conv2d(3, 3, 5, padding=2)
    with pytest.raises(CheckpointError, match="of another architecture"):
        toy(other, resume_from_checkpoint="latest")


def test_a_checkpoint_of_the_first_format_is_read(toy, tmp_path):
    straight = toy()
    for path in (tmp_path / "toy").glob("checkpoint-*/step.json"):
        state = json.loads(path.read_text())
        old = {"step": state["step"], "history": state["history"], "ema_steps": state["ema_steps"]}
        path.write_text(json.dumps(old))
    remove_folder(tmp_path / "toy" / "checkpoint-0000008")
    with pytest.raises(UsageError, match="seed: 0 then, 7 now"):
        toy(resume_from_checkpoint="latest", seed=7)
    assert toy(resume_from_checkpoint="latest").history == straight.history


def test_a_new_run_does_not_write_among_the_checkpoints_of_another(toy, tmp_path):
    first = toy(max_train_steps=8)
    with pytest.raises(UsageError, match="has checkpoints up to step 8: resume with --resume-from-checkpoint latest"):
        toy()
    again = toy(max_train_steps=4, overwrite=True)
    assert names(tmp_path / "toy") == ["checkpoint-0000003", "checkpoint-0000004"]
    assert {**losses(first.history), **losses(again.history)} == losses(first.history)


def test_going_back_to_an_earlier_checkpoint_leaves_the_later_ones_behind(toy, tmp_path):
    out = tmp_path / "toy"
    first = toy(checkpointing_steps=2, checkpoints_total_limit=4)
    assert names(out) == [f"checkpoint-000000{step}" for step in (2, 4, 6, 8)]
    stop = {"max_train_steps": 4, "checkpointing_steps": 3, "checkpoints_total_limit": 4}
    toy(resume_from_checkpoint=str(out / "checkpoint-0000002"), **stop)
    assert names(out) == [f"checkpoint-000000{step}" for step in (2, 3, 4)]
    assert losses(toy(resume_from_checkpoint="latest").history) == losses(first.history)


def test_two_runs_on_one_folder_the_second_is_refused(toy, toy_task):
    task = toy_task()
    plain = task.loss

    def loss(module, batch, generator):
        if not task.seen:
            with pytest.raises(UsageError, match="another run is writing"):
                toy(overwrite=True)
        return plain(module, batch, generator)

    task.loss = loss
    assert toy(task, max_train_steps=1).steps == 1
