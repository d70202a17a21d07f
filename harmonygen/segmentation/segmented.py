"""What a segmenter returns, and how any array that one may return is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from harmonygen.pictures.images import ImageU8, Mask

Layers = npt.NDArray[np.float32]

CUT = 0.5
"""Probability from which a pixel is foreground."""


@dataclass(frozen=True, eq=False)
class Segmented:
    """What was found in a photo.

    ``layers`` (N, h, w) float32 in [0, 1] are probabilities, at any size; they cover the whole photo. If
    ``told_apart``, each is one person or object, and N is 0 if there is none. Else there is one layer for everything.
    ``count`` is how many were seen, which is more than N where two touch. ``note`` says why nothing was found.
    """

    layers: Layers
    told_apart: bool
    count: int = 0
    note: str = ""

    def masks(self, height: int, width: int) -> Mask:
        """Return the layers (N, height, width) as masks, cut at :data:`CUT`."""
        masks = [enlarge_probability(layer, height, width) >= CUT for layer in self.layers]
        return np.stack(masks) if masks else np.zeros((0, height, width), dtype=bool)


Segmenter = Callable[[ImageU8], Any]
"""``(H, W, 3) uint8 ->`` a :class:`Segmented`, or an array that :func:`read_layers` takes."""


def enlarge_probability(layer: Layers, height: int, width: int) -> Layers:
    """Return probabilities (h, w) at (height, width), bilinearly."""
    if layer.shape == (height, width):
        return layer
    image = Image.fromarray(np.ascontiguousarray(layer, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def read_layers(value: Any) -> Segmented:
    """Return what a segmenter of others gave as :class:`Segmented`.

    ``value`` is (h, w), one map for the whole foreground, or (N, h, w), one map for each person or object; bool, uint8
    with 255 as 1, or floats in [0, 1]. It may have any size: it is stretched over the photo. A :class:`Segmented` is
    checked too.

    Raises:
        ValueError: it is of another shape or type, its values are not in [0, 1], or uint8 holds 0 and 1 alone.
        FloatingPointError: values that are NaN or infinite.

    >>> read_layers(np.array([[True, False]])).layers.tolist()
    [[[1.0, 0.0]]]
    """
    if isinstance(value, Segmented):
        if np.ndim(value.layers) != 3:
            raise ValueError(f"the layers are {np.shape(value.layers)}: (N, h, w), one map for each object, is needed")
        return replace(value, layers=_probabilities(np.asarray(value.layers)))
    plain = value.detach().float().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
    if plain.ndim not in (2, 3) or 0 in plain.shape[-2:]:
        raise ValueError(f"the array is {plain.shape}: (h, w), or (N, h, w) with one map for each object, is needed")
    layers = _probabilities(plain)
    return Segmented(layers if layers.ndim == 3 else layers[None], plain.ndim == 3, len(layers) * (plain.ndim == 3))


def _probabilities(plain: npt.NDArray[Any]) -> Layers:
    """Return an array as float32 in [0, 1], or raise as :func:`read_layers`."""
    if plain.dtype == np.uint8:
        if plain.any() and plain.max() == 1:
            raise ValueError("the uint8 values are 0 and 1: in uint8 255 stands for 1, so return bool or floats")
        return plain.astype(np.float32) / np.float32(255)
    if plain.dtype != np.bool_ and not np.issubdtype(plain.dtype, np.floating):
        raise ValueError(f"the array is of {plain.dtype}: bool, uint8, or floats in [0, 1] are needed")
    layers: Layers = plain.astype(np.float32)
    if not np.isfinite(layers).all():
        raise FloatingPointError("some values are NaN or infinite")
    if layers.size and (layers.min() < 0 or layers.max() > 1):
        raise ValueError(
            f"the values go from {float(layers.min()):g} to {float(layers.max()):g}: probabilities in [0, 1] are needed"
        )
    return layers
