"""Describe by measuring: words of the seven lists from thresholds, without a model (docs/zero-shot-words.md).

The background's word of an ordered row is read off a scale. The foreground's lies as many places from it as the two
sides differ by: so light and white balance that both share never change the difference, and sides that differ by less
than :data:`SAME` places get the same word. What cannot be measured (season, temperature, most places) is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from harmonygen.harmonization.zeroshot.describe.measure import Look, measure
from harmonygen.harmonization.zeroshot.words import LISTS, Description, tidy
from harmonygen.pictures.photo import Photo
from harmonygen.records import Pair
from harmonygen.seeds import stable_seed

VERSION = 1  # raise it when words change: it is part of the digest

SAME = 0.6  # places
SLIGHT = 0.15  # places: a difference that an alternative may state more strongly

Words = tuple[str, ...]
Sides = tuple[Words, Words]
"""The words of the foreground and of the background."""


@dataclass(frozen=True, slots=True)
class Scale:
    """An ordered row of words on a measure.

    Attributes:
        words: from the lowest to the highest; "" says nothing.
        bounds: where one word ends and the next begins.
        place: how much of the measure lies between two places.
        plain: the index of the word that is left out where both sides have it, -1 if there is none.
        read: the measure of a side.
        doubt: how unsure the measure is, in places; a difference counts the less.
    """

    words: Words
    bounds: tuple[float, ...]
    place: float
    plain: int
    read: Callable[[Look], float]
    doubt: Callable[[Look], float] = lambda look: 0.0

    def difference(self, foreground: Look, background: Look) -> float:
        """Return how many places the foreground lies above the background, not rounded."""
        doubt = max(self.doubt(foreground), self.doubt(background))
        return (self.read(foreground) - self.read(background)) / self.place / (1 + doubt)

    def sides(self, places: int, background: Look) -> Sides:
        """Return the words of both sides, ``places`` apart as far as the row goes.

        Where the background's word is the row's last, it gives way by one, so that a difference is always stated.
        """
        last = len(self.words) - 1
        there = int(np.searchsorted(self.bounds, self.read(background), side="right"))
        here = max(-1, min(last + 1, there + places))
        if here == there == self.plain:
            return (), ()
        move = max(0, -here) - max(0, here - last)
        words = (self.words[max(0, min(last, at + move))] for at in (here, there))
        foreground, behind = (tuple(filter(None, [word])) for word in words)
        return foreground, behind

    def notable(self, background: Look) -> float:
        """Return how many places a background lies outside the plain word's range."""
        edges = (-math.inf, *self.bounds, math.inf)
        value = self.read(background)
        return max(0.0, edges[self.plain] - value, value - edges[self.plain + 1]) / self.place


BRIGHTNESS = Scale(LISTS["brightness"], (-5.4, -4.0, -2.7, -1.5, -0.35), 1.2, -1, lambda look: look.brightness)
WARMTH = Scale(
    LISTS["colour tone"][:5],
    (-1.1, -0.5, 0.5, 1.3),
    0.9,
    2,
    lambda look: look.warmth,
    lambda look: look.warmth_spread / 4,
)
CAST = Scale(("pink", "", "green"), (-0.45, 0.35), 0.8, 1, lambda look: look.greenness)
COLOUR = Scale(("grey", "faded", "", "vivid"), (0.04, 0.08, 0.68), 0.65, 2, lambda look: look.saturation)
TONES = (WARMTH, CAST, COLOUR)

HAZY, FOGGY = 0.42, 0.7  # veil of a background
ALSO_HAZY = 0.25  # veil of a foreground in haze
HAZE_CONTRAST = (1.8, 2.9)  # stops: more is not haze, and less may as well be a wall
PLAIN = 0.85  # share of flat pixels: over it a ground is plain, and no haze is seen on it
PLAIN_CONTRAST = 2.0  # stops
NIGHT = -5.4  # stops
LIGHTS = 4.0  # stops: lights in the night are so much over its middle


