"""DiffHarmony and DiffHarmony++ with small random models of the real classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harmonygen.errors import CheckpointError
from harmonygen.harmonization.diffusion import DiffusionHarmonizer, refine_picture
from harmonygen.models.denoiser import Denoiser, DenoiserSpec
from harmonygen.models.device import Device, Sampling
from harmonygen.models.draw import PictureSampler
from harmonygen.models.harmony_vae import HarmonyVAE
from harmonygen.models.refiner import RefinementUNet, RefinerSpec
from harmonygen.seeds import stable_seed


def load(folder: Path, **options: object) -> DiffusionHarmonizer:
    sampling = Sampling(options.pop("steps", 2), options.pop("sampler", "euler-ancestral"))
    device = Device("cpu", torch.float32, options.pop("batch_size", 4))
    return DiffusionHarmonizer.from_pretrained(folder, device, sampling, **{"detail": "transfer", **options})


@pytest.fixture
def harmonizer(tiny_forward: Path) -> DiffusionHarmonizer:
    return load(tiny_forward)


@pytest.fixture(scope="module")
def refiner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A refiner of random weights (its last convolution too), 48 px."""
    torch.manual_seed(0)
    spec = RefinerSpec(
        kind="refiner", widths=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=4, resolution=48
    )
    model = RefinementUNet(spec)
    torch.nn.init.normal_(model.conv_out.weight, std=0.2)
    folder = tmp_path_factory.mktemp("refiner")
    model.save_pretrained(folder, dtype=torch.float32)
    return folder


@pytest.mark.parametrize("detail", ["transfer", "decode"])
@pytest.mark.parametrize("fit", ["native", "square"])
def test_the_result_has_the_composites_size_and_background(tiny_forward, make_photo, detail, fit):
    photo = make_photo(fit=fit)
    made = load(tiny_forward, detail=detail)(photo, 0)
    assert made.shape == photo.image_u8.shape == (96, 128, 3)
    assert made.dtype == np.uint8
    assert np.array_equal(made[~photo.mask], photo.image_u8[~photo.mask])
    assert (made[photo.mask] != photo.image_u8[photo.mask]).any(axis=1).mean() > 0.5


def test_a_seed_is_repeatable_and_another_differs(harmonizer, make_photo):
    photo = make_photo()
    assert np.array_equal(harmonizer(photo, 3), harmonizer(photo, 3))
    assert not np.array_equal(harmonizer(photo, 3), harmonizer(photo, 4))


