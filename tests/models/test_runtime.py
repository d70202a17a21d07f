"""Other runtimes: their pixels are torch's, a network is written and compared once, one that differs is refused."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch

from harmonygen.errors import CheckpointError, UsageError
from harmonygen.models import agreement, exported, installed
from harmonygen.models.agreement import run_denoiser, run_scorer
from harmonygen.models.denoiser import Denoiser, DenoiserSpec, NoiseNet
from harmonygen.models.runtime import Runtime, pick_runtime
from harmonygen.models.scorer import ClassifierScorer
from harmonygen.storage.shards import final_name

RUNTIMES = ["onnx", "openvino"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HARMONYGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "networks"


def runtime_of(name: str, dtype: torch.dtype = torch.float32, each_size: bool = False) -> Runtime:
    pytest.importorskip(installed.PACKAGES[name], reason=f"the extra [{name}] is not installed")
    return pick_runtime(name, "cpu", dtype, each_size)


@pytest.fixture(params=RUNTIMES)
def runtime(request) -> Runtime:
    return runtime_of(request.param)


@pytest.fixture
def tiny(tiny_inverse) -> Denoiser:
    """Two levels, and a prompt of one token."""
    return Denoiser.from_pretrained(tiny_inverse)


@pytest.fixture
def wordy(tiny) -> Denoiser:
    """The same with a prompt of 77 tokens, as Stable Diffusion's, and noise shared over the image."""
    prompt = torch.randn(1, 77, 8, generator=torch.Generator().manual_seed(1))
    return Denoiser(tiny.unet, tiny.vae, tiny.scheduler, prompt, DenoiserSpec(noise="shared", noise_share=0.5))


