"""Other runtimes: their pixels are torch's, a network is written and compared once, one that differs is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from harmonygen.errors import UsageError
from harmonygen.models import agreement, exported, installed
from harmonygen.models.agreement import run_denoiser, run_scorer
from harmonygen.models.denoiser import Denoiser, DenoiserSpec, load_parts
from harmonygen.models.runtime import Runtime, pick_runtime
from harmonygen.models.scorer import ClassifierScorer

RUNTIMES = ["onnx", "openvino"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HARMONYGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "networks"


@pytest.fixture(params=RUNTIMES)
def runtime(request) -> Runtime:
    pytest.importorskip(installed.PACKAGES[request.param], reason=f"the extra [{request.param}] is not installed")
    return pick_runtime(request.param, "cpu", torch.float32)


@pytest.fixture(params=["starter's shape", "Stable Diffusion's"])
def model(request, tiny_inverse, tiny_sd) -> Denoiser:
    """Two levels and a prompt of one token; four levels and a prompt of 77."""
    if request.param == "starter's shape":
        return Denoiser.from_pretrained(tiny_inverse)
    prompt = torch.randn(1, 77, 8, generator=torch.Generator().manual_seed(1))
    return Denoiser(*load_parts(tiny_sd), prompt, DenoiserSpec(noise="shared", noise_share=0.5)).to(
        "cpu", torch.float32
    )


def pictures(model: Denoiser, height: int, width: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    image, mask = torch.rand(1, 3, height, width, generator=generator) * 2 - 1, torch.ones(1, 1, height, width)
    return model.pictures(image, mask, range(count)) * 127.5


def shifted(by: float) -> Runtime:
    """A runtime that is ONNX Runtime, but for a shift of what it computes."""
    usual = pick_runtime("onnx", "cpu", torch.float32)

    def open_shifted(path, runtime):
        network = usual.open(path, runtime)
        return lambda *inputs: network(*inputs) + by

    return replace(usual, version="onnxruntime 0.0.shifted", open=open_shifted)


@pytest.mark.parametrize("each_size", [False, True])
def test_pixels_are_torchs_at_any_size_and_batch(model, runtime, each_size):
    sizes = [(64, 96, 3), (40, 72, 2), (64, 96, 1)]
    usual = [pictures(model, *size) for size in sizes]
    run_denoiser(model, "digest", replace(runtime, each_size=each_size))
    for size, goal in zip(sizes, usual, strict=True):
        found = pictures(model, *size)
        assert goal.std() > 1
        assert (found - goal).abs().max() < 0.05  # of 255


def test_scores_are_torchs(tiny_classifier, runtime):
    scorer = ClassifierScorer.from_pretrained(tiny_classifier, "cpu")
    composites = list(torch.randint(0, 256, (5, 48, 64, 3), dtype=torch.uint8).numpy())
    mask = composites[0][..., 0] > 128
    usual = scorer(composites, mask)
    run_scorer(scorer, runtime)
    assert scorer.network is not scorer.model
    assert scorer(composites, mask) == pytest.approx(usual, abs=1e-5)


def test_the_judge_can_be_exported(runtime):
    scorer = ClassifierScorer.from_pretrained("starter", "cpu")
    run_scorer(scorer, runtime)
    assert scorer.network is not scorer.model


def test_a_network_is_written_and_compared_once_for_its_weights(tiny_inverse, cache, monkeypatch):
    run_denoiser(Denoiser.from_pretrained(tiny_inverse), "one", pick_runtime("onnx", "cpu", torch.float32))
    [record] = cache.glob("one/*/checked-*.json")
    held = json.loads(record.read_text())
    assert held["holds"]
    assert held["candidates"] == 8
    assert 0 < held["largest"] <= held["allowed"] == 1.0
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    monkeypatch.setattr(torch.onnx, "export", None)
    monkeypatch.setattr(agreement, "_compare_pictures", None)
    again = Denoiser.from_pretrained(tiny_inverse)
    run_denoiser(again, "one", pick_runtime("onnx", "cpu", torch.float32))
    assert again.network is not None
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


@pytest.mark.parametrize("by", [0.2, float("nan")])
def test_a_runtime_whose_pixels_differ_is_refused_now_and_later(tiny_inverse, cache, monkeypatch, by):
    model = Denoiser.from_pretrained(tiny_inverse)
    with pytest.raises(UsageError, match=r"onnxruntime 0\.0\.shifted\) differs from torch by up to .* of 255"):
        run_denoiser(model, "one", shifted(by))
    assert model.network is None
    [record] = cache.glob("one/*/checked-*.json")
    assert not json.loads(record.read_text())["holds"]
    monkeypatch.setattr(agreement, "_compare_pictures", None)
    with pytest.raises(UsageError, match="use --runtime torch"):
        run_denoiser(model, "one", shifted(by))
    assert model.network is None


def test_a_runtime_whose_scores_differ_is_refused(tiny_classifier):
    scorer = ClassifierScorer.from_pretrained(tiny_classifier, "cpu")
    runtime = shifted(0.0)
    other = replace(runtime, open=lambda *_: lambda images, masks: scorer.model(images, masks) * 1.2)
    with pytest.raises(UsageError, match=r"of P\(composite\), 0\.001 is allowed"):
        run_scorer(scorer, other)
    assert scorer.network is scorer.model


def test_a_process_that_was_quicker_wins_and_what_a_killed_one_left_is_swept(tiny_inverse, cache, monkeypatch):
    model, runtime = Denoiser.from_pretrained(tiny_inverse), pick_runtime("onnx", "cpu", torch.float32)
    left = cache / "one" / ".unet.999999999.hg-tmp"
    left.mkdir(parents=True)
    write = exported._write

    def with_another(part, path):
        write(part, path)
        final = path.parent.with_name(path.parent.name[1:].rsplit(".", 2)[0])
        final.mkdir()
        (final / path.name).write_bytes(path.read_bytes())

    monkeypatch.setattr(exported, "_write", with_another)
    run_denoiser(model, "one", runtime)
    assert model.network is not None
    [folder] = (cache / "one").iterdir()
    assert sorted(path.name for path in folder.iterdir())[-1] == "network.onnx"


def test_the_model_is_left_as_it_was(tiny_inverse):
    model = Denoiser.from_pretrained(tiny_inverse)
    usual = pictures(model, 32, 32, 2)
    run_denoiser(model, "digest", pick_runtime("onnx", "cpu", torch.float32))
    model.network = None
    assert torch.equal(pictures(model, 32, 32, 2), usual)


def test_bfloat16_may_be_as_far_as_torchs_own(tiny_inverse, cache):
    pytest.importorskip("openvino", reason="the extra [openvino] is not installed")
    run_denoiser(Denoiser.from_pretrained(tiny_inverse), "one", pick_runtime("openvino", "cpu", torch.bfloat16))
    [record] = cache.glob("one/*/checked-*-bf16-*.json")
    held = json.loads(record.read_text())
    assert held["largest"] > 0.01
    assert held["allowed"] >= 1.0


def test_onnx_runtime_has_torchs_threads(tiny_classifier, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    found = []
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, **more: found.append(options) or session(path, options, **more),
    )
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    run_scorer(ClassifierScorer.from_pretrained(tiny_classifier, "cpu"), pick_runtime("onnx", "cpu", torch.float32))
    assert [options.intra_op_num_threads for options in found] == [3]


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_missing_package_is_refused_with_its_extra(name, monkeypatch):
    def missing(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(installed, "version", missing)
    with pytest.raises(UsageError, match=rf"not installed: pip install 'harmonygen\[{name}\]'"):
        pick_runtime(name, "cpu", torch.float32)


def test_other_devices_and_dtypes_are_refused():
    assert pick_runtime("torch", "cuda:0", torch.float16) is None
    with pytest.raises(UsageError, match="--device cpu"):
        pick_runtime("onnx", "cuda:0", torch.float32)
    with pytest.raises(UsageError, match="computes in float32, found --dtype bfloat16"):
        pick_runtime("onnx", "cpu", torch.bfloat16)
