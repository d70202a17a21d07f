"""What is scored: sizes, backgrounds, rounding, and odd masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harmonygen.errors import InputError, UsageError
from harmonygen.evaluation.protocols import ProtocolRules, to_side
from harmonygen.evaluation.scores import EMPTY, EQUAL, score


@pytest.fixture
def case(small_photos, ellipse):
    real, other = small_photos(2, 300, 400)
    mask = ellipse(300, 400)
    return np.where(mask[..., None], other, real), real, mask


def test_paper_is_pillows_bilinear_and_the_nearest_mask_at_256(case):
    composite, real, mask = case
    target = ProtocolRules().target(composite, real, mask)
    expected = np.asarray(Image.fromarray(real).resize((256, 256), Image.Resampling.BILINEAR))
    nearest = Image.fromarray(mask.astype(np.uint8) * 255).resize((256, 256), Image.Resampling.NEAREST)
    assert np.array_equal(target.real_u8, expected)
    assert np.array_equal(target.mask, np.asarray(nearest) >= 128)
    assert target.size == (300, 400)
    assert target.ratio == target.mask.mean()


def test_the_background_is_the_predictions_the_composites_or_the_photos(case):
    composite, real, mask = case
    predicted = np.full_like(real, 99)
    for background in ("none", "composite", "real"):
        rules = ProtocolRules("paper", background)
        target = rules.target(composite // 2, real, mask)
        made = rules.prediction(predicted, target, "p")
        behind = {"none": np.full_like(made, 99), "composite": target.composite_u8, "real": target.real_u8}[background]
        assert np.array_equal(made[~target.mask], behind[~target.mask])
        assert (made[target.mask] == 99).all()
        assert background in rules.stated() or "predicted" in rules.stated()


def test_fullres_counts_error_inside_the_mask_only(case):
    composite, real, mask = case
    rules = ProtocolRules("fullres-fg")
    target = rules.target(composite, real, mask)
    predicted = np.clip(real.astype(int) + 9, 0, 255).astype(np.uint8)
    figures = score(rules.prediction(predicted, target, "p"), target, with_ssim=False)
    squared = (predicted.astype(float) - real)[mask] ** 2
    assert figures["mse"] == pytest.approx(squared.sum() / real.size, rel=1e-12)
    assert figures["fmse"] == pytest.approx(squared.mean(), rel=1e-12)
    with pytest.raises(UsageError, match="--background composite"):
        ProtocolRules("fullres-fg", "composite")


@pytest.mark.parametrize(("protocol", "right"), [("paper", [(300, 400), (256, 256)]), ("fullres-fg", [(300, 400)])])
def test_wrong_sizes_are_refused_unless_resizing_is_asked_for(case, protocol, right):
    rules, target = ProtocolRules(protocol), ProtocolRules(protocol).target(*case)
    for size in [(300, 400), (256, 256), (150, 200), (400, 300)]:
        predicted = np.zeros((*size, 3), np.uint8)
        if size in right:
            assert rules.prediction(predicted, target, "p").shape == target.real_u8.shape
        else:
            with pytest.raises(InputError, match=f"{size[1]}x{size[0]} but its composite is 400x300"):
                rules.prediction(predicted, target, "p")
            resized = ProtocolRules(protocol, resize_predictions=True).prediction(predicted, target, "p")
            assert resized.shape == target.real_u8.shape


def test_composite_photo_and_mask_of_different_sizes_are_refused(case):
    composite, real, mask = case
    with pytest.raises(InputError, match="400x299"):
        ProtocolRules().target(composite, real[:-1], mask)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_flooring_loses_a_quarter_to_a_half_of_a_level_and_never_gains(seed):
    image = np.random.default_rng(seed).integers(0, 256, (61, 90, 3)).astype(np.uint8)
    rounded, floored = to_side(image).astype(int), to_side(image, floor=True).astype(int)
    assert set(np.unique(rounded - floored)) <= {0, 1}
    assert 0.3 < (rounded - floored).mean() < 0.7


def test_flooring_concerns_predictions_that_are_resized_alone(case):
    rules = ProtocolRules(compat_floor=True)
    target = rules.target(*case)
    assert np.array_equal(target.real_u8, ProtocolRules().target(*case).real_u8)
    at_256 = to_side(case[0])
    assert np.array_equal(rules.prediction(at_256, target, "p"), at_256)
    assert not np.array_equal(rules.prediction(case[0], target, "p"), at_256)
    assert "floored" in rules.stated()


def test_a_foreground_lost_at_256_is_flagged_and_has_no_foreground_figure(case):
    composite, real, _ = case
    unseen = min(set(range(300)) - {int((row + 0.5) * 300 / 256) for row in range(256)})
    speck = np.zeros((300, 400), dtype=bool)
    speck[unseen, 5] = True
    target = ProtocolRules().target(composite, real, speck)
    assert not target.mask.any()
    figures = score(target.composite_u8, target)
    assert figures["flag"] == EMPTY
    assert [name for name, value in figures.items() if value is None] == [
        "fmse",
        "fpsnr",
        "fssim",
        "bias_l",
        "bias_a",
        "bias_b",
    ]
    full = score(composite, ProtocolRules("fullres-fg").target(composite, real, speck), with_ssim=False)
    assert full["fmse"] == pytest.approx(((composite.astype(float) - real)[speck] ** 2).mean())


def test_a_perfect_prediction_is_flagged(case):
    _, real, mask = case
    target = ProtocolRules().target(real, real, mask)
    figures = score(target.real_u8, target)
    assert (figures["flag"], figures["mse"], figures["psnr"], figures["ssim"]) == (EQUAL, 0, np.inf, 1)
