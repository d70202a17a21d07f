"""Edge maps that a result can be pulled towards: Sobel, and beside it a pyramid or a learned network (L_Edge).

``L_Edge = |E_S(I) - E_S(I')|^2 + gamma |E_D(I) - E_D(I')|^2`` inside the mask (REFERENCE section 8). Both pictures are
in [0, 1], both terms have a gradient. Legend: B pictures, C edge channels, H W pixels.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional

from harmonygen.errors import InputError, UsageError

GAMMA = 0.1
LEVELS = 3
NETS = ("laplacian", "hed", "none")
_EPSILON = 1e-3  # what rounds the tip of |x|, so that its slope is finite at 0
_LUMINANCE = (0.299, 0.587, 0.114)
_SLACK = 0.25  # a decoder overshoots a little, and an optimised latent somewhat more
_MOST_OUTSIDE = 0.1


class EdgeNet(Protocol):
    """Anything that finds edges differentiably; ``torch.nn.Module``s do. Sizes and scales of the maps are its own."""

    def __call__(self, images01: Tensor, /) -> Tensor:
        """Return edges (B, C, H, W) of RGB pictures (B, 3, H, W) in [0, 1], with gradient to the pictures."""
        ...


def luminance(images01: Tensor) -> Tensor:
    """Return Rec. 601 luminance (B, 1, H, W) in [0, 1] of RGB pictures (B, 3, H, W) in [0, 1]; at least float32."""
    images01 = _full(images01)
    return (images01 * images01.new_tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _full(values: Tensor) -> Tensor:
    """Half precision becomes float32: sums over a whole picture overflow it."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def sobel(images01: Tensor) -> Tensor:
    """Return the magnitude (B, 1, H, W) of the luminance's gradient: 1 at a straight step 0 to 1, 0 on flat fields.

    Pictures are (B, 3, H, W) in [0, 1]; some corners reach 1.12, nothing more. The border is repeated: it is no edge.

    >>> step = torch.zeros(1, 3, 4, 4)
    >>> step[..., 2:] = 1
    >>> sobel(step)[0, 0, 1].tolist()
    [0.0, 1.0, 1.0, 0.0]
    """
    light = functional.pad(luminance(images01), (1, 1, 1, 1), mode="replicate")
    across = light.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
    slopes = functional.conv2d(light, torch.stack([across, across.T])[:, None])
    return rounded_length(slopes)


def rounded_length(values: Tensor) -> Tensor:
    """Return the length (B, 1, H, W) of vectors (B, C, H, W), rounded off near 0; exact at the lengths 0 and 1."""
    squared = values.square().sum(1, keepdim=True)
    length: Tensor = (squared + _EPSILON**2).sqrt() - _EPSILON
    return length / (math.hypot(1, _EPSILON) - _EPSILON)


def laplacian_pyramid(images01: Tensor, levels: int = LEVELS) -> Tensor:
    """Return (B, levels, H, W) in [0, 1]: how much the luminance differs from its blur, at 1, 2, 4, ... pixels.

    The absolute band-pass levels of a Laplacian pyramid (Burt and Adelson 1983), each enlarged to full size: thin edges
    in the first, outlines in the last. It stands in for a learned network, with no weights.

    Args:
        images01: (B, 3, H, W) in [0, 1].
        levels: how many bands; the smaller side must be 2^levels pixels or more.

    Raises:
        UsageError: the pictures are too small for this many levels.
    """
    light = luminance(images01)
    size = light.shape[-2:]
    if levels < 1 or min(size) < 2**levels:
        raise UsageError(
            f"pictures of {size[1]}x{size[0]} have no {levels} levels: ask for 1 to {min(size).bit_length() - 1}"
        )
    bands = []
    for _ in range(levels):
        smaller = functional.avg_pool2d(_blur(light), 2, ceil_mode=True)
        band = rounded_length(light - _enlarge(smaller, light.shape[-2:]))
        bands.append(_enlarge(band, size))
        light = smaller
    return torch.cat(bands, 1)


