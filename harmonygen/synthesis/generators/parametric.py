"""Candidates from the parametric inverse: colour maps drawn for a photo's foreground, applied to its own pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from harmonygen.models.checkpoints import locate, weights_digest
from harmonygen.models.device import Device
from harmonygen.models.parametric_inverse import ParametricInverseNet
from harmonygen.pictures.images import ImageU8
from harmonygen.pictures.photo import Photo
from harmonygen.recolor.cubic import cubic_u8
from harmonygen.records import Candidate
from harmonygen.synthesis.settings import CandidateSettings


class ParametricGenerator:
    """The photo is looked at once; each candidate is a map drawn from its seed, at the photo's full size."""

    name = "parametric"
    multiple = 1

    def __init__(self, model: ParametricInverseNet, digest: str = "") -> None:
        self.model, self.digest, self.resolution = model, digest, model.spec.resolution

    @classmethod
    def from_pretrained(cls, name: str | Path, device: str) -> ParametricGenerator:
        """Load ``starter`` or a checkpoint folder of kind ``parametric-inverse``.

        Raises:
            CheckpointError: no such folder, or of another kind.
        """
        folder = locate(name, "parametric-inverse")
        return cls(ParametricInverseNet.from_pretrained(folder, device), weights_digest(folder))

    def __call__(self, photo: Photo, candidates: Sequence[Candidate]) -> Iterator[ImageU8]:
        """Yield one composite per candidate."""
        sampler, foreground = self.model.sampler(photo.image_u8, photo.mask), photo.image_u8[photo.mask]
        for candidate in candidates:
            drawn = sampler(np.random.default_rng(candidate.seed))
            composite = photo.image_u8.copy()
            composite[photo.mask] = cubic_u8(drawn.coefficients, foreground)
            yield composite


def make_parametric(run: CandidateSettings, device: Device) -> ParametricGenerator:
    """Load the generator that a run's settings name."""
    return ParametricGenerator.from_pretrained(run.model, device.name)
