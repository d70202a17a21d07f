"""Captions are true: changes that were applied here are measured and named with their sign."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image
from skimage import data

from harmonygen.trainers.captions import described, instruct, words_of
from harmonygen.trainers.change import ForegroundChange, fit, kelvin_of, measure_foreground_change, warmth_of
from harmonygen.trainers.notable import notable_parts

COUNT = 200
SIGNS = {  # what is said -> the dimension and sign that it states
    "darker": ("ev", -1),
    "brighter": ("ev", 1),
    "warmer": ("kelvin", -1),
    "cooler": ("kelvin", 1),
    "less saturation": ("saturation", -1),
    "more saturation": ("saturation", 1),
    "less contrast": ("contrast", -1),
    "more contrast": ("contrast", 1),
    "more magenta": ("tint", -1),
    "greener": ("tint", 1),
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
        checks = [np.sign(true.get(SIGNS[part.sense.more][0], 0)) == SIGNS[part.sense.more][1] for part in parts]
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
        assert any(word in undone.lower() for word in ("brighten", "brighter", "dark"))
        assert any(word in undone.lower() for word in ("warm", "cool"))


SPOKEN = {  # words of a sentence -> the dimension and sign that it asks for
    ("darken", "darker", "bright"): ("ev", -1),
    ("brighten", "brighter", "dark"): ("ev", 1),
    ("warm", "warmer", "too cool"): ("kelvin", -1),
    ("cool", "cooler", "too warm"): ("kelvin", 1),
    ("reduce saturation", "less saturation", "vivid"): ("saturation", -1),
    ("raise saturation", "more saturation", "dull"): ("saturation", 1),
    ("lower contrast", "less contrast", "contrasty"): ("contrast", -1),
    ("raise contrast", "more contrast", "flat"): ("contrast", 1),
    ("toward magenta", "more magenta", "green"): ("tint", -1),
    ("toward green", "greener", "too magenta"): ("tint", 1),
}


def asked_for(sentence):
    """Return dimension -> sign of what a sentence asks for, by its words alone."""
    text = sentence.lower().replace(".", "")
    faults = re.search(r"the foreground is (.*?)(?: for this scene| match| make| fix| bring)", text)
    text = text.replace(",", "")
    text = re.sub(r"(raise|reduce|lower) (?:its|the foreground's) ", r"\1 ", text)
    text = re.sub(r"(raise|reduce|lower) (saturation|contrast)( [^;]*?)? and its ", r"\1 \2\3 and \1 ", text)
    if faults:
        named = [re.sub(r".*\btoo ", "too ", each) for each in re.split(r", | and ", faults[1])]
        words = {word for each in named for word in (each, each.split()[-1])}
        words -= {"cool", "warm", "magenta"}
    else:
        found = re.findall(r"toward \w+|(?:more|less) \w+|(?:raise|reduce|lower) \w+|\w+", text)
        words = set(found) - {"bright", "dark", "green"}
    return {(name, sign) for spoken, (name, sign) in SPOKEN.items() if words & set(spoken)}


@pytest.mark.parametrize("direction", ["harmonize", "inverse"])
def test_every_wording_asks_for_what_is_wanted(direction):
    rng, seen = np.random.default_rng(3), set()
    for _ in range(400):
        size = rng.uniform(-1, 1, 5) * [2.5, 3000, 0.7, 0.5, 1.2] * (rng.random(5) < 0.5)
        change = ForegroundChange(*size.tolist())
        parts = notable_parts(change)[:3]
        sentence = instruct(change, direction, rng)
        if parts:
            assert asked_for(sentence) == {(part.name, int(np.sign(part.value))) for part in parts}, sentence
            seen.add(sentence.split()[0])
    assert {"Make", "Give", "Raise", "Cool"} <= seen
    assert ("The" in seen) == (direction == "harmonize")


def test_less_saturation_is_not_said_where_a_colour_cast_hides_it():
    """A grey foreground, warmed and then dulled, has more colour than before."""
    photo = np.asarray(Image.fromarray(data.rocket()).convert("L").convert("RGB").resize((160, 120))).copy()
    photo[..., 2] = np.minimum(photo[..., 2] + 6, 255)
    mask = np.zeros((120, 160), bool)
    mask[20:100, 30:130] = True
    composite = photo.copy()
    composite[mask] = applied(photo[mask], 0.3, -2500, -0.4)
    assert fit(photo[mask][::10], composite[mask][::10])[0][3] < 0  # what was done, in these terms
    change = measure_foreground_change(photo, composite, mask)
    assert change.saturation == 0
    assert (change.ev > 0, change.kelvin < 0) == (True, True)


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
