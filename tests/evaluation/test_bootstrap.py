"""Intervals and paired comparisons: their laws, and what is known of them otherwise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmonygen.errors import UsageError
from harmonygen.evaluation.bootstrap import interval, intervals, intervals_of, medians, paired
from harmonygen.evaluation.scores import BINS, bin_of

NUMBERS = st.lists(st.floats(-100, 100), min_size=2, max_size=20)


def test_the_interval_of_a_normal_sample_is_that_of_theory():
    values = np.random.default_rng(0).normal(10, 2, 500)
    found = interval(values, n=4000)
    error = 1.96 * values.std() / math.sqrt(500)
    assert found.mean == pytest.approx(values.mean(), abs=1e-12)
    assert found.low == pytest.approx(values.mean() - error, abs=0.02)
    assert found.high == pytest.approx(values.mean() + error, abs=0.02)


@settings(max_examples=30, deadline=None)
@given(NUMBERS, st.floats(0.1, 5), st.floats(-50, 50))
def test_the_interval_moves_and_scales_with_the_values(values, scale, shift):
    one = interval(values, n=200)
    other = interval(np.array(values) * scale + shift, n=200)
    assert one.low <= one.mean + 1e-9
    assert one.mean <= one.high + 1e-9
    assert other.low == pytest.approx(one.low * scale + shift, abs=1e-6)
    assert other.high == pytest.approx(one.high * scale + shift, abs=1e-6)


def test_it_depends_on_the_seed_alone():
    values = np.arange(50.0)
    assert interval(values, seed=1) == interval(values, seed=1) != interval(values, seed=2)


def test_composites_of_one_photo_go_together():
    """Ten photos of twenty equal values each: as wide as ten values, not as two hundred."""
    photos = np.random.default_rng(1).normal(0, 1, 10)
    values, groups = np.repeat(photos, 20), np.repeat([f"p{i}" for i in range(10)], 20)
    grouped, alone, plain = interval(values, groups=groups), interval(photos), interval(values)
    assert grouped.mean == pytest.approx(alone.mean)
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert plain.high - plain.low < 0.4 * (grouped.high - grouped.low)


def test_values_that_are_not_finite_are_left_out_and_counted():
    found = interval([1.0, math.nan, 3.0, math.inf])
    assert (found.mean, found.n) == (2.0, 2)
    assert 1 <= found.low <= found.high <= 3
    nothing = interval([math.nan, math.nan])
    assert (nothing.n, math.isnan(nothing.mean), math.isnan(nothing.low)) == (0, True, True)
    assert math.isnan(interval([5.0]).low)


def test_columns_are_resampled_alike():
    columns = np.random.default_rng(2).normal(size=(40, 3))
    for column, found in enumerate(intervals(columns, seed=3)):
        assert found == pytest.approx(interval(columns[:, column], seed=3), abs=1e-12) or found.mean == pytest.approx(
            interval(columns[:, column], seed=3).mean
        )


def test_a_paired_comparison_sees_what_two_intervals_cannot():
    rng = np.random.default_rng(4)
    before = rng.normal(30, 6, 100)
    after = before + rng.normal(0.5, 0.5, 100)
    found = paired(after, before)
    assert found.difference.low > 0.3
    assert interval(after).low < interval(before).high
    assert found.wins == np.mean(after > before)
    assert paired(before, after).difference.high == pytest.approx(-found.difference.low, abs=0.02)
    lower = paired(after, before, higher_is_better=False)
    assert lower.wins == pytest.approx(1 - found.wins)


def test_ties_are_no_wins():
    found = paired([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 2.0, 5.0])
    assert (found.wins, found.ties) == (0.25, 0.5)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"level": 1.0}, {"level": 0.0}])
def test_what_is_no_bootstrap_is_refused(wrong):
    with pytest.raises(UsageError, match="is none"):
        interval([1.0, 2.0], **wrong)


def test_a_comparison_of_other_images_is_refused():
    with pytest.raises(UsageError, match="same images"):
        paired([1.0], [1.0, 2.0])


@given(st.floats(0, 1))
def test_every_ratio_has_its_bin(ratio):
    expected = 0 if ratio < 0.05 else 1 if ratio < 0.15 else 2
    assert bin_of(ratio) == BINS[expected]


def test_a_statistic_of_means_has_the_interval_of_means():
    values = np.random.default_rng(0).normal(3, 1, (60, 2))
    photos = np.repeat(np.arange(20), 3)
    ours = intervals_of(values, lambda rows: rows.mean(axis=0), groups=photos, n=4000)
    for one, other in zip(ours, intervals(values, groups=photos), strict=True):
        assert one.mean == pytest.approx(other.mean)
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.02)


def test_the_interval_of_a_median_is_that_of_theory():
    values = np.random.default_rng(1).normal(0, 1, (800, 1))
    found = medians(values)[0]
    error = 1.96 * math.sqrt(math.pi / 2 / 800)
    assert found.mean == np.median(values)
    assert found.high - found.low == pytest.approx(2 * error, rel=0.25)


def test_copies_of_a_photo_do_not_narrow_a_median():
    values = np.random.default_rng(2).normal(0, 1, (30, 1))
    once, copied = medians(values)[0], medians(np.repeat(values, 9, axis=0), groups=np.repeat(np.arange(30), 9))[0]
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.2)


def test_one_photo_has_no_interval_and_no_rows_are_refused():
    assert math.isnan(medians(np.ones((3, 1)), groups=["a"] * 3)[0].low)
    with pytest.raises(UsageError, match="at least one row"):
        medians(np.ones((0, 1)))
