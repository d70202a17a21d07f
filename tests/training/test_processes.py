"""Several processes: each has its own share of the data, and together they are one run with a larger batch."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket

import pytest
import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

ALIKE = {"max_train_steps": 4, "checkpointing_steps": 2, "lr_scheduler": "constant"}
FORK = multiprocessing.get_context("fork")


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def launch(work, processes: int = 2) -> list[int]:
    """Run ``work(rank)`` in processes that see what ``accelerate launch --cpu`` sets; return the exit codes."""

    def start(rank: int, port: int) -> None:
        AcceleratorState._reset_state(reset_partial_state=True)
        PartialState._reset_state()
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(processes),
            LOCAL_WORLD_SIZE=str(processes),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
            ACCELERATE_USE_CPU="true",
        )
        work(rank)

    port = free_port()
    children = [FORK.Process(target=start, args=(rank, port)) for rank in range(processes)]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=100)
        if child.is_alive():
            child.kill()
    return [child.exitcode for child in children]


def flat(nested: list[list[int]]) -> list[int]:
    return [number for numbers in nested for number in numbers]


@pytest.fixture
def train_two(toy, toy_task, tmp_path):
    """Train the toy in two processes that leave what they saw and said."""

    def train(name: str, **changes) -> list[dict]:
        def work(rank: int) -> None:
            said: list[str] = []
            task = toy_task(dropout=0, noise=0)
            result = toy(task, said.append, output_dir=tmp_path / name, **{**ALIKE, **changes})
            losses = [row["loss"] for row in result.history if "loss" in row]
            figures = {"seen": task.seen, "said": said, "main": result.main, "losses": losses}
            (tmp_path / f"{name}{rank}.json").write_text(json.dumps(figures))

        assert launch(work) == [0, 0]
        return [json.loads((tmp_path / f"{name}{rank}.json").read_text()) for rank in range(2)]

    return train


@pytest.mark.slow
def test_two_processes_share_the_data_and_equal_one_with_twice_the_batch(train_two, toy, toy_task, tmp_path):
    ranks = train_two("two", gradient_accumulation_steps=2)
    seen = [flat(rank["seen"]) for rank in ranks]
    assert not set(seen[0]) & set(seen[1])
    assert sorted(seen[0] + seen[1]) == list(range(4 * 2 * 2 * 2))  # steps, micro-batches, processes, batch
    assert [rank["main"] for rank in ranks] == [True, False]
    assert ranks[0]["said"]
    assert not ranks[1]["said"]
    folders = sorted(path.name for path in (tmp_path / "two").glob("checkpoint-*"))
    assert folders == ["checkpoint-0000002", "checkpoint-0000004"]

    task = toy_task(dropout=0, noise=0)
    alone = toy(task, train_batch_size=8, **ALIKE)
    together = [sorted(flat([batch for rank in ranks for batch in rank["seen"][i : i + 2]])) for i in (0, 2, 4, 6)]
    assert together == task.seen
    weights, expected = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("two", "toy"))
    assert all(torch.allclose(weights[name], expected[name], atol=1e-5) for name in weights)
    assert ranks[0]["losses"] == pytest.approx([row["loss"] for row in alone.history if "loss" in row], abs=1e-4)

    train_two("cut", gradient_accumulation_steps=2, max_train_steps=2)
    resumed = train_two("cut", gradient_accumulation_steps=2, resume_from_checkpoint="latest")
    assert resumed[0]["losses"] == ranks[0]["losses"]
    assert [flat(rank["seen"]) for rank in resumed] == [numbers[8:] for numbers in seen]


def test_micro_batches_equal_one_big_batch(toy, toy_task):
    small, big = toy_task(dropout=0, noise=0), toy_task(dropout=0, noise=0)
    split = toy(small, train_batch_size=2, gradient_accumulation_steps=4)
    whole = toy(big, train_batch_size=8, overwrite=True)
    assert [flat(small.seen[i : i + 4]) for i in range(0, 32, 4)] == big.seen
    for name, weight in small.module.state_dict().items():
        assert torch.allclose(weight, big.module.state_dict()[name], atol=1e-5)
    losses = [[row["loss"] for row in run.history if "loss" in row] for run in (split, whole)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
