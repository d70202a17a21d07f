"""Harmony-VAE: an autoencoder whose decoder also sees the photo it works on (REFERENCE section 4, DiffHarmony++).

The encoder is the plain autoencoder's, frozen. A *conditional encoder*, which starts as its copy and also takes the
mask, reads the condition image; what it finds is added inside the decoder through 1x1 convolutions that start at zero,
so that at first the result equals the plain autoencoder's. Legend: B batch, K candidates, H W pixels, h w latent
cells, C = 4 latent channels, n blocks, L layers a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.resnet import ResnetBlock2D
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from harmonygen.errors import CheckpointError, told
from harmonygen.models.checkpoints import WEIGHTS, read_json, refuse_not_finite, variant_of
from harmonygen.models.light_decoder import Cells, LightDecoder
from harmonygen.settings import Posterior

DOWN_BLOCK, UP_BLOCK = "DownEncoderBlock2D", "UpDecoderBlock2D"
_CLASS = "HarmonyVAE"
_OWN = (
    "direction",
    "posterior",
    "light_widths",
    "light_blocks",
)  # entries of its configuration that an AutoencoderKL does not have
RELEASED_CLASS = "ConditionVAE"
"""What config.json calls DiffHarmony++'s own weights."""


@dataclass(frozen=True, slots=True)
class ConditionFeatures:
    """What the conditional encoder gives the decoder for B photos; B = 1 serves K candidates by broadcasting.

    ``skips`` holds n (L + 1) maps in the order that the decoder adds them, the deepest first; for a light decoder, the
    one at patches and the photo itself. ``mid`` (B, last width, h, w) follows its mid block; ``latent`` (B, C, h, w) is
    added to its input. It comes of the mean of the condition's posterior, whose standard deviation is ``std``
    (B, C, h, w).
    """

    skips: tuple[Tensor, ...]
    mid: Tensor
    latent: Tensor
    std: Tensor

    def of(self, draws: slice) -> ConditionFeatures:
        """Return the features of some draws of one photo, of which each may have a ``latent`` of its own."""
        return self if len(self.latent) == 1 else replace(self, latent=self.latent[draws])