def _blur(light: Tensor) -> Tensor:
    """Blur (B, 1, H, W) with the 3-tap binomial in both directions; the border is repeated."""
    taps = light.new_tensor([0.25, 0.5, 0.25])
    return functional.conv2d(functional.pad(light, (1, 1, 1, 1), mode="replicate"), (taps[:, None] * taps)[None, None])


def _enlarge(light: Tensor, size: torch.Size) -> Tensor:
    return functional.interpolate(light, size=tuple(size), mode="bilinear", align_corners=False)


def edge_loss(original01: Tensor, result01: Tensor, mask: Tensor, net: EdgeNet | None, gamma: float = GAMMA) -> Tensor:
    """Return L_Edge, the mean squared difference of both kinds of edges over the mask, with gradient to the result.

    What lies outside the mask is the original's in both pictures: edges near the outline do not see what the result has
    there, and no gradient goes there.

    Args:
        original01: (B, 3, H, W) in [0, 1].
        result01: (B, 3, H, W) of the same range; a decoder's small overshoot is let through.
        mask: (H, W) or (B, 1, H, W), bool or weights in [0, 1].
        net: the learned edge detector E_D; None leaves Sobel alone.
        gamma: weight of the detector's term.

    Raises:
        InputError: the mask is empty.
        UsageError: other shapes, or a picture that is not in [0, 1].
    """
    original01, result01 = _full(original01), _full(result01)
    weight = _weight(original01, result01, mask)
    pasted = torch.lerp(original01, result01, weight)
    loss = _difference(sobel(original01), sobel(pasted), weight)
    if net is not None:
        loss = loss + gamma * _difference(net(original01), net(pasted), weight)
    return loss


def _difference(goal: Tensor, found: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean of squares over pixels; edge maps of another size get the weight enlarged or reduced."""
    if weight.shape[-2:] != found.shape[-2:]:
        weight = functional.interpolate(weight, size=tuple(found.shape[-2:]), mode="area")
    return ((_full(goal) - _full(found)).square().mean(1, keepdim=True) * weight).sum() / weight.sum()


def _weight(original01: Tensor, result01: Tensor, mask: Tensor) -> Tensor:
    """Return the mask as (B, 1, H, W) weights, or raise what is wrong with the three."""
    batch, _, height, width = original01.shape
    if result01.shape != original01.shape or mask.shape[-2:] != (height, width):
        shapes = f"{tuple(original01.shape)}, {tuple(result01.shape)} and mask {tuple(mask.shape)}"
        raise UsageError(f"edges of {shapes} cannot be compared: bring all three to one size first")
    check_range(original01, "the original")
    check_range(result01, "the result")
    weight = mask.to(original01).expand(batch, 1, height, width)
    if not bool((weight.flatten(1).sum(1) > 0).all()):
        raise InputError("the mask is empty: edges are compared inside it, so give one that marks the foreground")
    return weight


def check_range(images: Tensor, name: str) -> None:
    """Raise UsageError where a tenth of the values lie well outside [0, 1]: they are of another range."""
    outside = ((images < -_SLACK) | (images > 1 + _SLACK)).float().mean().item()
    if outside > _MOST_OUTSIDE:
        low, high = images.min().item(), images.max().item()
        raise UsageError(
            f"{name} is in [{low:.3g}, {high:.3g}], [0, 1] is needed: rescale it before its edges are taken"
        )


def load_edge_net(name: str, weights: Path | None = None) -> EdgeNet | None:
    """Return the edge detector called ``laplacian``, ``hed`` or ``none`` (None: Sobel alone).

    Args:
        name: one of ``NETS``.
        weights: HED's weights.

    Raises:
        UsageError: another name, or HED cannot be loaded.
    """
    if name == "none":
        return None
    if name == "laplacian":
        return laplacian_pyramid
    if name == "hed":
        from harmonygen.harmonization.zeroshot.hed import load_hed

        return cast(EdgeNet, load_hed(weights))
    raise UsageError(f"unknown edge detector {name!r}: choose {', '.join(NETS)}")
