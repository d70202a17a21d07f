"""Train the starter's small autoencoder: photos and composites in, the same picture out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from harmonygen.models.checkpoints import save_module
from harmonygen.training.composites import Batch
from harmonygen.training.observe import save_rows
from harmonygen.training.settings import AutoencoderTraining
from harmonygen.training.task import Losses

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
        save_module(nn.Module.to(self.vae, torch.float16), folder / "vae")
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


_COLOURS = 3


_PAIRS = 2 * (_COLOURS + 1)  # red, green, blue and the constant, each with both signs


_CONSTANT = 8.0


_LOG_VARIANCE = -6.0


@torch.no_grad()
def start_as_thumbnail(vae: AutoencoderKL) -> None:
    """Set a new AutoencoderKL (3 image channels, at least 3 latent channels) so that it encodes a colour thumbnail.

    Raises:
        ValueError: fewer than 12 channels share a group of the last normalisation, so that the pairs do not fit.
    """
    for module in (vae.encoder, vae.decoder):
        norm = module.conv_norm_out
        if norm.num_channels // norm.num_groups < _PAIRS:
            found = norm.num_channels // norm.num_groups
            raise ValueError(f"a group has {found} channels, {_PAIRS} are needed: lower norm_num_groups")
    for name, parameter in vae.named_parameters():
        if ".conv2." in name:
            parameter.zero_()
    latents = vae.config.latent_channels
    _encoder(vae.encoder, latents)
    _decoder(vae.decoder)
    nn.init.dirac_(vae.quant_conv.weight)
    vae.quant_conv.bias.zero_()
    vae.quant_conv.bias[latents:] = _LOG_VARIANCE
    nn.init.dirac_(vae.post_quant_conv.weight)
    vae.post_quant_conv.bias.zero_()


def _encoder(encoder: Any, latents: int) -> None:
    _spread_pairs(encoder.conv_in)
    for block in encoder.down_blocks:
        _carry_block(block.resnets)
        for sampler in block.downsamplers or ():
            _carry(sampler.conv)
            sampler.conv.weight[:_PAIRS] = 0
            for channel in range(_PAIRS):
                sampler.conv.weight[channel, channel, :2, :2] = 0.25  # the mean of 2 x 2 pixels
    _gather_pairs(encoder.conv_out, _gain(encoder.conv_norm_out))
    encoder.conv_out.weight[latents:] = 0


def _decoder(decoder: Any) -> None:
    _spread_pairs(decoder.conv_in)
    for block in decoder.up_blocks:
        _carry_block(block.resnets)
        for sampler in block.upsamplers or ():
            _carry(sampler.conv)
    _gather_pairs(decoder.conv_out, _gain(decoder.conv_norm_out))


def _carry_block(resnets: Any) -> None:
    for resnet in resnets:
        if resnet.conv_shortcut is not None:
            _carry(resnet.conv_shortcut)


def _carry(conv: Any) -> None:
    """Let the pairs' channels through unchanged; the group they are in holds nothing else at first."""
    middle = conv.kernel_size[0] // 2
    conv.weight[: 2 * _PAIRS] = 0
    conv.bias[: 2 * _PAIRS] = 0
    for channel in range(_PAIRS):
        conv.weight[channel, channel, middle, middle] = 1


def _spread_pairs(conv: Any) -> None:
    """Turn three input channels into pairs (+c, -c) and add the constant pair by the bias."""
    middle = conv.kernel_size[0] // 2
    conv.weight[: 2 * _PAIRS] = 0
    conv.bias[: 2 * _PAIRS] = 0
    for colour in range(_COLOURS):
        conv.weight[2 * colour, colour, middle, middle] = 1
        conv.weight[2 * colour + 1, colour, middle, middle] = -1
    conv.bias[_PAIRS - 2], conv.bias[_PAIRS - 1] = _CONSTANT, -_CONSTANT


def _gather_pairs(conv: Any, gain: float) -> None:
    """Turn the pairs after normalisation and SiLU back into three channels, divided by ``gain``."""
    middle = conv.kernel_size[0] // 2
    conv.weight[:_COLOURS] = 0
    conv.bias[:_COLOURS] = 0
    for colour in range(_COLOURS):
        conv.weight[colour, 2 * colour, middle, middle] = 1 / gain
        conv.weight[colour, 2 * colour + 1, middle, middle] = -1 / gain


def _gain(norm: nn.GroupNorm) -> float:
    """What the normalisation multiplies the pairs by: 1 / the group's deviation, which the constant pair rules."""
    size = norm.num_channels // norm.num_groups
    return float((size / (2 * _CONSTANT**2 + 1.5)) ** 0.5)  # 1.5: twice the colours' usual mean square, summed