class ConditionalEncoder(nn.Module):
    """The autoencoder's encoder with a mask beside the image, and one zero convolution a skip.

    ``light`` takes the skip alone that a light decoder reads.
    """

    def __init__(self, encoder: Any, widths: Sequence[int], layers: int, light: bool = False) -> None:
        super().__init__()
        self.conv_in = encoder.conv_in
        self.add_conv_in = zeroed(nn.Conv2d(1, widths[0], kernel_size=3, padding=1))
        self.down_blocks = encoder.down_blocks
        self.mid_block = encoder.mid_block
        self.conv_norm_out = encoder.conv_norm_out
        self.conv_act = nn.SiLU()
        self.conv_out = encoder.conv_out
        channels = skip_channels(widths, layers)
        self.taken = [light_skip(widths, layers)] if light else list(range(len(channels)))
        convs = (zeroed(nn.Conv2d(*channels[index], kernel_size=1)) for index in self.taken)
        self.down_block_skip_convs = nn.ModuleList(convs)
        self.mid_block_skip_conv = zeroed(nn.Conv2d(widths[-1], widths[-1], kernel_size=1))
        self.gradient_checkpointing = False

    def forward(self, image_pm1: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Encode images (B, 3, H, W) with masks (B, 1, H, W).

        Returns:
            Moments (B, 2C, h, w) before the quantisation convolution, the mid skip, and the skips, shallowest first.
        """
        found = [self.conv_in(image_pm1) + self.add_conv_in(mask)]
        for block in self.down_blocks:
            for layer in (*block.resnets, *(block.downsamplers or ())):
                found.append(self._run(layer, found[-1]))
        middle = self._run(self.mid_block, found[-1])
        moments = self.conv_out(self.conv_act(self.conv_norm_out(middle)))
        skips = [conv(found[index]) for conv, index in zip(self.down_block_skip_convs, self.taken, strict=True)]
        return moments, self.mid_block_skip_conv(middle), skips

    def _run(self, layer: nn.Module, value: Tensor) -> Tensor:
        return run_layer(layer, value, self.gradient_checkpointing)


class HarmonyVAE(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers has no types
    """An AutoencoderKL whose decoding is conditioned on a photo and its mask.

    Takes AutoencoderKL's own configuration, and ``direction``: the condition it was trained for, ``inverse`` (real
    photo in, composite out) or ``forward``; None if unknown. ``posterior`` says what it was given of the condition's
    posterior: its ``mode``, or a ``sample`` (the papers). Parameter names are those of the released weights. With
    ``light_widths`` (of cells and of patches) its decoder is a :class:`LightDecoder` of ``light_blocks``.
    """

    _supports_gradient_checkpointing = True

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        down_block_types: Sequence[str] = (DOWN_BLOCK,),
        up_block_types: Sequence[str] = (UP_BLOCK,),
        block_out_channels: Sequence[int] = (64,),
        layers_per_block: int = 1,
        act_fn: str = "silu",
        latent_channels: int = 4,
        norm_num_groups: int = 32,
        sample_size: int = 32,
        scaling_factor: float = 0.18215,
        shift_factor: float | None = None,
        latents_mean: Sequence[float] | None = None,
        latents_std: Sequence[float] | None = None,
        force_upcast: bool = True,
        use_quant_conv: bool = True,
        use_post_quant_conv: bool = True,
        mid_block_add_attention: bool = True,
        direction: str | None = None,
        posterior: Posterior = "mode",
        light_widths: Sequence[int] = (),
        light_blocks: int = 1,
    ) -> None:
        super().__init__()
        check_config(self.config)
        plain, other = plain_autoencoder(self.config), plain_autoencoder(self.config)
        self.encoder = plain.encoder
        self.decoder = _light_decoder(self.config) if light_widths else plain.decoder
        self.quant_conv, self.post_quant_conv = plain.quant_conv, plain.post_quant_conv
        sizes = block_out_channels, layers_per_block
        self.conditional_encoder = ConditionalEncoder(other.encoder, *sizes, light=bool(light_widths))
        self.latent_skip_conv = zeroed(nn.Conv2d(latent_channels, latent_channels, kernel_size=1))
        self.gradient_checkpointing = False

    @classmethod
    def from_autoencoder(cls, vae: AutoencoderKL, direction: str | None = None) -> HarmonyVAE:
        """Return the Harmony-VAE that ``vae`` starts as: it decodes the same, bit for bit. ``vae`` is left alone.

        Raises:
            CheckpointError: the autoencoder's blocks are not those that skips can be taken from and added to.
        """
        config = {name: value for name, value in vae.config.items() if not name.startswith("_")}
        model: HarmonyVAE = cls.from_config({**config, "direction": direction})
        state = vae.state_dict()
        copy = {f"conditional_{name}": value for name, value in state.items() if name.startswith("encoder.")}
        missing, unknown = model.load_state_dict({**state, **copy}, strict=False)
        new = [name for name in missing if "skip_conv" not in name and "add_conv_in" not in name]
        if new or unknown:
            raise CheckpointError(f"the autoencoder lacks {new} and also has {unknown}: use an AutoencoderKL")
        nn.Module.to(model, device=vae.device, dtype=vae.dtype)
        model.train(vae.training)  # resnets lay their memory out otherwise while training: other last bits
        return model.freeze()

    def lightened(self, widths: Sequence[int], blocks: int) -> HarmonyVAE:
        """Return a copy with a new light decoder: everything else is this one's. At first it decodes to the photo.

        Raises:
            CheckpointError: it has a light decoder already, or too few blocks for one.
        """
        if self.config.light_widths:
            raise CheckpointError("the Harmony-VAE has a light decoder already: give the one with the full decoder")
        config = {name: value for name, value in self.config.items() if not name.startswith("_")}
        light: HarmonyVAE = HarmonyVAE.from_config({**config, "light_widths": list(widths), "light_blocks": blocks})
        convs = "conditional_encoder.down_block_skip_convs."
        state = {k: v for k, v in self.state_dict().items() if not k.startswith(("decoder.", convs))}
        for place, index in enumerate(light.conditional_encoder.taken):
            one = self.conditional_encoder.down_block_skip_convs[index].state_dict()
            state |= {f"{convs}{place}.{name}": value for name, value in one.items()}
        light.load_state_dict(state, strict=False)
        return light

    def freeze(self, train_decoder: bool = True) -> HarmonyVAE:
        """Leave only the conditional encoder, the zero convolutions and, if so chosen, the decoder trainable."""
        self.requires_grad_(False)
        self.conditional_encoder.requires_grad_(True)
        self.latent_skip_conv.requires_grad_(True)
        self.decoder.requires_grad_(train_decoder)
        return self

    def draw_skips(self) -> HarmonyVAE:
        """Give every convolution that starts at zero random weights instead (the papers' ablation); return self."""
        encoder = self.conditional_encoder
        new = [encoder.add_conv_in, *encoder.down_block_skip_convs, encoder.mid_block_skip_conv, self.latent_skip_conv]
        for conv in new:
            conv.reset_parameters()
        return self

    def encode(self, image_pm1: Tensor) -> AutoencoderKLOutput:
        """Encode images (B, 3, H, W) as the plain autoencoder does; ``.latent_dist`` is the posterior."""
        return AutoencoderKLOutput(latent_dist=self._posterior(self.encoder(image_pm1)))

    def features(self, image_pm1: Tensor, mask: Tensor) -> ConditionFeatures:
        """Read condition images (B, 3, H, W) in [-1, 1] and masks (B, 1, H, W) of 0 and 1, once per photo.

        Raises:
            ValueError: sides that are no multiple of the autoencoder's factor, or a mask of another size.
        """
        factor = 2 ** (len(self.config.block_out_channels) - 1)
        height, width = image_pm1.shape[-2:]
        if height % factor or width % factor or mask.shape[-2:] != image_pm1.shape[-2:]:
            raise ValueError(
                f"condition image {height}x{width} and mask {'x'.join(map(str, mask.shape[-2:]))}: "
                f"both must be of one size, with sides that are multiples of {factor}"
            )
        moments, middle, skips = self.conditional_encoder(image_pm1, mask.to(image_pm1.dtype))
        posterior = self._posterior(moments)
        latent = self.latent_skip_conv(self.post_quant(posterior.mean))
        given = (*skips, image_pm1) if self.config.light_widths else tuple(reversed(skips))
        return ConditionFeatures(given, middle, latent, posterior.std)

    def with_noise(self, features: ConditionFeatures, noise: Tensor) -> ConditionFeatures:
        """Return features that come of a sample of the condition's posterior: mean + std x ``noise`` (B, C, h, w)."""
        offset = features.std * noise
        if self.post_quant_conv is not None:
            offset = F.conv2d(offset, self.post_quant_conv.weight)
        return replace(features, latent=features.latent + F.conv2d(offset, self.latent_skip_conv.weight))

    def decode(self, latents: Tensor, features: ConditionFeatures, window: Cells | None = None) -> Tensor:
        """Decode unscaled latents (B or K, C, h, w) to images (B or K, 3, H, W), about [-1, 1].

        A light decoder can decode a ``window`` of cells alone; of a full one, see
        :class:`harmonygen.models.window_decoder.WindowDecoder`.
        """
        decoder, skips = self.decoder, iter(features.skips)
        value = self.post_quant(latents) + features.latent
        if isinstance(decoder, LightDecoder):
            return torch.as_tensor(decoder(value, features.mid, *skips, window))
        value = decoder.conv_in(value)
        value = self._run(decoder.mid_block, value) + features.mid
        for block in decoder.up_blocks:
            for resnet in block.resnets:
                value = self._run(resnet, value) + next(skips)
            for upsampler in block.upsamplers or ():
                value = upsampler(value)
        image: Tensor = decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(value)))
        return image

    def forward(self, latents: Tensor, image_pm1: Tensor, mask: Tensor, noise: Tensor | None = None) -> Tensor:
        """Decode ``latents`` given the condition images and masks; see :meth:`features` and :meth:`decode`.

        With ``noise`` the condition's posterior is sampled (:meth:`with_noise`).
        """
        features = self.features(image_pm1, mask)
        return self.decode(latents, features if noise is None else self.with_noise(features, noise))

    def _posterior(self, moments: Tensor) -> DiagonalGaussianDistribution:
        return DiagonalGaussianDistribution(moments if self.quant_conv is None else self.quant_conv(moments))

    def post_quant(self, latents: Tensor) -> Tensor:
        """Return unscaled latents (B, C, h, w) as the decoder takes them."""
        return latents if self.post_quant_conv is None else self.post_quant_conv(latents)

    def _run(self, layer: nn.Module, value: Tensor) -> Tensor:
        return run_layer(layer, value, self.gradient_checkpointing)


