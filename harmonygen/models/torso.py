"""MediaPipe's pose detector (224 x 224) as a torch network: is there a person, and where are hips and shoulders?

An inverted-residual encoder with a feature pyramid; each anchor has a score, a box and four points. The weights are
those of MediaPipe 0.10.14, in safetensors (assets/person/NOTICE.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmonygen.models.checkpoints import load_weights
from harmonygen.models.selfie import WEIGHTS
from harmonygen.pictures.images import ImageU8, resize

SIDE = 224
_GRIDS = ((28, 2), (14, 2), (7, 6))  # cells along a side, anchors in each
_SAME_PERSON = 0.3  # two hips nearer than this share of the larger radius are one person's


@dataclass(frozen=True, slots=True)
class Torso:
    """A person that was found: the ``score`` in [0, 1], and points (x, y) in pixels of the photo.

    A circle of ``radius`` pixels around the ``hips`` holds the whole body.
    """

    score: float
    hips: tuple[float, float]
    shoulders: tuple[float, float]
    radius: float


Detect = Callable[[ImageU8], list[Torso]]
"""``(H, W, 3) uint8 ->`` persons, the surest first, those of any score."""


def _conv(given: int, made: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(given, made, kernel, stride, kernel // 2, groups=groups)


class InvertedResidual(nn.Module):
    """Expand (if wider), filter each channel, project (if ``made``); a residual where nothing changes its size."""

    def __init__(self, given: int, middle: int, made: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.expand = _conv(given, middle) if middle != given else None
        self.depth = _conv(middle, middle, kernel, stride, middle)
        self.project = _conv(middle, made) if made else None
        self.residual = stride == 1 and given == made

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C', H / stride, W / stride) of (B, C, H, W)."""
        y = F.relu6(self.expand(x)) if self.expand is not None else x
        y = F.relu6(self.depth(y))
        if self.project is not None:
            y = self.project(y)
        return x + y if self.residual else y


class SeparableConv(nn.Sequential):
    """A 3 x 3 filter of each channel, then a mixture of them."""

    def __init__(self, given: int, made: int, stride: int = 1) -> None:
        super().__init__(_conv(given, given, 3, stride, given), _conv(given, made))


class PyramidLevel(nn.Module):
    """Double the size of deep features, add those of that size, refine twice."""

    def __init__(self, deep: int, lateral: int, channels: int) -> None:
        super().__init__()
        self.lateral, self.reduce = SeparableConv(lateral, channels), _conv(deep, channels)
        self.refine = nn.ModuleList([SeparableConv(channels, channels) for _ in range(2)])

    def forward(self, deep: Tensor, lateral: Tensor) -> Tensor:
        """Return (B, C, 2H, 2W)."""
        up = F.interpolate(deep, scale_factor=2, mode="bilinear", align_corners=False)
        x = F.relu6(self.lateral(lateral)) + F.relu6(self.reduce(up))
        for each in self.refine:
            x = F.relu6(x + each(x))
        return x


