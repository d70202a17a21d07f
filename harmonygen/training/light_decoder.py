"""Distil a light decoder from a Harmony-VAE's own: the same change of the photo, in a small part of the time.

Its target is the photo plus the change that the full decoder makes of it (what it decodes of the target's latent, less
what it decodes of the photo's own), so that the full decoder's loss of texture is not learned. Autoencoder and
conditional encoder stay the Harmony-VAE's.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from harmonygen.errors import CheckpointError
from harmonygen.models.harmony_vae import ConditionFeatures, HarmonyVAE, load_autoencoder
from harmonygen.models.vae_card import save_autoencoder
from harmonygen.training.composites import Batch
from harmonygen.training.denoiser import vae_folder
from harmonygen.training.harmony_vae import foreground_psnr, weighted_error
from harmonygen.training.observe import save_rows
from harmonygen.training.settings import LightDecoderTraining
from harmonygen.training.task import Losses

_SHEET_COLUMNS = 8


class LightDecoderTask:
    """L1 between the light decoder's change of the photo and the full one's, and between its photo and the photo."""

    def __init__(self, settings: LightDecoderTraining) -> None:
        self.settings = settings
        folder = vae_folder(settings.vae)
        full = load_autoencoder(folder)
        if not isinstance(full, HarmonyVAE):
            raise CheckpointError(
                f"'{folder}' is a plain autoencoder: a light decoder reads a Harmony-VAE's features, train one first "
                "(harmonygen train harmony-vae)"
            )
        self.full = full.eval().requires_grad_(False)
        self.vae = full.lightened(settings.widths, settings.blocks).eval().requires_grad_(False)
        self.module: nn.Module = self.vae.decoder.requires_grad_(True).train()
        inverse = full.config.direction != "forward"
        self._condition, self._target = ("real", "composite") if inverse else ("composite", "real")

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Losses]:
        """Decode a sample of the target's posterior, and the photo's own latent; foreground pixels count more."""
        photo, mask = batch[self._condition], batch["mask"]
        latents, own, features, change = self._taught(batch, generator)
        drawn, still = (self._decoded(module, each, features, photo) for each in (latents, own))
        weight = self.settings.foreground_weight
        of_change = weighted_error(drawn - still, change, mask, "l1", weight)
        of_photo = weighted_error(still, photo, mask, "l1", weight)
        return of_change + of_photo, {"change": of_change.item(), "photo": of_photo.item()}

    @torch.no_grad()
    def _taught(
        self, batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, ConditionFeatures, Tensor]:
        """Return the target's latent (B, C, h, w), the photo's, its features, and the full decoder's change of it.

        Without a generator, the target's latent is its posterior's mode.
        """
        photo, target, mask = (batch[name] for name in (self._condition, self._target, "mask"))
        full: HarmonyVAE = nn.Module.to(self.full, device=photo.device)
        posterior = full.encode(target).latent_dist
        latents = posterior.mode()
        if generator is not None:
            latents = latents + posterior.std * torch.randn(latents.shape, generator=generator).to(photo.device)
        own, features = full.encode(photo).latent_dist.mode(), full.features(photo, mask)
        return latents, own, features, full.decode(latents, features) - full.decode(own, features)

    def _decoded(self, module: nn.Module, latents: Tensor, features: ConditionFeatures, photo: Tensor) -> Tensor:
        """Decode latents (B, C, h, w) of photos (B, 3, H, W) by the light decoder, with the full one's features."""
        value = self.full.post_quant(latents) + features.latent
        skip = features.skips[-1 - self.vae.conditional_encoder.taken[0]]
        return torch.as_tensor(module(value, features.mid, skip, photo))

    @torch.no_grad()
    def validate(self, batches: list[Batch]) -> Losses:
        """Compare the change of held-out photos with the full decoder's, inside the mask.

        ``psnr`` is that of the changed photos, ``left`` the squared error over the square of the change itself, and
        ``psnr_photo`` that of the photo's own latent, decoded, against the photo.
        """
        psnr, photos, errors = [], [], torch.zeros(2)
        for batch in batches:
            moved = {name: value.to(self.vae.device) for name, value in batch.items()}
            still, drawn, change = self._pictures(moved)
            photo, mask = moved[self._condition], moved["mask"]
            psnr.append(foreground_psnr(drawn, photo + change, mask))
            photos.append(foreground_psnr(still, photo, mask))
            errors += torch.stack([(each**2 * mask).sum() for each in (drawn - photo - change, change)]).cpu()
        found, found_photo = (float(torch.cat(each).mean()) for each in (psnr, photos))
        return {"psnr": found, "left": float(errors[0] / errors[1].clamp(min=1e-9)), "psnr_photo": found_photo}

    def _pictures(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the photo's latent, decoded, the photo with the light decoder's change, and the full one's change."""
        photo = batch[self._condition]
        latents, own, features, change = self._taught(batch, None)
        still, drawn = (self._decoded(self.module, each, features, photo) for each in (own, latents))
        return still, photo + drawn - still, change

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Write the Harmony-VAE folder in half precision; the live modules stay as they were."""
        copied = HarmonyVAE.from_config(self.vae.config)
        copied.load_state_dict(self.vae.state_dict())
        save_autoencoder(nn.Module.to(copied, torch.float16), folder)

    @torch.no_grad()
    def sheet(self, batches: list[Batch], path: Path) -> None:
        """Rows: photo, target, the photo with the full decoder's change, and with the light one's."""
        few = {name: value[:_SHEET_COLUMNS].to(self.vae.device) for name, value in batches[0].items()}
        _, drawn, change = self._pictures(few)
        save_rows([few[self._condition], few[self._target], few[self._condition] + change, drawn], path)
