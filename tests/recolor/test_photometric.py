"""Photometric changes: the identity, the strength asked for, order of tones, and the background."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmonygen.errors import InputError
from harmonygen.recolor import Grade, draw_grade, grade_foreground
from harmonygen.recolor.foreground import lightness_gap
from harmonygen.recolor.photometric import draw_fitted

RAMP = np.linspace(0, 1, 33)[:, None].repeat(3, axis=1)


@pytest.fixture(scope="module")
def photo(small_photos):
    return small_photos(1)[0]


@given(seed=st.integers(0, 500))
@settings(max_examples=60, deadline=None)
def test_a_grade_stays_in_range_and_scaled_to_nothing_is_the_identity(seed):
    grade = draw_grade(np.random.default_rng(seed))
    pixels = np.random.default_rng(seed).random((40, 3))
    graded = grade(pixels)
    assert grade != Grade()
    assert graded.min() >= 0
    assert graded.max() <= 1
    assert np.allclose(grade.scaled(0)(pixels), pixels, atol=1e-6)


@given(seed=st.integers(0, 500), amount=st.floats(0.1, 2))
@settings(max_examples=60, deadline=None)
def test_a_grade_keeps_the_order_of_greys(seed, amount):
    graded = draw_grade(np.random.default_rng(seed)).scaled(amount)(RAMP)
    assert (np.diff(graded, axis=0) > -1e-4).all()


@pytest.mark.parametrize(
    ("grade", "holds"),
    [
        (Grade(exposure=1), lambda change: (change[8:24] > 0.02).all()),
        (Grade(black=-0.1), lambda change: (change[1:-1] < 0).all()),
        (Grade(contrast=1), lambda change: change[8].max() < 0 < change[24].min()),
        (Grade(warmth=0.5), lambda change: change[16, 0] > 0 > change[16, 2]),
        (Grade(shadows=1), lambda change: change[8].min() > 5 * abs(change[28]).max()),
        (Grade(cross=1), lambda change: change[8, 0] > 0 > change[24, 0]),
    ],
)
def test_each_adjustment_does_what_its_name_says(grade, holds):
    assert holds(grade(RAMP) - RAMP)


@pytest.mark.parametrize("wanted", [200.0, 1400.0, 4000.0])
def test_a_grade_is_scaled_to_the_change_that_is_asked_for(photo, wanted):
    pixels = photo.reshape(-1, 3) / 255
    reached = [
        float(((draw_fitted(np.random.default_rng(seed), pixels, wanted)(pixels) - pixels) ** 2).mean()) * 255**2
        for seed in range(12)
    ]
    assert np.median(reached) == pytest.approx(wanted, rel=0.15)


def test_the_background_stays_and_the_seed_decides(photo):
    mask = np.zeros(photo.shape[:2], dtype=bool)
    mask[20:60, 30:80] = True
    one, again, other = (grade_foreground(photo, mask, np.random.default_rng(seed), 900) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert np.array_equal(one[~mask], photo[~mask])
    with pytest.raises(InputError, match="empty"):
        grade_foreground(photo, np.zeros_like(mask), np.random.default_rng(0))


def test_the_lightness_gap_is_that_of_cie_lab():
    from skimage.color import rgb2lab

    image = np.random.default_rng(0).integers(30, 256, (20, 30, 3), dtype=np.uint8)
    image[:, :10] //= 2
    mask = np.zeros((20, 30), dtype=bool)
    mask[:, :10] = True
    lightness = rgb2lab(image)[..., 0]
    assert lightness_gap(image, mask) == pytest.approx(lightness[mask].mean() - lightness[~mask].mean(), abs=0.1)
    assert lightness_gap(image, np.ones_like(mask)) == 0
