"""benchmarks/limits.py: limits follow REFERENCE section 12's operations, and what is counted is what is computed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
bench = importlib.import_module("limits")
sys.path.pop(0)


@pytest.mark.parametrize(("steps", "decode", "limit"), [(5, 2.515, 119), (1, 2.515, 230)])
def test_the_limits_are_the_references(steps, decode, limit):
    parts = bench.Parts(0.803, decode, 1.117, 0)  # 512 px; no conditional features
    assert 790 / parts.of_candidate(steps, k=10) == pytest.approx(limit, rel=0.01)


def test_parts_are_counted_by_size_and_decoder():
    found = bench.counts(0.1, [64, 128])
    small, large, light = found[64, False], found[128, False], found[128, True]
    assert 3.9 < large.decode / small.decode < 4.5  # convolutions by area, attention by its square
    assert large.encode == light.encode
    assert light.decode < 0.2 * large.decode
    assert 0 < light.features < large.features
