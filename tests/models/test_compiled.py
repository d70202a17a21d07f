"""A compiled UNet's batches, and CUDA graphs: what is recorded when, and what is computed without."""

from __future__ import annotations

import pytest
import torch

from harmonygen.models.compiled import FilledUp, Replayed
from harmonygen.models.denoiser import Denoiser
from harmonygen.models.device import Sampling
from harmonygen.models.draw import PictureSampler

T = torch.tensor(1.0)


def cells(count: int, side: int = 4) -> torch.Tensor:
    return torch.randn(count, 9, side, side, generator=torch.Generator().manual_seed(count + side))


def doubled(unet_input: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    return 2 * unet_input[:, :4] * timestep


def recorder(recorded: list[torch.Size], off: float = 0.0):
    """Record as a CUDA graph does: the answer is written into one memory, and read from there."""

    def record(net, inputs):
        recorded.append(inputs[0].shape)
        memory = torch.empty_like(net(*inputs))

        def replay(*given):
            return memory.copy_(net(*given) + off).clone()

        return replay

    return record


def test_a_batch_is_filled_up_to_the_largest_of_its_size_and_no_further():
    seen = []

    def net(unet_input, timestep):
        seen.append(tuple(unet_input.shape[::2]))
        return doubled(unet_input, timestep)

    filled = FilledUp(net)
    for count, side in ((3, 4), (1, 4), (2, 8), (1, 8), (5, 4), (2, 4)):
        assert torch.equal(filled(cells(count, side), T), doubled(cells(count, side), T))
    assert seen == [(3, 4), (3, 4), (2, 8), (2, 8), (5, 4), (5, 4)]


def test_a_compiled_models_batch_is_halved_where_memory_runs_out(tiny_inverse, make_photo, monkeypatch):
    model, photo = Denoiser.from_pretrained(tiny_inverse), make_photo()
    usual = list(PictureSampler(model, Sampling(2))(photo.low_u8, photo.low_mask, [1, 2, 3, 4]))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)

    def net(unet_input, timestep):
        if len(unet_input) > 2:
            raise torch.OutOfMemoryError
        return model.unet(unet_input, timestep, model.null_embedding.expand(len(unet_input), -1, -1)).sample

    model.network = FilledUp(net)
    made = list(PictureSampler(model, Sampling(2))(photo.low_u8, photo.low_mask, [1, 2, 3, 4]))
    for one, other in zip(made, usual, strict=True):
        assert abs(one - other).max() < 1e-3


def test_a_graph_is_recorded_once_for_each_shape_and_its_answers_stay():
    recorded: list[torch.Size] = []
    net = Replayed(doubled, recorder(recorded))
    first, second = net(cells(2), T), net(2 * cells(2), T)
    assert torch.equal(first, doubled(cells(2), T))  # replaying wrote over the memory, not over what was given
    assert torch.equal(second, doubled(2 * cells(2), T))
    net(cells(3), T)
    assert [len(shape) for shape in recorded] == [4, 4]
    assert [shape[0] for shape in recorded] == [2, 3]


@pytest.mark.parametrize("off", [0.5, float("nan")])
def test_a_graph_that_gives_other_values_is_not_used(off):
    net = Replayed(doubled, recorder([], off))
    for _ in range(2):
        assert torch.equal(net(cells(2), T), doubled(cells(2), T))
    assert list(net.held.values()) == [doubled]


def test_what_cannot_be_recorded_is_computed_without_a_graph():
    net = Replayed(doubled)  # there is no GPU here that could record
    if not torch.cuda.is_available():
        assert torch.equal(net(cells(2), T), doubled(cells(2), T))
        assert list(net.held.values()) == [doubled]


def test_a_model_replays_graphs_on_a_gpu_alone(tiny_inverse):
    def backend(graph, _inputs):
        return graph.forward

    nets = [Denoiser.from_pretrained(tiny_inverse).compile(backend, graphs).network for graphs in (None, False, True)]
    assert all(isinstance(net, FilledUp) for net in nets)
    assert [isinstance(net.net, Replayed) for net in nets] == [False, False, True]
