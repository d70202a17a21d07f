"""DDIM inversion: the noise that a picture would have come from, and every latent on the way (REFERENCE section 8)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harmonygen.harmonization.zeroshot.schedule import Schedule

Predict = Callable[[Tensor, int, Tensor], Tensor]
"""(latents, time, text states) -> what the UNet predicts."""


@torch.no_grad()
def invert(
    predict: Predict, schedule: Schedule, latents: Tensor, states: Tensor, offload: bool = False
) -> list[Tensor]:
    """Walk clean latents up to noise, without guidance.

    Args:
        predict: the UNet.
        schedule: the DDIM levels.
        latents: (1, 4, h, w), clean.
        states: (1, T, width) text states; the empty prompt's for guidance 0.
        offload: keep the latents in main memory.

    Returns:
        ``steps + 1`` latents, clean first. Each step takes the noise at the level below for that of its own, DDIM's
        usual approximation: it is the more exact the more steps there are.
    """
    kept = [latents]
    for level in range(1, schedule.steps + 1):
        predicted = predict(latents, schedule.time(level), states)
        latents = schedule.invert(latents, schedule.noise(latents, predicted, level), level)
        kept.append(latents.cpu() if offload else latents)
    return kept


@torch.no_grad()
def reconstruct(predict: Predict, schedule: Schedule, latents: Tensor, states: Tensor) -> Tensor:
    """Walk noise (1, 4, h, w) down to clean latents, without guidance: what an inversion is worth."""
    for level in range(schedule.steps, 0, -1):
        latents = schedule.denoise(latents, predict(latents, schedule.time(level), states), level)
    return latents
