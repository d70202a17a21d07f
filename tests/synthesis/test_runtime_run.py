"""A run by another runtime: its candidates, its plan, its resume."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harmonygen.errors import UsageError
from harmonygen.models import installed
from harmonygen.synthesis.synthesize import synthesize


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run_of(settings_of, tiny_inverse, cache, monkeypatch):
    """Settings of a small diffusion run by ONNX Runtime; the networks are cached for this file alone."""
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    monkeypatch.setenv("HARMONYGEN_CACHE", str(cache))

    def make(**changes):
        values = {"generator": "diffusion", "model": str(tiny_inverse), "k": 2, "runtime": "onnx", "detail": "decode"}
        return settings_of(**{**values, **changes})

    return make


def test_candidates_are_torchs_within_a_level(run_of, rows_of, tmp_path):
    for runtime in ("torch", "onnx"):
        synthesize(run_of(runtime=runtime, out=tmp_path / runtime))
    usual, other = rows_of(tmp_path / "torch"), rows_of(tmp_path / "onnx")
    assert len(usual) == len(other) == 12
    for one, two in zip(usual, other, strict=True):
        first, second = (np.frombuffer(row["pixels"], np.uint8).astype(int) for row in (one, two))
        assert np.abs(first - second).max() <= 1
        assert one["p_composite"] == pytest.approx(two["p_composite"], abs=1e-2)
        assert one["seed"] == two["seed"]
        assert one["params_digest"] != two["params_digest"]


def test_the_plan_names_the_runtime_and_another_is_refused(run_of, monkeypatch):
    settings = run_of(limit=2)
    synthesize(settings)
    plan = json.loads((settings.out / "plan.json").read_text())
    assert plan["settings"]["runtime"] == "onnx"
    assert plan["runtime_version"] == installed.runtime_version("onnx")
    with pytest.raises(UsageError, match="runtime: 'onnx' then, 'torch' now"):
        synthesize(run_of(limit=2, runtime="torch"))
    monkeypatch.setattr(installed, "version", lambda package: "0.0")
    with pytest.raises(UsageError, match="runtime_version changed"):
        synthesize(run_of(limit=2))


def test_a_run_of_torch_is_not_resumed_by_another_runtime(run_of):
    settings = run_of(runtime="torch", limit=2)
    synthesize(settings)
    plan = json.loads((settings.out / "plan.json").read_text())
    assert "runtime_version" not in plan
    with pytest.raises(UsageError, match="runtime: 'torch' then, 'onnx' now"):
        synthesize(run_of(limit=2))


def test_a_lost_shard_is_made_again_to_the_byte(run_of, rows_of):
    settings = run_of()
    synthesize(settings)
    whole = rows_of(settings.out)
    next((settings.out / "candidates").glob("part-00001*")).unlink()
    (settings.out / "summary.json").unlink()
    synthesize(settings)
    assert rows_of(settings.out) == whole


def test_compile_is_torchs_alone(run_of):
    with pytest.raises(UsageError, match="--compile is torch's"):
        synthesize(run_of(compile=True))