def load_autoencoder(folder: Path) -> AutoencoderKL | HarmonyVAE:
    """Load an autoencoder folder in float32, as the class that its ``config.json`` names, from safetensors.

    Raises:
        CheckpointError: missing, damaged, or of another class.
    """
    found = read_json(folder / "config.json").get("_class_name")
    classes = {_CLASS: HarmonyVAE, "AutoencoderKL": AutoencoderKL, None: AutoencoderKL}
    if found not in classes:
        released = found == RELEASED_CLASS
        remedy = (
            f": bring it in with 'harmonygen import-weights --kind harmony-vae --from {folder} --direction ... --out "
            "FOLDER', and give that folder"
            if released
            else f": an AutoencoderKL or a {_CLASS} is needed"
        )
        raise CheckpointError(f"'{folder}' is a {found}{remedy}")
    variant = variant_of(folder, WEIGHTS)
    try:
        vae, report = classes[found].from_pretrained(
            folder, use_safetensors=True, variant=variant, torch_dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"autoencoder '{folder}' cannot be loaded ({told(error)}): copy it again") from error
    wrong = [*report["missing_keys"], *report["unexpected_keys"]]
    if wrong:
        raise CheckpointError(f"weights of '{folder}' are not those of a {found} (first: {wrong[0]}): copy it again")
    refuse_not_finite(vae.state_dict(), folder)
    return vae


