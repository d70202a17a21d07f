"""Captions are true: changes that were applied here are measured and named with their sign."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from skimage import data

from harmonygen.trainers.captions import described, instruct, notable_parts, words_of
from harmonygen.trainers.change import ForegroundChange, kelvin_of, measure_foreground_change, warmth_of

COUNT = 200
SIGNS = {  # verb -> the dimension and sign that it states
    "darken {it}": ("ev", -1),
    "brighten {it}": ("ev", 1),
    "warm {it}": ("kelvin", -1),
    "cool {it}": ("kelvin", 1),
    "reduce {its} saturation": ("saturation", -1),
    "raise {its} saturation": ("saturation", 1),
    "lower {its} contrast": ("contrast", -1),
    "raise {its} contrast": ("contrast", 1),
    "shift {it} toward magenta": ("tint", -1),
    "shift {it} toward green": ("tint", 1),
}


def coded(light):
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def applied(pixels_u8, ev, kelvin, saturation):
    """Light in stops and by colour temperature, then colours about their luma: independent of the module's model."""
    values = pixels_u8 / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    warmth = warmth_of(kelvin)
    made = coded(light * 2**ev * 2 ** np.array([warmth / 2, 0, -warmth / 2]))
    grey = (made @ [0.299, 0.587, 0.114])[..., None]
    return np.rint(np.clip(grey + (1 + saturation) * (made - grey), 0, 1) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def candidates():
    """200 composites whose change is known: photo, composite, mask, applied change."""
    rng = np.random.default_rng(17)
    photos = [Image.fromarray(load()) for load in (data.astronaut, data.coffee, data.chelsea, data.rocket)]
    photos = [np.asarray(photo.resize((160, 120))) for photo in photos]
    y, x = np.mgrid[:120, :160]
    found = []
    for index in range(COUNT):
        photo, (cy, cx), (height, width) = photos[index % 4], rng.uniform(0.3, 0.7, 2), rng.uniform(0.12, 0.3, 2)
        mask = ((y / 120 - cy) / height) ** 2 + ((x / 160 - cx) / width) ** 2 < 1
        sign, there = rng.choice([-1, 1], 3), rng.random(3) < 0.6
        there[rng.integers(3)] = True
        ev, kelvin, saturation = rng.uniform([0.2, 400, 0.15], [1.0, 2500, 0.5]) * sign * there
        composite = photo.copy()
        composite[mask] = applied(photo[mask], ev, kelvin, saturation)
        found.append((photo, composite, mask, {"ev": ev, "kelvin": kelvin, "saturation": saturation}))
    return found


@pytest.fixture(scope="module")
def measured(candidates):
    return [(measure_foreground_change(*pictures), true) for *pictures, true in candidates]


def test_the_words_sign_is_right(measured):
    """A word for what was not changed is wrong too."""
    said = right = whole = silent = 0
    for change, true in measured:
        parts = notable_parts(change)
        checks = [np.sign(true.get(SIGNS[part.verb][0], 0)) == SIGNS[part.verb][1] for part in parts]
        said, right = said + len(checks), right + sum(checks)
        whole, silent = whole + all(checks), silent + (not checks)
    assert said > 1.2 * COUNT
    assert silent < 0.05 * COUNT
    assert right / said >= 0.97
    assert whole / COUNT >= 0.95


def test_the_amounts_are_near_what_was_applied(measured):
    off = [[abs(found.ev - true["ev"]), abs(found.saturation - true["saturation"])] for found, true in measured]
    assert np.median(off, axis=0) == pytest.approx([0, 0], abs=0.05)


def test_an_unchanged_foreground_is_said_to_be_so():
    photo = np.asarray(Image.fromarray(data.coffee()).resize((64, 48)))
    mask = np.zeros((48, 64), bool)
    mask[10:30, 10:40] = True
    change = measure_foreground_change(photo, photo, mask)
    assert described(change) == "foreground almost unchanged"
    words = words_of(change, "harmonize", 0, "a")
    assert not words.said


def test_the_instruction_leads_back_or_forth():
    change = ForegroundChange(-0.4, 900.0, 0.2, 0.0, 0.0)
    back = change.undone()
    assert (back.ev, np.sign(back.kelvin)) == (0.4, -1)
    assert (1 + back.saturation) * (1 + change.saturation) == pytest.approx(1)
    for key in "abcdefgh":
        forth, undone = (words_of(change, direction, 3, key).instruction for direction in ("inverse", "harmonize"))
        assert any(word in forth.lower() for word in ("darken", "darker"))
        assert any(word in undone.lower() for word in ("brighten", "brighter"))
        assert any(word in undone.lower() for word in ("warm",))


def test_wording_is_drawn_by_seed_and_row():
    change = ForegroundChange(-0.4, 900.0, 0.2, 0.15, 0.3)
    said = {words_of(change, "harmonize", 0, f"row-{index}").instruction for index in range(60)}
    assert len(said) >= 8
    assert words_of(change, "harmonize", 0, "x") == words_of(change, "harmonize", 0, "x")
    for sentence in said:
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert "  " not in sentence
        assert "{" not in sentence


def test_words_read_as_written():
    change = ForegroundChange(-0.4, 900.0, 0.0, 0.0, 0.0)
    assert described(change) == "foreground cooled by about 900 K and darkened by 0.4 EV"
    made = {instruct(change, "inverse", np.random.default_rng(seed)) for seed in range(40)}
    assert "Cool the foreground by about 900 K and darken it by 0.4 EV." in made
    assert "Make the foreground about 900 K cooler and 0.4 EV darker." in made


def test_kelvin_and_warmth_are_inverse_and_monotone():
    assert [round(kelvin_of(warmth_of(kelvin))) for kelvin in (-2000, -300, 0, 700, 3000)] == [
        -2000,
        -300,
        0,
        700,
        3000,
    ]
    assert warmth_of(-1000) > 0 > warmth_of(1000)
