"""Candidates from the inverse latent diffusion model (REFERENCE sections 2 and 10)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harmonygen.config import Detail
from harmonygen.detail import DetailTransfer
from harmonygen.images import ImageU8, paste, to_u8
from harmonygen.models.checkpoints import locate, weights_digest
from harmonygen.models.denoiser import Denoiser
from harmonygen.records import Candidate
from harmonygen.synthesis.photo import Photo


class DiffusionGenerator:
    """The real photo is encoded once; its K candidates are denoised together, each with its own noise."""

    name = "diffusion"

    def __init__(
        self, model: Denoiser, digest: str = "", steps: int = 5, batch_size: int = 16, detail: Detail = "transfer"
    ) -> None:
        self.model, self.digest, self.steps, self.batch_size, self.detail = model, digest, steps, batch_size, detail
        self.resolution, self.multiple = model.spec.resolution, model.factor

    @classmethod
    def from_pretrained(
        cls, name: str | Path, device: str, dtype: torch.dtype, steps: int, batch_size: int, detail: Detail
    ) -> DiffusionGenerator:
        """Load ``starter`` or a checkpoint folder of an inverse model."""
        folder = locate(name, "inverse")
        return cls(
            Denoiser.from_pretrained(folder, "inverse", device, dtype),
            weights_digest(folder),
            steps,
            batch_size,
            detail,
        )

    @torch.no_grad()
    def __call__(self, photo: Photo, candidates: Sequence[Candidate]) -> Iterator[ImageU8]:
        """Yield one composite a candidate, at the photo's output size."""
        real_pm1 = _to_pm1(photo.low_u8)
        condition = self.model.encode(real_pm1)
        decoded = self.model.decode(condition) if self.model.spec.target == "residual" else condition
        mask = self.model.latent_mask(torch.from_numpy(photo.low_mask[None, None].astype(np.float32))).to(
            condition.device
        )
        transfer = (
            DetailTransfer(photo.low_u8 / np.float32(255), photo.image_u8, photo.mask, self.model.spec.detail_radius)
            if self.detail == "transfer"
            else None
        )
        for pictures in self._pictures(condition, mask, decoded, real_pm1.to(condition.device), candidates):
            for picture01 in (pictures.permute(0, 2, 3, 1).cpu().numpy() + 1) / 2:
                if transfer:
                    yield transfer(picture01)
                else:
                    yield paste(to_u8(picture01), photo.image_u8, photo.mask)

    def _pictures(
        self, condition: Tensor, mask: Tensor, decoded: Tensor, real_pm1: Tensor, candidates: Sequence[Candidate]
    ) -> Iterator[Tensor]:
        """Yield batches of pictures (B, 3, h, w) in [-1, 1]; the batch is halved when memory runs out."""
        waiting = [candidate.seed for candidate in candidates]
        size = self.batch_size
        while waiting:
            try:
                latents = self.model.sample(condition, mask, waiting[:size], self.steps)
                pictures = self.model.picture(latents, condition, decoded, real_pm1)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                torch.cuda.empty_cache()
                self.batch_size = size = size // 2
                continue
            waiting = waiting[size:]
            yield pictures


def _to_pm1(image_u8: ImageU8) -> Tensor:
    """Turn (h, w, 3) uint8 into (1, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image_u8)).permute(2, 0, 1)[None].float() / 127.5 - 1