def check_direction(vae: AutoencoderKL | HarmonyVAE, direction: str) -> None:
    """Refuse a Harmony-VAE that was trained for the other direction; a plain autoencoder serves both.

    Raises:
        CheckpointError: its condition is what a model of ``direction`` makes.
    """
    trained = vae.config.direction if isinstance(vae, HarmonyVAE) else None
    if trained not in (None, direction):
        raise CheckpointError(
            f"the Harmony-VAE was trained for direction {trained!r}, {direction!r} is needed: choose another folder"
        )


def skip_channels(widths: Sequence[int], layers: int) -> list[tuple[int, int]]:
    """Channels found and channels given of each down skip, shallowest first.

    One after conv_in, after each resnet, and after each downsampler, where the width is still the block's own but the
    decoder's is already the next block's.

    >>> skip_channels((128, 256), 2)
    [(128, 128), (128, 128), (128, 128), (128, 256), (256, 256), (256, 256)]
    """
    pairs = [(widths[0], widths[0])]
    for index, width in enumerate(widths):
        pairs += [(width, width)] * layers
        if index + 1 < len(widths):
            pairs.append((width, widths[index + 1]))
    return pairs


def light_skip(widths: Sequence[int], layers: int) -> int:
    """Return which down skip, shallowest first, is at patches: the last resnet's of the last block but one.

    >>> light_skip((16, 32, 64, 96), 1)
    5
    """
    return (len(widths) - 1) * (layers + 1) - 1


def _light_decoder(config: Any) -> LightDecoder:
    """Build the light decoder of a configuration.

    Raises:
        CheckpointError: one block alone, which has no patches between cells and pixels, or other than two widths.
    """
    widths, factor = config.block_out_channels, 2 ** (len(config.block_out_channels) - 1)
    if len(widths) < 2 or len(config.light_widths) != 2:
        raise CheckpointError(
            f"a light decoder of {len(config.light_widths)} widths for an autoencoder of {len(widths)} blocks: it has "
            "two widths, of cells and of patches, and needs two blocks or more"
        )
    return LightDecoder(
        config.latent_channels, widths[-1], widths[-2], config.light_widths, config.light_blocks, factor
    )


def check_config(config: Any) -> None:
    """Check that every decoder resnet has its skip.

    Raises:
        CheckpointError: blocks of other types, or as many up as down blocks and widths are not given.
    """
    down, up, widths = config.down_block_types, config.up_block_types, config.block_out_channels
    if not len(down) == len(up) == len(widths):
        raise CheckpointError(
            f"the autoencoder has {len(down)} down blocks, {len(up)} up blocks and {len(widths)} widths: "
            "a Harmony-VAE needs as many of each, so that every decoder layer has its skip"
        )
    others = sorted({*down, *up} - {DOWN_BLOCK, UP_BLOCK})
    if others:
        raise CheckpointError(
            f"the autoencoder has blocks of type {', '.join(others)}: "
            f"a Harmony-VAE takes its skips from {DOWN_BLOCK} and adds them in {UP_BLOCK}"
        )


def run_layer(layer: nn.Module, value: Tensor, recompute: bool) -> Tensor:
    """Run one layer; with ``recompute`` its inside is not kept for the backward pass but computed again."""
    inputs = (value, None) if isinstance(layer, ResnetBlock2D) else (value,)  # a resnet asks for a time embedding
    if recompute and torch.is_grad_enabled():
        return torch.as_tensor(checkpoint(layer, *inputs, use_reentrant=False))
    return torch.as_tensor(layer(*inputs))


def zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    """Set a convolution to zero and return it."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def plain_autoencoder(config: Any) -> AutoencoderKL:
    """Build the AutoencoderKL of a Harmony-VAE's configuration, with new weights."""
    own = {name: value for name, value in config.items() if not name.startswith("_") and name not in _OWN}
    return AutoencoderKL(**own)
