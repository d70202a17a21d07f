"""A UNet without timestep that corrects an image by a residual: the refiner and the direct harmonizer.

``refiner`` (REFERENCE section 3) takes harmonized 3 | mask 1 | composite 3 and corrects the harmonized image.
``direct`` takes composite 3 | mask 1 and corrects the composite: a plain regression harmonizer. Parameters have the
names of a diffusers UNet2DModel without its time embedding. Legend: B batch, H W pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_blocks import DownBlock2D, UNetMidBlock2D, UpBlock2D
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from harmonygen.errors import CheckpointError, told
from harmonygen.models.checkpoints import load_weights, read_spec, refuse_larger, write_spec
from harmonygen.settings import MAX_SIDE, Settings

Kind = Literal["refiner", "direct"]
INPUTS: dict[Kind, tuple[int, str]] = {
    "refiner": (7, "harmonized 3, mask 1, composite 3"),
    "direct": (4, "composite 3, mask 1"),
}
"""Channels of each kind's input, in order."""
WEIGHTS = "model.safetensors"
Activation = Literal["silu", "swish", "mish", "gelu", "relu"]


class RefinerSpec(Settings):
    """What a refiner or direct checkpoint says about itself in ``harmonygen.json``.

    ``widths`` are the channels of each block, finest first; the defaults are the paper's. The other defaults are
    diffusers', which checkpoints that do not state them were trained with; the released refiner has those of
    :data:`PUBLISHED`. ``attention_head_dim`` 0 is one head over all channels. ``downsample_padding`` 0 pads the right
    and the lower edge alone. ``input_residual`` false gives the network's output without the image added.
    ``resolution`` is the side of the training images, pixels.
    """

    kind: Kind = "refiner"
    format: int = 1
    widths: tuple[int, ...] = Field((128, 256, 512, 512), min_length=1, max_length=16)
    layers_per_block: int = Field(2, ge=1, le=64)
    norm_num_groups: int = Field(32, ge=1, le=8192)
    attention_head_dim: int = Field(8, ge=0, le=8192)
    add_attention: bool = True
    downsample_padding: Literal[0, 1] = 1
    norm_eps: float = Field(1e-5, gt=0, le=1)
    act_fn: Activation = "silu"
    mid_block_scale_factor: float = Field(1.0, gt=0, le=1e3)
    input_residual: bool = True
    resolution: int = Field(256, ge=32, le=MAX_SIDE)
    training_data: str = ""

    @property
    def in_channels(self) -> int:
        """Channels of the input: 7 for a refiner, 4 for a direct harmonizer."""
        return INPUTS[self.kind][0]

    @property
    def head_dim(self) -> int:
        """Channels of an attention head of the middle block."""
        return self.attention_head_dim or self.widths[-1]


PUBLISHED: dict[str, Any] = {"attention_head_dim": 0, "downsample_padding": 0, "norm_eps": 1e-6}
"""Where the released refiner of DiffHarmony differs from the defaults of :class:`RefinerSpec`."""


