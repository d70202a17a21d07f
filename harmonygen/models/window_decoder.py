"""Decode only what the foreground needs of K candidates of one photo.

Most of a decoder's time goes into its finest layers, most of whose pixels are background that the photo itself
gives. So the coarsest layers (mid block with its attention, first up block) run whole, the finer ones on a window
around the foreground. What a window cannot know is the group norms' statistics over the whole map: those outside the
window are taken from the photo's own decoding, whole, once. Legend: B batch, C channels, H W pixels, h w latent cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from harmonygen.models.harmony_vae import UP_BLOCK, ConditionFeatures, HarmonyVAE
from harmonygen.pictures.images import Mask

_Norm = Callable[..., Tensor]
HALO_A_LAYER = 3
"""Latent cells around the foreground, for each layer of a block, that are decoded with it: its edge needs neighbours.

That is about what the layers see that run on windows (4.4 cells with one layer a block, 6.1 with two).
"""


@dataclass(frozen=True, slots=True)
class Window:
    """Rows and columns of latent cells."""

    rows: slice
    columns: slice

    @classmethod
    def around(cls, mask: Mask, factor: int, halo: int) -> Window:
        """Return the window of a foreground (H, W) with ``halo`` cells of ``factor`` pixels around it."""
        return cls(_span(np.any(mask, axis=1), factor, halo), _span(np.any(mask, axis=0), factor, halo))

    @classmethod
    def whole(cls, height: int, width: int) -> Window:
        """Return the window of all h x w cells."""
        return cls(slice(0, height), slice(0, width))

    def of(self, values: Tensor, scale: int) -> Tensor:
        """Cut (B, C, h scale, w scale); what is returned shares its memory."""
        down, across = (slice(part.start * scale, part.stop * scale) for part in (self.rows, self.columns))
        return values[..., down, across]


def _span(inside: npt.NDArray[np.bool_], factor: int, halo: int) -> slice:
    """Return the cells from the first to the last pixel that is ``inside`` (N,), ``halo`` cells wider; all if none is.

    >>> _span(np.arange(64) // 8 == 3, factor=8, halo=2)
    slice(1, 6, None)
    """
    found = np.nonzero(inside)[0] if inside.any() else np.arange(len(inside))
    first, last = int(found[0]) // factor, int(found[-1]) // factor
    return slice(max(0, first - halo), min(len(inside) // factor, last + 1 + halo))


def window_around(vae: AutoencoderKL | HarmonyVAE, mask: Mask) -> Window:
    """Return what ``vae`` is to decode for a foreground (H, W)."""
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    halo = 0 if is_light(vae) else HALO_A_LAYER * vae.config.layers_per_block
    return Window.around(mask, factor, halo)


def is_light(vae: AutoencoderKL | HarmonyVAE) -> bool:
    """Return whether an autoencoder has a light decoder, which needs nothing from outside a window."""
    return isinstance(vae, HarmonyVAE) and bool(vae.config.light_widths)


class WindowDecoder:
    """Decodes latents of one photo's candidates to the pixels of a window; a whole window gives what the VAE does.

    ``condition`` is the photo's own latent, decoded, cut to the window.
    """

    @torch.no_grad()
    def __init__(
        self,
        vae: AutoencoderKL | HarmonyVAE,
        condition: Tensor,
        features: ConditionFeatures | None,
        window: Window | None = None,
    ) -> None:
        """Decode the photo's own latent, and keep what a window of its candidates' decoding lacks.

        Args:
            vae: the autoencoder.
            condition: the photo's unscaled latent (1, C, h, w), of the VAE's dtype.
            features: with a Harmony-VAE, those of the photo.
            window: what to decode; the whole if None, or if the decoder's blocks are not the usual ones.
        """
        self.vae, self.features = vae, features
        self.factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.outside: dict[nn.GroupNorm, _Sums] = {}
        usual = set(vae.config.up_block_types) == {UP_BLOCK}
        self.window = window if usual and window != Window.whole(*condition.shape[-2:]) else None
        self.light = (self.window.rows, self.window.columns) if self.window and is_light(vae) else None
        if self.light:
            self.condition = self._decode_light(condition, features)
            return
        decoded = self._decode(condition, self._whole_norm if self.window else None, features)
        self.condition = self.window.of(decoded, self.factor) if self.window else decoded

    @torch.no_grad()
    def __call__(self, latents: Tensor, features: ConditionFeatures | None = None) -> Tensor:
        """Decode unscaled latents (B, C, h, w) to the window's pixels (B, 3, H, W), about [-1, 1], of their dtype.

        ``features`` are the draws' own, where they differ from the photo's.
        """
        if self.light:
            return self._decode_light(latents, features or self.features)
        return self._decode(latents, self._window_norm if self.window else None, features or self.features)

    def _decode_light(self, latents: Tensor, features: ConditionFeatures | None) -> Tensor:
        vae: Any = self.vae
        decoded: Tensor = vae.decode(latents, features, self.light)
        return decoded

    def _decode(self, latents: Tensor, norm: _Norm | None, features: ConditionFeatures | None) -> Tensor:
        """Decode; ``norm`` stands in for the group norms of what comes after the first up block."""
        if norm is None:
            vae: Any = self.vae
            decoded: Tensor = vae.decode(latents, features) if features else vae.decode(latents).sample
            return decoded
        decoder: Any = self.vae.decoder
        value = latents if self.vae.post_quant_conv is None else self.vae.post_quant_conv(latents)
        value = decoder.mid_block(decoder.conv_in(value + features.latent if features else value))
        value, skips = (value + features.mid, iter(features.skips)) if features else (value, repeat(None))
        for level, block in enumerate(decoder.up_blocks):
            scale, inside = 2**level, level > 0 and norm == self._window_norm
            value = self._cut(value, scale) if inside and level == 1 else value
            for resnet, skip in zip(block.resnets, skips, strict=False):
                value = _resnet(resnet, value, partial(norm, scale=scale) if level else _own_norm)
                if skip is not None:
                    value += self._cut(skip, scale) if inside else skip
            for upsampler in block.upsamplers or ():
                value = upsampler(value)
        normed = norm(decoder.conv_norm_out, value, scale=self.factor)
        image: Tensor = decoder.conv_out(F.silu(normed, inplace=True))
        return image

    def _cut(self, values: Tensor, scale: int) -> Tensor:
        assert self.window is not None  # there is no norm to pass without one
        return self.window.of(values, scale)

    def _whole_norm(self, layer: nn.GroupNorm, value: Tensor, scale: int) -> Tensor:
        """Normalise a whole map (1, C, H, W), and keep the sums of what lies outside the window."""
        self.outside[layer] = _sums(value) - _sums(self._cut(value, scale))
        normed: Tensor = layer(value)
        return normed

    def _window_norm(self, layer: nn.GroupNorm, value: Tensor, scale: int) -> Tensor:
        """Normalise a window (B, C, H, W) as a part of its whole map."""
        del scale
        sums = _sums(value) + self.outside[layer]
        shape = (len(value), layer.num_groups, -1)
        first, second = (part.view(shape).sum(2) for part in (sums.first, sums.second))
        count = sums.count * layer.num_channels // layer.num_groups
        mean = first / count
        spread = (second / count - mean**2).clamp(min=0).add(layer.eps).rsqrt()
        each = layer.num_channels // layer.num_groups
        gain = spread.repeat_interleave(each, dim=1) * layer.weight
        offset = layer.bias - mean.repeat_interleave(each, dim=1) * gain
        gain, offset = (part.to(value.dtype)[..., None, None] for part in (gain, offset))
        return torch.addcmul(offset, value, gain)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums and sums of squares (B, C) float64 of maps, over ``count`` pixels each."""

    first: Tensor
    second: Tensor
    count: int

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(self.first + other.first, self.second + other.second, self.count + other.count)

    def __sub__(self, other: _Sums) -> _Sums:
        return _Sums(self.first - other.first, self.second - other.second, self.count - other.count)


def _sums(value: Tensor) -> _Sums:
    whole = value.float()  # var_mean is many times slower on channels-last maps
    first, second = whole.sum((2, 3)), (whole * whole).sum((2, 3))
    return _Sums(first.double(), second.double(), value.shape[-2] * value.shape[-1])


def _own_norm(layer: nn.GroupNorm, value: Tensor) -> Tensor:
    normed: Tensor = layer(value)
    return normed


def _resnet(block: Any, value: Tensor, norm: Callable[[nn.GroupNorm, Tensor], Tensor]) -> Tensor:
    """Run a decoder's ResnetBlock2D, which has no time embedding, with group norms of our own; returns a new tensor."""
    hidden = block.conv1(F.silu(norm(block.norm1, value), inplace=True))
    hidden = block.conv2(F.silu(norm(block.norm2, hidden), inplace=True))
    straight = value if block.conv_shortcut is None else block.conv_shortcut(value)
    hidden += straight
    return torch.as_tensor(hidden / block.output_scale_factor if block.output_scale_factor != 1 else hidden)
