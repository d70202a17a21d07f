import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from harmonygen.pictures.mask_cleaning import clean_mask


@pytest.fixture
def disc(ellipse):
    return ellipse(100, 100)


def test_a_small_hole_is_filled_and_a_large_one_stays(disc):
    holed = disc.copy()
    holed[40, 40] = False
    holed[50:60, 50:60] = False
    cleaned = clean_mask(holed, max_hole=0.002)
    assert cleaned[40, 40]
    assert not cleaned[50:60, 50:60].any()


def test_a_bay_that_reaches_the_edge_is_no_hole():
    mask = np.ones((50, 50), bool)
    mask[0, 25] = False
    assert np.array_equal(clean_mask(mask, max_hole=0.1), mask)


def test_a_speck_is_removed_and_a_shoe_stays(disc):
    spotted = disc.copy()
    spotted[5, 5] = True
    spotted[90:96, 5:12] = True
    cleaned = clean_mask(spotted, max_speck=0.002)
    assert not cleaned[5, 5]
    assert cleaned[90:96, 5:12].all()


def test_a_hole_with_a_speck_in_it_is_filled_whole(disc):
    mask = disc.copy()
    mask[48:51, 48:51] = False
    mask[49, 49] = True
    assert np.array_equal(clean_mask(mask, max_hole=0.002), disc)


def test_two_small_earrings_alone_both_stay():
    mask = np.zeros((100, 100), bool)
    mask[10, 10] = mask[10, 90] = True
    assert np.array_equal(clean_mask(mask, max_speck=0.5), mask)


def test_a_mask_is_not_filled_up():
    mask = np.ones((50, 50), bool)
    mask[20, 20] = False
    assert np.array_equal(clean_mask(mask, max_hole=0.1), mask)


def test_nothing_is_touched_with_both_limits_at_zero():
    mask = np.random.default_rng(0).random((64, 64)) < 0.5
    assert np.array_equal(clean_mask(mask, 0, 0), mask)


masks = st.builds(
    lambda seed, height, width, smooth, share: (
        ndimage.gaussian_filter(np.random.default_rng(seed).random((height, width)), smooth) < share
    ),
    st.integers(0, 2**32),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([0, 0.5, 1.0, 2.0]),
    st.sampled_from([0.1, 0.45, 0.5, 0.55, 0.9]),
)
limits = st.sampled_from([0.0, 0.002, 0.01, 0.05, 0.3, 1.0])


@settings(max_examples=300, deadline=None)
@given(masks, limits, limits)
def test_cleaning_keeps_its_laws(mask, max_hole, max_speck):
    cleaned = clean_mask(mask, max_hole, max_speck)
    assert cleaned.dtype == np.bool_
    assert cleaned.any() == mask.any()
    assert cleaned.all() == mask.all()
    assert np.array_equal(clean_mask(cleaned, max_hole, max_speck), cleaned)
    for turn in (1, 2, 3):
        assert np.array_equal(clean_mask(np.rot90(mask, turn), max_hole, max_speck), np.rot90(cleaned, turn))


@settings(max_examples=100, deadline=None)
@given(masks, limits, limits)
def test_only_whole_small_regions_change(mask, max_hole, max_speck):
    cleaned = clean_mask(mask, max_hole, max_speck)
    regions, count = ndimage.label(mask, structure=np.ones((3, 3)))
    for index in range(1, count + 1):
        kept = cleaned[regions == index]
        assert kept.all() or not kept.any()
    holes, count = ndimage.label(cleaned & ~mask)
    assert all((holes == index).sum() < max_hole * mask.size for index in range(1, count + 1))


def test_a_mask_of_1024_pixels_takes_little_time(ellipse):
    mask = ellipse(1024, 1024) ^ (np.random.default_rng(0).random((1024, 1024)) < 0.02)
    started = time.perf_counter()
    cleaned = clean_mask(mask)
    assert time.perf_counter() - started < 2  # about 0.05 s on one free core
    assert np.array_equal(cleaned[300:700, 400:600], np.ones((400, 200), bool))