class RuleDescriber:
    """Picks words by thresholds: offline, the same on every machine.

    Args:
        subject: what the object is called where the pair has no ``category``.
    """

    name = "rules"

    def __init__(self, subject: str = "object") -> None:
        self.subject = subject
        self.digest = f"{stable_seed('rules', VERSION, subject):016x}"

    def __call__(self, photo: Photo, alternatives: int = 3) -> list[Description]:
        """Return the words that fit best, then those that state the difference more strongly or by other words.

        Raises:
            InputError: the mask is empty or full.
        """
        subject = subject_of(photo.pair, self.subject)
        ranked = ranked_words(*measure(photo.image_u8, photo.mask))
        return list(dict.fromkeys(Description(subject, *sides) for sides in ranked))[:alternatives]


def subject_of(pair: Pair, otherwise: str) -> str:
    """Return a pair's ``category`` (a column of its table), if it has a usable one."""
    category = tidy(pair.extra.get("category", "").replace(",", " "))
    return category if category and category.isprintable() else otherwise


def ranked_words(foreground: Look, background: Look) -> Iterator[Sides]:
    """Yield words for both sides, the surest first; the same may come twice."""
    light = BRIGHTNESS.difference(foreground, background)
    tone, other = sorted(TONES, key=lambda scale: _strength(scale, foreground, background), reverse=True)[:2]
    colour = tone.difference(foreground, background)
    bright = BRIGHTNESS.sides(rounded(light), background)
    toned = tone.sides(rounded(colour), background)
    scene = scene_words(foreground, background, alike=not rounded(light))
    brighter = BRIGHTNESS.sides(further(light), background)
    stronger = tone.sides(further(colour), background)
    yield joined(bright, scene, toned)
    yield from (
        (joined(brighter, scene, toned), joined(bright, scene, stronger))
        if abs(light) >= abs(colour)
        else (joined(bright, scene, stronger), joined(brighter, scene, toned))
    )
    yield joined(bright, scene, other.sides(rounded(other.difference(foreground, background)), background))
    yield joined(bright, toned)
    yield joined(bright)


def rounded(difference: float) -> int:
    """Return whole places, those of less than :data:`SAME` being none.

    >>> rounded(0.5), rounded(-0.7), rounded(1.5), rounded(1.7)
    (0, -1, 1, 2)
    """
    return int(math.copysign(math.floor(abs(difference) + 1 - SAME), difference))


def further(difference: float) -> int:
    """Return a place more than :func:`rounded`, in the direction of the difference, if that is at least slight."""
    more = int(math.copysign(1, difference)) if abs(difference) >= SLIGHT else 0
    return rounded(difference) + more


def joined(*words: Sides) -> Sides:
    """Return the words of several lists as one, side by side."""
    return tuple(word for each in words for word in each[0]), tuple(word for each in words for word in each[1])


def _strength(scale: Scale, foreground: Look, background: Look) -> tuple[bool, float]:
    """Return what a tone is chosen by: whether the sides differ, then by how much; else what both have."""
    difference = scale.difference(foreground, background)
    differs = rounded(difference) != 0
    return differs, abs(difference) if differs else scale.notable(background)


def scene_words(foreground: Look, background: Look, alike: bool) -> Sides:
    """Return words of weather, time and environment, where they can be seen.

    The foreground has the background's time and environment if its light is ``alike``; its haze is seen on itself.
    """
    weather = _weather(foreground, background)
    place = tuple(filter(None, [_time(background), _environment(background)]))
    return joined(weather, (place if alike else (), place))


def _weather(foreground: Look, background: Look) -> Sides:
    there = _haze(background)
    if not there:
        return (), ()
    return (there if foreground.veil >= ALSO_HAZY else "clear",), (there,)


def _haze(look: Look) -> str:
    """Return how hazy a background is: dark places lifted, contrast low, yet not a plain ground."""
    low, high = HAZE_CONTRAST
    if look.flat > PLAIN or not low <= look.contrast <= high or look.veil < HAZY:
        return ""
    return "foggy" if look.veil >= FOGGY else "hazy"


def _time(look: Look) -> str:
    """Return ``night`` for a ground that is all but black, with lights."""
    return "night" if look.brightness < NIGHT and look.lights > LIGHTS else ""


def _environment(look: Look) -> str:
    """Return ``studio`` for a plain, evenly lit ground."""
    return "studio" if look.flat > PLAIN and look.contrast < PLAIN_CONTRAST and not _time(look) else ""
