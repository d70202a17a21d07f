"""Intervals and paired comparisons: their laws, what is known of them otherwise, and how often they hold."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmonygen.data.published import BINS, bin_of
from harmonygen.errors import UsageError
from harmonygen.evaluation.bootstrap import (
    crossed_interval,
    crossed_intervals,
    interval,
    intervals,
    intervals_of,
    medians,
    paired,
    relative_changes,
    shares,
)
from harmonygen.evaluation.measured import HELD, held, told, told_of_few

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
    assert found.low < 1 < 3 < found.high  # two values: Student's t with one degree of freedom
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


def test_a_statistic_of_means_has_nearly_the_interval_of_means():
    """Percentiles of many normal values are those of bootstrap-t."""
    values = np.random.default_rng(0).normal(3, 1, (600, 2))
    photos = np.repeat(np.arange(200), 3)
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


# How often they hold


@pytest.fixture(scope="module")
def coverage():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
        yield importlib.import_module("coverage")


@pytest.mark.parametrize("photos", [10, 30])
@pytest.mark.parametrize("tails", ["normal", "heavy"])
@pytest.mark.parametrize("kind", ["mean", "difference", "change", "grouped"])
def test_intervals_hold_as_often_as_the_pages_say(coverage, kind, tails, photos):
    """600 samples, so 2.7 points are three standard errors; percentiles held in 67 to 90 % of ten photos."""
    least, most = held(photos)
    assert least - 2.7 <= coverage.held(getattr(coverage, kind)(tails), photos, 600) <= min(most + 2.7, 100)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("strength", [0, 4])
def test_intervals_over_seeds_hold_as_often_as_the_pages_say(coverage, seeds, strength):
    least, most = held(30, seeds)
    found = coverage.held(coverage.crossed("normal", seeds, strength), 30, 600)
    assert least - 2.7 <= found <= min(most + 2.7, 100)


def test_the_percentiles_that_were_there_before_do_not_hold(coverage):
    assert coverage.held(coverage.percentiles("heavy"), 10, 600) < 75
    assert coverage.held(coverage.mean("heavy"), 10, 600) > 87


def test_pages_say_what_was_measured_at_no_more_photos_and_seeds():
    assert held(4) is None
    assert held(99) == HELD[1][30]
    assert held(100, 4) == HELD[3][100]
    assert held(10**6, 50) == HELD[5][500]
    assert f"{HELD[1][30][0]} to {HELD[1][30][1]} %" in told(40)
    assert "no interval can be relied on" in told(3)
    assert told_of_few({"all": 500}) == ""
    assert "bin (4 photos, unknown)" in told_of_few({"all": 500, "bin": 4})


# Other intervals


def test_a_relative_change_is_that_of_the_means_and_never_under_minus_one():
    rng = np.random.default_rng(0)
    before = np.exp(rng.normal(0, 1.5, (60, 2)))
    after = before * np.array([0.5, 1e-3])
    half, nearly_all = relative_changes(after, before)
    assert (half.mean, half.low, half.high) == pytest.approx((-0.5, -0.5, -0.5))
    assert nearly_all.low >= -1
    noisy = relative_changes(after[:, :1] * rng.uniform(0.5, 1.5, (60, 1)), before[:, :1])[0]
    assert noisy.low < -0.5 < noisy.high
    one_left = relative_changes(np.eye(12)[:, :1], np.ones((12, 1)))[0]
    assert (one_left.mean, one_left.low) == (pytest.approx(-11 / 12), -1.0)


def test_shares_are_wilsons_and_copies_of_a_photo_count_once():
    flags = np.arange(40)[:, None] < 30
    once, copied = shares(flags)[0], shares(np.repeat(flags, 5, axis=0), groups=np.repeat(np.arange(40), 5))[0]
    assert (once.mean, once.low, once.high) == pytest.approx((0.75, 0.598, 0.858), abs=2e-3)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high), abs=1e-9)
    none = shares(np.zeros((20, 1), dtype=bool))[0]
    assert (none.low, none.high) == pytest.approx((0, 0.161), abs=1e-3)


def test_values_that_are_nearly_equal_do_not_make_an_endless_interval():
    values = [0.0, 0.01, -0.01, 0.02, 0.0, 0.01, -0.02, 0.0, 0.01, 5.0]
    found = interval(values)
    assert found.high < 10
    same = interval([2.0] * 12)
    assert (same.low, same.mean, same.high) == (2.0, 2.0, 2.0)


def test_few_seeds_widen_an_interval_by_students_t():
    """No noise but that of seeds: the interval is the seeds' own, with Student's t for two degrees of freedom."""
    seeds = np.array([-1.0, 0.0, 1.0])
    photos = np.random.default_rng(0).normal(0, 1e-6, (50, 1))
    found = crossed_interval(photos + seeds, [str(place) for place in range(50)])
    assert found.high - found.low == pytest.approx(2 * 4.303 * seeds.std(ddof=1) / math.sqrt(3), rel=1e-3)
    alone = crossed_interval(photos + seeds[:1], [str(place) for place in range(50)])
    assert alone.high - alone.low < 1e-5


def test_seeds_that_differ_by_chance_alone_widen_nothing():
    """Each photo meets each seed by chance, far more than photos differ: the seeds' means differ by nothing else."""
    rng = np.random.default_rng(0)
    names = [f"{place:03}" for place in range(100)]
    values = rng.normal(0, 1, (100, 1, 50)) + rng.normal(0, 3, (100, 2, 50))
    crossed = crossed_intervals(values, names)
    alone = intervals(values.mean(axis=1))
    same = [one.high - one.low <= 1.001 * (other.high - other.low) for one, other in zip(crossed, alone, strict=True)]
    assert np.mean(same) > 0.5
