"""AUC and expected calibration error: laws and cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from harmonygen.models.classifier import ClassifierSpec, HarmonyResNet
from harmonygen.training.classifier import auc, calibrated, ece, fit_calibration

SAMPLES = st.lists(st.tuples(st.integers(0, 20).map(lambda value: value / 20), st.booleans()), min_size=2, max_size=40)


def split(samples: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    p, y = zip(*samples, strict=True)
    return np.array(p), np.array(y, dtype=bool)


@given(SAMPLES)
def test_auc_is_the_share_of_pairs_in_order_ties_half(samples):
    p, y = split(samples)
    assume(0 < y.sum() < len(y))
    wins = [(a > b) + (a == b) / 2 for a in p[y] for b in p[~y]]
    assert auc(p, y) == pytest.approx(np.mean(wins))
    assert auc(1 - p, y) == pytest.approx(1 - auc(p, y))
    assert auc(p**3 / 2 + 0.1, y) == pytest.approx(auc(p, y))


def test_auc_of_one_class_is_not_a_number():
    assert math.isnan(auc(np.array([0.1, 0.9]), np.array([True, True])))


@given(SAMPLES)
def test_ece_is_between_zero_and_one(samples):
    assert 0 <= ece(*split(samples)) <= 1


def test_ece_of_a_constant_is_its_distance_from_the_rate():
    y = np.arange(100) < 30
    assert ece(np.full(100, 0.3), y) == pytest.approx(0)
    assert ece(np.full(100, 0.9), y) == pytest.approx(0.6)


def test_ece_weighs_bins_by_their_samples():
    p = np.array([0.1] * 30 + [0.9] * 10)
    y = np.array([False] * 30 + [False] * 10)
    assert ece(p, y) == pytest.approx(0.75 * 0.1 + 0.25 * 0.9)


def test_a_calibrated_head_gives_the_fitted_probabilities():
    torch.manual_seed(0)
    model = HarmonyResNet(ClassifierSpec(depth="resnet10", in_channels=4, input_size=32)).eval()
    images, masks = torch.rand(4, 3, 32, 32), torch.zeros(4, 1, 32, 32)
    before = model.p_composite(images, masks).detach().double().numpy()
    model.calibrate(0.4, -0.7)
    after = model.p_composite(images, masks).detach().double().numpy()
    np.testing.assert_allclose(after, calibrated(before, (0.4, -0.7)), atol=1e-5)


def test_calibration_mends_an_overconfident_classifier():
    rng = np.random.default_rng(0)
    truth = rng.random(4000)
    labels = rng.random(4000) < truth
    overconfident = calibrated(truth, (3.0, 0.5))
    assert ece(overconfident, labels) > 0.1
    assert ece(calibrated(overconfident, fit_calibration(overconfident, labels)), labels) < 0.03
