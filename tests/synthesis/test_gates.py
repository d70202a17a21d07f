"""Gates: what they measure on cases worked out by hand, and which one speaks first."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harmonygen.metrics import fmse
from harmonygen.records import GateValues
from harmonygen.synthesis.gates import GateMeter, first_failure
from harmonygen.synthesis.settings import GateSettings

TRIPLETS = (
    Path(os.environ.get("HARMONYGEN_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    / "data"
    / "iharmony4_triplets.tar"
)
GOOD = {"clipped": 0.0, "fmse": 900.0, "structure": 0.95, "drift": 0.0}


def flat(value: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """A 16 x 16 photo of one value, with a 4 x 4 foreground: 48 foreground values, 240 background pixels."""
    mask = np.zeros((16, 16), dtype=bool)
    mask[6:10, 6:10] = True
    return np.full((16, 16, 3), value, dtype=np.uint8), mask


def test_values_of_a_change_worked_out_by_hand():
    real, mask = flat()
    composite = real.copy()
    composite[6:10, 6:10] = (110, 90, 100)  # +10, -10, 0
    composite[6, 6:10] = (255, 0, 100)  # 4 pixels: 8 of 48 values newly at an end
    values = GateMeter(real, mask)(composite)
    assert values.clipped == pytest.approx(8 / 48)
    assert values.fmse == pytest.approx((24 * 10**2 + 4 * 155**2 + 4 * 100**2) / 48)
    assert values.shift == pytest.approx(((12 * 10 + 4 * 155) / 16, (12 * -10 + 4 * -100) / 16, 0))
    assert values.drift == 0


def test_values_the_photo_had_at_an_end_are_not_newly_clipped():
    real, mask = flat(255)
    assert GateMeter(real, mask)(real).clipped == 0
    assert GateMeter(real, mask)(np.zeros_like(real)).clipped == 0  # they were at an end before: 255 -> 0
    darker = np.full_like(real, 200)
    assert GateMeter(darker, mask)(real).clipped == 1


def test_drift_counts_background_pixels_that_differ_by_one_in_one_channel():
    real, mask = flat()
    composite = real.copy()
    composite[0, :3, 1] += 1
    composite[7, 7] = 0  # foreground: not drift
    assert GateMeter(real, mask)(composite).drift == pytest.approx(3 / 240)


def test_structure_is_one_for_the_photo_itself(make_photo):
    photo = make_photo()
    assert GateMeter(photo.image_u8, photo.mask)(photo.image_u8).structure == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("gain", "offset"), [(0.5, 0), (0.6, 80), (1, -0.0), (0.25, 120)])
def test_structure_does_not_see_gain_and_offset(make_photo, gain, offset):
    photo = make_photo("chelsea")
    composite = np.rint(photo.image_u8 * gain + offset).astype(np.uint8)
    assert GateMeter(photo.image_u8, photo.mask)(composite).structure > 0.995  # 8-bit rounding is what is left


def test_structure_falls_when_the_object_is_replaced(make_photo):
    photo = make_photo("chelsea")
    composite = np.where(photo.mask[..., None], photo.image_u8[::-1, ::-1], photo.image_u8)
    assert GateMeter(photo.image_u8, photo.mask)(composite).structure < 0.5


def test_structure_of_a_flat_foreground_is_a_number():
    real, mask = flat()
    assert np.isfinite(GateMeter(real, mask)(real + np.uint8(20)).structure)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.02, 0.9))
def test_values_keep_their_ranges_and_fmse_is_the_metric(seed, share):
    rng = np.random.default_rng(seed)
    real, composite = rng.integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
    mask = rng.random((20, 24)) < share
    mask[0, 0], mask[-1, -1] = True, False
    values = GateMeter(real, mask)(composite)
    assert 0 <= values.clipped <= 1
    assert 0 < values.drift <= 1
    assert -1 <= values.structure <= 1
    assert values.fmse == pytest.approx(fmse(composite, real, mask), rel=1e-6)
    assert GateMeter(real, mask)(np.where(mask[..., None], composite, real)).drift == 0


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({}, ""),
        ({"clipped": 0.16}, "clipped"),
        ({"fmse": 19.0}, "fmse-low"),
        ({"fmse": 10001.0}, "fmse-high"),
        ({"structure": 0.69}, "structure"),
        ({"drift": 1e-9}, "drift"),
        ({"fmse": 10001.0, "drift": 0.5, "clipped": 0.9}, "clipped"),
        ({"fmse": 0.0, "structure": 0.0}, "fmse-low"),
        ({"structure": float("nan")}, "structure"),
    ],
)
def test_first_failure_names_the_first_gate_that_fails(change, gate):
    assert first_failure(GateValues(**{**GOOD, **change}), 0.5, GateSettings()) == gate


def test_limits_themselves_pass():
    limits = GateSettings(max_clipped=0.1, min_fmse=50, max_fmse=60, min_structure=0.9, max_drift=0.01)
    assert first_failure(GateValues(0.1, 50, 0.9, 0.01), 0.5, limits) == ""
    assert first_failure(GateValues(0.1, 60, 0.9, 0.01), 0.5, limits) == ""


@pytest.mark.skipif(not TRIPLETS.is_file(), reason="the shared triplets are not here")
def test_ten_authentic_composites_pass_the_default_gates(tmp_path):
    with tarfile.open(TRIPLETS) as opened:
        opened.extractall(tmp_path, filter="data")
    listing = next(tmp_path.rglob("IHD_test.txt"))
    failures = {}
    for line in listing.read_text().split():
        composite = listing.parent / line
        photo, mask_id, _ = composite.stem.rsplit("_", 2)
        subset = composite.parents[1]
        opened = Image.open(composite)
        scale = min(1.0, 640 / max(opened.size))
        size = (round(opened.width * scale), round(opened.height * scale))
        mask = np.asarray(Image.open(subset / "masks" / f"{photo}_{mask_id}.png").convert("L").resize(size, 0)) > 127
        real = np.asarray(Image.open(subset / "real_images" / f"{photo}.jpg").convert("RGB").resize(size, 2))
        seen = np.asarray(opened.convert("RGB").resize(size, 2))
        pasted = np.where(mask[..., None], seen, real)  # the files are JPEG: their background drifts
        failures[composite.name] = first_failure(GateMeter(real, mask)(pasted), 0.5, GateSettings())
    assert len(failures) == 10
    assert set(failures.values()) == {""}, failures