def pictures(model: Denoiser, height: int, width: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    image, mask = torch.rand(1, 3, height, width, generator=generator) * 2 - 1, torch.ones(1, 1, height, width)
    return model.pictures(image, mask, range(count)) * 127.5


@pytest.fixture
def shifted(tiny, tmp_path, monkeypatch):
    """Runtimes that compute what torch does, and add something; nothing is exported for them."""
    monkeypatch.setattr(agreement, "exported", lambda part, digest: tmp_path / f"{part.name}.onnx")
    net = NoiseNet(tiny.unet, tiny.null_embedding)

    def make(by: float, dtype: torch.dtype = torch.float32) -> Runtime:
        return Runtime("onnx", "other 0.1", dtype, False, lambda *_: lambda *inputs: net(*inputs) + by)

    return make


@pytest.mark.parametrize(
    ("of", "name", "each_size"),
    [("tiny", "onnx", False), ("wordy", "onnx", False), ("tiny", "openvino", True), ("wordy", "openvino", False)],
)
def test_pixels_are_torchs_at_any_size_and_batch(request, of, name, each_size):
    runtime, model = runtime_of(name, each_size=each_size), request.getfixturevalue(of)
    sizes = [(64, 96, 3), (40, 72, 1)]
    usual = [pictures(model, *size) for size in sizes]
    run_denoiser(model, "digest", runtime)
    assert model.network is not None
    for size, goal in zip(sizes, usual, strict=True):
        found = pictures(model, *size)
        assert goal.std() > 1
        assert 0 < (found - goal).abs().max() < 0.05  # of 255
    model.network = None
    assert torch.equal(pictures(model, *sizes[1]), usual[1])  # the export left nothing behind


@pytest.mark.parametrize("judge", [True, False])
def test_scores_are_torchs(tiny_classifier, runtime, judge):
    scorer = ClassifierScorer.from_pretrained("starter" if judge else tiny_classifier, "cpu")
    composites = list(torch.randint(0, 256, (5, 48, 64, 3), dtype=torch.uint8).numpy())
    mask = composites[0][..., 0] > 128
    usual = scorer(composites, mask)
    run_scorer(scorer, runtime)
    assert scorer.network is not scorer.model
    assert scorer(composites, mask) == pytest.approx(usual, abs=1e-4)


def test_a_network_is_written_and_compared_once_for_its_weights(tiny_classifier, cache, monkeypatch):
    scorer = ClassifierScorer.from_pretrained(tiny_classifier, "cpu")
    run_scorer(scorer, runtime_of("onnx"))
    [record] = cache.glob(f"{scorer.digest}/*/checked-*.json")
    held = json.loads(record.read_text())
    assert held["holds"]
    assert held["candidates"] == 8
    assert held["largest"] <= held["allowed"] == 1e-3
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    monkeypatch.setattr(torch.onnx, "export", None)
    again = ClassifierScorer.from_pretrained(tiny_classifier, "cpu")
    monkeypatch.setattr(again, "probabilities", None)
    run_scorer(again, runtime_of("onnx"))
    assert again.network is not again.model
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


@pytest.mark.parametrize("by", [0.2, float("nan")])
def test_a_runtime_whose_pixels_differ_is_refused_now_and_later(tiny, shifted, tmp_path, monkeypatch, by):
    with pytest.raises(UsageError, match=r"\(other 0\.1\) differs from torch by up to .* of 255, 1 is allowed"):
        run_denoiser(tiny, "one", shifted(by))
    assert tiny.network is None
    [record] = tmp_path.glob("checked-other-0.1-f32-*.json")
    assert not json.loads(record.read_text())["holds"]
    monkeypatch.setattr(agreement, "_compare_pictures", None)
    with pytest.raises(UsageError, match="use --runtime torch"):
        run_denoiser(tiny, "one", shifted(by))
    assert tiny.network is None


def test_bfloat16_may_be_as_far_as_torchs_own(tiny, shifted, tmp_path):
    """The shift is chosen by two measured distances, to lie half-way between what either dtype allows."""

    def held(by: float, dtype: torch.dtype, version: str) -> dict[str, Any]:
        with suppress(UsageError):
            run_denoiser(tiny, "one", replace(shifted(by, dtype), version=version))
        [record] = tmp_path.glob(f"checked-{version}-*.json")
        return json.loads(record.read_text())

    far = held(0.0, torch.bfloat16, "1.0")["allowed"]
    assert far > 1.5  # torch's own bfloat16, of 255
    shift = 0.001 * (1 + far) / 2 / held(0.001, torch.float32, "1.1")["largest"]
    found = held(shift, torch.bfloat16, "1.2")
    assert found["holds"]
    assert 1 < found["largest"] < found["allowed"] == far
    assert not held(shift, torch.float32, "1.3")["holds"]
    assert not held(100 * shift, torch.bfloat16, "1.4")["holds"]


def test_each_dtype_of_the_same_weights_is_compared_once(tiny, shifted, monkeypatch):
    compared, compare = [], agreement._compare_pictures

    def noted(model, network, dtype):
        compared.append(dtype)
        return compare(model, network, dtype)

    monkeypatch.setattr(agreement, "_compare_pictures", noted)
    for dtype in (torch.float32, torch.bfloat16, torch.float32, torch.bfloat16):
        run_denoiser(tiny, "one", shifted(1e-5, dtype))
    assert compared == [torch.float32, torch.bfloat16]
    run_denoiser(tiny, "one", replace(shifted(1e-5), each_size=True))  # OpenVINO makes another network then
    run_denoiser(tiny, "other", shifted(1e-5))
    assert compared[2:] == [torch.float32, torch.float32]


def altered(path: Path) -> None:
    """Write an ONNX file anew in which the last convolution has other weights."""
    onnx = pytest.importorskip("onnx", reason="the extra [onnx] is not installed")
    network = onnx.load(path)
    weight = next(each for each in network.graph.initializer if each.name.endswith("conv_out.weight"))
    values = onnx.numpy_helper.to_array(weight)
    weight.CopyFrom(onnx.numpy_helper.from_array(values[::-1] * 1.5, weight.name))
    onnx.save(network, path)


def test_a_network_that_was_altered_after_it_was_compared_is_compared_again_and_refused(tiny, cache):
    run_denoiser(tiny, "one", runtime_of("onnx"))
    [record], [path] = cache.rglob("checked-*.json"), cache.rglob("network.onnx")
    assert json.loads(record.read_text())["holds"]
    altered(path)
    for _ in range(2):
        tiny.network = None
        with pytest.raises(UsageError, match=r"of 255, 1 is allowed .*remove the folder"):
            run_denoiser(tiny, "one", runtime_of("onnx"))
        assert tiny.network is None
        assert not json.loads(record.read_text())["holds"]
    shutil.rmtree(path.parent)
    run_denoiser(tiny, "one", runtime_of("onnx"))
    assert tiny.network is not None


def test_another_models_network_under_a_models_digest_is_refused_with_its_record_too(tiny, cache):
    run_denoiser(tiny, "one", runtime_of("onnx"))
    (cache / "one").rename(cache / "other")
    for parameter in tiny.unet.conv_out.parameters():
        parameter.data *= 1.5
    tiny.network = None
    with pytest.raises(UsageError, match="differs from torch"):
        run_denoiser(tiny, "other", runtime_of("onnx"))
    assert tiny.network is None


def test_a_network_that_was_cut_short_is_refused_with_what_to_remove(tiny_classifier, cache, runtime):
    scorer = ClassifierScorer.from_pretrained(tiny_classifier, "cpu")
    run_scorer(scorer, runtime)
    [path] = cache.rglob("network.onnx")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=rf"cannot open .*remove the folder '{path.parent}'"):
        run_scorer(scorer, runtime)


