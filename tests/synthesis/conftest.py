"""Sized photos and their candidates, as generators take them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from harmonygen.images import Decoded
from harmonygen.records import Candidate, FileSource, Pair
from harmonygen.seeds import candidate_seed
from harmonygen.synthesis.photo import Photo, Sizing, size_photo


def _photo(name: str = "astronaut", height: int = 96, width: int = 128, **sizing: Any) -> Photo:
    source = Image.fromarray(getattr(data, name)()).resize((width, height))
    image = np.asarray(source)
    y, x = np.mgrid[:height, :width]
    mask = ((y - height / 2) / (height * 0.3)) ** 2 + ((x - width / 2) / (width * 0.3)) ** 2 < 1
    pair = Pair(f"{name}/0", name, "0", FileSource(Path(f"{name}.png")), FileSource(Path(f"{name}-mask.png")))
    options = {"resolution": 32, "multiple": 8, **sizing}
    return size_photo(pair, Decoded(image, (width, height), 1), mask, Sizing(**options))


@pytest.fixture
def make_photo() -> Callable[..., Photo]:
    """A photo of scikit-image, 128 x 96 with an ellipse in the middle, sized by the keywords."""
    return _photo


@pytest.fixture
def draw() -> Callable[..., list[Candidate]]:
    """Candidates 0..k-1 of a photo under a run seed."""

    def candidates(photo: Photo, k: int, seed: int = 0) -> list[Candidate]:
        pair_id = photo.pair.pair_id
        return [Candidate(pair_id, index, candidate_seed(seed, pair_id, index)) for index in range(k)]

    return candidates
