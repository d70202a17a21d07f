"""What is scored: sizes, backgrounds, rounding, and odd masks."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from harmonygen.errors import InputError, UsageError
from harmonygen.evaluation.protocols import ProtocolRules, to_side
from harmonygen.evaluation.scores import EMPTY, EQUAL, score
from harmonygen.pictures.images import resize, to_u8


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


def test_decoded_pixels_are_floored_once_and_then_rounded_as_pillow_does(case):
    """REFERENCE section 11: one floor at the working size, and none at 256 px."""
    picture01 = np.random.default_rng(0).random((96, 64, 3), dtype=np.float32)
    rounded, floored = (ProtocolRules(compat_floor=floor).decoded(picture01, (300, 400)) for floor in (False, True))
    assert np.array_equal(floored, to_side(np.floor(picture01 * 255).astype(np.uint8)))
    assert np.array_equal(rounded, to_side(np.rint(picture01 * 255).astype(np.uint8)))
    assert 0.4 < (rounded.astype(float) - floored).mean() < 0.6
    rules = ProtocolRules(compat_floor=True)
    target = rules.target(*case)
    assert np.array_equal(rules.prediction(case[0], target, "p"), to_side(case[0]))  # files are 8-bit already
    assert "floored" in rules.stated()


def test_a_perfect_models_pixels_lose_less_on_the_way_to_256_in_one_step(small_photos):
    """REFERENCE section 11: working size -> 256, and not by way of the composite's own size."""
    real = small_photos(1, 384, 512)[0]
    decoded01 = np.asarray(Image.fromarray(real).resize((512, 512), Image.Resampling.BILINEAR)) / np.float32(255)
    rules = ProtocolRules()
    target = rules.target(real, real, np.ones(real.shape[:2], dtype=bool))
    direct = rules.decoded(decoded01, target.size)
    around = rules.prediction(resize(to_u8(decoded01), *target.size), target, "p")
    errors = [((made.astype(float) - target.real_u8) ** 2).mean() for made in (direct, around)]
    assert errors[0] < errors[1]


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
