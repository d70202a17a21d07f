"""The trunk, what it is averaged over, and the judge and the parametric network that stand on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import color, data

from harmonygen.errors import CheckpointError
from harmonygen.models.classifier import ClassifierSpec, HarmonyResNet
from harmonygen.models.judge import HarmonyJudge
from harmonygen.models.parametric import ParametricNet, ParametricSpec, orthonormal_terms, starting_map, torch_terms
from harmonygen.models.regions import STATISTICS, pooled, regions_of, rgb_to_lab, statistics
from harmonygen.models.scorer import ClassifierScorer, load_classifier, take_weights
from harmonygen.models.trunk import TAP_CHANNELS, TAPS, Trunk, load_imagenet
from harmonygen.recolor.cubic import apply_cubic, cubic_terms, identity_cubic

JUDGE = ClassifierSpec(depth="efficientnet-lite0", in_channels=4, input_size=64)


def batch(side: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Two crops of a photo (2, 3, side, side) in [0, 1], and a mask in their middle."""
    photo = torch.from_numpy(data.astronaut()[: 2 * side, :side].copy()).float() / 255
    masks = torch.zeros(2, 1, side, side)
    masks[:, :, side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = 1
    return photo.reshape(2, side, side, 3).permute(0, 3, 1, 2), masks


def released() -> dict[str, torch.Tensor]:
    """Random weights in the released layout: convolutions without bias, each with a batch norm."""
    generator = torch.Generator().manual_seed(0)
    made: dict[str, torch.Tensor] = {}

    def add(name: str, norm: str, layer: torch.nn.Conv2d) -> None:
        made[f"{name}.weight"] = torch.randn(layer.weight.shape, generator=generator) / layer.weight[0].numel() ** 0.5
        for key in ("weight", "bias", "running_mean", "running_var"):
            made[f"{norm}.{key}"] = torch.rand(layer.out_channels, generator=generator) + 0.5

    trunk = Trunk()
    add("_conv_stem", "_bn0", trunk.stem)
    for number, block in enumerate(trunk.blocks):
        own = f"_blocks.{number}."
        if block.widens:
            add(f"{own}_expand_conv", f"{own}_bn0", block.expand)
        add(f"{own}_depthwise_conv", f"{own}_bn1", block.depthwise)
        add(f"{own}_project_conv", f"{own}_bn2", block.project)
    return made


def test_features_have_the_depths_and_sizes_of_their_blocks():
    images, masks = batch()
    taps = Trunk()(images, masks)
    assert [tap.shape[1] for tap in taps] == list(TAP_CHANNELS)
    assert [tap.shape[-1] for tap in taps] == [32, 16, 8, 4, 2]
    assert len(taps) == len(TAPS)


def test_folded_norms_compute_what_convolution_and_norm_compute(tmp_path):
    state, trunk = released(), Trunk()
    torch.save(state, tmp_path / "lite0.pth")
    load_imagenet(trunk, tmp_path / "lite0.pth")
    values = torch.rand(1, 24, 8, 8)
    norms = {number: torch.nn.BatchNorm2d(size, eps=1e-3).eval() for number, size in ((0, 144), (1, 144), (2, 40))}
    for number, norm in norms.items():
        norm.load_state_dict(
            {
                **norm.state_dict(),
                **{k: state[f"_blocks.3._bn{number}.{k}"] for k in ("weight", "bias", "running_mean", "running_var")},
            }
        )
    block = {name: state[f"_blocks.3._{name}_conv.weight"] for name in ("expand", "depthwise", "project")}
    wide = torch.nn.functional.conv2d(values, block["expand"])
    wide = torch.nn.functional.relu6(norms[0](wide))
    padded = torch.nn.functional.pad(wide, (1, 2, 1, 2))
    deep = torch.nn.functional.relu6(
        norms[1](torch.nn.functional.conv2d(padded, block["depthwise"], stride=2, groups=144))
    )
    expected = norms[2](torch.nn.functional.conv2d(deep, block["project"]))
    assert torch.allclose(trunk.blocks[3](values), expected, atol=1e-4)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not EfficientNet-lite0"):
        load_imagenet(Trunk(), tmp_path / "other.pth")


@pytest.mark.parametrize("frozen", [0, 3, 16])
def test_frozen_blocks_get_no_gradient(frozen):
    trunk = Trunk(mask_hint=True)
    trunk.freeze(frozen)
    trains = [all(parameter.requires_grad for parameter in block.parameters()) for block in trunk.blocks]
    assert trains == [number >= frozen for number in range(16)]
    assert trunk.stem.weight.requires_grad == (frozen == 0)
    assert trunk.mask_hint.weight.requires_grad == (frozen <= 3)


def test_lab_is_scikit_images():
    photo = data.coffee()[::8, ::8]
    ours = rgb_to_lab(torch.from_numpy(photo / 255).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - color.rgb2lab(photo)).max() < 0.01


def test_statistics_see_a_change_of_light_and_hardly_one_of_chroma_resolution():
    images, masks = batch(128)
    halved = images.mean(1, keepdim=True) + torch.nn.functional.interpolate(
        torch.nn.functional.avg_pool2d(images - images.mean(1, keepdim=True), 2), scale_factor=2
    )
    darker = torch.where(masks > 0, images * 0.8, images)
    plain = statistics(images, masks)
    assert plain.shape == (2, STATISTICS)
    moved, format_only = (float((statistics(changed, masks) - plain).abs().mean()) for changed in (darker, halved))
    assert moved > 10 * format_only


@pytest.mark.parametrize("share", [0.0, 1.0, 0.002])
def test_masks_without_a_ring_or_a_background_give_finite_numbers(share):
    images, masks = batch()
    masks[:] = 0
    masks.flatten()[: int(share * masks.numel())] = 1
    assert statistics(images, masks).isfinite().all()
    assert pooled(images, masks).isfinite().all()
    assert regions_of(masks).shape == (2, 4, 64, 64)


def test_a_judge_is_saved_loaded_and_scores_as_any_classifier(tmp_path):
    torch.manual_seed(0)
    judge = HarmonyJudge(JUDGE).eval()
    judge.save_pretrained(tmp_path, torch.float32)
    loaded = load_classifier(tmp_path)
    assert isinstance(loaded, HarmonyJudge)
    assert torch.equal(loaded.p_composite(*batch()), judge.p_composite(*batch()))
    photo, mask = data.coffee()[:80, :90], np.zeros((80, 90), bool)
    mask[20:60, 20:60] = True
    scores = ClassifierScorer(loaded)([photo, 255 - photo], mask)
    assert len(set(scores)) == 2
    assert all(0 < score < 1 for score in scores)


def test_only_a_judge_starts_from_a_judge(tmp_path):
    torch.manual_seed(0)
    first, second = (HarmonyJudge(JUDGE).eval() for _ in range(2))
    take_weights(second, first)
    assert torch.equal(first.p_composite(*batch()), second.p_composite(*batch()))
    resnet = HarmonyResNet(ClassifierSpec(depth="resnet10", in_channels=4, input_size=64))
    for model, begun in ((first, resnet), (resnet, first)):
        with pytest.raises(CheckpointError, match="to start from is"):
            take_weights(model, begun)


def test_calibration_moves_the_log_odds():
    judge = HarmonyJudge(JUDGE).eval()
    before = torch.logit(judge.p_composite(*batch()))
    judge.calibrate(0.5, -1.0)
    assert torch.allclose(torch.logit(judge.p_composite(*batch())), before * 0.5 - 1, atol=1e-4)


def test_labels_the_other_way_round_swap_the_outputs():
    torch.manual_seed(0)
    judge = HarmonyJudge(JUDGE).eval()
    before = judge.p_composite(*batch())
    judge.spec = JUDGE.model_copy(update={"labels": ("composite", "real")})
    assert torch.equal(judge.p_composite(*batch()), before)


def test_terms_are_those_of_numpy_and_their_mixture_is_orthonormal():
    colours = np.random.default_rng(0).random((50, 3))
    assert np.allclose(torch_terms(torch.from_numpy(colours)).numpy(), cubic_terms(colours))
    assert np.linalg.matrix_rank(orthonormal_terms()) == 20


def test_a_new_parametric_network_moves_part_of_the_way_of_the_statistics():
    images, masks = batch()
    picture = (images[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    picture[16:48, 16:48] //= 2
    start = starting_map(picture, masks[0, 0].numpy() > 0)
    model = ParametricNet(ParametricSpec(resolution=64)).eval()
    found = model.map_of(picture, masks[0, 0].numpy() > 0)
    share = (found - identity_cubic()) / (start - identity_cubic())
    assert np.allclose(share, 1 / (1 + np.exp(-1)), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_nearly_the_same_map(tmp_path, dtype):
    torch.manual_seed(0)
    model = ParametricNet(ParametricSpec(resolution=64)).eval()
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(tmp_path, torch.float32)
    photo, mask = data.coffee()[:80, :90], np.zeros((80, 90), bool)
    mask[20:60, 20:60] = True
    half = ParametricNet.from_pretrained(tmp_path, dtype=dtype).map_of(photo, mask)
    mapped = [apply_cubic(coefficients, photo[mask] / 255) for coefficients in (half, model.map_of(photo, mask))]
    assert np.abs(mapped[0] - mapped[1]).max() < 0.03


def test_a_parametric_checkpoint_states_its_strength(tmp_path):
    torch.manual_seed(0)
    model = ParametricNet(ParametricSpec(resolution=64)).eval()
    model.save_pretrained(tmp_path, torch.float32)
    whole = ParametricNet.from_pretrained(tmp_path)
    half = ParametricNet.from_pretrained(tmp_path)
    half.spec = half.spec.model_copy(update={"strength": 0.5})
    photo, mask = data.coffee()[:80, :90], np.zeros((80, 90), bool)
    mask[20:60, 20:60] = True
    changes = [model.map_of(photo, mask) - identity_cubic() for model in (whole, half)]
    assert np.allclose(changes[1], changes[0] / 2)
