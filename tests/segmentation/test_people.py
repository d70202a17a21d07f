"""The shipped networks, and how people are told from what else stands out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from harmonygen.models.checkpoints import load_weights
from harmonygen.models.device import Device
from harmonygen.models.selfie import WEIGHTS, SelfieNet
from harmonygen.models.torso import Torso, TorsoNet, fit_square
from harmonygen.segmentation.people import PersonFinder, make_person_finder, region_of, window_of
from harmonygen.segmentation.segmented import Segmented, read_layers

GOLDEN = Path(__file__).resolve().parents[1] / "assets" / "mediapipe_golden.npz"
"""Outputs of TensorFlow Lite (ai-edge-litert 2.3.0) for parts of the astronaut: see benchmarks/mediapipe_weights.py."""


def weights(name):
    return {key: value.float() for key, value in load_weights(WEIGHTS / f"{name}.safetensors").items()}


def planes(picture):
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()


def test_the_networks_give_what_tensorflow_lite_gives():
    golden, photo = np.load(GOLDEN), data.astronaut()
    selfie, torso = SelfieNet().eval(), TorsoNet().eval()
    selfie.load_state_dict(weights("selfie"))
    torso.load_state_dict(weights("pose"))
    with torch.no_grad():
        found = selfie(planes(photo[::2, ::2]) / 255).sigmoid()[0, 0].numpy()
        scores, numbers = (each[0].numpy() for each in torso(planes(photo[:448:2, 32:480:2]) / 127.5 - 1))
    assert np.abs(found[::2, ::2] - golden["selfie"]).max() < 1e-4
    assert np.abs(scores[golden["places"]] - golden["scores"]).max() < 2e-3
    assert np.abs(numbers[golden["places"]] - golden["numbers"]).max() < 2e-2
    assert np.argsort(-scores)[0] == golden["places"][0]


@pytest.fixture(scope="module")
def finder():
    return make_person_finder(device=Device.pick("cpu"))


def test_a_person_is_found_and_a_cat_a_cup_and_a_rocket_are_none(finder):
    found = finder(data.astronaut())
    assert (len(found.layers), found.count) == (1, 1)
    (mask,) = found.masks(512, 512)
    assert 0.3 < mask.mean() < 0.7
    assert mask[100, 220]  # her face
    assert not mask[20, 20]
    for name in ("chelsea", "coffee", "rocket"):
        other = finder(getattr(data, name)())
        assert len(other.layers) == other.count == 0
        assert "0.6 is needed" in other.note


def test_a_mirrored_photo_has_the_mirrored_mask(finder):
    photo = data.astronaut()
    straight, mirrored = finder(photo).masks(512, 512)[0], finder(photo[:, ::-1].copy()).masks(512, 512)[0]
    assert (straight & mirrored[:, ::-1]).sum() / (straight | mirrored[:, ::-1]).sum() > 0.98


# Rules, on made pictures: what is bright stands out


def bright(window_u8):
    """Segment what is bright, at a size of its own."""
    return (window_u8[::2, ::2, 0] > 127).astype(np.float32)


def picture(*boxes, height=80, width=120):
    made = np.zeros((height, width, 3), np.uint8)
    for top, bottom, left, right in boxes:
        made[top:bottom, left:right] = 255
    return made


def torso(x, top, bottom, radius=100.0, score=0.9):
    return Torso(score, (x, bottom), (x, top), radius)


LEFT, RIGHT, THING = (10, 70, 10, 40), (10, 70, 70, 100), (0, 8, 50, 60)


def find(image, *torsos):
    return PersonFinder(bright, lambda _: list(torsos))(image)


def test_only_regions_with_a_torso_are_people():
    found = find(picture(LEFT, RIGHT, THING), torso(25, 20, 50))
    (mask,) = found.masks(80, 120)
    assert mask[40, 25]
    assert not mask[40, 85]
    assert not mask[2, 55]
    assert found.count == 1


def test_two_who_stand_apart_are_two_layers_and_two_who_touch_are_one_that_counts_two():
    apart = find(picture(LEFT, RIGHT), torso(25, 20, 50), torso(85, 20, 50))
    assert (len(apart.layers), apart.count) == (2, 2)
    touching = find(picture((10, 70, 10, 100)), torso(25, 20, 50), torso(85, 20, 50))
    assert (len(touching.layers), touching.count) == (1, 2)


def test_an_unsure_torso_and_one_that_lies_in_nothing_are_nobody():
    unsure = find(picture(LEFT), torso(25, 20, 50, score=0.5))
    assert (len(unsure.layers), unsure.note) == (0, "the best score of a person is 0.50, 0.6 is needed")
    beside = find(picture(LEFT), torso(55, 20, 50))
    assert len(beside.layers) == 0
    assert "no outline" in beside.note


def test_a_small_person_is_segmented_in_a_window_of_their_own():
    seen = []

    def segment(window_u8):
        seen.append(window_u8.shape[:2])
        return bright(window_u8)

    image = picture((20, 60, 30, 45), height=200, width=300)
    found = PersonFinder(segment, lambda _: [torso(37, 25, 45, radius=32)])(image)
    assert seen == [(80, 77)]
    (mask,) = found.masks(200, 300)
    assert abs(int(mask.sum()) - 40 * 15) < 120
    assert mask[40, 37]


def test_a_window_is_the_photo_where_it_would_be_nearly_that_and_stays_inside():
    assert window_of(torso(50, 20, 40, radius=60), 80, 100) == (0, 0, 100, 80)
    assert window_of(torso(5, 20, 40, radius=20), 200, 300) == (0, 15, 30, 65)


def test_of_a_bust_only_the_shoulders_have_to_lie_in_the_region():
    foreground = np.zeros((40, 40), bool)
    foreground[20:, 10:30] = True
    assert region_of(foreground, torso(20, 30, 90), (0, 0, 40, 40)) is not None
    assert region_of(foreground, torso(35, 30, 90), (0, 0, 40, 40)) is None


def test_a_photo_is_fitted_into_the_square_without_being_squeezed():
    square, scale, corner = fit_square(np.full((100, 50, 3), 200, np.uint8))
    assert (square.shape, scale, corner) == ((224, 224, 3), 2.24, (56.0, 0.0))
    assert square[:, 56:168].min() == 200
    assert square[:, :56].max() == 0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((2, 2, 2, 2)), r"array is \(2, 2, 2, 2\)"),
        (np.zeros(5), r"array is \(5,\)"),
        ("a person", "needed"),
        (np.full((4, 4), 1.5), "from 1.5 to 1.5"),
        (np.ones((4, 4), np.uint8), "uint8 values are 0 and 1"),
        (Segmented(np.full((1, 4, 4), 255.0), True), "from 255 to 255"),
        (Segmented(np.ones((4, 4)), False), r"layers are \(4, 4\)"),
        (np.zeros((4, 4), np.int64), "array is of int64"),
    ],
)
def test_what_is_no_probability_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        read_layers(value)


@pytest.mark.parametrize("value", [np.full((4, 4), np.nan), torch.full((1, 4, 4), torch.inf)])
def test_nan_and_infinity_are_told_from_a_broken_contract(value):
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        read_layers(value)


def test_arrays_and_tensors_of_any_size_are_read():
    assert read_layers(np.full((4, 4), 255, np.uint8)).masks(8, 6).all()
    assert read_layers(torch.ones(2, 4, 4)).count == 2
    none = read_layers(np.zeros((0, 4, 4), bool))
    assert none.masks(8, 6).shape == (0, 8, 6)
    assert isinstance(read_layers(none), Segmented)
