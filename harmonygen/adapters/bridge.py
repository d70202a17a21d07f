"""A bridge in latent space as a harmonizer: a UNet that carries the composite's latent to the harmonized one.

As in latent bridge matching: the latent at time s is ``(1 - s) target + s source`` (with a little noise between), the
UNet predicts ``source - target``, and one Euler step from s = 1 to s = 0 gives the target.

The folder has ``unet/`` (UNet2DModel or UNet2DConditionModel) and ``vae/`` (AutoencoderKL) of diffusers. The UNet takes
the latent alone, the latent and the mask, or the latent, the mask and the latent of the background: 4, 5 or 9 channels
where a latent has 4.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harmonygen.errors import CheckpointError, told
from harmonygen.models.checkpoints import weights_digest
from harmonygen.models.device import Device
from harmonygen.pictures.photo import Photo
from harmonygen.settings import setting

TIMESTEPS = 1000
_TEXT_TOKENS = 77
_NOISE = 0.005  # of the bridge, between its ends

Picture01 = npt.NDArray[np.float32]


class BridgeHarmonizer:
    """Carries a composite's latent over the bridge in ``steps`` steps; draws noise only where there are several."""

    def __init__(self, unet: Any, vae: Any, digest: str, device: Device, steps: int, resolution: int) -> None:
        self._unet, self._vae, self._device, self._steps = unet, vae, device, steps
        self.digest, self.resolution = digest, resolution
        cell = 2 ** (len(vae.config.block_out_channels) - 1)
        self.multiple = cell * 2 ** (len(unet.config.block_out_channels) - 1)
        self._cell, self._latents = cell, int(vae.config.latent_channels)

    def __call__(self, photo: Photo, seed: int, draws: int | None = None) -> Picture01:
        """Return the harmonized picture (h, w, 3) in [0, 1] at the model's size; of several draws the mean."""
        several = draws if draws and self._steps > 1 else 1
        drawn = [self._carried(photo, seed + number) for number in range(several)]
        mean: Picture01 = np.mean(drawn, axis=0)
        return mean

    @torch.inference_mode()
    def _carried(self, photo: Photo, seed: int) -> Picture01:
        noise = torch.Generator("cpu").manual_seed(seed % 2**63)
        image = torch.from_numpy(np.array(photo.low_u8)).permute(2, 0, 1)[None].float() / 127.5 - 1
        mask = torch.from_numpy(np.array(photo.low_mask))[None, None].float()
        latent = self._encode(image)
        beside = self._beside(image, mask, latent)
        times = np.linspace(1, 0, self._steps + 1)
        for now, after in pairwise(times):
            drift = self._drift(torch.cat([latent, *beside], dim=1), float(now))
            latent = latent + float(after - now) * drift
            if after > 0:
                spread = _NOISE * float(np.sqrt(after * (1 - after)))
                latent = latent + spread * torch.randn(latent.shape, generator=noise).to(latent)
        decoded = self._vae.decode(latent / self._vae.config.scaling_factor).sample
        picture: Picture01 = ((decoded[0].float().cpu().permute(1, 2, 0).numpy() + 1) / 2).clip(0, 1)
        return picture

    def _encode(self, image_pm1: Tensor) -> Tensor:
        latent: Tensor = self._vae.encode(image_pm1.to(self._device.name, self._device.dtype)).latent_dist.mode()
        return latent * float(self._vae.config.scaling_factor)

    def _beside(self, image_pm1: Tensor, mask: Tensor, latent: Tensor) -> list[Tensor]:
        """Return what the UNet sees beside the latent: nothing, the mask, or the mask and the background's latent."""
        more = int(self._unet.config.in_channels) - self._latents
        small = torch.nn.functional.interpolate(mask, size=latent.shape[-2:], mode="area").to(latent)
        if more == 0:
            return []
        if more == 1:
            return [small]
        return [small, self._encode(image_pm1 * (mask < 0.5))]

    def _drift(self, seen: Tensor, time: float) -> Tensor:
        step = torch.tensor([time * TIMESTEPS], device=seen.device)
        width = getattr(self._unet.config, "cross_attention_dim", None)
        text = {} if width is None else {"encoder_hidden_states": seen.new_zeros(1, _TEXT_TOKENS, width)}
        drift: Tensor = self._unet(seen, step, **text).sample
        return drift


def make_bridge(
    model: Annotated[Path, setting(..., "Folder with unet/ and vae/ of diffusers.")],
    steps: Annotated[int, setting(..., "Number of steps over the bridge.", ge=1, le=1000)] = 1,
    resolution: Annotated[int, setting(..., "Short side that the model works at, in pixels.", ge=16, le=4096)] = 512,
    *,
    device: Device,
) -> Callable[..., Picture01]:
    """Load a bridge as a harmonizer.

    Raises:
        CheckpointError: a part is missing or cannot be loaded, or its channels are none that are known.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel

    def part(name: str, *kinds: Any) -> Any:
        try:
            stated = kinds[0].load_config(model, subfolder=name).get("_class_name")
            kind = next((each for each in kinds if each.__name__ == stated), kinds[0])
            return kind.from_pretrained(model, subfolder=name, torch_dtype=device.dtype).to(device.name).eval()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"'{model / name}' cannot be loaded as {' or '.join(each.__name__ for each in kinds)} ({told(error)}): "
                "name a folder with unet/ and vae/ of diffusers"
            ) from error

    unet, vae = part("unet", UNet2DConditionModel, UNet2DModel), part("vae", AutoencoderKL)
    latents = int(vae.config.latent_channels)
    known = (latents, latents + 1, 2 * latents + 1)
    if unet.config.in_channels not in known or unet.config.out_channels != latents:
        raise CheckpointError(
            f"the UNet of '{model}' has {unet.config.in_channels} channels in and {unet.config.out_channels} out: "
            f"{', '.join(map(str, known))} in and {latents} out are supported"
        )
    if getattr(unet.config, "addition_embed_type", None):
        raise CheckpointError(
            f"the UNet of '{model}' needs more inputs than a timestep and text, which this adapter does not give"
        )
    return BridgeHarmonizer(unet, vae, weights_digest(model), device, steps, resolution)
