"""What a foreground and its background look like: colour statistics and pooled features of four regions.

The regions are the foreground, a ring inside its edge, a ring outside it, and the background. Statistics are taken
from a picture shrunk by averaging, so that chroma subsampling, block edges and noise hardly move them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["REGIONS", "STATISTICS", "pooled", "regions_of", "rgb_to_lab", "statistics"]

REGIONS = ("foreground", "inner ring", "outer ring", "background")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_OF_REGION = 3 + 3 + 3 * len(QUANTILES) + 2  # means, deviations, quantiles, chroma's mean and deviation
STATISTICS = len(REGIONS) * _OF_REGION + 12 + 1
"""Length of what :func:`statistics` returns for an image."""
_SIDE = 64  # pixels of the shrunk picture
_RING = 4  # pixels of it
_FEWEST = 4  # pixels under which a ring is not used
_LAB_UNITS = (100.0, 50.0, 50.0)
_RGB_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)


def rgb_to_lab(images01: Tensor) -> Tensor:
    """Convert sRGB images (B, 3, H, W) in [0, 1] to CIE Lab of D65: L in [0, 100], a and b about [-110, 110].

    >>> rgb_to_lab(torch.ones(1, 3, 1, 1)).flatten().round().abs().tolist()
    [100.0, 0.0, 0.0]
    """
    low = images01 / 12.92
    linear = torch.where(images01 <= 0.04045, low, ((images01.clamp(min=0) + 0.055) / 1.055) ** 2.4)
    matrix = images01.new_tensor(_RGB_TO_XYZ) / images01.new_tensor(_WHITE)[:, None]
    xyz = torch.einsum("cd,bdhw->bchw", matrix, linear)
    curved = torch.where(xyz > 0.008856, xyz.clamp(min=1e-6) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = curved.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def regions_of(masks: Tensor) -> Tensor:
    """Return weights (B, 4, H, W) of 0 and 1 of the :data:`REGIONS` of masks (B, 1, H, W).

    A ring with hardly a pixel is replaced by the side of the edge that it lies on.
    """
    inside = (masks > 0.5).to(masks.dtype)
    outside = 1 - inside
    window = 2 * _RING + 1
    grown = F.max_pool2d(inside, window, 1, _RING)
    shrunk = 1 - F.max_pool2d(outside, window, 1, _RING)
    inner, outer = inside * (1 - shrunk), outside * grown
    sides = [inside, _or(inner, inside), _or(outer, outside), outside]
    return torch.cat(sides, dim=1)


def _or(ring: Tensor, side: Tensor) -> Tensor:
    enough = ring.sum(dim=(2, 3), keepdim=True) >= _FEWEST
    return torch.where(enough, ring, side)


def statistics(images01: Tensor, masks: Tensor) -> Tensor:
    """Return colour statistics (B, STATISTICS) of images (B, 3, H, W) in [0, 1] and masks (B, 1, H, W).

    For each region: mean, deviation and five quantiles of L, a and b, mean and deviation of chroma; then foreground
    minus background and inner minus outer ring of the means and deviations; the foreground's share. All about 1.
    """
    size = (min(_SIDE, int(images01.shape[-2])), min(_SIDE, int(images01.shape[-1])))
    small = F.adaptive_avg_pool2d(images01.float(), size)
    weights = regions_of(F.adaptive_avg_pool2d(masks.float(), size))
    lab = rgb_to_lab(small) / small.new_tensor(_LAB_UNITS)[None, :, None, None]
    chroma = lab[:, 1:].square().sum(1, keepdim=True).add(1e-8).sqrt()
    values = torch.cat([lab, chroma], dim=1).flatten(2)
    flat = weights.flatten(2)
    mean, deviation = _moments(values, flat)
    quantiles = torch.stack([_quantiles(values[:, :3], flat[:, r]) for r in range(len(REGIONS))], dim=1)
    both = torch.cat([mean[..., :3], deviation[..., :3]], dim=-1)
    edges = torch.cat([both[:, 0] - both[:, 3], both[:, 1] - both[:, 2]], dim=-1)
    of_regions = torch.cat([mean, deviation, quantiles.flatten(2)], dim=-1).flatten(1)
    return torch.cat([of_regions, edges, flat[:, 0].mean(-1, keepdim=True)], dim=-1)


def _moments(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation (B, R, C) of values (B, C, N) under weights (B, R, N)."""
    share = weights / weights.sum(-1, keepdim=True).clamp(min=1)
    mean = torch.einsum("bcn,brn->brc", values, share)
    square = torch.einsum("bcn,brn->brc", values**2, share)
    return mean, (square - mean**2).clamp(min=1e-8).sqrt()


def _quantiles(values: Tensor, inside: Tensor) -> Tensor:
    """Return the QUANTILES (B, C, Q) of values (B, C, N) where ``inside`` (B, N) is 1."""
    ordered = values.masked_fill(inside[:, None] < 0.5, torch.inf).sort(dim=-1).values
    last = (inside.sum(-1) - 1).clamp(min=0)
    index = (last[:, None] * values.new_tensor(QUANTILES)).round().long()
    found = ordered.gather(-1, index[:, None].expand(-1, values.shape[1], -1))
    return torch.where(found.isfinite(), found, torch.zeros_like(found))


def pooled(features: Tensor, masks: Tensor) -> Tensor:
    """Average features (B, C, h, w) over foreground, band around the edge and background: (B, 3 C).

    The masks (B, 1, H, W) are shrunk to the features' size by area, so that each region keeps its pixels' shares.
    """
    share = F.adaptive_avg_pool2d(masks.to(features.dtype), (int(features.shape[-2]), int(features.shape[-1])))
    band = F.max_pool2d(share, 3, 1, 1) + F.max_pool2d(1 - share, 3, 1, 1) - 1
    weights = torch.cat([share, band, 1 - share], dim=1).flatten(2)
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-3)
    return torch.einsum("bcn,brn->brc", features.flatten(2), weights).flatten(1)
