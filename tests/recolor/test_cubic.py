"""Cubic colour maps: their terms, what a fit finds, and pictures of any size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmonygen.errors import UsageError
from harmonygen.recolor import cubic
from harmonygen.recolor.cubic import (
    EXPONENTS,
    apply_cubic,
    cubic_levels,
    cubic_terms,
    cubic_u8,
    fit_cubic,
    identity_cubic,
)


@pytest.fixture(scope="module")
def pixels01(small_photos):
    return np.concatenate([photo.reshape(-1, 3)[::7] for photo in small_photos(3)]) / 255


def test_the_terms_are_the_powers_that_are_stated(pixels01):
    expected = np.stack([np.prod(pixels01**powers, axis=1) for powers in EXPONENTS], axis=1)
    assert np.allclose(cubic_terms(pixels01), expected)
    assert len(set(EXPONENTS)) == 20
    assert max(map(sum, EXPONENTS)) == 3
    assert [sum(powers) for powers in EXPONENTS] == sorted(map(sum, EXPONENTS))


def test_terms_keep_leading_axes_and_number_type(pixels01):
    block = pixels01[:24].reshape(2, 3, 4, 3).astype(np.float32)
    assert cubic_terms(block).shape == (2, 3, 4, 20)
    assert cubic_terms(block).dtype == np.float32
    assert apply_cubic(identity_cubic(), block).dtype == np.float32


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_fit_finds_the_map_that_was_applied(pixels01, seed):
    given_map = identity_cubic() + np.random.default_rng(seed).normal(0, 0.2, (20, 3))
    target = apply_cubic(given_map, pixels01)
    assert np.abs(apply_cubic(fit_cubic(pixels01, target, 1e-10), pixels01) - target).max() < 1e-3


def test_no_change_fits_the_identity_exactly(pixels01):
    assert np.array_equal(fit_cubic(pixels01, pixels01), identity_cubic())


def test_a_strong_ridge_leaves_only_a_shift_and_that_whole(pixels01):
    target = pixels01**2 + 0.1
    shift = apply_cubic(fit_cubic(pixels01, target, 1e6), pixels01) - pixels01
    assert np.allclose(shift, (target - pixels01).mean(axis=0), atol=1e-4)


def test_one_pixel_tells_a_shift_of_all_colours():
    found = fit_cubic(np.array([[0.2, 0.4, 0.6]]), np.array([[0.3, 0.4, 0.5]]))
    assert np.allclose(apply_cubic(found, np.array([0.9, 0.1, 0.5])), [1.0, 0.1, 0.4], atol=1e-6)


def test_weights_count_like_copies(pixels01):
    source, target = pixels01[:300], pixels01[:300] ** 1.5
    weights = np.random.default_rng(0).integers(0, 4, 300)
    copied = fit_cubic(np.repeat(source, weights, axis=0), np.repeat(target, weights, axis=0))
    assert np.allclose(fit_cubic(source, target, weights=weights.astype(float)), copied, atol=1e-8)


@pytest.mark.parametrize(
    ("source", "target", "ridge"),
    [((0, 3), (0, 3), 1e-4), ((5, 3), (4, 3), 1e-4), ((5, 4), (5, 4), 1), ((5, 3), (5, 3), 0)],
)
def test_what_cannot_be_fitted_is_refused(source, target, ridge):
    with pytest.raises(UsageError, match="colours"):
        fit_cubic(np.ones(source), np.ones(target), ridge)


def test_every_code_survives_the_identity_in_pictures_of_any_size(small_photos, monkeypatch):
    photo = small_photos(1, 61, 83)[0]
    assert np.array_equal(cubic_u8(identity_cubic(), photo), photo)
    bend = fit_cubic(photo.reshape(-1, 3) / 255, (photo.reshape(-1, 3) / 255) ** 1.3, 1e-6)
    whole = cubic_u8(bend, photo)
    assert np.abs(whole - np.clip(apply_cubic(bend, photo / 255), 0, 1) * 255).max() <= 0.51
    assert np.allclose(cubic_levels(bend, photo), np.moveaxis(apply_cubic(bend, photo / 255), -1, 0) * 255, atol=1e-2)
    monkeypatch.setattr(cubic, "_STRIP_PIXELS", 1000)
    assert np.abs(cubic_u8(bend, photo).astype(int) - whole).max() <= 1
