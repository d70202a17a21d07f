"""Read and replace attention through diffusers' attention processors: no module is patched, none is found by its name.

A :class:`Attended` processor stands in every attention of a UNet. It computes what diffusers' own one does, with fused
kernels, until its :class:`Control` asks for more: for the maps of the cross-attention at one size
(:meth:`Control.reading`), or for prompt-to-prompt's replacement (:meth:`Control.replacing`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn import functional

from harmonygen.errors import CheckpointError

MAP_SIDE = 16
"""Cross-attention is read where its maps' short side is nearest to this: stride 32 of a 512 px picture."""
SELF_CELLS = 32 * 32
"""Self-attention is replaced at maps of at most so many cells; finer ones hold texture, not layout."""


class Control:
    """What the attention processors of one UNet do besides attending."""

    def __init__(self) -> None:
        self.maps: list[Tensor] = []
        self.cells: int | None = None
        self.mapper: Tensor | None = None
        self.replace_self = False

    @contextmanager
    def reading(self, cells: int) -> Iterator[list[Tensor]]:
        """Collect the cross-attention of each layer with ``cells`` cells: tensors (B, heads, cells, tokens), with grad.

        Where gradients are computed by running layers again (checkpointing), stay inside until the way back is done.
        """
        before = self.cells, self.maps
        self.cells, self.maps = cells, []
        try:
            yield self.maps
        finally:
            self.cells, self.maps = before

    @contextmanager
    def replacing(self, mapper: Tensor | None, replace_self: bool) -> Iterator[None]:
        """Give the second half of a batch the first half's attention.

        Args:
            mapper: (tokens, tokens); the edit's cross-attention to token j is the source's, summed over i with weight
                ``mapper[i, j]``. None leaves cross-attention alone.
            replace_self: replace self-attention as well.
        """
        self.mapper, self.replace_self = mapper, replace_self
        try:
            yield
        finally:
            self.mapper, self.replace_self = None, False


class Attended:
    """An attention processor under a :class:`Control`; scaled dot products, softmax over the keys."""

    def __init__(self, control: Control, reads: bool) -> None:
        self.control, self.reads = control, reads

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *_: Any,
        **__: Any,
    ) -> Tensor:
        """Attend: hidden states (B, cells, width), text states (B, tokens, width) or None for self-attention."""
        cross = encoder_hidden_states is not None
        states = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if cross and attn.norm_cross:
            states = attn.norm_encoder_hidden_states(states)
        query, key, value = (
            _heads(project(given), attn.heads)
            for project, given in ((attn.to_q, hidden_states), (attn.to_k, states), (attn.to_v, states))
        )
        mixed = self._mix(attn, query, key, value, attention_mask, cross).to(hidden_states.dtype)
        mixed = mixed.transpose(1, 2).flatten(2)
        out: Tensor = attn.to_out[1](attn.to_out[0](mixed)) / attn.rescale_output_factor
        return out

    def _mix(
        self, attn: Attention, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, cross: bool
    ) -> Tensor:
        """Return the values mixed by attention, (B, heads, cells, width of a head)."""
        if attn.upcast_attention:
            query, key, value = query.float(), key.float(), value.float()
        control, cells = self.control, query.shape[2]
        if not cross and control.replace_self and cells <= SELF_CELLS:
            query, key = (torch.cat([half := part.chunk(2)[0], half]) for part in (query, key))
        wanted = cross and self.reads and control.cells == cells
        if not (wanted or (cross and control.mapper is not None)):
            fused: Tensor = functional.scaled_dot_product_attention(query, key, value, mask, scale=attn.scale)
            return fused
        scores = query @ key.transpose(-1, -2) * attn.scale
        probabilities: Tensor = (scores if mask is None else scores + mask).float().softmax(-1)
        if control.mapper is not None:
            source = probabilities.chunk(2)[0]
            probabilities = torch.cat([source, source @ control.mapper.to(source)])
        if wanted:
            control.maps.append(probabilities)
        return torch.matmul(probabilities.to(value.dtype), value)


def _heads(states: Tensor, heads: int) -> Tensor:
    return states.view(*states.shape[:2], heads, -1).transpose(1, 2)


def install(unet: UNet2DConditionModel) -> Control:
    """Put processors into a UNet and return what controls them. Maps are read from the way down and the way up.

    Raises:
        CheckpointError: the UNet has attention of a kind that Stable Diffusion 1 and 2 do not have.
    """
    control, processors = Control(), {}
    modules = dict(unet.named_modules())
    for name in unet.attn_processors:
        attention = modules[name.removesuffix(".processor")]
        if attention.added_kv_proj_dim is not None or attention.group_norm is not None or attention.residual_connection:
            raise CheckpointError(
                f"the UNet's attention '{name.removesuffix('.processor')}' is not of Stable Diffusion 1.x or 2.x: "
                "choose a folder of these"
            )
        processors[name] = Attended(control, reads=not name.startswith("mid_block"))
    unet.set_attn_processor(processors)
    return control


def map_size(unet: UNet2DConditionModel, height: int, width: int) -> tuple[int, int]:
    """Return the (rows, columns) of the cross-attention maps to read, for latents of height x width.

    Of the levels with cross-attention the one whose short side is nearest to ``MAP_SIDE``, by ratio.

    Raises:
        CheckpointError: no level has cross-attention.
    """
    levels = [index for index, kind in enumerate(unet.config.down_block_types) if "CrossAttn" in kind]
    if not levels:
        raise CheckpointError(
            f"the UNet has no cross-attention on its way down ({', '.join(unet.config.down_block_types)}): "
            "a text-to-image model of Stable Diffusion 1.x or 2.x is needed"
        )
    best = min(levels, key=lambda level: abs(math.log2(min(height, width) / 2**level / MAP_SIDE)))
    return height >> best, width >> best


def mean_maps(maps: list[Tensor], size: tuple[int, int]) -> Tensor:
    """Average collected maps over layers and heads: (B, tokens, rows, columns), each cell's tokens sum to 1."""
    mean = torch.stack([layer.mean(1) for layer in maps]).mean(0)
    return mean.transpose(1, 2).reshape(*mean.shape[:1], -1, *size)
