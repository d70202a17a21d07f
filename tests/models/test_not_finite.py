"""NaN in weights, scores and pictures is refused by name, and so are configurations that no machine can build."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from harmonygen.errors import NOT_FINITE, CheckpointError, InputError
from harmonygen.models.checkpoints import STARTER, load_weights, read_json, refuse_larger
from harmonygen.models.foreign import read_tensors
from harmonygen.models.parametric import ParametricNet
from harmonygen.models.refiner import RefinementUNet, RefinerSpec
from harmonygen.models.scorer import load_classifier
from harmonygen.pictures.detail import DetailTransfer
from harmonygen.pictures.images import to_u8
from harmonygen.recolor.cubic import cubic_u8, identity_cubic
from harmonygen.records import Candidate, Dropped, GateValues, Scored, Selected
from harmonygen.synthesis.select import select


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_refused_at_load_and_at_import(tmp_path, value, dtype):
    state = {"good": torch.ones(3, dtype=dtype), "net.bad": torch.tensor([0, value], dtype=dtype)}
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pth")
    for read, name in ((load_weights, "a.safetensors"), (read_tensors, "a.safetensors"), (read_tensors, "a.pth")):
        with pytest.raises(CheckpointError, match=rf"{name}' hold NaN or infinite values in net\.bad"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("part", "load"), [("classifier", load_classifier), ("parametric", ParametricNet.from_pretrained)]
)
def test_a_checkpoint_with_one_nan_is_refused(tmp_path, part, load):
    folder = tmp_path / part
    shutil.copytree(STARTER / part, folder)
    state = load_file(folder / "model.safetensors")
    name = next(name for name, value in state.items() if value.is_floating_point())
    state[name].view(-1)[0] = float("nan")
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="NaN"):
        load(folder)


@pytest.mark.parametrize(
    "config",
    [
        {"block_out_channels": [10**9, 1]},
        {"block_out_channels": [32] * 10_000},
        {"layers_per_block": 10**6},
        {"cross_attention_dim": 1e12},
        {"inner": {"attention_head_dim": -(10**9)}},
    ],
)
def test_absurd_configurations_are_refused_when_they_are_read(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config\.json' states .*over the limit"):
        read_json(tmp_path / "config.json")


def test_a_network_far_larger_than_its_weights_is_not_built(tmp_path):
    spec = RefinerSpec(kind="direct", widths=(4096, 8192, 8192, 8192))
    with pytest.raises(CheckpointError, match="states a network of"):
        refuse_larger(lambda: RefinementUNet(spec), {"a": torch.zeros(9)}, tmp_path)


def scored(k, p_composite):
    return Scored(Candidate("a", k, k), p_composite, GateValues(0, 900, 0.99, 0, (float(k), 0, 0)))


@pytest.mark.parametrize("rule", ["max-composite", "random", "quantile", "diverse"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.5])
def test_a_score_that_is_no_probability_is_never_selected_and_says_why(rule, bad):
    outcomes = select([scored(0, bad), scored(1, 0.2), scored(2, bad), scored(3, 0.7)], rule, count=4)
    assert [type(outcome) for outcome in outcomes] == [Dropped, Selected, Dropped, Selected]
    assert [each.reason for each in outcomes if isinstance(each, Dropped)] == ["gate:no-score"] * 2
    assert all(isinstance(each, Dropped) for each in select([scored(0, bad)], rule))


def test_pictures_that_are_not_finite_are_refused_instead_of_black():
    picture01 = np.full((16, 16, 3), 0.5, np.float32)
    mask = np.zeros((16, 16), bool)
    mask[4:12, 4:12] = True
    transfer = DetailTransfer(picture01, np.full((16, 16, 3), 128, np.uint8), mask)
    bad = picture01.copy()
    bad[5, 5] = np.nan
    for make in (
        lambda: to_u8(bad),
        lambda: transfer(bad),
        lambda: cubic_u8(identity_cubic() * np.nan, np.zeros((2, 2, 3), np.uint8)),
    ):
        with pytest.raises(InputError, match=NOT_FINITE[:20]):
            make()