class AnchorHead(nn.Module):
    """Scores and numbers of the anchors of one grid."""

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        self.score, self.box = SeparableConv(channels, anchors, 2), SeparableConv(channels, 12 * anchors, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, N) logits and (B, N, 12) numbers, row by row, of (B, 4C, H, W)."""
        batch, channels, height, width = x.shape
        blocks = x.view(batch, 2, 2, channels // 4, height, width)  # TensorFlow's depth to space: channels last
        wide = blocks.permute(0, 3, 4, 1, 5, 2).reshape(batch, channels // 4, 2 * height, 2 * width)
        scores, boxes = self.score(wide), self.box(wide)
        return scores.permute(0, 2, 3, 1).reshape(batch, -1), boxes.permute(0, 2, 3, 1).reshape(batch, -1, 12)


class TorsoNet(nn.Module):
    """RGB in [-1, 1] (B, 3, 224, 224) -> logits (B, 2254) and boxes with points (B, 2254, 12) in pixels of the side."""

    def __init__(self) -> None:
        super().__init__()
        block = InvertedResidual
        self.stem = _conv(3, 24, 3, 2)
        self.fine = nn.Sequential(
            block(24, 24, 16, 3), block(16, 64, 24, 3, 2), block(24, 144, 24, 3), block(24, 144, 40, 5, 2),
            block(40, 240, 40, 5),
        )  # fmt: skip
        self.middle = nn.Sequential(
            block(40, 240, 80, 3, 2), block(80, 480, 80, 3), block(80, 480, 80, 3), block(80, 480, 112, 5),
            block(112, 672, 112, 5), block(112, 672, 112, 5),
        )  # fmt: skip
        self.coarse = nn.Sequential(
            block(112, 672, 192, 5, 2), *(block(192, 1152, 192, 5) for _ in range(3)), block(192, 1152, 0, 3)
        )
        self.levels = nn.ModuleList([PyramidLevel(1152, 112, 192), PyramidLevel(192, 40, 96)])
        self.heads = nn.ModuleList([AnchorHead(24, 2), AnchorHead(48, 2), AnchorHead(288, 6)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores and boxes of all anchors, of the finest grid first."""
        fine = self.fine(F.relu6(self.stem(x)))
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        upper = self.levels[0](coarse, middle)
        lower = self.levels[1](upper, fine)
        found = [head(each) for head, each in zip(self.heads, (lower, upper, coarse), strict=True)]
        return torch.cat([scores for scores, _ in found], 1), torch.cat([boxes for _, boxes in found], 1)


def anchors() -> Tensor:
    """Return the anchors' centres (2254, 2) as x, y in [0, 1]."""
    grids = []
    for cells, each in _GRIDS:
        centres = (torch.arange(cells) + 0.5) / cells
        rows, columns = torch.meshgrid(centres, centres, indexing="ij")
        grids.append(torch.stack([columns.flatten(), rows.flatten()], 1).repeat_interleave(each, 0))
    return torch.cat(grids)


def load_torso_detector(device: str = "cpu", least: float = 0.1) -> Detect:
    """Return the shipped detector of persons; those under the score ``least`` are not returned."""
    net = TorsoNet().eval().requires_grad_(False)
    net.load_state_dict({name: value.float() for name, value in load_weights(WEIGHTS / "pose.safetensors").items()})
    net.to(device)
    centres = anchors()

    def detect(image_u8: ImageU8) -> list[Torso]:
        square, scale, corner = fit_square(image_u8)
        given = torch.from_numpy(square).to(device).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.inference_mode():
            logits, numbers = (each[0].cpu() for each in net(given))
        scores = logits.sigmoid()
        sure = scores >= least
        points = (numbers[sure, 4:].view(-1, 4, 2) / SIDE + centres[sure, None]) * SIDE
        return distinct(scores[sure].tolist(), ((points - torch.tensor(corner)) / scale).tolist())

    return detect


def fit_square(image_u8: ImageU8) -> tuple[ImageU8, float, tuple[float, float]]:
    """Return a photo fitted into a black square of ``SIDE`` pixels, its scale, and where its corner (x, y) lies."""
    height, width = image_u8.shape[:2]
    scale = SIDE / max(height, width)
    small = resize(image_u8, max(1, round(height * scale)), max(1, round(width * scale)))
    square = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    top, left = (SIDE - small.shape[0]) // 2, (SIDE - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square, scale, (float(left), float(top))


def distinct(scores: Sequence[float], points: Sequence[Sequence[Sequence[float]]]) -> list[Torso]:
    """Return one torso for each person, the surest first: of those whose hips are close, the surest stays.

    >>> hips, edge = (10.0, 10.0), (10.0, 0.0)
    >>> [torso.score for torso in distinct([0.5, 0.75], [[hips, edge, edge, edge], [(11.0, 10.0), edge, edge, edge]])]
    [0.75]
    """
    kept: list[Torso] = []
    for score, (hips, rim, shoulders, _) in sorted(zip(scores, points, strict=True), key=lambda each: -each[0]):
        torso = Torso(score, (hips[0], hips[1]), (shoulders[0], shoulders[1]), math.dist(hips, rim))
        if all(math.dist(torso.hips, other.hips) > _SAME_PERSON * max(torso.radius, other.radius) for other in kept):
            kept.append(torso)
    return kept
