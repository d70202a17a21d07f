"""Candidates by a random smooth 3D LUT for each, or by given ``.cube`` files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from harmonygen.pictures.images import ImageU8
from harmonygen.pictures.photo import Photo
from harmonygen.recolor import identity_lut, lut_foreground, random_lut, read_cube
from harmonygen.records import Candidate
from harmonygen.seeds import digest_of_bytes
from harmonygen.synthesis.settings import CandidateSettings


class LutGenerator:
    """Candidate k takes the k-th ``.cube`` file (then, again from the first, at random strengths), or a random LUT."""

    name = "lut"
    resolution, multiple = 256, 1

    def __init__(self, cubes: Sequence[Path] = ()) -> None:
        self.cubes = [read_cube(path) for path in cubes]
        tables = digest_of_bytes(cube.tobytes() for cube in self.cubes)
        self.digest = f"lut:{tables if self.cubes else 'random'}"

    def __call__(self, photo: Photo, candidates: Sequence[Candidate]) -> Iterator[ImageU8]:
        """Yield one composite per candidate."""
        for candidate in candidates:
            yield lut_foreground(photo.image_u8, photo.mask, self._lut(candidate))

    def _lut(self, candidate: Candidate) -> np.ndarray:
        rng = np.random.default_rng(candidate.seed)
        if not self.cubes:
            return random_lut(rng)
        lut = self.cubes[candidate.k % len(self.cubes)]
        strength = 1.0 if candidate.k < len(self.cubes) else float(rng.uniform(0.4, 0.95))
        identity = identity_lut(lut.shape[0])
        return identity + strength * (lut - identity)


def make_lut(run: CandidateSettings) -> LutGenerator:
    """Build the generator that a run's settings describe."""
    return LutGenerator(run.cube)
