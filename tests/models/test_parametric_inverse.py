"""The parametric inverse: its density, its prior, its draws and its checkpoint."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from harmonygen.errors import CheckpointError
from harmonygen.models.checkpoints import locate
from harmonygen.models.parametric_inverse import (
    MOST_CLIPPED,
    MOST_DRAWS,
    MOST_INVERTED,
    MapSampler,
    Mixture,
    ParametricInverseNet,
    ParametricInverseSpec,
)
from harmonygen.recolor.cubic import apply_cubic, identity_cubic
from harmonygen.recolor.foreground_terms import NUMBERS, ForegroundTerms

SMALL = ParametricInverseSpec(resolution=64, components=5, gaussians=3)


def network(size: float = 0.1) -> ParametricInverseNet:
    """A network of random weights, whose prior is of changes of about ``size``."""
    torch.manual_seed(0)
    model = ParametricInverseNet(SMALL).eval()
    torch.nn.init.normal_(model.head.weight, std=0.2)
    model.set_prior(size * torch.randn(40, NUMBERS) / NUMBERS**0.5)
    return model


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """Three crops of a photo (3, 3, 64, 64) in [0, 1], and a mask in their middle."""
    photo = torch.from_numpy(data.astronaut()[:192, :64].copy()).float() / 255
    masks = torch.zeros(3, 1, 64, 64)
    masks[:, :, 16:48, 16:48] = 1
    return photo.reshape(3, 64, 64, 3).permute(0, 3, 1, 2), masks


@pytest.fixture
def photo(ellipse) -> tuple[np.ndarray, np.ndarray]:
    return data.coffee()[:150, :200], ellipse(150, 200)


def test_the_density_is_that_of_torchs_distributions():
    mixture = network()(*pictures())
    values = torch.randn(3, 5)
    gaussians = torch.distributions.MultivariateNormal(mixture.means, scale_tril=mixture.factors)
    whole = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=mixture.logits), gaussians)
    assert torch.allclose(mixture.log_density(values), whole.log_prob(values), atol=1e-4)


def test_shapes_and_each_photo_for_itself():
    model, (images, masks) = network(), pictures()
    together = model(images, masks)
    assert [tuple(part.shape) for part in together] == [(3, 3), (3, 3, 5), (3, 3, 5, 5)]
    assert not torch.allclose(together.means[0], together.means[1], atol=1e-3)
    for order in ([2, 0, 1], [1]):
        apart = model(images[order], masks[order])
        for one, other in zip(together, apart, strict=True):
            assert torch.allclose(one[order], other, atol=1e-5)


def test_the_prior_whitens_the_changes_it_is_computed_from():
    torch.manual_seed(1)
    numbers = torch.randn(400, 8) @ torch.randn(8, NUMBERS) + 0.3
    model = ParametricInverseNet(SMALL.model_copy(update={"components": 8}))
    model.set_prior(numbers)
    values = model.whitened(numbers)
    assert torch.allclose(values.mean(0), torch.zeros(8), atol=1e-3)
    assert torch.allclose(torch.cov(values.T, correction=0), torch.eye(8), atol=1e-2)
    assert torch.allclose(model.mean + values @ model.axes.T, numbers, atol=1e-3)


def test_changes_that_are_all_alike_have_a_prior_too():
    model = ParametricInverseNet(SMALL)
    model.set_prior(torch.full((10, NUMBERS), 0.1))
    assert torch.isfinite(model.whitened(torch.full((2, NUMBERS), 0.2))).all()


def test_draws_follow_the_mixture():
    """Two Gaussians a hundred deviations apart, weighted 1 to 3: means, shares and covariances come out."""
    means = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    factors = 0.01 * torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [2.0, 1.0]]]])
    mixture = Mixture(torch.log(torch.tensor([[1.0, 3.0]])), means, factors)
    axes = torch.zeros(NUMBERS, 2)
    axes[:2] = torch.eye(2)
    sampler = MapSampler(mixture, torch.zeros(NUMBERS), axes, ForegroundTerms(np.random.default_rng(0).random((50, 3))))
    rng = np.random.default_rng(0)
    drawn = np.array([sampler._drawn(rng)[:2] for _ in range(4000)])
    second = drawn[:, 0] > 0.5
    assert second.mean() == pytest.approx(0.75, abs=0.03)
    expected = (factors[0, 1] @ factors[0, 1].T).numpy()
    assert np.allclose(np.cov(drawn[second].T), expected, rtol=0.15, atol=1e-5)


def test_a_map_is_a_function_of_its_generator(photo):
    model = network()
    sampler = model.sampler(*photo)
    one, other = (sampler(np.random.default_rng(seed)).coefficients for seed in (1, 2))
    assert not np.allclose(one, other)
    assert np.array_equal(one, model.sampler(*photo)(np.random.default_rng(1)).coefficients)


@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
def test_every_map_is_plausible_however_wild_the_prior(photo, size):
    sampler = network(size).sampler(*photo)
    draws = []
    for seed in range(12):
        drawn = sampler(np.random.default_rng(seed))
        numbers = np.linalg.solve(sampler.terms.mixing, drawn.coefficients - identity_cubic())
        assert sampler.inverted(numbers) <= MOST_INVERTED
        assert sampler.clipped(numbers) <= MOST_CLIPPED
        draws.append(drawn.draws)
    assert max(draws) <= MOST_DRAWS
    assert (max(draws) > 1) == (size > 0.1)


def test_a_negative_is_not_plausible_and_is_shrunk_until_it_is(photo):
    sampler = network().sampler(*photo)
    negative = sampler.terms.numbers(1 - sampler.terms.colours)
    assert sampler.inverted(negative) > 0.9
    shrunk = sampler._shrunk(negative)
    assert sampler.is_plausible(shrunk)
    assert 0.1 < np.linalg.norm(shrunk) / np.linalg.norm(negative) < 1


def test_a_change_past_white_is_bent_and_a_small_one_stays(photo):
    sampler = network().sampler(*photo)
    colours = sampler.terms.colours
    strong, small = (sampler.terms.numbers(colours * gain) for gain in (1.8, 1.05))
    assert sampler.clipped(sampler._bent(strong)) < 0.4 * sampler.clipped(strong)
    assert np.linalg.norm(sampler._bent(small) - small) < 0.05 * np.linalg.norm(small)


def test_a_mask_too_fine_for_the_networks_size_still_changes(photo):
    image, mask = photo[0], np.zeros((150, 200), bool)
    mask[75, 101] = True
    drawn = network().sampler(image, mask)(np.random.default_rng(0))
    assert np.isfinite(drawn.coefficients).all()
    assert not np.allclose(drawn.coefficients, identity_cubic())


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 0.0), (torch.float16, 0.02), (torch.bfloat16, 0.1)])
def test_a_checkpoint_round_trip_keeps_the_prior_exactly_and_the_maps_nearly(tmp_path, photo, dtype, near):
    model = network()
    model.save_pretrained(tmp_path, dtype)
    again = ParametricInverseNet.from_pretrained(tmp_path)
    assert again.spec == model.spec
    assert torch.equal(again.axes, model.axes)
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}
    one, other = (each.sampler(*photo) for each in (model, again))
    assert np.allclose(one.reached, other.reached, atol=near)
    assert np.allclose(one.means, other.means, atol=near)
    same = [each(np.random.default_rng(3)).coefficients for each in (one, other)]
    mapped = [apply_cubic(coefficients, one.terms.colours) for coefficients in same]
    assert np.abs(mapped[0] - mapped[1]).max() <= near


def test_other_checkpoints_and_a_starter_without_it_are_refused_with_advice(tmp_path, tiny_direct, monkeypatch):
    with pytest.raises(CheckpointError, match="'parametric-inverse' is needed"):
        ParametricInverseNet.from_pretrained(tiny_direct)
    model = network()
    model.save_pretrained(tmp_path)
    spec = json.loads((tmp_path / "harmonygen.json").read_text())
    (tmp_path / "harmonygen.json").write_text(json.dumps({**spec, "components": 7}))
    with pytest.raises(CheckpointError, match="do not fit"):
        ParametricInverseNet.from_pretrained(tmp_path)
    monkeypatch.setattr("harmonygen.models.checkpoints.STARTER", Path(tmp_path))
    with pytest.raises(CheckpointError, match="harmonygen train parametric-inverse"):
        locate("starter", "parametric-inverse")


def test_the_likelihood_of_a_wrong_value_is_lower():
    mixture = network()(*pictures())
    near = mixture.log_density(mixture.means[:, 0])
    far = mixture.log_density(mixture.means[:, 0] + 50)
    assert (near > far).all()
    assert math.isfinite(far.min().item())
