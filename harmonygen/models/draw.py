"""Draw pictures from a denoiser: what the condition decides is computed once per photo, the draws go in batches.

Both directions use it: K candidates of a real photo, or N harmonized results of a composite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from harmonygen.models.denoiser import Denoiser, generators_of
from harmonygen.models.device import AS_STATED, Sampling
from harmonygen.models.harmony_vae import ConditionFeatures
from harmonygen.models.window_decoder import Window, WindowDecoder, window_around
from harmonygen.pictures.images import ImageU8, Mask, Picture01
from harmonygen.settings import Decoded

Made = TypeVar("Made")


class PictureSampler:
    """A denoiser with how it is sampled.

    ``batch`` draws are denoised together and ``decode_batch`` of them decoded: either is halved, and stays so, when
    memory runs out in it. A decoder asks for more memory than a UNet, and gains less from company.
    ``decoded`` says what of a picture is decoded: the whole, or a window around the foreground, where the rest is the
    condition image's own.
    """

    def __init__(
        self,
        model: Denoiser,
        sampling: Sampling = AS_STATED,
        batch: int = 16,
        decoded: Decoded = "whole",
    ) -> None:
        self.model, self.sampling, self.decoded = model, sampling, decoded
        self.batch = self.decode_batch = batch

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
        condition, spread = model.condition(image_pm1, self.sampling)
        mask01 = torch.from_numpy(mask[None, None].astype(np.float32)).to(model.device)
        cells = model.latent_mask(mask01)
        window = window_around(model.vae, mask) if self.decoded == "foreground" else None
        features = model.features(image_pm1, mask01)
        pictures_of = PictureDecoder(model, image_pm1, condition, features, window)

        def denoise(batch: Sequence[int]) -> tuple[Tensor, ConditionFeatures | None]:
            generators = generators_of(batch)
            latents = model.sample(condition, cells, generators, self.sampling, spread)
            return latents, model.drawn_features(features, generators, self.sampling)

        def decode(latents: Tensor, drawn: ConditionFeatures | None, part: Sequence[int]) -> Tensor:
            rows = slice(part[0], part[-1] + 1)
            return pictures_of(latents[rows], drawn and drawn.of(rows))

        for latents, drawn in self._in_batches(denoise, seeds, "batch"):
            for pictures in self._in_batches(partial(decode, latents, drawn), range(len(latents)), "decode_batch"):
                yield from ((picture + 1) / 2 for picture in pictures.permute(0, 2, 3, 1).cpu().numpy())

    def _in_batches(
        self, work: Callable[[Sequence[int]], Made], items: Sequence[int], size: Literal["batch", "decode_batch"]
    ) -> Iterator[Made]:
        """Yield what ``work`` makes of the items, in batches of at most ``size`` that fit into memory."""
        waiting = list(items)
        while waiting:
            tried = min(getattr(self, size), len(waiting))
            try:
                made = work(waiting[:tried])
            except torch.OutOfMemoryError:
                if tried == 1:
                    raise
                torch.cuda.empty_cache()
                setattr(self, size, tried // 2)
                continue
            waiting = waiting[tried:]
            yield made


class PictureDecoder:
    """Latents of one photo's candidates to pictures."""

    def __init__(
        self,
        model: Denoiser,
        image_pm1: Tensor,
        condition: Tensor,
        features: ConditionFeatures | None,
        window: Window | None,
    ) -> None:
        self.image_pm1, self.residual = image_pm1, model.spec.target == "residual"
        self.scale, self.dtype, self.factor = model.vae.config.scaling_factor, model.vae.dtype, model.factor
        self.decode = WindowDecoder(model.vae, self._unscaled(condition), features, window)

    def __call__(self, latents: Tensor, features: ConditionFeatures | None = None) -> Tensor:
        """Return pictures (B, 3, H, W) in [-1, 1] of scaled latents (B, C, h, w); outside the window, the image's.

        A residual model adds the decoded *difference* to the image, as :meth:`Denoiser.picture` says. ``features`` are
        the draws' own, where they differ from the photo's.
        """
        decoded, window = self.decode(self._unscaled(latents), features).float(), self.decode.window
        real = window.of(self.image_pm1, self.factor) if window else self.image_pm1
        if self.residual:
            decoded = real + (decoded - self.decode.condition.float())
        decoded = torch.clamp(decoded, -1, 1)
        if window is None:
            return decoded
        pictures = self.image_pm1.repeat(len(latents), 1, 1, 1)
        window.of(pictures, self.factor).copy_(decoded)
        return pictures

    def _unscaled(self, latents: Tensor) -> Tensor:
        unscaled: Tensor = (latents / self.scale).to(self.dtype)
        return unscaled


def to_pm1(image_u8: ImageU8) -> Tensor:
    """Turn (h, w, 3) uint8 into (1, 3, h, w) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image_u8)).permute(2, 0, 1)[None].float() / 127.5 - 1
