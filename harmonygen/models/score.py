"""Score composites by the harmony classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from harmonygen.pictures.images import ImageU8, Mask, resize
from harmonygen.pictures.masks import resize_mask
from harmonygen.models.checkpoints import locate, weights_digest
from harmonygen.models.classifier import HarmonyResNet

Scorer = Callable[[Sequence[ImageU8], Mask], list[float]]
"""Composites (H, W, 3) uint8 of one pair and their mask (H, W) bool -> P(composite) of each, in [0, 1]."""


class ClassifierScorer:
    """The harmony classifier as a scorer: whole image, resized to the classifier's input size."""

    def __init__(self, model: HarmonyResNet, digest: str = "", batch_size: int = 32) -> None:
        self.model, self.digest, self.batch_size = model, digest, batch_size

    @classmethod
    def from_pretrained(cls, name: str | Path, device: str, dtype: torch.dtype = torch.float32) -> ClassifierScorer:
        """Load ``starter`` or a classifier folder."""
        folder = locate(name, "classifier")
        return cls(HarmonyResNet.from_pretrained(folder, device, dtype), weights_digest(folder))

    @torch.no_grad()
    def __call__(self, composites: Sequence[ImageU8], mask: Mask) -> list[float]:
        """Return P(composite) of each composite."""
        side = self.model.spec.input_size
        parameter = next(self.model.parameters())
        small = np.stack([resize(composite, side, side) for composite in composites])
        images = torch.from_numpy(small).permute(0, 3, 1, 2).to(parameter.device, parameter.dtype) / 255
        masks = torch.from_numpy(resize_mask(mask, side, side)).to(parameter.device, parameter.dtype)
        scores: list[float] = []
        for chunk in torch.split(images, self.batch_size):
            scores += self.model.p_composite(chunk, masks.expand(len(chunk), 1, -1, -1)).tolist()
        return scores
