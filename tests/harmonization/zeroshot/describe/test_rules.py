"""The rule-based describer by its laws: what darkening, warming and scaling do to the words."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from harmonygen.data.sample import read_sample
from harmonygen.errors import InputError
from harmonygen.harmonization.zeroshot.describe import load_describer, rules
from harmonygen.harmonization.zeroshot.describe.measure import linear, measure
from harmonygen.harmonization.zeroshot.describe.rules import (
    BRIGHTNESS,
    CAST,
    COLOUR,
    WARMTH,
    RuleDescriber,
    ranked_words,
)
from harmonygen.harmonization.zeroshot.words import LIST_OF, LISTS
from harmonygen.pictures.photo import Photo, Sizing, load_photo
from harmonygen.records import FileSource, Pair

SOURCE = FileSource(Path("a.png"))
NAMES = ("astronaut", "chelsea", "coffee", "rocket")
BRIGHT, TONES = LISTS["brightness"], LISTS["colour tone"][:5]
DESCRIBE = RuleDescriber()


def real(name, side=160):
    image = Image.fromarray(getattr(data, name)())
    image.thumbnail((side, side))
    return np.asarray(image)


PHOTOS = {name: real(name) for name in NAMES}


def middle(image):
    mask = np.zeros(image.shape[:2], dtype=bool)
    height, width = mask.shape
    mask[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = True
    return mask


def chequered(image, cell=16):
    """Return a mask whose both sides see the same things everywhere."""
    rows, columns = np.indices(image.shape[:2]) // cell
    return (rows + columns) % 2 == 0


def coded(light):
    """Return sRGB of linear light, 8 bits."""
    return np.rint(np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255).astype(
        np.uint8
    )


def gained(image, gain, mask=None):
    """Multiply linear light, of the foreground alone if a mask is given."""
    changed = coded(np.clip(linear(image) * gain, 0, 1))
    return changed if mask is None else np.where(mask[..., None], changed, image)


def as_photo(image, mask, **extra):
    pair = Pair("a_0", "a", "0", SOURCE, SOURCE, extra=extra)
    return Photo(pair, image, mask, image, mask, False)


def words(image, mask):
    return DESCRIBE(as_photo(image, mask))[0]


def place(side, row):
    """Return where a side's word stands in an ordered row; None if it has none of it."""
    return next((row.index(word) for word in side if word in row), None)


@pytest.mark.parametrize("name", NAMES)
def test_darkening_the_foreground_moves_its_brightness_down_and_never_up(name):
    image, mask = PHOTOS[name], middle(PHOTOS[name])
    found = [place(words(gained(image, 2.0**stop, mask), mask).foreground, BRIGHT) for stop in np.arange(0, -7, -0.5)]
    assert all(after <= before for before, after in pairwise(found))
    assert found[-1] < found[0]


@pytest.mark.parametrize("name", NAMES)
def test_warming_the_foreground_moves_its_tone_to_warm_and_never_back(name):
    image, mask = gained(PHOTOS[name], 0.35), middle(PHOTOS[name])  # dimmed, so that no channel clips
    gains = [np.array([2.0**stop, 1, 2.0**-stop]) for stop in np.arange(-1.4, 1.5, 0.2)]
    found = [place(words(gained(image, gain, mask), mask).foreground, TONES) for gain in gains]
    stated = [index for index in found if index is not None]
    assert stated == sorted(stated)
    assert stated[0] <= TONES.index("cool")
    assert stated[-1] >= TONES.index("warm")


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(NAMES), stop=st.floats(-1.5, -0.3), fall=st.floats(-1.5, 0))
def test_scaling_both_sides_leaves_the_measured_differences(name, stop, fall):
    mask = middle(PHOTOS[name])
    image = gained(PHOTOS[name], 2.0**fall, mask)
    before, after = measure(image, mask), measure(gained(image, 2.0**stop), mask)
    assert BRIGHTNESS.difference(*after) == pytest.approx(BRIGHTNESS.difference(*before), abs=0.15)
    assert WARMTH.difference(*after) == pytest.approx(WARMTH.difference(*before), abs=0.2)
    assert COLOUR.difference(*after) == pytest.approx(COLOUR.difference(*before), abs=0.1)


