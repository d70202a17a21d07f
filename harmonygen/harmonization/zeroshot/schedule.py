"""The noise schedule of a Stable Diffusion folder, walked in both directions by DDIM (REFERENCE section 8)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from diffusers import DDIMScheduler
from torch import Tensor

Prediction = Literal["epsilon", "v_prediction"]


class Schedule:
    """``steps`` DDIM levels. Level 0 is the clean latent, level ``steps`` the noisiest; all alphas are the scheduler's.

    Args:
        config: a diffusers scheduler configuration; its sampler's own name does not matter.
        steps: DDIM steps, at most the number of training steps.
        prediction: what the UNet predicts.
    """

    def __init__(self, config: Mapping[str, Any], steps: int, prediction: Prediction) -> None:
        scheduler = DDIMScheduler.from_config(dict(config), clip_sample=False, thresholding=False)
        scheduler.set_timesteps(steps)
        times = [int(time) for time in scheduler.timesteps.flip(0)]
        self.steps, self.prediction = steps, prediction
        self.times = tuple(times)
        self.alphas = (float(scheduler.final_alpha_cumprod), *(float(scheduler.alphas_cumprod[time]) for time in times))

    def time(self, level: int) -> int:
        """Return the UNet's timestep at a level, 1 to ``steps``."""
        return self.times[level - 1]

    def clean(self, latents: Tensor, predicted: Tensor, level: int) -> Tensor:
        """Return the clean latents that a prediction at ``level`` means, (B, 4, h, w)."""
        alpha = self.alphas[level]
        if self.prediction == "v_prediction":
            return math.sqrt(alpha) * latents - math.sqrt(1 - alpha) * predicted
        return (latents - math.sqrt(1 - alpha) * predicted) / math.sqrt(alpha)

    def noise(self, latents: Tensor, predicted: Tensor, level: int) -> Tensor:
        """Return the noise that a prediction at ``level`` means, (B, 4, h, w)."""
        alpha = self.alphas[level]
        if self.prediction == "v_prediction":
            return math.sqrt(alpha) * predicted + math.sqrt(1 - alpha) * latents
        return predicted

    def denoise(self, latents: Tensor, predicted: Tensor, level: int) -> Tensor:
        """Step from ``level`` to ``level - 1`` with what was predicted at ``level``."""
        clean, noise = self.clean(latents, predicted, level), self.noise(latents, predicted, level)
        below = self.alphas[level - 1]
        return math.sqrt(below) * clean + math.sqrt(1 - below) * noise

    def invert(self, below: Tensor, noise: Tensor, level: int) -> Tensor:
        """Step from ``level - 1`` to ``level`` along a noise: :meth:`denoise` the other way round.

        With the noise that :meth:`denoise` finds at the result, the two undo each other.
        """
        lower, upper = self.alphas[level - 1], self.alphas[level]
        clean = (below - math.sqrt(1 - lower) * noise) / math.sqrt(lower)
        return math.sqrt(upper) * clean + math.sqrt(1 - upper) * noise


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
