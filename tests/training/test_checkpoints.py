"""Checkpoints are whole under their names or absent, whenever the run is killed."""

from __future__ import annotations

import resource
import shutil

import pytest
import torch
from safetensors.torch import save_file

from harmonygen.errors import StorageError, UsageError
from harmonygen.settings import HOW, marked
from harmonygen.training import checkpoints, state
from harmonygen.training.settings import TASKS, ForwardTraining, RefinerTraining


class KilledError(Exception):
    """What stands for a kill."""


def fill(content: str):
    def write(folder):
        (folder / "model.safetensors").write_text(content)
        (folder / "step.json").write_text("{}")

    return write


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_checkpoints_are_found_by_step_not_by_name(tmp_path):
    for step in (500, 12_000_000, 9_999_999):
        checkpoints.write(tmp_path, step, fill("x"))
    (tmp_path / "checkpoint-old").mkdir()
    (tmp_path / "checkpoint-99999999").mkdir()  # without step.json: a copy that was broken off
    assert [checkpoints.step_of(path) for path in checkpoints.checkpoints(tmp_path)] == [500, 9_999_999, 12_000_000]
    assert checkpoints.find("latest", tmp_path).name == "checkpoint-12000000"


def test_a_kill_while_writing_leaves_the_older_one_latest(tmp_path):
    checkpoints.write(tmp_path, 3, fill("three"))

    def dies(folder):
        fill("half")(folder)
        raise KilledError

    with pytest.raises(KilledError):
        checkpoints.write(tmp_path, 6, dies)
    assert names(tmp_path) == ["checkpoint-0000003"]
    assert checkpoints.find("latest", tmp_path).name == "checkpoint-0000003"
    checkpoints.sweep(tmp_path)
    assert names(tmp_path) == ["checkpoint-0000003"]


def test_the_new_one_stands_before_an_old_one_goes(toy, monkeypatch, tmp_path):
    seen = []
    plain = checkpoints.prune

    def prune(output_dir, newest, limit):
        seen.append(checkpoints.step_of(checkpoints.find("latest", output_dir)) if newest > 0 else 0)
        assert (tmp_path / "toy" / f"checkpoint-{newest:07d}" / "optimizer.pt").is_file() or newest < 0
        plain(output_dir, newest, limit)

    monkeypatch.setattr(checkpoints, "prune", prune)
    toy(checkpoints_total_limit=1)
    assert seen == [0, 3, 6, 8]
    assert [path.name for path in checkpoints.checkpoints(tmp_path / "toy")] == ["checkpoint-0000008"]


def test_a_kill_while_removing_leaves_no_half_checkpoint(tmp_path, monkeypatch):
    for step in (1, 2):
        checkpoints.write(tmp_path, step, fill("x"))
    plain = shutil.rmtree

    def dies(path, ignore_errors=False):
        if not ignore_errors:
            (path / "model.safetensors").unlink()
            raise KilledError
        plain(path, ignore_errors=ignore_errors)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", dies)
        with pytest.raises(KilledError):
            checkpoints.prune(tmp_path, newest=2, limit=1)
    assert [path.name for path in checkpoints.checkpoints(tmp_path)] == ["checkpoint-0000002"]
    checkpoints.sweep(tmp_path)
    assert names(tmp_path) == ["checkpoint-0000002"]


def test_what_a_killed_run_left_is_swept_when_it_goes_on(toy, tmp_path):
    straight = toy(max_train_steps=6)
    for name in (".checkpoint-0000007.tmp", ".checkpoint-0000003.old.tmp", ".model.tmp"):
        (tmp_path / "toy" / name).mkdir()
    (tmp_path / "toy" / ".checkpoint-0000007.tmp" / "model.safetensors").write_text("half")
    toy(max_train_steps=6, resume_from_checkpoint="latest")
    assert not list((tmp_path / "toy").glob(".*.tmp"))
    assert straight.steps == 6


def test_an_older_checkpoint_that_a_kill_kept_from_its_removal_goes_when_the_run_resumes(toy, tmp_path):
    toy(checkpoints_total_limit=1)
    newest = checkpoints.find("latest", tmp_path / "toy")
    shutil.copytree(newest, newest.with_name("checkpoint-0000003"))
    toy(checkpoints_total_limit=1, resume_from_checkpoint="latest")
    assert checkpoints.checkpoints(tmp_path / "toy") == [newest]


