"""The harmony classifier: names, channels, labels, normalisation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torchvision import models

from harmonygen.errors import CheckpointError
from harmonygen.models.checkpoints import SPEC_NAME
from harmonygen.models.classifier import ClassifierSpec, HarmonyResNet, prepare


@pytest.fixture
def folder(tiny_classifier: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny_classifier, tmp_path / "classifier"))


def change_spec(folder: Path, **changes: object) -> None:
    raw = json.loads((folder / SPEC_NAME).read_text())
    (folder / SPEC_NAME).write_text(json.dumps({**raw, **changes}))


def test_the_papers_form_has_torchvisions_names_under_network():
    with torch.device("meta"):
        ours, theirs = HarmonyResNet(ClassifierSpec()), models.resnet50(num_classes=2)
    expected = {f"network.{name}": value.shape for name, value in theirs.state_dict().items()}
    assert {name: value.shape for name, value in ours.state_dict().items()} == expected
    assert ours.network.fc.in_features == 2048


def test_four_channels_change_the_stem_alone():
    with torch.device("meta"):
        three, four = (HarmonyResNet(ClassifierSpec(depth="resnet18", in_channels=n)) for n in (3, 4))
    shapes = {name: value.shape for name, value in four.state_dict().items()}
    changed = {name for name, value in three.state_dict().items() if shapes[name] != value.shape}
    assert changed == {"network.conv1.weight"}
    assert shapes["network.conv1.weight"] == (64, 4, 7, 7)


def test_the_mask_matters_to_four_channels_only():
    torch.manual_seed(0)
    image, masks = torch.rand(1, 3, 32, 32).expand(2, -1, -1, -1), torch.zeros(2, 1, 32, 32)
    masks[1, :, 8:20, 8:20] = 1
    for channels in (3, 4):
        model = HarmonyResNet(ClassifierSpec(depth="resnet10", in_channels=channels, input_size=32)).eval()
        p = model.p_composite(image, masks)
        assert torch.equal(p[0], p[1]) == (channels == 3)


def test_a_linear_probe_trains_the_head_alone():
    with torch.device("meta"):
        model = HarmonyResNet(ClassifierSpec())
    model.freeze_trunk()
    trainable = {name: value.numel() for name, value in model.named_parameters() if value.requires_grad}
    assert trainable == {"network.fc.weight": 2 * 2048, "network.fc.bias": 2}


def test_imagenet_weights_leave_the_masks_channel_at_zero(monkeypatch):
    torch.manual_seed(0)
    plain = models.resnet18()
    monkeypatch.setattr(models, "get_model", lambda name, weights: plain)
    model = HarmonyResNet(ClassifierSpec(depth="resnet18", in_channels=4))
    model.load_imagenet()
    assert torch.equal(model.network.conv1.weight[:, :3], plain.conv1.weight)
    assert not model.network.conv1.weight[:, 3].any()
    assert torch.equal(model.network.layer4[1].conv2.weight, plain.layer4[1].conv2.weight)
    with pytest.raises(CheckpointError, match="no ImageNet weights for 'resnet10'"):
        HarmonyResNet(ClassifierSpec(depth="resnet10")).load_imagenet()


def test_the_order_of_the_labels_is_honoured_both_ways(folder):
    image, mask = torch.rand(3, 3, 32, 32), torch.ones(3, 1, 32, 32)
    as_is = HarmonyResNet.from_pretrained(folder)
    change_spec(folder, labels=["composite", "real"])
    swapped = HarmonyResNet.from_pretrained(folder)
    assert torch.allclose(as_is.p_composite(image, mask), 1 - swapped.p_composite(image, mask), atol=1e-6)
    assert torch.equal(as_is(image, mask).softmax(1)[:, 1], as_is.p_composite(image, mask))


def test_a_classifier_saved_and_loaded_is_the_same(folder, tmp_path):
    model = HarmonyResNet.from_pretrained(folder)
    model.save_pretrained(tmp_path / "again", torch.float32)
    again = HarmonyResNet.from_pretrained(tmp_path / "again")
    assert again.spec == model.spec
    image, mask = torch.rand(2, 3, 40, 50), torch.ones(2, 1, 40, 50)
    assert torch.equal(again.p_composite(image, mask), model.p_composite(image, mask))
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_prepare_normalises_by_imagenet_and_centres_the_mask():
    spec = ClassifierSpec(input_size=32)
    image = torch.tensor([0.485, 0.456, 0.406])[None, :, None, None].expand(1, 3, 32, 32)
    assert prepare(image, torch.ones(1, 1, 32, 32), spec).abs().max() < 1e-6
    white = prepare(torch.ones(1, 3, 32, 32), torch.ones(1, 1, 32, 32), spec)
    assert white[0, :, 0, 0].tolist() == pytest.approx([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225])
    stacked = prepare(image, torch.ones(1, 1, 32, 32), spec.model_copy(update={"in_channels": 4}))
    assert stacked.shape == (1, 4, 32, 32)
    assert stacked[:, 3].unique().tolist() == [0.5]


def test_prepare_squares_any_picture_and_keeps_the_mask_binary():
    spec = ClassifierSpec(input_size=32, in_channels=4)
    masks = (torch.rand(1, 1, 70, 90) > 0.5).float()
    made = prepare(torch.rand(1, 3, 70, 90), masks, spec)
    assert made.shape == (1, 4, 32, 32)
    assert set(made[:, 3].unique().tolist()) == {-0.5, 0.5}
    assert prepare(torch.ones(1, 3, 70, 90), masks, spec)[:, :3].std(dim=(2, 3)).max() < 1e-5


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: change_spec(folder, kind="denoiser"), "is of kind 'denoiser', 'classifier' is needed"),
        (lambda folder: change_spec(folder, in_channels=3), "states 3 input channels but its weights take 4"),
        (lambda folder: change_spec(folder, depth="resnet18"), "do not fit a resnet18"),
        (lambda folder: change_spec(folder, depth="vgg16"), "'vgg16' is not known: choose one of resnet10"),
        (lambda folder: change_spec(folder, labels=["real", "real"]), "'real' and 'composite' are needed"),
        (lambda folder: change_spec(folder, labels=["real", "fake"]), "labels"),
        (lambda folder: change_spec(folder, labels=["real"]), "labels"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"PK"), "cannot read weights"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot read weights"),
        (lambda folder: (folder / SPEC_NAME).unlink(), "cannot read"),
    ],
)
def test_a_wrong_or_damaged_classifier_is_refused_with_what_was_found(folder, damage, message):
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        HarmonyResNet.from_pretrained(folder)


def test_a_classifier_starts_from_another_with_or_without_the_mask():
    torch.manual_seed(0)
    image, mask = torch.rand(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
    three, four = (HarmonyResNet(ClassifierSpec(depth="resnet10", in_channels=n, input_size=32)).eval() for n in (3, 4))
    four.load_classifier(three)
    assert torch.equal(four(image, mask), three(image, mask))
    back = HarmonyResNet(three.spec).eval()
    back.load_classifier(four)
    assert torch.equal(back(image, mask), three(image, mask))
    with pytest.raises(CheckpointError, match="a resnet10 with outputs"):
        HarmonyResNet(ClassifierSpec(depth="resnet18", input_size=32)).load_classifier(three)
