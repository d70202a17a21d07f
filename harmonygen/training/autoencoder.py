"""Train the starter's small autoencoder: photos and composites in, the same picture out."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from harmonygen.training.autoencoder_start import start_as_thumbnail
from harmonygen.training.composites import Batch
from harmonygen.training.loop import Losses
from harmonygen.training.settings import AutoencoderTraining
from harmonygen.training.sheets import save_rows

_REGION = 8
_CHROMA_WEIGHT = 4.0


class AutoencoderTask:
    """L1 + L1 of 8x averages (a region's colour) + KL on a mix of photos and composites."""

    def __init__(self, settings: AutoencoderTraining) -> None:
        self.settings = settings
        self.vae = AutoencoderKL(**settings.model)
        start_as_thumbnail(self.vae)
        self.module: nn.Module = _Reconstruction(self.vae)

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Losses]:
        """Reconstruct a batch, half of it photos and half composites (B, 3, R, R) in [-1, 1]."""
        use_real = (torch.rand(len(batch["real"]), 1, 1, 1, generator=generator) < 0.5).to(batch["real"].device)
        image = torch.where(use_real, batch["real"], batch["composite"])
        shape = (
            len(image),
            self.vae.config.latent_channels,
            image.shape[2] // self._factor,
            image.shape[3] // self._factor,
        )
        noise = torch.randn(shape, generator=generator).to(image.device)
        output, kl = module(image, noise)
        l1 = F.l1_loss(output, image)
        colour = F.l1_loss(region_colour(output), region_colour(image))
        loss = l1 + self.settings.colour_weight * colour + self.settings.kl_weight * kl
        return loss, {"l1": l1.item(), "colour": colour.item(), "kl": kl.item()}

    @property
    def _factor(self) -> int:
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @torch.no_grad()
    def validate(self, batches: list[Batch]) -> Losses:
        """PSNR of held-out composites, and the standard deviation of their latents."""
        errors, latents = [], []
        for batch in batches:
            image = batch["composite"].to(self.vae.device)
            z = self.vae.encode(image).latent_dist.mode()
            output = self.vae.decode(z).sample.clamp(-1, 1)
            errors.append(((output - image) ** 2).mean(dim=(1, 2, 3)) / 4)
            latents.append(z)
        psnr = -10 * torch.log10(torch.cat(errors)).mean()
        return {"psnr": float(psnr), "latent_std": float(torch.cat(latents).std())}

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Write ``vae/`` with a scaling factor that brings the latents to unit variance."""
        nn.Module.to(self.vae, torch.float16).save_pretrained(folder / "vae", safe_serialization=True)
        self.vae.float()

    @torch.no_grad()
    def sheet(self, batches: list[Batch], path: Path) -> None:
        """Composites above, their reconstructions below."""
        image = batches[0]["composite"][:8].to(self.vae.device)
        output = self.vae.decode(self.vae.encode(image).latent_dist.mode()).sample
        save_rows([image, output], path)


def region_colour(image: Tensor) -> Tensor:
    """Average 8x8 regions of (B, 3, H, W) and turn RGB into brightness, red-blue and magenta-green.

    Photos are nearly grey, so plain L1 learns brightness first and colour hardly: chroma counts four times.
    """
    red, green, blue = F.avg_pool2d(image, _REGION).unbind(dim=1)
    chroma = _CHROMA_WEIGHT * (red - blue) / 2, _CHROMA_WEIGHT * ((red + blue) / 4 - green / 2)
    return torch.stack([(red + green + blue) / 3, *chroma], dim=1)


class _Reconstruction(nn.Module):
    """Encode, sample the posterior with the given noise, decode."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, image: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.vae.encode(image).latent_dist
        output = self.vae.decode(posterior.mean + posterior.std * noise.to(posterior.mean.dtype)).sample
        kl: Tensor = posterior.kl().mean()
        return output.float(), kl.float()
