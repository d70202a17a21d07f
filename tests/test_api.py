"""The Python door: what it accepts, what it gives, what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import harmonygen
from harmonygen.api import Harmonizer, HarmonyClassifier, InverseHarmonizer, as_image_u8, as_mask
from harmonygen.errors import CheckpointError, HarmonygenError, InputError, UsageError


@pytest.fixture
def real() -> np.ndarray:
    return np.asarray(Image.fromarray(data.astronaut()).resize((64, 48)))


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros((48, 64), dtype=bool)
    mask[12:40, 16:50] = True
    return mask


@pytest.fixture(scope="module")
def model(tiny_inverse: Path) -> InverseHarmonizer:
    return InverseHarmonizer.from_pretrained(tiny_inverse, device="cpu")


def test_composites_are_pictures_of_the_photos_size_over_its_own_background(model, real, mask):
    made = model(real, mask, k=3, seed=0)
    assert [type(picture) for picture in made] == [Image.Image] * 3
    assert [picture.size for picture in made] == [(64, 48)] * 3
    for picture in made:
        assert np.array_equal(np.asarray(picture)[~mask], real[~mask])
    assert len({picture.tobytes() for picture in made}) == 3


def test_candidate_k_depends_on_the_seed_and_not_on_how_many_are_asked_for(model, real, mask):
    four, two, other = model(real, mask, k=4, seed=5), model(real, mask, k=2, seed=5), model(real, mask, k=2, seed=6)
    for one, again in zip(four, two, strict=False):
        assert np.abs(np.asarray(one).astype(int) - np.asarray(again)).max() <= 1  # another batch shape
    assert np.abs(np.asarray(two[0]).astype(int) - np.asarray(other[0])).max() > 1


def test_a_harmonized_picture_is_of_the_composites_size_over_its_own_background(tiny_forward, real, mask):
    model = Harmonizer.from_pretrained(tiny_forward, device="cpu")
    made = model(real, mask, seed=0)
    assert (type(made), made.size) == (Image.Image, (64, 48))
    assert np.array_equal(np.asarray(made)[~mask], real[~mask])
    assert not np.array_equal(np.asarray(made), real)
    assert made.tobytes() == model(Image.fromarray(real), torch.from_numpy(mask)).tobytes()
    assert len({model(real, mask, seed=seed, draws=draws).tobytes() for seed in (0, 1) for draws in (1, 3)}) == 4
    with pytest.raises(UsageError, match="draws is 0"):
        model(real, mask, draws=0)
    with pytest.raises(UsageError, match="resize it"):
        model(real, mask[:-1])


def test_a_harmonizer_of_each_method(tiny_direct, tiny_inverse, real, mask):
    made = Harmonizer.from_pretrained(tiny_direct, method="direct", device="cpu")(real, mask)
    assert np.array_equal(np.asarray(made)[~mask], real[~mask])
    with pytest.raises(CheckpointError, match="a forward one is needed"):
        Harmonizer.from_pretrained(tiny_inverse, device="cpu")
    with pytest.raises(UsageError, match="harmonize first"):
        Harmonizer.from_pretrained("starter", method="zero-shot", device="cpu")


def test_every_accepted_form_means_the_same(real, mask):
    images = [
        Image.fromarray(real),
        Image.fromarray(real).convert("RGBA"),
        real,
        (real / 255).astype(np.float32),
        real / 255,
        torch.from_numpy(real.copy()).permute(2, 0, 1),
        torch.from_numpy(real / 255).permute(2, 0, 1),
    ]
    assert all(np.array_equal(as_image_u8(image), real) for image in images)
    masks = [
        Image.fromarray(mask.astype(np.uint8) * 255),
        Image.fromarray(mask),
        mask,
        mask.astype(np.uint8),
        mask.astype(np.uint8) * 255,
        mask.astype(np.float32),
        mask.astype(np.int64),
        mask.astype(np.int64) * 255,
        mask[..., None],
        torch.from_numpy(mask),
        torch.from_numpy(mask)[None],
        torch.from_numpy(mask).float()[None] * 0.6,
    ]
    assert all(np.array_equal(as_mask(each), mask) for each in masks)


@pytest.mark.parametrize("kind", [np.uint8, np.int64])
def test_a_soft_mask_of_any_whole_numbers_is_cut_at_half(kind):
    soft = np.array([[0, 100, 127, 128, 255]] * 2, dtype=kind)
    assert as_mask(soft).tolist() == [[False, False, False, True, True]] * 2


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.int64),
        torch.zeros(4, 4, 3),
        np.full((4, 4, 3), 200.0),
        np.full((4, 4, 3), -1.0),
        np.full((4, 4, 3), np.nan),
        "photo.png",
    ],
)
def test_an_image_that_could_be_taken_for_another_is_refused(image):
    with pytest.raises(UsageError, match="needed"):
        as_image_u8(image)


def test_masks_that_do_not_fit_are_refused(model, real, mask):
    with pytest.raises(UsageError, match="resize it"):
        model(real, mask[:-1])
    with pytest.raises(InputError, match="is empty"):
        model(real, np.zeros_like(mask))
    with pytest.raises(InputError, match="is full"):
        model(real, np.ones_like(mask))
    with pytest.raises(UsageError, match=r"\(H, W\) is needed"):
        model(real, np.zeros((48, 64, 3), bool))


def test_the_classifier_gives_a_probability_an_image(tiny_classifier, real, mask):
    classifier = HarmonyClassifier.from_pretrained(tiny_classifier, device="cpu")
    p = classifier([real, Image.fromarray(255 - real)], [mask, Image.fromarray(mask)])
    assert len(p) == 2
    assert all(0 < value < 1 for value in p)
    assert p[0] != p[1]
    assert classifier([real], [mask])[0] == pytest.approx(p[0])
    assert classifier([], []) == []
    with pytest.raises(UsageError, match="2 images but 1 masks"):
        classifier([real, real], [mask])


def test_the_wrong_kind_of_checkpoint_is_refused(tiny_classifier, tiny_inverse):
    with pytest.raises(CheckpointError, match="'denoiser' is needed"):
        InverseHarmonizer.from_pretrained(tiny_classifier, device="cpu")
    with pytest.raises(CheckpointError, match="'classifier' is needed"):
        HarmonyClassifier.from_pretrained(tiny_inverse, device="cpu")
    with pytest.raises(UsageError, match="--device tpu"):
        InverseHarmonizer.from_pretrained(tiny_inverse, device="tpu")


def test_the_names_are_at_the_door():
    assert harmonygen.InverseHarmonizer is InverseHarmonizer
    assert harmonygen.HarmonyClassifier is HarmonyClassifier
    assert harmonygen.Harmonizer is Harmonizer
    assert issubclass(CheckpointError, HarmonygenError)


def test_importing_the_package_imports_no_torch():
    code = "import harmonygen, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
