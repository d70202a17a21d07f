"""Every golden output of the published code, and the table in docs/parity.md (benchmarks/parity.py computes both)."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
bench = importlib.import_module("parity")
sys.path.pop(0)

GOLDENS = list(bench.goldens())


@pytest.fixture(scope="module")
def parity(tmp_path_factory):
    with torch.no_grad():
        yield bench.Parity(tmp_path_factory.mktemp("parity"))


@pytest.mark.parametrize("golden", GOLDENS, ids=[f"{name}" for _, name, _ in GOLDENS])
def test_a_golden_of_the_published_code_holds(parity, golden):
    part, _, difference = golden
    assert difference(parity) <= part.tolerance


def test_every_output_in_the_golden_files_is_compared(parity):
    inputs = {
        "stage2": {"x"},
        "condition_vae": {"image", "condition", "mask", "z", "cond_noise", "train_noise"},
        "pipeline": {"u8", "mask", "vae_own_condition", "condition_vae_own_condition"},
        "loss": {"latents", "condition", "mask", "noise", "timesteps"},
        "classifier": {f"image_{index}" for index in range(3)},
        "evaluation": {f"{i}_{name}" for i in range(6) for name in ("real", "composite", "mask", "predicted")},
    }
    # given as latents alone: their decoding drew noise that is not there; logits are behind the probabilities
    beside = {f"condition_vae_own_{seed}_pixels" for seed in (1, 2)} | {f"logits_{index}" for index in range(3)}
    outputs = {
        name.removesuffix("_mse_psnr_fmse_ratio")
        for file, given in inputs.items()
        for name in set(parity.arrays(file)) - given - beside
    }
    assert outputs == {name for _, name, _ in GOLDENS}
    assert len(GOLDENS) == 65


def test_a_difference_is_seen(parity):
    part, _, difference = next(golden for golden in GOLDENS if golden[1] == "vae_mode_1_pixels")
    changed = bench.Parity(parity.work)
    changed.__dict__["denoisers"] = parity.denoisers
    changed.__dict__["pipeline"] = {**parity.pipeline, "vae_mode_1_pixels": parity.pipeline["vae_mode_2_pixels"]}
    assert difference(changed) > 100 * part.tolerance


def test_the_table_in_the_docs_is_of_these_goldens():
    text = (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")
    stated = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[1].isdecimal():
            stated[cells[0]] = (int(cells[1]), float(cells[3]))
            assert float(cells[2]) <= float(cells[3])
    counts: dict[str, int] = {}
    for part, _, _ in GOLDENS:
        counts[part.name] = counts.get(part.name, 0) + 1
    assert stated == {part.name: (counts[part.name], part.tolerance) for part, _, _ in GOLDENS}
    assert f"{len(GOLDENS)} of {len(GOLDENS)} goldens hold" in text
