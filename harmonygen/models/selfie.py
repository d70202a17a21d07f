"""MediaPipe's selfie segmentation (general model, 256 x 256) as a torch network: where a photo's person is.

A MobileNetV3-like encoder with squeeze-and-excitation, and a decoder whose skips are weighed by channel. The weights
are those of MediaPipe 0.10.14, in safetensors (assets/person/NOTICE.md).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmonygen.models.checkpoints import load_weights
from harmonygen.pictures.images import ImageU8, resize

WEIGHTS = Path(__file__).resolve().parent.parent / "assets" / "person"
SIDE = 256  # pixels of the squeezed photo that the network sees
Probability = npt.NDArray[np.float32]
Segment = Callable[[ImageU8], Probability]
"""``(H, W, 3) uint8 -> (SIDE, SIDE)`` float32 in [0, 1]: the probability that a pixel is a person's."""


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's ``SAME`` on even sides: the odd pixel goes to the right and the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        padding = max(0, self.kernel_size[0] - self.stride[0])
        before, after = padding // 2, padding - padding // 2
        return super().forward(F.pad(x, (before, after, before, after)))


class ChannelGate(nn.Module):
    """Weights in [0, 1] of each channel, by the channels' means (squeeze and excitation)."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, 1, 1) of (B, C, H, W)."""
        inner: Tensor = self.down(x.mean((2, 3), keepdim=True))
        gate: Tensor = self.up(inner.relu())
        return gate.sigmoid()


class EncoderBlock(nn.Module):
    """Expand, filter each channel, weigh the channels (if ``gate``), project; a residual where the size stays."""

    def __init__(
        self, widths: tuple[int, int, int], kernel: int, stride: int, gate: int, activation: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        given, middle, made = widths
        self.expand = nn.Conv2d(given, middle, 1)
        self.depth = SameConv2d(middle, middle, kernel, stride, groups=middle)
        self.gate = ChannelGate(middle, gate) if gate else None
        self.project = nn.Conv2d(middle, made, 1)
        self.activation, self.residual = activation, stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C', H / stride, W / stride) of (B, C, H, W)."""
        y = self.activation(self.depth(self.activation(self.expand(x))))
        if self.gate is not None:
            y = y * self.gate(y)
        made: Tensor = self.project(y)
        return x + made if self.residual else made


class DecoderLevel(nn.Module):
    """Double the size, add the encoder's channels of that size as they matter, mix."""

    def __init__(self, deep: int, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(deep, channels, 1)
        self.gate = ChannelGate(channels, channels)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.depth = SameConv2d(channels, channels, 3, groups=channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return (B, C, 2H, 2W) of (B, C', H, W) and the encoder's (B, C, 2H, 2W)."""
        up = self.reduce(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        y: Tensor = self.mix(skip * self.gate(skip + up) + up).relu()
        filtered: Tensor = self.depth(y)
        return y + filtered.relu()


class SelfieNet(nn.Module):
    """RGB in [0, 1] (B, 3, 256, 256) -> logits of person (B, 1, 256, 256)."""

    def __init__(self) -> None:
        super().__init__()
        relu, swish = F.relu, F.hardswish
        self.stem = SameConv2d(3, 16, 3, 2)
        self.blocks = nn.ModuleList(
            [
                EncoderBlock((16, 16, 16), 3, 2, 8, relu),
                EncoderBlock((16, 72, 24), 3, 2, 0, relu),
                EncoderBlock((24, 88, 24), 3, 1, 0, relu),
                EncoderBlock((24, 96, 32), 5, 2, 24, swish),
                EncoderBlock((32, 128, 32), 5, 1, 32, swish),
                EncoderBlock((32, 128, 32), 5, 1, 32, swish),
                EncoderBlock((32, 96, 32), 5, 1, 24, swish),
                EncoderBlock((32, 96, 32), 5, 1, 24, swish),
            ]
        )
        self.head, self.context = nn.Conv2d(32, 128, 1), nn.Conv2d(32, 128, 1)
        self.levels = nn.ModuleList([DecoderLevel(128, 24), DecoderLevel(24, 16), DecoderLevel(16, 16)])
        self.last = nn.ConvTranspose2d(16, 1, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        made = [F.hardswish(self.stem(x))]
        for block in self.blocks:
            made.append(block(made[-1]))
        half, quarter, eighth, deep = made[0], made[1], made[3], made[-1]
        y = F.relu(self.head(deep))
        context: Tensor = self.context(deep.mean((2, 3), keepdim=True))
        y = y * context.sigmoid()
        for level, skip in zip(self.levels, (eighth, quarter, half), strict=True):
            y = level(y, skip)
        logits: Tensor = self.last(y)
        return logits


def load_selfie(device: str = "cpu") -> Segment:
    """Return the shipped segmentation; a photo and its mirror image are averaged, which improves the result."""
    net = SelfieNet().eval().requires_grad_(False)
    net.load_state_dict({name: value.float() for name, value in load_weights(WEIGHTS / "selfie.safetensors").items()})
    net.to(device)

    def segment(image_u8: ImageU8) -> Probability:
        square = torch.from_numpy(resize(image_u8, SIDE, SIDE)).to(device).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            straight, mirrored = net(torch.cat([square, square.flip(3)])).sigmoid()
        found: Probability = ((straight + mirrored.flip(2)) / 2)[0].cpu().numpy()
        return found

    return segment