def test_scaling_both_sides_moves_both_words_alike():
    image, mask = PHOTOS["coffee"], middle(PHOTOS["coffee"])
    image = gained(image, 0.25, mask)
    found = [words(gained(image, 2.0**stop), mask) for stop in (0, -0.6, -1.2)]
    apart = {place(each.foreground, BRIGHT) - place(each.background, BRIGHT) for each in found}
    assert len(apart) == 1
    assert apart.pop() < 0
    assert place(found[-1].background, BRIGHT) < place(found[0].background, BRIGHT)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("gain", [1.0, 0.2])
def test_sides_that_see_the_same_get_equal_words(name, gain):
    image = gained(PHOTOS[name], gain)
    found = words(image, chequered(image))
    assert found.foreground == found.background


@pytest.mark.parametrize("pair", read_sample("all"), ids=lambda pair: pair.pair_id)
def test_words_are_of_the_lists_at_most_one_of_each_and_alternatives_differ(pair):
    found = DESCRIBE(load_photo(pair, Sizing(128, 8, max_side=256)), alternatives=6)
    assert 1 <= len(found) <= 6
    assert len(set(found)) == len(found)
    for side in (side for each in found for side in (each.foreground, each.background)):
        lists = [LIST_OF[word] for word in side]
        assert lists.count("brightness") == 1
        assert len(lists) == len(set(lists))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_picture_gets_words_of_the_lists(drawn):
    rng = np.random.default_rng(drawn.draw(st.integers(0, 2**32)))
    height, width = drawn.draw(st.tuples(st.integers(2, 24), st.integers(2, 24)))
    top, few = drawn.draw(st.integers(0, 255)), drawn.draw(st.booleans())
    image = rng.integers(0, top + 1, (height, width, 3)).astype(np.uint8)
    mask = rng.random((height, width)) < 0.5
    mask.flat[0], mask.flat[-1] = True, False
    if few:
        image[mask] = top
    for each in DESCRIBE(as_photo(image, mask)):
        for side in (each.foreground, each.background):
            lists = [LIST_OF[word] for word in side]
            assert len(lists) == len(set(lists)) >= 1


def test_a_sliver_of_either_side_in_a_large_photo_is_measured():
    image = np.tile(real("coffee", 400), (3, 3, 1))
    mask = np.zeros(image.shape[:2], dtype=bool)
    mask[5, 7] = True
    assert place(words(image, mask).background, BRIGHT) == pytest.approx(BRIGHT.index("lit"), abs=1)
    assert words(image, ~mask).foreground


def test_the_same_photo_gets_the_same_words_at_twice_the_size():
    image = real("coffee", 380)
    mask = middle(image)
    large, large_mask = image.repeat(2, axis=0).repeat(2, axis=1), mask.repeat(2, axis=0).repeat(2, axis=1)
    assert words(large, large_mask) == words(image, mask)


def test_an_alternative_states_the_difference_more_strongly():
    image, mask = PHOTOS["coffee"], chequered(PHOTOS["coffee"])
    first, second = DESCRIBE(as_photo(gained(image, 0.7, mask), mask))[:2]
    assert first.foreground[0] == first.background[0]
    assert place(second.foreground, BRIGHT) == place(second.background, BRIGHT) - 1


def test_the_most_different_words_fit_inside_the_rows():
    white, black = np.full((8, 8, 3), 255, np.uint8), np.zeros((8, 8, 3), np.uint8)
    mask = middle(white)
    found = words(np.where(mask[..., None], black, white), mask)
    assert (found.foreground[0], found.background[0]) == ("dark", "dazzling")
    found = words(np.where(mask[..., None], white, black), mask)
    assert (found.foreground[0], found.background[0]) == ("dazzling", "dark")