def test_draws_are_averaged_as_pictures_before_they_are_brought_to_full_size(harmonizer, make_photo, monkeypatch):
    photo = make_photo()
    seeds = [stable_seed("draw", 7, index) for index in range(5)]
    pictures = np.stack(list(harmonizer.draw(photo.low_u8, photo.low_mask, seeds)))
    assert pictures.std(axis=0).max() > 0.01
    given = []
    monkeypatch.setattr(
        "harmonygen.harmonization.diffusion.full_size", lambda *inputs: given.append(inputs[2]) or photo.image_u8
    )
    harmonizer(photo, 7, draws=5)
    harmonizer(photo, 7)
    np.testing.assert_allclose(given[0], pictures.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(given[1], pictures[0], atol=1e-5)  # one draw is the first of five
    assert given[0].dtype == np.float32


def test_the_mean_of_draws_scatters_less_than_one_draw(harmonizer, make_photo):
    """What makes its squared error lower: the variance over seeds falls about as 1/N."""
    harmonizer.detail = "decode"
    photo = make_photo()
    scatter = {
        draws: np.stack([harmonizer(photo, seed, draws)[photo.mask] for seed in range(6)]).astype(float).var(axis=0)
        for draws in (1, 8)
    }
    assert scatter[8].mean() < 0.4 * scatter[1].mean()


def test_euler_adds_no_noise_after_the_first(tiny_forward, make_photo):
    """From the same first noise: with one step there is nothing to add and the two samplers agree."""
    photo = make_photo()
    one = [load(tiny_forward, steps=1, sampler=name)(photo, 0) for name in ("euler", "euler-ancestral")]
    five = [load(tiny_forward, steps=5, sampler=name)(photo, 0) for name in ("euler", "euler-ancestral")]
    assert np.array_equal(*one)
    assert not np.array_equal(*five)


def test_an_inverse_model_is_refused(tiny_inverse):
    with pytest.raises(CheckpointError, match="is a inverse model, a forward one is needed"):
        load(tiny_inverse)


def test_a_plain_vae_is_not_enough_for_diffharmony_plus_plus(tiny_forward):
    with pytest.raises(CheckpointError, match=r"has a plain AutoencoderKL in vae/, diffharmony\+\+ needs a HarmonyVAE"):
        load(tiny_forward, harmony_vae=True)


@pytest.fixture
def harmony_forward(tiny_forward: Path, tmp_path: Path) -> Path:
    """The tiny forward model with a Harmony-VAE whose zero convolutions are not zero any more."""
    model = Denoiser.from_pretrained(tiny_forward, "forward")
    torch.manual_seed(1)
    vae = HarmonyVAE.from_autoencoder(model.vae, direction="forward")
    for name, weights in vae.named_parameters():
        if "skip_conv" in name:
            torch.nn.init.normal_(weights, std=0.3)
    Denoiser(model.unet, vae, model.scheduler, model.null_embedding, model.spec).save_pretrained(
        tmp_path / "plus", torch.float32
    )
    return tmp_path / "plus"


def test_a_harmony_vae_serves_both_names_and_changes_the_result(harmony_forward, tiny_forward, make_photo):
    photo = make_photo()
    plus = load(harmony_forward, harmony_vae=True)(photo, 0)
    assert np.array_equal(plus, load(harmony_forward)(photo, 0))
    assert not np.array_equal(plus, load(tiny_forward)(photo, 0))
    assert np.array_equal(plus[~photo.mask], photo.image_u8[~photo.mask])


def test_a_residual_model_without_change_returns_the_composite(tiny_forward, make_photo, monkeypatch):
    model = Denoiser.from_pretrained(tiny_forward, "forward")
    model.spec = DenoiserSpec(direction="forward", target="residual", resolution=32)
    monkeypatch.setattr(model, "sample", lambda condition, mask, seeds, *_: condition.expand(len(seeds), -1, -1, -1))
    photo = make_photo()
    assert np.array_equal(DiffusionHarmonizer(PictureSampler(model))(photo, 0, draws=2), photo.image_u8)


@pytest.mark.parametrize("detail", ["transfer", "decode"])
def test_a_refiner_changes_the_result_and_not_the_background(tiny_forward, refiner_folder, make_photo, detail):
    photo = make_photo()
    refined = load(tiny_forward, refine=refiner_folder, detail=detail)
    made = refined(photo, 0)
    assert made.shape == photo.image_u8.shape
    assert np.array_equal(made[~photo.mask], photo.image_u8[~photo.mask])
    assert not np.array_equal(made, load(tiny_forward, detail=detail)(photo, 0))
    assert refined.digest != load(tiny_forward).digest


def test_the_refiner_sees_harmonized_mask_and_composite_at_its_own_resolution(refiner_folder, make_photo, monkeypatch):
    photo = make_photo()
    refiner = RefinementUNet.from_pretrained(refiner_folder, "refiner")
    seen = []
    monkeypatch.setattr(refiner, "forward", lambda *inputs: seen.append(inputs) or inputs[0])
    harmonized01 = (photo.low_u8 / 255).astype(np.float32)
    low_u8, refined01 = refine_picture(refiner, photo, harmonized01)
    stage1, mask, composite = seen[0]
    assert [tuple(each.shape) for each in seen[0]] == [(1, 3, 48, 60), (1, 1, 48, 60), (1, 3, 48, 60)]
    assert low_u8.shape == refined01.shape == (48, 60, 3)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    np.testing.assert_allclose(composite[0].permute(1, 2, 0).numpy(), low_u8 / 127.5 - 1, atol=1e-5)
    assert float((stage1 - composite).abs().mean()) < 0.1  # the same picture, once enlarged and once reduced


def test_a_refiner_of_another_kind_is_refused(tiny_forward, tiny_direct):
    with pytest.raises(CheckpointError, match="'refiner' is needed"):
        load(tiny_forward, refine=tiny_direct)
