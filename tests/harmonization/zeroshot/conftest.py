"""Fixtures: Stable Diffusion folders of the real classes, one trained on drawn shapes and two of random weights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fakes"))

from small_stable_diffusion import random_stable_diffusion

TOY = Path(__file__).resolve().parents[2] / "assets" / "toy-sd"


@pytest.fixture(scope="session")
def toy_sd() -> Path:
    """The trained toy: 64 px, latents 4 x 16 x 16, words of ``toy_text_to_image.WORDS``: do not write into it."""
    return TOY


@pytest.fixture(scope="session")
def random_sd1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion 1.x folder of random weights (epsilon, PNDM), factor 8, 77 tokens: do not write into it."""
    return random_stable_diffusion(tmp_path_factory.mktemp("random-sd") / "sd1", "1")


@pytest.fixture(scope="session")
def random_sd2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion 2.x folder of random weights (v-prediction, linear projections): do not write into it."""
    return random_stable_diffusion(tmp_path_factory.mktemp("random-sd") / "sd2", "2")


@pytest.fixture(params=["random_sd1", "random_sd2"])
def random_sd(request: pytest.FixtureRequest) -> Path:
    """Both random folders, one after the other: a test that takes this one runs twice."""
    folder: Path = request.getfixturevalue(request.param)
    return folder
