"""Candidates, as generators take them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harmonygen.pictures.photo import Photo
from harmonygen.records import Candidate
from harmonygen.seeds import candidate_seed


@pytest.fixture
def draw() -> Callable[..., list[Candidate]]:
    """Candidates 0..k-1 of a photo under a run seed."""

    def candidates(photo: Photo, k: int, seed: int = 0) -> list[Candidate]:
        pair_id = photo.pair.pair_id
        return [Candidate(pair_id, index, candidate_seed(seed, pair_id, index)) for index in range(k)]

    return candidates
