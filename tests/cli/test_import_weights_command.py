"""`harmonygen import-weights`, end to end: files in, checkpoint folders that the other verbs load out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision import models

from harmonygen.models.classifier import HarmonyResNet
from harmonygen.models.denoiser import Denoiser
from harmonygen_cli.main import run


@pytest.fixture(scope="module")
def resnet(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("released") / "classifier.pth"
    torch.save(models.resnet18(num_classes=2).state_dict(), path)
    return path


@pytest.fixture
def unet(tiny_sd, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_sd / "unet", tmp_path / "unet"))


def classifier(source: Path, out: Path, *more: str) -> list[str]:
    return ["import-weights", "--from", str(source), "--kind", "classifier", "--out", str(out), *more]


def denoiser(source: Path, out: Path, *more: str) -> list[str]:
    return ["import-weights", "--from", str(source), "--kind", "denoiser", "--out", str(out), *more]


def refused(capsys, arguments: list[str]) -> str:
    capsys.readouterr()
    assert run([*arguments, "--json"]) == 2
    return json.loads(capsys.readouterr().out)["error"]


def test_a_denoiser_is_imported_and_used(capsys, unet, tiny_sd, photo_folder, tiny_classifier, tmp_path):
    out = tmp_path / "checkpoints" / "inverse"
    assert run([*denoiser(unet, out, "--direction", "inverse", "--base", str(tiny_sd)), "--json"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result["folder"] == str(out)
    assert result["direction"] == "inverse"
    assert "direction inverse: as you stated it" in said.err
    model = Denoiser.from_pretrained(out, "inverse")
    assert result["parameters"] == sum(parameter.numel() for parameter in model.unet.parameters())
    synthesize = [
        *("synthesize", "--data", str(photo_folder), "--model", str(out), "--classifier", str(tiny_classifier)),
        *("--k", "2", "--resolution", "64", "--limit", "1", "--out", str(tmp_path / "run"), "--quiet"),
    ]
    assert run(synthesize) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["candidates"] == 2


def test_a_whole_stable_diffusion_folder_is_its_own_base(tiny_sd, tmp_path):
    assert run([*denoiser(tiny_sd, tmp_path / "out"), "--direction", "forward"]) == 0
    Denoiser.from_pretrained(tmp_path / "out", "forward")


def test_a_classifier_is_imported_with_the_labels_that_are_stated(resnet, tmp_path):
    assert run(classifier(resnet, tmp_path / "first", "--labels", "composite-first", "input_size=224")) == 0
    spec = HarmonyResNet.from_pretrained(tmp_path / "first").spec
    assert (spec.labels, spec.input_size, spec.depth) == (("composite", "real"), 224, "resnet18")


def test_what_cannot_be_known_must_be_stated(capsys, resnet, unet, tiny_sd, tmp_path):
    out = tmp_path / "out"
    assert "a classifier needs --labels: composite-last if output 1 means" in refused(capsys, classifier(resnet, out))
    assert "a denoiser needs --direction: forward" in refused(capsys, denoiser(unet, out))
    error = refused(capsys, denoiser(unet, out, "--direction", "inverse"))
    assert "UNet weights come without scheduler/ or vae/: give --base" in error
    assert refused(capsys, ["import-weights"]).startswith("--from and --kind and --out must be given")
    assert not out.exists()


def test_options_of_another_kind_are_refused(capsys, resnet, tiny_sd, tmp_path):
    common = classifier(resnet, tmp_path / "out", "--labels", "composite-last")
    assert "--direction is not for a classifier" in refused(capsys, [*common, "--direction", "inverse"])
    assert "--base is not for a classifier" in refused(capsys, [*common, "--base", str(tiny_sd)])
    assert "kind: Input should be" in refused(capsys, ["import-weights", "--kind", "unet"])


def test_the_wrong_kind_is_refused_with_what_was_found_and_leaves_nothing(capsys, resnet, tiny_sd, tmp_path):
    arguments = denoiser(resnet, tmp_path / "out" / "inverse", "--direction", "inverse", "--base", str(tiny_sd))
    assert "holds a ResNet's weights (conv1, layer1 ...), a denoiser is asked for" in refused(capsys, arguments)
    assert not (tmp_path / "out").exists()


def test_weights_that_do_not_fit_leave_no_folder(capsys, unet, tiny_sd, tmp_path):
    weights = unet / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    del state["conv_out.bias"]
    save_file(state, weights)
    arguments = denoiser(unet, tmp_path / "out", "--direction", "inverse", "--base", str(tiny_sd))
    assert "1 missing: conv_out.bias" in refused(capsys, arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["unet"]


def test_an_incomplete_base_leaves_no_folder(capsys, unet, tiny_sd, tmp_path):
    base = shutil.copytree(tiny_sd, tmp_path / "base", ignore=lambda *_: ["text_encoder"])
    arguments = denoiser(unet, tmp_path / "out", "--direction", "inverse", "--base", str(base))
    assert "has no text_encoder/" in refused(capsys, arguments)
    assert not (tmp_path / "out").exists()
    embedding = tmp_path / "empty.safetensors"
    save_file({"embedding": torch.zeros(1, 77, 8)}, embedding)
    assert run([*arguments, "--null-embedding", str(embedding)]) == 0


def test_an_existing_folder_is_not_overwritten(capsys, resnet, tmp_path):
    arguments = classifier(resnet, tmp_path / "out", "--labels", "composite-last")
    assert run(arguments) == 0
    before = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    assert "exists already" in refused(capsys, arguments)
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == before


def test_an_import_that_is_stopped_leaves_nothing_under_the_final_name(resnet, tmp_path, monkeypatch):
    def stopped(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("harmonygen.models.classifier.write_spec", stopped)
    arguments = classifier(resnet, tmp_path / "out", "--labels", "composite-last")
    assert run(arguments) == 130
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert run(arguments) == 0
