"""The refinement UNet: names, channels, the residual, sizes, and its checkpoint folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import get_args

import pytest
import torch
from diffusers import UNet2DModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from harmonygen.errors import CheckpointError
from harmonygen.models.checkpoints import SPEC_NAME
from harmonygen.models.refiner import INPUTS, WEIGHTS, Kind, RefinementUNet, RefinerSpec

KINDS = get_args(Kind)
CHANNELS = {"refiner": 7, "direct": 4}
"""REFERENCE section 3: harmonized 3 | mask 1 | composite 3; and composite 3 | mask 1."""


def small(kind: str = "refiner", seed: int | None = 0, **changes: object) -> RefinementUNet:
    """A network of three levels; with a seed its last convolution is random, without it is as made: zero."""
    torch.manual_seed(seed or 0)
    model = RefinementUNet(RefinerSpec(kind=kind, widths=(8, 8, 16), layers_per_block=1, norm_num_groups=4, **changes))
    if seed is not None:
        torch.nn.init.normal_(model.conv_out.weight, std=0.3)
    return model.eval()


def inputs(kind: str, height: int = 16, width: int = 24, count: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, count, 3, height, width, generator=generator) * 2 - 1
    mask = (torch.rand(count, 1, height, width, generator=generator) > 0.5).float()
    return [images[0], mask, images[1]][: 3 if kind == "refiner" else 2]


@pytest.mark.parametrize("kind", KINDS)
def test_the_full_size_has_the_names_and_shapes_of_diffusers_unet_without_its_time_embedding(kind):
    with torch.device("meta"):
        ours = RefinementUNet(RefinerSpec(kind=kind))
        theirs = UNet2DModel(
            in_channels=CHANNELS[kind],
            out_channels=3,
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownBlock2D",) * 4,
            up_block_types=("UpBlock2D",) * 4,
            layers_per_block=2,
        )
    expected = {name: value.shape for name, value in theirs.state_dict().items() if "time_emb" not in name}
    assert {name: value.shape for name, value in ours.state_dict().items()} == expected
    assert {name.split(".")[0] for name in expected if "attentions" in name} == {"mid_block"}
    # the refiner's three more input channels are 3 x 3 x 3 x 128 weights
    assert sum(value.numel() for value in ours.parameters()) == {"refiner": 91_402_627, "direct": 91_399_171}[kind]
    assert 91_402_627 - 91_399_171 == 3 * 3 * 3 * 128


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 21), width=st.integers(1, 21))
def test_a_new_network_is_the_identity_at_any_size(kind, height, width):
    model, parts = small(kind, seed=None), inputs(kind, height, width)
    assert torch.equal(model(*parts), parts[0])
    assert torch.equal(model.train()(*parts), parts[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_input_is_stacked_in_the_stated_order(kind):
    model, parts, seen = small(kind), inputs(kind), []
    model.conv_in.register_forward_hook(lambda module, arguments, output: seen.append(arguments[0]))
    model(*parts)
    assert torch.equal(seen[0], torch.cat(parts, dim=1))
    assert seen[0].shape[1] == CHANNELS[kind] == INPUTS[kind][0]


@pytest.mark.parametrize(("height", "width"), [(15, 22), (13, 24), (16, 21)])
def test_other_sizes_are_padded_by_their_edge_pixels_and_cut_back(height, width):
    model = small("refiner").train()
    parts = inputs("refiner", height, width)
    padding = (0, 24 - width, 0, 16 - height)
    whole = model(*(functional.pad(part, padding, mode="replicate") for part in parts))
    assert torch.equal(model(*parts), whole[..., :height, :width])
    assert model.multiple == 4


def test_training_keeps_the_gradient_of_values_out_of_range_and_evaluation_clamps_them():
    model, parts = small("refiner"), inputs("refiner")
    with torch.no_grad():
        model.conv_out.bias.fill_(3)
    model.train()(*parts).sum().backward()
    assert float(model(*parts).detach().max()) > 2
    assert torch.allclose(model.conv_out.bias.grad, torch.full((3,), float(parts[0].numel() / 3)))
    assert torch.equal(model.eval()(*parts), model.train()(*parts).clamp(-1, 1))


def test_direct_leaves_the_background_bit_for_bit_and_the_refiner_may_change_it():
    for kind in KINDS:
        parts = inputs(kind)
        changed = (small(kind)(*parts) != parts[0]).any(dim=1, keepdim=True)
        background = parts[1] == 0
        assert changed[~background].all()
        assert changed[background].any() == (kind == "refiner")


def test_a_composite_too_many_or_too_few_is_refused():
    image, mask, composite = inputs("refiner")
    with pytest.raises(ValueError, match=r"a direct takes composite 3, mask 1; the third argument was one"):
        small("direct")(image, mask, composite)
    with pytest.raises(ValueError, match=r"a refiner takes harmonized 3, mask 1, composite 3; .* was none"):
        small("refiner")(image, mask)


def test_gradient_checkpointing_changes_no_gradient():
    found = []
    for recompute in (False, True):
        model = small("direct").train()
        model.gradient_checkpointing = recompute
        model(*inputs("direct")).square().mean().backward()
        found.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.allclose(one, other, atol=1e-7) for one, other in zip(*found, strict=True))
    assert any(one.abs().max() > 1e-4 for one in found[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_saved_and_loaded_is_the_same_model(kind, tmp_path):
    model, parts = small(kind, resolution=48, training_data="photos"), inputs(kind)
    model.save_pretrained(tmp_path / "exact", torch.float32)
    again = RefinementUNet.from_pretrained(tmp_path / "exact", kind)
    assert again.spec == model.spec
    assert torch.equal(again(*parts), model(*parts))
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    model.save_pretrained(tmp_path / "half")
    assert torch.allclose(RefinementUNet.from_pretrained(tmp_path / "half", kind)(*parts), model(*parts), atol=0.02)
    assert {path.name for path in (tmp_path / "half").iterdir()} == {WEIGHTS, SPEC_NAME}
    assert next(model.parameters()).dtype == torch.float32


def test_half_precision_weights_give_images_of_the_callers_precision(tmp_path):
    small("direct").save_pretrained(tmp_path)
    model, parts = RefinementUNet.from_pretrained(tmp_path, "direct", dtype=torch.bfloat16), inputs("direct")
    assert model(*parts).dtype == torch.float32
    assert torch.allclose(model(*parts), small("direct")(*parts), atol=0.1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    for kind, folder in made.items():
        small(kind).save_pretrained(folder)
    return made


def change_spec(folder: Path, **changes: object) -> None:
    raw = json.loads((folder / SPEC_NAME).read_text())
    (folder / SPEC_NAME).write_text(json.dumps({**raw, **changes}))


@pytest.mark.parametrize(
    ("stored", "damage", "asked", "message"),
    [
        ("direct", {}, "refiner", "is of kind 'direct', 'refiner' is needed"),
        ("refiner", {}, "direct", "is of kind 'refiner', 'direct' is needed"),
        ("refiner", {"kind": "classifier"}, "refiner", "is of kind 'classifier'"),
        ("direct", {"kind": "refiner"}, "refiner", r"takes 7 channels \(harmonized 3.*but its weights take 4"),
        ("refiner", {"kind": "direct"}, "direct", r"takes 4 channels \(composite 3, mask 1\), but its weights take 7"),
        ("direct", {"widths": [8, 8, 8]}, "direct", r"do not fit widths \(8, 8, 8\) with 1 layers"),
        ("direct", {"layers_per_block": 2}, "direct", "Missing key"),
        ("direct", {"norm_num_groups": 3}, "direct", r"widths \[8, 8, 16\] of a direct cannot be split"),
        ("direct", {"attention_head_dim": 5}, "direct", "16 of a direct is not a multiple of attention_head_dim 5"),
        ("direct", {"widths": []}, "direct", "is not valid"),
        ("direct", {"surprise": 1}, "direct", "surprise"),
    ],
)
def test_a_wrong_checkpoint_is_refused_with_what_was_found(folders, tmp_path, stored, damage, asked, message):
    folder = Path(shutil.copytree(folders[stored], tmp_path / "copy"))
    change_spec(folder, **damage)
    with pytest.raises(CheckpointError, match=message):
        RefinementUNet.from_pretrained(folder, asked)


def test_truncated_missing_or_pickled_weights_are_refused(folders, tmp_path):
    folder = Path(shutil.copytree(folders["direct"], tmp_path / "copy"))
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="cannot read weights"):
        RefinementUNet.from_pretrained(folder, "direct")
    (folder / WEIGHTS).unlink()
    torch.save(small("direct").state_dict(), folder / "model.pth")
    with pytest.raises(CheckpointError, match="cannot read weights"):
        RefinementUNet.from_pretrained(folder, "direct")
