"""Cubic maps in terms of a foreground's own colours."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from harmonygen.errors import UsageError
from harmonygen.recolor.cubic import apply_cubic, cubic_u8, identity_cubic
from harmonygen.recolor.foreground_terms import NUMBERS, ForegroundTerms, change_numbers


def colours(narrow: bool = False) -> np.ndarray:
    """Colours of a photo (N, 3), or of its dark corner alone."""
    photo = data.coffee()[::9, ::9].reshape(-1, 3) / 255
    return photo[photo.sum(1) < 0.35] if narrow else photo


@pytest.mark.parametrize("narrow", [False, True])
def test_a_curve_is_told_by_numbers_whose_squares_are_its_size(narrow):
    source = colours(narrow)
    target = source**1.4 * [1, 0.9, 1.1]
    terms = ForegroundTerms(source)
    numbers = terms.numbers(target)
    assert numbers.shape == (NUMBERS,)
    size = ((target - source) ** 2).sum(1).mean()
    assert (numbers**2).sum() == pytest.approx(size, rel=0.03)
    assert ((terms.changed(numbers) - target) ** 2).sum(1).mean() < 0.01 * size


@pytest.mark.parametrize("narrow", [False, True])
def test_random_numbers_move_any_foreground_by_their_size_and_no_map_explodes(narrow):
    source, rng = colours(narrow), np.random.default_rng(0)
    terms = ForegroundTerms(source)
    for _ in range(20):
        numbers = 0.15 * rng.standard_normal(NUMBERS) / NUMBERS**0.5
        change = terms.changed(numbers) - source
        assert np.sqrt((change**2).sum(1).mean()) < 0.2


def test_the_map_of_numbers_is_what_they_change():
    terms = ForegroundTerms(colours())
    numbers = 0.02 * np.random.default_rng(1).standard_normal(NUMBERS)
    assert np.allclose(apply_cubic(terms.map(numbers), terms.colours), terms.changed(numbers))
    assert np.allclose(terms.map(np.zeros(NUMBERS)), identity_cubic())


def test_one_colour_alone_can_be_shifted():
    terms = ForegroundTerms(np.full((5, 3), 0.4))
    numbers = terms.numbers(np.full((5, 3), 0.6))
    assert np.allclose(terms.changed(numbers), 0.6, atol=0.005)
    assert np.isfinite(terms.map(numbers)).all()


def test_the_change_of_a_composite_makes_the_composite_again(ellipse):
    photo, mask = data.astronaut()[:200, :200], ellipse(200, 200)
    composite = photo.copy()
    composite[mask] = np.rint(255 * (photo[mask] / 255) ** 0.7)
    numbers = change_numbers(photo, composite, mask)
    made = cubic_u8(ForegroundTerms.of(photo, mask).map(numbers), photo[mask])
    before, after = (np.abs(image.astype(float) - composite[mask]).mean() for image in (photo[mask], made))
    assert after < 0.1 * before


def test_no_colours_are_refused():
    with pytest.raises(UsageError, match="at least 1"):
        ForegroundTerms(np.zeros((0, 3)))
