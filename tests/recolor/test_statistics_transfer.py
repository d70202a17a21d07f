"""The Lab transfer: statistics of the result, and what it leaves alone."""

import numpy as np
import pytest

from harmonygen.errors import InputError, UsageError
from harmonygen.recolor.statistics_transfer import lab_move, lab_statistics, lab_transfer


@pytest.fixture(scope="module")
def photos(small_photos):
    return [(50 + 0.6 * photo).astype(np.uint8) for photo in small_photos(3)]


@pytest.fixture(scope="module")
def mask(ellipse):
    return ellipse(96, 128)


@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
def test_mean_and_spread_go_that_share_of_the_way(photos, mask, strength):
    for photo in photos:
        (mean, std), (goal, goal_std) = lab_statistics(photo[mask]), lab_statistics(photo[~mask])
        found, found_std = lab_statistics(lab_transfer(photo, mask, strength)[mask])
        assert np.allclose(found, mean + strength * (goal - mean), atol=1.5)
        assert np.allclose(found_std, std + strength * (goal_std - std), atol=1.5)


def test_the_background_is_bit_exact_and_strength_nothing_changes_nothing(photos, mask):
    for photo in photos:
        made = lab_transfer(photo, mask)
        assert np.array_equal(made[~mask], photo[~mask])
        assert (made[mask] != photo[mask]).any()
        assert np.array_equal(lab_transfer(photo, mask, 0.0), photo)


def test_a_darkened_foreground_comes_nearer_to_its_photo(photos, mask):
    """Cut and pasted twice: the background's own statistics are the foreground's, so half of the way is right."""
    tile = photos[1]
    twice = np.concatenate([tile, tile], axis=1)
    inside = np.zeros(twice.shape[:2], bool)
    inside[:, 128:] = True
    dark = np.where(inside[..., None], (twice * 0.7).astype(np.uint8), twice)
    before, after = (np.abs(image.astype(float) - twice)[inside].mean() for image in (dark, lab_transfer(dark, inside)))
    assert after < 0.65 * before
    assert np.abs(lab_transfer(dark, inside, 1.0).astype(float) - twice)[inside].mean() < 0.25 * before


def test_a_flat_foreground_and_a_full_mask(ellipse):
    flat = np.full((40, 40, 3), 90, np.uint8)
    flat[:10] = 200
    inside = ellipse(40, 40, 0.2)
    assert np.unique(lab_transfer(flat, inside)[inside], axis=0).shape == (1, 3)
    assert np.array_equal(lab_transfer(flat, np.ones((40, 40), bool)), flat)


def test_the_move_is_the_transfer(photos, mask):
    move = lab_move(photos[0], mask, 1.0)
    mean, std = lab_statistics(photos[0][mask])
    goal, goal_std = lab_statistics(photos[0][~mask])
    assert np.allclose(move(mean), goal)
    assert np.allclose(move(mean + std) - goal, goal_std)


def test_bad_input_is_refused(photos, mask):
    with pytest.raises(UsageError, match="strength"):
        lab_transfer(photos[0], mask, 1.5)
    with pytest.raises(InputError, match="empty"):
        lab_transfer(photos[0], np.zeros_like(mask))