def test_no_space_is_said_and_leaves_what_was_there(tmp_path):
    checkpoints.write(tmp_path, 3, fill("three"))

    def full(folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space left"):
        checkpoints.write(tmp_path, 3, full)
    assert (tmp_path / "checkpoint-0000003" / "model.safetensors").read_text() == "three"


def test_what_a_kill_left_half_written_is_swept(tmp_path):
    for name in (".history.json.7.tmp", ".settings.json.7.tmp"):
        (tmp_path / name).write_text("{")
    (tmp_path / "history.json").write_text("[]")
    checkpoints.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["history.json"]


@pytest.fixture
def small_disk():
    """No file of this process may grow over 4 kB: what a full disk does, without one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _by_safetensors(path):
    save_file({"a": torch.zeros(100_000)}, path)


def _by_torch(path):
    torch.save({"a": torch.zeros(100_000)}, path)


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("save", [_by_safetensors, _by_torch])
def test_a_full_disk_is_a_storage_error_whichever_library_meets_it(tmp_path, save):
    """safetensors and torch have errors of their own for it, neither of them an OSError."""
    with pytest.raises(Exception, match=r"inline_container|os error") as met:
        save(tmp_path / "weights")
    assert not isinstance(met.value, OSError)
    with pytest.raises(StorageError, match=r"could not write|os error"):
        checkpoints.write(tmp_path, 3, lambda folder: save(folder / "weights"))


def test_other_faults_of_what_fills_a_checkpoint_are_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(RuntimeError, match="a bug"):
        checkpoints.write(tmp_path, 3, _faulty)


def _faulty(_folder):
    raise RuntimeError("a bug")


def test_a_damaged_checkpoint_is_named(toy, tmp_path):
    toy()
    folder = tmp_path / "toy" / "checkpoint-0000008"
    (folder / "optimizer.pt").write_bytes(b"x" * 100)
    with pytest.raises(UsageError, match="checkpoint-0000008' cannot be loaded"):
        toy(resume_from_checkpoint="latest")
    (folder / "step.json").write_text("{")
    with pytest.raises(UsageError, match="is damaged"):
        toy(resume_from_checkpoint="latest")


def test_checkpoint_and_validation_leave_the_live_weights_bit_for_bit(toy, toy_task, monkeypatch):
    task = toy_task()
    changed = []

    def watch(name, owner):
        plain = getattr(owner, name)

        def watched(*args, **kwargs):
            before = {key: value.clone() for key, value in task.module.state_dict().items()}
            result = plain(*args, **kwargs)
            after = task.module.state_dict()
            changed.append((name, all(torch.equal(before[key], after[key]) for key in before)))
            return result

        monkeypatch.setattr(owner, name, watched)

    from harmonygen.training import loop, observe

    watch("_checkpoint", loop._Run)
    watch("validate", observe.Observer)
    during = []
    plain_validate = task.validate
    task.validate = lambda batches: during.append(task.module[0].weight.detach().clone()) or plain_validate(batches)
    toy(task)
    assert [name for name, _ in changed] == ["_checkpoint", "validate", "_checkpoint", "_checkpoint", "validate"]
    assert all(same for _, same in changed)
    assert not torch.equal(during[-1], task.module[0].weight)  # the averaged weights were in it


def test_the_loss_scaler_of_half_precision_is_kept(tmp_path):
    scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    module = torch.nn.Linear(2, 2)

    def parts(scale):
        optimizer = torch.optim.AdamW(module.parameters())
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
        return state.Parts(module, list(module.parameters()), None, optimizer, schedule, scale)

    parts(scaler).save(tmp_path, {"step": 1})
    other = torch.amp.GradScaler("cpu", init_scale=2.0)
    parts(other).load(tmp_path, {"step": 1})
    assert other.get_scale() == 512.0


def test_a_refiners_first_stage_is_sampled_as_it_was_and_a_denoiser_may_state_another_sampler():
    assert "sampler" not in marked(RefinerTraining, HOW)
    assert {"sampler", "steps", "draws", "detail_radius", "detail_map"} <= set(marked(ForwardTraining, HOW))
    assert all({"output_dir", "max_train_steps"} <= set(marked(kind, HOW)) for kind in TASKS.values())
