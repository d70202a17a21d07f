"""The measure of structure: its SSIM is skimage's, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from harmonygen.pictures.structure import Similarity


@pytest.mark.parametrize("shape", [(7, 7), (7, 40), (96, 61)])
def test_similarity_is_skimages_to_the_bit(shape):
    rng = np.random.default_rng(0)
    one = rng.normal(size=shape)
    similarity = Similarity(one, data_range=8.0)
    for noise in (0.0, 0.1, 3.0):
        other = one + noise * rng.normal(size=shape)
        _, goal = structural_similarity(one, other, data_range=8.0, full=True)
        assert np.array_equal(similarity(other), goal)
