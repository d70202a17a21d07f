"""The fast subset of the fault-injection suite (`make faults` runs all of it), and the faults that were mended.

`small` beside this file and `faults` of benchmarks/ are imported by the tests.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "benchmarks"), str(Path(__file__).resolve().parent)]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photos with masks (``photos``) and a finished run of theirs (``run``); do not write into it."""
    import small

    place = tmp_path_factory.mktemp("made")
    small.photos(place / "photos")
    words = ("--data", place / "photos", *small.JITTER, "--shard-size", 2, "--out", place / "run", "--quiet")
    small.done("synthesize", *words, *small.LOOSE)
    return place


@pytest.fixture(scope="session")
def made_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree in iHarmony4 layout without lists (``tree``) and a finished run of it (``run``): do not write there."""
    import small

    place = tmp_path_factory.mktemp("made-tree")
    small.tree(place / "tree")
    words = ("--data", place / "tree", *small.JITTER, "--shard-size", 2, "--out", place / "run", "--quiet")
    small.done("synthesize", *words, *small.LOOSE)
    return place


@pytest.fixture(scope="session")
def direct_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random direct harmonizer of 32 pixels: do not write into it."""
    from faults import samples

    return samples.direct(tmp_path_factory.mktemp("direct") / "model")
