"""Start a small autoencoder as what it has to become first: a thumbnail an eighth of the size, in colour.

From diffusers' own start a small autoencoder is still grey after 400 steps: photos are nearly grey, and group
normalisation hides a region's mean. Here the convolutions on the straight path carry each colour as a pair of
channels (+c, -c), beside a constant pair: group normalisation then finds mean 0 and an almost constant variance, and
silu(x) - silu(-x) = x. Every residual branch starts at zero. So the first three latents are the region's mean red,
green and blue before any training, and training adds the detail.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import nn

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
