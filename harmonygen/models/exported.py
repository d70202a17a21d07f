"""Write a network down for other runtimes: an ONNX file in the cache, once for the weights that it has.

torch's exporter by tracing is used: it needs no package beside torch, takes a second, and writes shapes that vary as
they are met. Legend: B batch, C channels, G groups.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from harmonygen.seeds import digest_of_bytes
from harmonygen.storage.remote import cache_folder
from harmonygen.storage.shards import final_name, is_abandoned, remove_strays, storage_errors, strays, whole_folder

_FORMAT = 1
"""Raise it when the same weights are written down in another way."""
_OPSET = 18
_NAME = "network.onnx"


@dataclass(frozen=True, slots=True)
class NetworkPart:
    """A network of a checkpoint, as it is traced: its module takes the ``example``'s tensors and returns one.

    ``varying`` are the axes of inputs and output whose sizes differ from call to call.
    """

    name: str
    module: nn.Module
    example: tuple[Tensor, ...]
    varying: tuple[int, ...]


def exported(part: NetworkPart, digest: str) -> Path:
    """Return the ONNX file of a part of the checkpoint whose weights have ``digest``; it is written if it is missing.

    Several processes may write it at the same time: the first one's file stays. Weights over 2 GB are stored beside it.

    Raises:
        StorageError: the cache cannot be written.
    """
    home = cache_folder() / "networks" / digest
    folder = home / f"{part.name}-{_FORMAT}-torch-{version('torch')}-diffusers-{version('diffusers')}"
    path = folder / _NAME
    if path.is_file():
        return path
    with storage_errors(f"the network in '{folder}'"):
        home.mkdir(parents=True, exist_ok=True)
        remove_strays(stray for stray in strays(home) if is_abandoned(stray))
        try:
            with whole_folder(folder) as temporary:
                _write(part, temporary / _NAME)
        except OSError:  # another process was quicker
            if not path.is_file():
                raise
    return path


def content_of(path: Path) -> str:
    """Return 16 hex digits over an exported network: its file and the weights beside it, but no record (.json).

    Raises:
        StorageError: it cannot be read.
    """
    with storage_errors(f"the network in '{path.parent}'"):
        return digest_of_bytes(_contents(path.parent))


def _contents(folder: Path) -> Iterator[bytes]:
    """Yield the name and the SHA-256 of each file of a network."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix != ".json" and final_name(path.name) is None:
            yield path.name.encode()
            with path.open("rb") as opened:
                yield hashlib.file_digest(opened, "sha256").digest()


@torch.no_grad()
def _write(part: NetworkPart, path: Path) -> None:
    inputs = [f"input{index}" for index in range(len(part.example))]
    axes = {
        name: {axis: f"{name}_{axis}" for axis in part.varying if axis < value.ndim}
        for name, value in zip(inputs, part.example, strict=True)
    }
    axes["output"] = {axis: f"output_{axis}" for axis in part.varying}
    with warnings.catch_warnings(), _norms_by_channel(part.module), _quiet("torch.onnx"):
        warnings.simplefilter("ignore")  # that this exporter is the older one, and of each branch that tracing decides
        torch.onnx.export(
            part.module,
            part.example,
            path,
            input_names=inputs,
            output_names=["output"],
            dynamic_axes=axes,
            opset_version=_OPSET,
            do_constant_folding=False,  # it loses initializers that are alike; runtimes fold by themselves
            dynamo=False,
        )


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    usual = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(usual)


@contextmanager
def _norms_by_channel(module: nn.Module) -> Iterator[None]:
    """Compute group norms of four axes as a gain and an offset of each channel, inside the block.

    A group norm that is written as ONNX has it folds channels into groups and back: a runtime that keeps channels last
    copies every map twice for it, a sixth of OpenVINO's time for the starter's UNet.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.GroupNorm)]
    try:
        for layer in norms:
            layer.__dict__["forward"] = partial(_by_channel, layer)
        yield
    finally:
        for layer in norms:
            layer.__dict__.pop("forward", None)


def _by_channel(layer: nn.GroupNorm, value: Tensor) -> Tensor:
    """Return the group norm of ``value`` (B, C, H, W), by its means and squared norms."""
    if value.ndim != 4:
        return nn.GroupNorm.forward(layer, value)
    groups, each = layer.num_groups, layer.num_channels // layer.num_groups
    pixels = value.shape[2] * value.shape[3]
    mean = value.mean((2, 3)).reshape(-1, groups, each).mean(2, keepdim=True)
    squares = (torch.linalg.vector_norm(value, dim=(2, 3)) ** 2).reshape(-1, groups, each)
    variance = squares.sum(2, keepdim=True) / (pixels * each) - mean * mean
    gain = torch.rsqrt(variance.clamp(min=0) + layer.eps) * layer.weight.reshape(groups, each)
    offset = layer.bias.reshape(groups, each) - mean * gain
    shape = (-1, layer.num_channels, 1, 1)
    return value * gain.reshape(shape) + offset.reshape(shape)
