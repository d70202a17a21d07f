"""Draw pictures from a denoiser: what the condition decides is computed once a photo, the draws go in batches.

Both directions use it: K candidates of a real photo, or N harmonized results of a composite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harmonygen.config import Sampler
from harmonygen.images import ImageU8, Mask
from harmonygen.models.denoiser import Denoiser

Picture01 = npt.NDArray[np.float32]


class PictureSampler:
    """A denoiser with how it is sampled. ``batch_size`` is halved, and stays so, when memory runs out."""

    def __init__(
        self, model: Denoiser, steps: int | None = None, batch_size: int = 16, sampler: Sampler | None = None
    ) -> None:
        self.model, self.steps, self.batch_size, self.sampler = model, steps, batch_size, sampler

    @torch.no_grad()
    def __call__(self, image_u8: ImageU8, mask: Mask, seeds: Sequence[int]) -> Iterator[Picture01]:
        """Yield one picture (h, w, 3) in [0, 1] a seed, in their order.

        Args:
            image_u8: (h, w, 3) the condition image; its sides are multiples of ``model.factor``.
            mask: (h, w) bool foreground.
            seeds: each draw depends on its own seed alone, whatever the batch.
        """
        model = self.model
        image_pm1 = to_pm1(image_u8).to(model.device)
        condition = model.encode(image_pm1)
        mask01 = torch.from_numpy(mask[None, None].astype(np.float32)).to(model.device)
        features = model.features(image_pm1, mask01)
        decoded = model.decode(condition, features) if model.spec.target == "residual" else condition
        cells = model.latent_mask(mask01)

        def draw(batch: Sequence[int]) -> Tensor:
            latents = model.sample(condition, cells, batch, self.steps, self.sampler)
            return model.picture(latents, condition, decoded, image_pm1, features)

        for pictures in self._in_batches(draw, seeds):
            yield from (pictures.permute(0, 2, 3, 1).cpu().numpy() + 1) / 2

    def _in_batches(self, draw: Callable[[Sequence[int]], Tensor], seeds: Sequence[int]) -> Iterator[Tensor]:
        """Yield what ``draw`` makes of the seeds, in batches that fit into memory."""
        waiting = list(seeds)
        while waiting:
            size = self.batch_size
            try:
                drawn = draw(waiting[:size])
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                torch.cuda.empty_cache()
                self.batch_size = size // 2
                continue
            waiting = waiting[size:]
            yield drawn


def to_pm1(image_u8: ImageU8) -> Tensor:
    """Turn (h, w, 3) uint8 into (1, 3, h, w) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image_u8)).permute(2, 0, 1)[None].float() / 127.5 - 1
