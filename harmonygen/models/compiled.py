"""A UNet that is compiled for each size of latents, and whose kernels a GPU replays as one CUDA graph.

Both are made for shapes. A batch smaller than the largest of its size is filled up to it, so that the last draws of a
photo, or one that is drawn again, need nothing new. Legend: B batch, h w latent cells.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from harmonygen.models.runtime import Network

_WARM_CALLS = 3
_DIFFERENCE = 0.01
"""Largest difference of a replayed prediction, over the largest value: kernels may be picked anew for a recording."""


class FilledUp:
    """A network that sees one batch for each size of latents: the largest so far that there was memory for."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self._largest: dict[torch.Size, int] = {}

    def __call__(self, unet_input: Tensor, timestep: Tensor) -> Tensor:
        """Map latents, mask and condition (B, 9, h, w) at a timestep () to the prediction (B, 4, h, w)."""
        size, count = unet_input.shape[2:], len(unet_input)
        batch = max(count, self._largest.get(size, 0))
        more = unet_input[-1:].expand(batch - count, -1, -1, -1)
        predicted = self.net(torch.cat([unet_input, more]), timestep)
        self._largest[size] = batch
        return predicted[:count]


class Replayed:
    """A network whose kernels are recorded as a CUDA graph for each shape of its inputs, and then replayed.

    The CPU launches some hundred kernels a step; where the GPU computes them in less time than that takes, it waits.
    A shape whose graph cannot be recorded, or gives other values, is computed without one.
    """

    def __init__(self, net: Network, record: Callable[..., Network] | None = None) -> None:
        """Take a network; ``record`` (:func:`record_graph`) returns what replays it for inputs of one shape."""
        self.net, self.record = net, record or record_graph
        self.held: dict[tuple[torch.Size, ...], Network] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return what the network does."""
        shapes = tuple(each.shape for each in inputs)
        if shapes not in self.held:
            self.held[shapes] = self._recorded(inputs)
        return self.held[shapes](*inputs)

    def _recorded(self, inputs: tuple[Tensor, ...]) -> Network:
        try:
            replay = self.record(self.net, inputs)
            usual, found = self.net(*inputs), replay(*inputs)
        except RuntimeError:  # what cannot be recorded, or no memory for it
            return self.net
        return replay if float((found - usual).abs().max()) <= _DIFFERENCE * float(usual.abs().max()) else self.net


def record_graph(net: Network, inputs: tuple[Tensor, ...]) -> Network:
    """Record what ``net`` does with inputs of these shapes on the current GPU; return what replays it.

    Raises:
        RuntimeError: it does what a graph cannot hold, or memory runs out.
    """
    held = [each.clone() for each in inputs]
    new_stream: Any = torch.cuda.Stream
    beside = new_stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(_WARM_CALLS):  # compilers and libraries choose their kernels now: a recording may not
            net(*held)
    torch.cuda.current_stream().wait_stream(beside)
    graph: Any = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=_pool()):
        made = net(*held)

    def replay(*given: Tensor) -> Tensor:
        for mine, each in zip(held, given, strict=True):
            mine.copy_(each)
        graph.replay()
        return made.clone()  # other graphs write into the same memory

    return replay


@cache
def _pool() -> Any:
    """Return the memory that all graphs share: they run one after the other, and each result is copied at once."""
    return torch.cuda.graph_pool_handle()
