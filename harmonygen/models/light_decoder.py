"""A light decoder for a Harmony-VAE: it gives every patch of the photo a colour map, and draws no texture itself.

What inverse and forward models change is colour; texture is the photo's own. So the decoder works on latent cells and
on patches of half a cell's side, and ends in a 3 x 4 colour map per patch, which is interpolated to the pixels and
applied to the photo. It reads what the Harmony-VAE's own decoder reads (latents, conditional features), and has no
normalisation, so that a window is decoded to the pixels of the whole. Legend: B batch, C latent channels, H W pixels,
h w latent cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Cells = tuple[slice, slice]
"""Rows and columns of latent cells; their stops are given."""
_FINER = 2  # patches along a side of a cell
_COLOURS = 3


class LightDecoder(nn.Module):
    """Latents, conditional features and the photo in, the picture out."""

    def __init__(
        self, channels: int, middle: int, skip: int, widths: Sequence[int], blocks: int, cell_pixels: int
    ) -> None:
        """Build a decoder that at first returns the photo.

        Args:
            channels: C, of the latents.
            middle: width of the conditional encoder's middle block.
            skip: width of its features at patches.
            widths: own widths at cells and at patches.
            blocks: residual blocks at each of the two.
            cell_pixels: pixels along a cell's side.
        """
        super().__init__()
        coarse, fine = widths
        self.patch_pixels = cell_pixels // _FINER
        self.reach = 2 + 3 * blocks
        """Cells around a window that its pixels depend on: 1 + 2 a block of cells, then half as many of patches."""
        self.conv_in = nn.Conv2d(channels, coarse, 3, padding=1)
        self.from_middle = nn.Conv2d(middle, coarse, 1)
        self.cells = nn.Sequential(*(_Block(coarse) for _ in range(blocks)))
        self.finer = nn.Sequential(nn.Conv2d(coarse, _FINER**2 * fine, 1), nn.PixelShuffle(_FINER))
        self.from_skip = nn.Conv2d(skip, fine, 1)
        self.patches = nn.Sequential(*(_Block(fine) for _ in range(blocks)))
        self.conv_out = nn.Conv2d(fine, _COLOURS * (_COLOURS + 1), 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        self.conv_out.bias = nn.Parameter(torch.zeros(_COLOURS * (_COLOURS + 1)))

    def forward(
        self, latents: Tensor, middle: Tensor, skip: Tensor, image_pm1: Tensor, window: Cells | None = None
    ) -> Tensor:
        """Decode latents (B, C, h, w) of photos (1 or B, 3, H, W) to pictures (B, 3, H, W), about [-1, 1].

        Args:
            latents: after the autoencoder's convolution for them, the condition's part added.
            middle: (1 or B, middle, h, w) features at cells.
            skip: (1 or B, skip, 2h, 2w) features at patches.
            image_pm1: the photos, in [-1, 1].
            window: cells to return the pixels of, which equal those of the whole picture.
        """
        rows, columns = window or (slice(0, latents.shape[-2]), slice(0, latents.shape[-1]))
        around = tuple(
            slice(max(0, part.start - self.reach), min(total, part.stop + self.reach))
            for part, total in zip((rows, columns), latents.shape[-2:], strict=True)
        )
        value = self.conv_in(_cut(latents, around, 1)) + self.from_middle(_cut(middle, around, 1))
        value = self.finer(self.cells(value)) + self.from_skip(_cut(skip, around, _FINER))
        maps = self.conv_out(F.silu(self.patches(value)))
        inside = tuple(
            slice(part.start - whole.start, part.stop - whole.start)
            for part, whole in zip((rows, columns), around, strict=True)
        )
        pixels = _cut(image_pm1, (rows, columns), _FINER * self.patch_pixels)
        return coloured(self._enlarged(maps, inside), pixels)

    def _enlarged(self, maps: Tensor, inside: tuple[slice, ...]) -> Tensor:
        """Interpolate maps of patches (B, 12, h, w) to the pixels of the cells ``inside``; edges are repeated."""
        grown, cut = [], []
        for part, total in zip(inside, maps.shape[-2:], strict=True):
            start, stop = part.start * _FINER, part.stop * _FINER
            first, last = max(0, start - 1), min(total, stop + 1)
            grown.append(slice(first, last))
            cut.append(slice((start - first) * self.patch_pixels, (stop - first) * self.patch_pixels))
        near = maps[..., grown[0], grown[1]]
        pixels = F.interpolate(near, scale_factor=self.patch_pixels, mode="bilinear", align_corners=False)
        return pixels[..., cut[0], cut[1]]


class _Block(nn.Module):
    """Two convolutions that add to what they are given; the second starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, value: Tensor) -> Tensor:
        return torch.as_tensor(value + self.conv2(F.silu(self.conv1(F.silu(value)))))


def coloured(maps: Tensor, image: Tensor) -> Tensor:
    """Apply a colour map per pixel (B, 12, H, W), its change from doing nothing, to images (1 or B, 3, H, W).

    Channel 3i + j says how much of colour i goes into colour j; the last three are added.

    >>> maps = torch.zeros(1, 12, 1, 1)
    >>> maps[0, 1], maps[0, 11] = 0.5, 0.25
    >>> coloured(maps, torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)).flatten().tolist()
    [1.0, 0.5, 0.25]
    """
    value = image + maps[:, _COLOURS**2 :]
    for colour in range(_COLOURS):
        value = value + maps[:, _COLOURS * colour : _COLOURS * (colour + 1)] * image[:, colour : colour + 1]
    return value


def _cut(value: Tensor, cells: tuple[slice, ...], scale: int) -> Tensor:
    down, across = (slice(part.start * scale, part.stop * scale) for part in cells)
    return value[..., down, across]