def test_openvino_computes_bfloat16_where_it_is_asked_to(tiny_classifier, cache):
    scorer = ClassifierScorer.from_pretrained(tiny_classifier, "cpu")
    run_scorer(scorer, runtime_of("openvino"))
    [path] = cache.rglob("network.onnx")
    images, masks = torch.rand(2, 3, 32, 32), torch.ones(2, 1, 32, 32)
    usual = scorer.model(images, masks)
    apart = {}
    for dtype in (torch.float32, torch.bfloat16):
        runtime = runtime_of("openvino", dtype)
        apart[dtype] = float((runtime.open(path, runtime)(images, masks) - usual).abs().max())
    assert apart[torch.float32] < 1e-5 < apart[torch.bfloat16]


def test_a_runtime_whose_scores_differ_is_refused(tiny_classifier, shifted):
    scorer = ClassifierScorer.from_pretrained(tiny_classifier, "cpu")
    other = replace(shifted(0.0), open=lambda *_: lambda images, masks: scorer.model(images, masks) * 1.2)
    with pytest.raises(UsageError, match=r"of P\(composite\), 0\.001 is allowed"):
        run_scorer(scorer, other)
    assert scorer.network is scorer.model


def test_a_process_that_was_quicker_wins_and_what_a_killed_one_left_is_swept(tiny_classifier, cache, monkeypatch):
    scorer = ClassifierScorer.from_pretrained(tiny_classifier, "cpu")
    (cache / scorer.digest / ".classifier.999999999.hg-tmp").mkdir(parents=True)
    write = exported._write

    def with_another(part, path):
        write(part, path)
        final = path.parent.with_name(final_name(path.parent.name))
        final.mkdir()
        (final / path.name).write_bytes(path.read_bytes())

    monkeypatch.setattr(exported, "_write", with_another)
    run_scorer(scorer, runtime_of("onnx"))
    assert scorer.network is not scorer.model
    [folder] = (cache / scorer.digest).iterdir()
    assert len(list(folder.glob("*"))) == 2  # the network, and what was compared


def test_onnx_runtime_has_torchs_threads(tiny_classifier, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    found, session = [], onnxruntime.InferenceSession

    def noted(path, options, **more):
        found.append(options)
        return session(path, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", noted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    run_scorer(ClassifierScorer.from_pretrained(tiny_classifier, "cpu"), runtime_of("onnx"))
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