def test_a_plain_bright_ground_is_a_studio_and_a_lively_one_is_not():
    image = np.full((120, 120, 3), 235, np.uint8)
    mask = middle(image)
    image[mask] = PHOTOS["chelsea"][:60, :60][:60].reshape(-1, 3)[: mask.sum()]
    assert "studio" in words(image, mask).background
    assert "studio" not in words(PHOTOS["coffee"], middle(PHOTOS["coffee"])).background


def test_stars_on_black_are_night():
    image = data.hubble_deep_field()[:200, :200]
    assert "night" in words(image, middle(image)).background


@pytest.mark.parametrize("name", ["astronaut", "coffee", "rocket"])
def test_haze_that_thickens_with_distance_is_seen_and_a_clear_foreground_told_apart(name):
    image, mask = PHOTOS[name], middle(PHOTOS[name])
    left = np.linspace(0.05, 0.9, len(image))[:, None, None]  # of the light, from the farthest row to the nearest
    hazy = coded(linear(image) * left + 0.85 * (1 - left))
    in_haze, cut_out = words(hazy, mask), words(np.where(mask[..., None], image, hazy), mask)
    assert {"hazy", "foggy"} & set(in_haze.background)
    assert {"hazy", "foggy"} & set(in_haze.foreground)
    assert {"hazy", "foggy"} & set(cut_out.background)
    assert "clear" in cut_out.foreground
    assert not {"hazy", "foggy", "clear"} & set(words(image, mask).background)


def test_a_grey_photo_with_a_colourful_foreground_says_so():
    image = PHOTOS["coffee"]
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    mask = middle(image)
    foreground, background = measure(np.where(mask[..., None], image, grey), mask)
    assert background.saturation == 0
    neutral = replace(foreground, warmth=background.warmth, greenness=background.greenness)
    _, there = next(ranked_words(neutral, background))
    assert {"grey", "faded"} & set(there)


def test_the_category_of_the_pair_is_the_object():
    image = PHOTOS["coffee"]
    describer = load_describer("rules", subject="thing")
    assert describer(as_photo(image, middle(image)))[0].subject == "thing"
    assert describer(as_photo(image, middle(image), category=" coffee  cup, red"))[0].subject == "coffee cup red"
    assert describer(as_photo(image, middle(image), category=" "))[0].subject == "thing"
    assert describer.digest != DESCRIBE.digest


@pytest.mark.parametrize("full", [True, False])
def test_a_mask_without_two_sides_is_refused(full):
    image = PHOTOS["coffee"]
    with pytest.raises(InputError, match="full" if full else "empty"):
        words(image, np.full(image.shape[:2], full))


def test_the_page_states_the_lists_and_thresholds_as_they_are():
    page = " ".join((Path(__file__).parents[4] / "docs" / "zero-shot-words.md").read_text(encoding="utf-8").split())
    for name, row in LISTS.items():
        assert f"| {name} | {', '.join(row)} |" in page
    rows = {"brightness": BRIGHTNESS, "warmth": WARMTH, "greenness": CAST, "saturation": COLOUR}
    for name, scale in rows.items():
        bounds = [f" < {bound:g} < " for bound in scale.bounds] + [""]
        parts = (f"{word or '(no word)'}{bound}" for word, bound in zip(scale.words, bounds, strict=True))
        assert f"| {name} | {''.join(parts)} | {scale.place:g}" in page
    assert f"less than {rules.SAME} of a place" in page
    low, high = rules.HAZE_CONTRAST
    assert f"a contrast of {low} to {high} stops is `hazy` if its veil is at least {rules.HAZY}" in page
    assert f"`foggy` if it is at least {rules.FOGGY}, unless more than {rules.PLAIN} of it is flat" in page
    assert f"the same word if its veil is at least {rules.ALSO_HAZY}" in page
    assert f"darker than {rules.NIGHT} with lights of more than {rules.LIGHTS:g} stops" in page
    assert f"less than {rules.PLAIN_CONTRAST:g} stops of contrast" in page
