"""Train the Harmony-VAE (REFERENCE section 4): decode a picture from its latent and the photo it was made from.

Inverse: the picture is a composite, the condition its real photo. Forward: the other way round. The latent is the
target's own, so no denoiser is needed.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from harmonygen.errors import UsageError
from harmonygen.models.harmony_vae import HarmonyVAE, check_direction, load_autoencoder
from harmonygen.models.vae_card import save_autoencoder
from harmonygen.training.composites import Batch
from harmonygen.training.denoiser import vae_folder
from harmonygen.training.observe import save_rows
from harmonygen.training.settings import HarmonyVaeTraining
from harmonygen.training.task import Losses

_SHEET_COLUMNS = 8


class HarmonyVaeTask:
    """L1 or L2 of the decoded target; the encoder is frozen, and the decoder too if so chosen."""

    def __init__(self, settings: HarmonyVaeTraining) -> None:
        self.settings = settings
        self.start = load_autoencoder(vae_folder(settings.vae, settings.direction)).eval().requires_grad_(False)
        self.vae = _begin(self.start, settings).freeze(settings.train_decoder)
        self.module: nn.Module = _Decoding(self.vae).train()
        inverse = settings.direction == "inverse"
        self._condition, self._target = ("real", "composite") if inverse else ("composite", "real")

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Losses]:
        """Decode a sample of the target's posterior, given the condition; ``posterior`` says what is given of it.

        Foreground pixels count ``foreground_weight`` times.
        """
        target, mask = batch[self._target], batch["mask"]
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        shape = len(target), self.vae.config.latent_channels, target.shape[2] // factor, target.shape[3] // factor
        count = 2 if self.settings.posterior == "sample" else 1
        noises = [torch.randn(shape, generator=generator).to(target.device) for _ in range(count)]
        output = module(target, batch[self._condition], mask, *noises)
        return weighted_error(output, target, mask, self.settings.loss, self.settings.foreground_weight), {}

    @torch.no_grad()
    def validate(self, batches: list[Batch]) -> Losses:
        """PSNR inside the mask of held-out targets: now, at the start (the plain autoencoder's), and the gain."""
        now, start = [], []
        for target, before, after, mask in map(self._reconstruct, batches):
            start.append(foreground_psnr(before, target, mask))
            now.append(foreground_psnr(after, target, mask))
        psnr, psnr_start = float(torch.cat(now).mean()), float(torch.cat(start).mean())
        name = "psnr_start" if isinstance(self.start, HarmonyVAE) else "psnr_plain"
        return {"psnr": psnr, name: psnr_start, "psnr_gain": psnr - psnr_start, "n": float(len(torch.cat(now)))}

    def _reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the target, its reconstructions at the start and now (B, 3, R, R), and the mask (B, 1, R, R)."""
        device = self.vae.device
        target, condition, mask = (batch[name].to(device) for name in (self._target, self._condition, "mask"))
        latents = self.vae.encode(target).latent_dist.mode()
        start: Any = self.start.to(device)
        given = isinstance(start, HarmonyVAE)
        before: Tensor = start(latents, condition, mask) if given else start.decode(latents).sample
        return target, before.clamp(-1, 1), self.vae(latents, condition, mask).clamp(-1, 1), mask

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Write the Harmony-VAE folder in half precision; the live modules stay as they were."""
        save_autoencoder(nn.Module.to(deepcopy(self.vae), torch.float16), folder)

    @torch.no_grad()
    def sheet(self, batches: list[Batch], path: Path) -> None:
        """Rows: condition, target, the reconstruction at the start (the plain autoencoder's), and now."""
        few = {name: value[:_SHEET_COLUMNS] for name, value in batches[0].items()}
        target, before, after, _ = self._reconstruct(few)
        save_rows([few[self._condition], target, before, after], path)


def weighted_error(
    output: Tensor, target: Tensor, mask: Tensor, kind: Literal["l1", "l2"], foreground_weight: float = 1.0
) -> Tensor:
    """Mean absolute or squared error of images (B, 3, H, W); foreground pixels count ``foreground_weight`` times."""
    error = (output - target).abs() if kind == "l1" else (output - target) ** 2
    weight = 1 + (foreground_weight - 1) * mask
    return torch.as_tensor((error * weight).sum() / (weight.sum() * error.shape[1]))


def foreground_psnr(image_pm1: Tensor, target_pm1: Tensor, mask: Tensor) -> Tensor:
    """PSNR (B,) over the foreground of images (B, 3, H, W) in [-1, 1]: the error is of its pixels alone.

    >>> ones = torch.ones(1, 3, 2, 2)
    >>> foreground_psnr(ones, 0.8 * ones, torch.ones(1, 1, 2, 2)).round(decimals=2)
    tensor([20.])
    """
    squared = ((image_pm1 - target_pm1) ** 2 * mask).sum(dim=(1, 2, 3)) / 4
    error = squared / (image_pm1.shape[1] * mask.sum(dim=(1, 2, 3)))
    return torch.as_tensor(-10 * torch.log10(error))


def _begin(start: AutoencoderKL | HarmonyVAE, settings: HarmonyVaeTraining) -> HarmonyVAE:
    """Return a new Harmony-VAE of a plain autoencoder, or a copy of one to train on; it states what it is trained for.

    Raises:
        CheckpointError: it was trained for the other direction.
        UsageError: random skips are asked of one that has trained ones.
    """
    check_direction(start, settings.direction)
    given, drawn = isinstance(start, HarmonyVAE), settings.skip_init == "random"
    if given and drawn:
        raise UsageError(f"skip_init=random: '{settings.vae}' is a Harmony-VAE with skips: give a plain autoencoder")
    vae: HarmonyVAE = deepcopy(start) if given else HarmonyVAE.from_autoencoder(start, settings.direction)
    vae.register_to_config(direction=settings.direction, posterior=settings.posterior)
    return vae.draw_skips() if drawn else vae


class _Decoding(nn.Module):
    """Encode the target with the frozen encoder, sample its posterior with the given noise, decode.

    With a second noise the condition's posterior is sampled too.
    """

    def __init__(self, vae: HarmonyVAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(
        self, target: Tensor, condition: Tensor, mask: Tensor, noise: Tensor, condition_noise: Tensor | None = None
    ) -> Tensor:
        with torch.no_grad():
            posterior = self.vae.encode(target).latent_dist
            latents = posterior.mean + posterior.std * noise.to(posterior.mean.dtype)
        return torch.as_tensor(self.vae(latents, condition, mask, condition_noise)).float()