class RefinementUNet(nn.Module):
    """Image + UNet(image | mask [| composite]); the last convolution starts at zero, so step 0 is the identity."""

    def __init__(self, spec: RefinerSpec) -> None:
        super().__init__()
        _check_widths(spec)
        self.spec = spec
        self.gradient_checkpointing = False
        widths, groups = spec.widths, spec.norm_num_groups
        self.conv_in = nn.Conv2d(spec.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(_down_blocks(spec))
        self.mid_block = UNetMidBlock2D(
            widths[-1],
            temb_channels=None,
            resnet_eps=spec.norm_eps,
            resnet_act_fn=spec.act_fn,
            resnet_groups=groups,
            attention_head_dim=spec.head_dim,
            add_attention=spec.add_attention,
            output_scale_factor=spec.mid_block_scale_factor,
        )
        self.up_blocks = nn.ModuleList(_up_blocks(spec))
        self.conv_norm_out = nn.GroupNorm(groups, widths[0], eps=spec.norm_eps)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(torch.as_tensor(self.conv_out.bias))

    @property
    def multiple(self) -> int:
        """What the blocks need image sides to be a multiple of; :meth:`forward` pads to it."""
        return int(2 ** (len(self.spec.widths) - 1))

    def forward(self, image_pm1: Tensor, mask: Tensor, composite_pm1: Tensor | None = None) -> Tensor:
        """Correct images of any size; the arguments are in the order of the input's channels.

        In training mode the result is the plain sum, so that a value outside the range still has its gradient. In
        evaluation mode it is clamped, and a direct harmonizer's background is the composite's, bit for bit.

        Args:
            image_pm1: images (B, 3, H, W) in [-1, 1]: the harmonized ones (refiner: the stage-1 output as decoded,
                nothing pasted) or the composites (direct).
            mask: (B, 1, H, W) of 0 and 1.
            composite_pm1: (B, 3, H, W) in [-1, 1], for a refiner and for it alone.

        Returns:
            Images (B, 3, H, W) of ``image_pm1``'s dtype, in [-1, 1] in evaluation mode.

        Raises:
            ValueError: a composite for a direct harmonizer, or none for a refiner.
        """
        if (composite_pm1 is None) != (self.spec.kind == "direct"):
            found = "none" if composite_pm1 is None else "one"
            raise ValueError(f"a {self.spec.kind} takes {INPUTS[self.spec.kind][1]}; the third argument was {found}")
        parts = [image_pm1, mask.to(image_pm1.dtype)]
        if composite_pm1 is not None:
            parts.append(composite_pm1)
        correction = self.residual(torch.cat(parts, dim=1)).to(image_pm1.dtype)
        result = image_pm1 + correction if self.spec.input_residual else correction
        if self.training:
            return result
        result = result.clamp(-1, 1)
        return torch.where(mask > 0.5, result, image_pm1) if self.spec.kind == "direct" else result

    def residual(self, stacked: Tensor) -> Tensor:
        """Map stacked inputs (B, 7 or 4, H, W) to the correction (B, 3, H, W), edges continued to whole cells."""
        height, width = stacked.shape[-2:]
        padded = F.pad(stacked, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        hidden = self.conv_in(padded.to(self.conv_in.weight.dtype))
        skips = (hidden,)
        for block in self.down_blocks:
            hidden, states = self._through(block, hidden)
            skips += states
        hidden = self._through(self.mid_block, hidden)
        count = self.spec.layers_per_block + 1  # one more a level on the way up
        for block in self.up_blocks:
            hidden = self._through(block, hidden, skips[-count:])
            skips = skips[:-count]
        correction: Tensor = self.conv_out(F.silu(self.conv_norm_out(hidden)))
        return correction[..., :height, :width]

    def _through(self, block: nn.Module, *states: Any) -> Any:
        """Run a block; with ``gradient_checkpointing`` its insides are computed again for the gradient."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *states, use_reentrant=False)
        return block(*states)

    @classmethod
    def from_pretrained(
        cls, folder: Path, kind: Kind, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> RefinementUNet:
        """Load a folder (``model.safetensors harmonygen.json``), set to evaluation and frozen.

        Raises:
            CheckpointError: of another kind, damaged, or weights that do not fit the stated architecture.
        """
        spec, state = read_spec(folder, RefinerSpec, kind), load_weights(folder / WEIGHTS)
        refuse_larger(lambda: cls(spec), state, folder)
        model = cls(spec)
        stem = state.get("conv_in.weight")
        needed, parts = INPUTS[kind]
        if stem is not None and stem.shape[1] != needed:
            raise CheckpointError(
                f"'{folder}' states a {kind}, which takes {needed} channels ({parts}), but its weights take "
                f"{stem.shape[1]}: correct kind in harmonygen.json, or choose another folder"
            )
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(
                f"weights of '{folder}' do not fit widths {model.spec.widths} with {model.spec.layers_per_block} "
                f"layers per block ({told(error)}): export them again"
            ) from error
        return model.to(device=device, dtype=dtype).eval().requires_grad_(False)

    def save_pretrained(self, folder: Path, dtype: torch.dtype = torch.float16) -> None:
        """Write ``model.safetensors`` (weights in ``dtype``) and ``harmonygen.json``; the module stays as it is."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: value.detach().to("cpu", dtype).contiguous() for name, value in self.state_dict().items()}
        save_file(state, folder / WEIGHTS)
        write_spec(folder, self.spec)


def _check_widths(spec: RefinerSpec) -> None:
    """Refuse widths that the normalisation or the attention cannot share out."""
    uneven = [width for width in spec.widths if width % spec.norm_num_groups]
    if uneven:
        raise CheckpointError(
            f"widths {uneven} of a {spec.kind} cannot be split into norm_num_groups {spec.norm_num_groups}: "
            "change widths or norm_num_groups"
        )
    if spec.widths[-1] % spec.head_dim:
        raise CheckpointError(
            f"the last width {spec.widths[-1]} of a {spec.kind} is not a multiple of attention_head_dim "
            f"{spec.attention_head_dim}: change widths or attention_head_dim"
        )


def _down_blocks(spec: RefinerSpec) -> list[nn.Module]:
    widths, last = spec.widths, len(spec.widths) - 1
    return [
        DownBlock2D(
            in_channels=widths[max(level - 1, 0)],
            out_channels=width,
            temb_channels=None,
            num_layers=spec.layers_per_block,
            resnet_eps=spec.norm_eps,
            resnet_act_fn=spec.act_fn,
            resnet_groups=spec.norm_num_groups,
            add_downsample=level < last,
            downsample_padding=spec.downsample_padding,
        )
        for level, width in enumerate(widths)
    ]


def _up_blocks(spec: RefinerSpec) -> list[nn.Module]:
    widths, last = spec.widths[::-1], len(spec.widths) - 1
    return [
        UpBlock2D(
            in_channels=widths[min(level + 1, last)],
            prev_output_channel=widths[max(level - 1, 0)],
            out_channels=width,
            temb_channels=None,
            num_layers=spec.layers_per_block + 1,
            resnet_eps=spec.norm_eps,
            resnet_act_fn=spec.act_fn,
            resnet_groups=spec.norm_num_groups,
            add_upsample=level < last,
        )
        for level, width in enumerate(widths)
    ]
