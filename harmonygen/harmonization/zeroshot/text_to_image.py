"""A Stable Diffusion 1.x or 2.x folder, as zero-shot harmonization uses it: with gradients, and its attention open."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from harmonygen.errors import CheckpointError
from harmonygen.harmonization.zeroshot.attention import install
from harmonygen.harmonization.zeroshot.prompts import Prompt, tokenize
from harmonygen.harmonization.zeroshot.schedule import Prediction, Schedule
from harmonygen.models.checkpoints import locate, read_json
from harmonygen.models.harmony_vae import load_autoencoder
from harmonygen.models.initialise import PLAIN_CHANNELS, load_text, load_unet, prediction_of
from harmonygen.pictures.images import Picture01


class TextToImage:
    """UNet, autoencoder and text encoder of one folder; no weight is ever trained here.

    Args:
        unet: 4 channels in and out.
        vae: a plain autoencoder.
        text_encoder: a CLIPTextModel; it stays in float32.
        tokenizer: its CLIPTokenizer.
        scheduler: the folder's scheduler configuration.
        prediction: what the UNet predicts.
        low_memory: keep no activations for gradients (they are computed again), and latents outside the device.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        text_encoder: Any,
        tokenizer: Any,
        scheduler: dict[str, Any],
        prediction: Prediction,
        low_memory: bool = False,
    ) -> None:
        self.unet, self.vae, self.text_encoder, self.tokenizer = unet, vae, text_encoder, tokenizer
        self.scheduler, self.prediction, self.low_memory = scheduler, prediction, low_memory
        for part in (unet, vae, text_encoder):
            part.requires_grad_(False).eval()
        if low_memory:
            unet.enable_gradient_checkpointing()
            vae.enable_gradient_checkpointing()
        self.control, self.dtype = install(unet), unet.dtype
        self.factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.multiple = self.factor * 2 ** (len(unet.config.block_out_channels) - 1)
        self.resolution = int(_side(unet.config.sample_size)) * self.factor
        self.tokens = min(int(tokenizer.model_max_length), int(text_encoder.config.max_position_embeddings))
        self._check()

    def _check(self) -> None:
        """Raise CheckpointError for parts that do not go together."""
        config = self.unet.config
        if (config.in_channels, config.out_channels) != (PLAIN_CHANNELS, PLAIN_CHANNELS):
            raise CheckpointError(
                f"the UNet takes {config.in_channels} channels and gives {config.out_channels}: zero-shot needs a "
                "text-to-image model with 4 of both, not an inpainting one"
            )
        if config.cross_attention_dim != self.text_encoder.config.hidden_size:
            raise CheckpointError(
                f"the UNet reads text states of width {config.cross_attention_dim}, the text encoder gives "
                f"{self.text_encoder.config.hidden_size}: take both from one folder"
            )

    @classmethod
    def from_pretrained(
        cls, name: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32, low_memory: bool = False
    ) -> TextToImage:
        """Load a folder in diffusers' layout: unet/ vae/ text_encoder/ tokenizer/ scheduler/, safetensors.

        Raises:
            CheckpointError: a part is missing, damaged or of another kind of model.
            UsageError: transformers is not installed.
        """
        folder = locate(name, "text-to-image")
        missing = [part for part in PARTS if not (folder / part).is_dir()]
        if missing:
            raise CheckpointError(
                f"'{folder}' has no {', '.join(missing)}: zero-shot needs a Stable Diffusion 1.x or 2.x folder in "
                f"diffusers' layout ({', '.join(PARTS)})"
            )
        tokenizer, text_encoder = load_text(folder)
        vae = load_autoencoder(folder / "vae")
        if not isinstance(vae, AutoencoderKL):
            raise CheckpointError(f"'{folder / 'vae'}' is a Harmony-VAE: zero-shot needs the plain autoencoder")
        scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
        unet = load_unet(folder / "unet")
        for part in (unet, vae):
            nn.Module.to(part, device, dtype)
        prediction = cast(Prediction, prediction_of(folder))
        return cls(unet, vae, text_encoder.to(device), tokenizer, scheduler, prediction, low_memory)

    @property
    def device(self) -> torch.device:
        """The device of the UNet."""
        return torch.device(self.unet.device)

    def schedule(self, steps: int) -> Schedule:
        """Return the folder's noise schedule at this many DDIM steps."""
        return Schedule(self.scheduler, steps, self.prediction)

    def encode(self, images01: Tensor) -> Tensor:
        """Return latents (B, 4, h, w), float32, of images (B, 3, H, W) in [0, 1]: the posterior's mode, scaled."""
        latents = self.vae.encode(images01.to(self.vae.dtype) * 2 - 1).latent_dist.mode()
        scaled: Tensor = (latents * self.vae.config.scaling_factor).float()
        return scaled

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (B, 3, H, W), float32, about [0, 1] (not clamped, so that gradients live)."""
        decoded: Tensor = self.vae.decode((latents / self.vae.config.scaling_factor).to(self.vae.dtype)).sample
        return (decoded.float() + 1) / 2

    def predict(self, latents: Tensor, time: int, states: Tensor) -> Tensor:
        """Return what the UNet predicts, float32, for latents (B, 4, h, w) and text states (B, T, width)."""
        dtype = self.dtype  # the module's own property walks through all parts
        predicted: Tensor = self.unet(latents.to(dtype), time, encoder_hidden_states=states.to(dtype)).sample
        return predicted.float()

    def prompt(self, subject: str, words: tuple[str, ...] = ()) -> Prompt:
        """Tokenize ``subject, word, word`` to the text encoder's length."""
        return tokenize(self.tokenizer, self.tokens, subject, words)

    @torch.no_grad()
    def token_embeddings(self, prompt: Prompt) -> Tensor:
        """Return the text encoder's input embeddings of a prompt, (1, T, width)."""
        found: Tensor = self.text_encoder.get_input_embeddings()(prompt.ids.to(self.device))
        return found.float()

    def states(self, prompt: Prompt, embeddings: Tensor | None = None) -> Tensor:
        """Return text states (1, T, width) of a prompt, of other token embeddings (1, T, width) if they are given."""
        if embeddings is None:
            return self._encoded(prompt)
        replaced = self.text_encoder.get_input_embeddings().register_forward_hook(lambda *_: embeddings)
        try:
            return self._encoded(prompt)
        finally:
            replaced.remove()

    def _encoded(self, prompt: Prompt) -> Tensor:
        return cast(Tensor, self.text_encoder(prompt.ids.to(self.device)).last_hidden_state)

    @torch.no_grad()
    def unconditional(self) -> Tensor:
        """Return the text states of the empty prompt, (1, T, width)."""
        return self.states(self.prompt(""))


PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


def to_images(picture01: Picture01, device: torch.device) -> Tensor:
    """Return a picture (H, W, 3) in [0, 1] as a tensor (1, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(picture01, dtype=np.float32)).permute(2, 0, 1)[None].to(device)


def to_picture(images01: Tensor) -> Picture01:
    """Return the first of images (B, 3, H, W) as a picture (H, W, 3) in [0, 1]."""
    picture: Picture01 = images01[0].detach().clamp(0, 1).permute(1, 2, 0).float().cpu().numpy()
    return picture


def _side(sample_size: int | tuple[int, int]) -> int:
    return sample_size if isinstance(sample_size, int) else min(sample_size)
