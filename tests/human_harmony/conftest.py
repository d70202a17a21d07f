"""A small contest folder, and settings that build it in a second."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))

from small_contest import write_contest

from harmonygen.human_harmony.settings import HumanHarmonySettings


@pytest.fixture
def contest(tmp_path: Path) -> Path:
    """A contest folder of 12 photos."""
    return write_contest(tmp_path / "contest")


@pytest.fixture
def settings_for(contest: Path, tiny_classifier: Path, tmp_path: Path) -> Callable[..., HumanHarmonySettings]:
    """Make the settings of a quick build of the contest folder."""

    def make(**changes: Any) -> HumanHarmonySettings:
        values = {
            "data": str(contest),
            "out": tmp_path / "built",
            "generator": "color-jitter",
            "classifier": str(tiny_classifier),
            "product_filter": "none",
            "k": 3,
            "shard_size": 4,
            "test_fraction": 0.25,
            "device": "cpu",
        }
        return HumanHarmonySettings(**{**values, **changes})

    return make
