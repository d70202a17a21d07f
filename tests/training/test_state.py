"""What a checkpoint keeps beside its weights, and the averages that are read back without a training."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from harmonygen.errors import CheckpointError
from harmonygen.training.settings import DirectTraining
from harmonygen.training.state import load_averaged, new_parts


def checkpoint(folder, frozen: bool):
    """Three steps of a layer, with averages that lag behind; ``frozen`` trains the second layer alone."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[0].requires_grad_(not frozen)
    settings = DirectTraining(ema_decay=0.9, learning_rate=0.1)
    parts = new_parts(module, settings, lambda optimizer: torch.optim.lr_scheduler.ConstantLR(optimizer))
    for _ in range(3):
        module(torch.ones(1, 2)).sum().backward()
        parts.optimizer.step()
        parts.ema.step(parts.parameters)
    folder.mkdir()
    parts.save(folder, {"step": 3})
    with parts.averaged():
        return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("frozen", [False, True])
def test_averages_go_to_the_parameters_that_they_are_of_also_in_a_network_that_does_not_train(tmp_path, frozen):
    averaged = checkpoint(tmp_path / "one", frozen)
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).requires_grad_(False)
    load_averaged(network, tmp_path / "one")
    assert all(torch.equal(value, averaged[name]) for name, value in network.state_dict().items())
    live = load_file(tmp_path / "one" / "model.safetensors")
    assert not torch.equal(live["1.weight"], averaged["1.weight"])


def test_averages_of_an_older_checkpoint_have_no_names_and_are_taken_in_order_or_refused(tmp_path):
    for frozen in (False, True):
        folder = tmp_path / str(frozen)
        averaged = checkpoint(folder, frozen)
        save_file(load_file(folder / "ema.safetensors"), folder / "ema.safetensors")
        network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        if frozen:
            with pytest.raises(CheckpointError, match="other parameters"):
                load_averaged(network, folder)
        else:
            load_averaged(network, folder)
            assert torch.equal(network[0].weight, averaged["0.weight"])
