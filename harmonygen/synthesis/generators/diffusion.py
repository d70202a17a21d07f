"""Candidates from the inverse latent diffusion model (REFERENCE sections 2 and 10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from harmonygen.models.agreement import run_denoiser
from harmonygen.models.checkpoints import locate, weights_digest
from harmonygen.models.denoiser import Denoiser
from harmonygen.models.device import AS_STATED, Device, Sampling, image_threads, keep_memory
from harmonygen.models.draw import PictureSampler
from harmonygen.pictures.detail import DetailTransfer
from harmonygen.pictures.images import ImageU8, Picture01, paste, to_u8
from harmonygen.pictures.photo import Photo
from harmonygen.records import Candidate
from harmonygen.settings import Decoded, Detail
from harmonygen.synthesis.settings import CandidateSettings


class DiffusionGenerator:
    """The real photo is encoded once; its K candidates are denoised together, each with its own noise."""

    name = "diffusion"

    def __init__(
        self,
        model: Denoiser,
        digest: str = "",
        sampling: Sampling = AS_STATED,
        batch: int = 16,
        detail: Detail = "transfer",
        decoded: Decoded = "foreground",
    ) -> None:
        self.draw, self.digest, self.detail = PictureSampler(model, sampling, batch, decoded), digest, detail
        self.device = model.device.type
        self.resolution, self.multiple = model.spec.resolution, model.factor

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        device: Device,
        sampling: Sampling,
        detail: Detail,
        decoded: Decoded = "foreground",
    ) -> DiffusionGenerator:
        """Load ``starter`` or a checkpoint folder of an inverse model."""
        folder = locate(name, "inverse")
        model, digest = Denoiser.from_pretrained(folder, "inverse", device.name, device.dtype), weights_digest(folder)
        if device.runtime:
            run_denoiser(model, digest, device.runtime)
        return cls(model, digest, sampling, device.batch, detail, decoded)

    def make_ready(self, side: int, count: int) -> None:
        """Predict once for squares of ``side`` pixels, so that a runtime makes its network for them now."""
        model = self.draw.model
        cells, batch = max(1, round(side / model.factor)), min(count, self.draw.batch)
        if model.network is not None:
            model.network(torch.zeros(batch, model.unet.config.in_channels, cells, cells), torch.tensor(1.0))

    def __call__(self, photo: Photo, candidates: Sequence[Candidate]) -> Iterator[ImageU8]:
        """Yield one composite per candidate, at the photo's output size."""
        pictures = self.draw(photo.low_u8, photo.low_mask, [candidate.seed for candidate in candidates])
        with ThreadPoolExecutor(image_threads()) as threads:
            yield from threads.map(self._full_size(photo), list(pictures))

    def _full_size(self, photo: Photo) -> Callable[[Picture01], ImageU8]:
        """Return what brings a picture (h, w, 3) in [0, 1] to the photo's size, over its background."""
        if self.detail == "decode":
            return lambda picture01: paste(to_u8(picture01), photo.image_u8, photo.mask)
        how = self.draw.model.spec.transfer
        return DetailTransfer(photo.low_u8 / np.float32(255), photo.image_u8, photo.mask, how)


def make_diffusion(run: CandidateSettings, device: Device) -> DiffusionGenerator:
    """Load the generator that a run's settings name, compiled if they ask for it."""
    keep_memory()
    sampling = Sampling(run.steps, posterior=run.posterior)
    generator = DiffusionGenerator.from_pretrained(run.model, device, sampling, run.detail, run.decoded)
    if run.compile:
        generator.draw.model.compile()
    if device.runtime and device.runtime.each_size:
        generator.make_ready(run.resolution or generator.resolution, run.k)
    return generator
