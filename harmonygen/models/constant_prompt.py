"""Cross-attention to a prompt that never changes: its keys and values are computed once for all candidates and steps.

The denoiser's prompt is always empty (REFERENCE section 2), so K candidates in N steps ask every layer for the same
keys and values K N times. With a prompt of a single token there is nothing to attend to either: a softmax over one
score is 1, whatever the query. Legend: B batch, S latent cells, T tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import Tensor

_CROSS = ".attn2.processor"


class ConstantPrompt:
    """One layer's cross-attention, for as long as neither the prompt nor the weights change."""

    def __init__(self) -> None:
        self.keys_values: tuple[Tensor, Tensor] | None = None

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """Return the layer's output (B, S, C) for ``hidden_states`` (B, S, C); the prompt is (B, T, D), alike for all.

        Raises:
            ValueError: no prompt, or one of which parts are masked.
        """
        if encoder_hidden_states is None or attention_mask is not None:
            raise ValueError("a constant prompt is given whole, as encoder_hidden_states, without a mask")
        if self.keys_values is None:
            prompt = encoder_hidden_states[:1]
            self.keys_values = _heads(attn.to_k(prompt), attn.heads), _heads(attn.to_v(prompt), attn.heads)
        keys, values = self.keys_values
        if keys.shape[-2] == 1:
            return _projected(attn, _merged(values)).expand(*hidden_states.shape[:2], -1)
        queries = _heads(attn.to_q(hidden_states), attn.heads)
        batch = queries.shape[0]  # len() would be a number for ever where a network is traced
        attended = F.scaled_dot_product_attention(
            queries, keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1)
        )
        return _projected(attn, _merged(attended))


def _heads(tokens: Tensor, heads: int) -> Tensor:
    """Split (B, T, C) into (B, heads, T, C / heads)."""
    return tokens.view(*tokens.shape[:-1], heads, -1).transpose(1, 2)


def _merged(heads: Tensor) -> Tensor:
    """Join (B, heads, T, c) to (B, T, heads c)."""
    return heads.transpose(1, 2).flatten(2)


def _projected(attn: Attention, attended: Tensor) -> Tensor:
    output: Tensor = attn.to_out[0](attended) / attn.rescale_output_factor
    return output


@contextmanager
def constant_prompt(unet: UNet2DConditionModel) -> Iterator[None]:
    """Compute the prompt's keys and values once, inside the block; afterwards the layers are as they were.

    A layer whose processor was changed, or that does more than attend, is left as it is.
    """
    usual = unet.attn_processors
    unet.set_attn_processor(
        {name: ConstantPrompt() if _is_plain(unet, name, found) else found for name, found in usual.items()}
    )
    try:
        yield
    finally:
        unet.set_attn_processor(usual)


def _is_plain(unet: UNet2DConditionModel, name: str, processor: Any) -> bool:
    """Return whether a layer is cross-attention with nothing besides."""
    if not name.endswith(_CROSS) or type(processor) not in (AttnProcessor, AttnProcessor2_0):
        return False
    attn = unet.get_submodule(name.removesuffix(".processor"))
    besides = (attn.spatial_norm, attn.group_norm, attn.norm_q, attn.norm_k, attn.norm_cross, attn.residual_connection)
    return not any(besides)
