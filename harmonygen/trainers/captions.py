"""Put a measured change into words: what was done, and the instruction that leads from the condition to the target.

Only what is notable is said, strongest first, so that no word is guessed; an instruction says at most three things, as
a person would. The wording is drawn by seed and row: as verbs or comparatives, with numbers (EV or stops, kelvin,
percent) or degrees, or as what is wrong with the foreground.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harmonygen import seeds
from harmonygen.trainers.change import ForegroundChange
from harmonygen.trainers.notable import SLIGHT, Part, Units, notable_parts

Direction = Literal["harmonize", "inverse"]

_SAID = 3  # things that an instruction says
_FIRST, _NEXT = {"it": "the foreground", "its": "the foreground's"}, {"it": "it", "its": "its"}
_DEGREES = (("slightly", "much"), ("a little", "a lot"), ("a touch", "far"))  # of comparatives: slight, strong
_ADVERBS = ((" slightly", " considerably"), (" a little", " a lot"))  # of verbs: the second where a word comes again
_TOO = (("slightly too", "much too"), ("a little too", "far too"))
_ENDINGS: dict[Direction, tuple[str, ...]] = {
    "harmonize": ("", " to match the background", " so that it fits the scene", " so that it belongs in this light"),
    "inverse": ("", ". Leave the background as it is", ". Don't touch the background", ". Change nothing else"),
}
_REMEDIES = ("Match it to the background", "Fix that", "Make it fit the scene", "Bring it in line with the scene")
_NOTHING = (
    "Leave the foreground almost as it is",
    "The foreground needs hardly any change",
    "The foreground is fine as it is",
)


@dataclass(frozen=True, slots=True)
class Words:
    """A row's words: what was done to the photo's foreground, and the instruction toward the target."""

    change: str
    instruction: str
    said: bool


def described(change: ForegroundChange) -> str:
    """Say what was done to the foreground.

    >>> described(ForegroundChange(-0.4, 900.0, 0.0, 0.01, 0.0))
    'foreground cooled by about 900 K and darkened by 0.4 EV'
    >>> described(ForegroundChange(0.0, -1300.0, -0.4, -0.3, 0.0))
    'foreground warmed by about 1300 K, with 40% less saturation and 30% less contrast'
    """
    parts = notable_parts(change)
    if not parts:
        return "foreground almost unchanged"
    about = _About()
    done = [part.sense.participle.format(by=about.by(part)) for part in parts if not part.quality]
    return f"foreground {_with(joined(done), _qualities(parts, about))}"


class _About:
    """Says "about" once in a sentence, before the first rounded number, and no degree twice."""

    def __init__(self) -> None:
        self.said, self.degrees = False, set[str]()

    def amount(self, part: Part, units: Units = "EV") -> str:
        """Return a part's amount; nothing where a number would say little."""
        amount = part.amount(units)
        if self.said or not amount or (part.name == "ev" and amount.endswith(" EV")):
            return amount
        self.said = True
        return f"about {amount}"

    def degree(self, part: Part, words: tuple[str, str], again: tuple[str, str] = ("", ""), otherwise: str = "") -> str:
        """Return a part's degree, or the word for it ``again``."""
        found = part.degree(words, otherwise)
        if found in self.degrees:
            return part.degree(again, otherwise)
        self.degrees |= {found} - {otherwise}
        return found

    def by(self, part: Part, units: Units = "EV") -> str:
        """Return what stands after a verb: an amount, or a degree where there is no number."""
        amount = self.amount(part, units)
        return f" by {amount}" if amount else self.degree(part, *_ADVERBS)


def _qualities(parts: Sequence[Part], about: _About, words: tuple[str, str] | None = None) -> str:
    """Return what a foreground has more or less of, in numbers, or in degrees if there are ``words`` for them."""
    found = []
    for part in parts:
        if part.quality:
            amount = "" if words else about.amount(part)
            found.append(" ".join(filter(None, (amount or part.degree(words or _DEGREES[0]), part.sense.more))))
    return joined(found)


def _with(main: str, qualities: str) -> str:
    """Join what a foreground is and what it has.

    >>> _with("darker", "more contrast"), _with("", "more contrast"), _with("darker", "")
    ('darker, with more contrast', 'with more contrast', 'darker')
    """
    held = f"with {qualities}" if qualities else ""
    return ", ".join(filter(None, (main, held)))


def joined(pieces: Sequence[str]) -> str:
    """Join pieces as a sentence does.

    >>> joined(["a", "b", "c"]), joined([])
    ('a, b and c', '')
    """
    return " and ".join([", ".join(pieces[:-1]), pieces[-1]] if len(pieces) > 1 else pieces)


def instruct(change: ForegroundChange, direction: Direction, rng: np.random.Generator) -> str:
    """Return an instruction that asks for a change; ``rng`` draws its wording."""
    parts = notable_parts(change)[:_SAID]
    if not parts:
        return f"{_drawn(_NOTHING, rng)}."
    wordings = [_as_verbs, _as_degrees]
    wordings += [_as_numbers] if parts[0].strength >= SLIGHT and any(part.amount() for part in parts) else []
    wordings += [_as_faults] if direction == "harmonize" else []
    sentence = wordings[int(rng.integers(len(wordings)))](parts, rng, _ENDINGS[direction])
    return f"{sentence[0].upper()}{sentence[1:]}."


def _drawn(of: Sequence[str], rng: np.random.Generator) -> str:
    return of[int(rng.integers(len(of)))]


def _as_verbs(parts: Sequence[Part], rng: np.random.Generator, endings: Sequence[str]) -> str:
    """Say: cool the foreground by about 900 K and darken it by 0.4 EV."""
    about, units = _About(), _units(rng)
    slight = parts[0].strength < SLIGHT  # then no number is worth its word
    done: list[str] = []
    for part, name in zip(parts, [_FIRST, *[_NEXT] * (len(parts) - 1)], strict=True):
        by = about.degree(part, *_ADVERBS) if slight else about.by(part, units)
        done.append(part.sense.verb.format(by=by, **name))
    return f"{_by_verbs(done)}{_drawn(endings, rng)}"


def _by_verbs(done: Sequence[str]) -> str:
    """Join pieces, and say a verb once for two of them.

    >>> _by_verbs(["raise its saturation a lot", "raise its contrast by 20%", "cool it"])
    'raise its saturation a lot and its contrast by 20%, and cool it'
    >>> _by_verbs(["cool it", "darken it"])
    'cool it and darken it'
    """
    groups: list[list[str]] = []
    for piece in done:
        verb, _, rest = piece.partition(" ")
        if groups and groups[-1][0].partition(" ")[0] == verb:
            groups[-1].append(rest)
        else:
            groups.append([piece])
    said = [joined(group) for group in groups]
    return joined(said) if len(groups) == len(done) else ", and ".join(said)


def _units(rng: np.random.Generator) -> Units:
    return "EV" if rng.integers(2) else "stops"


def _as_numbers(parts: Sequence[Part], rng: np.random.Generator, endings: Sequence[str]) -> str:
    """Say: make the foreground about 900 K cooler, with 20% less contrast."""
    about, units = _About(), _units(rng)
    main = [
        f"{about.amount(part, units) or about.degree(part, _DEGREES[0])} {part.sense.more}".strip()
        for part in parts
        if not part.quality
    ]
    return _made(joined(main), _qualities(parts, about), _drawn(endings, rng))


def _as_degrees(parts: Sequence[Part], rng: np.random.Generator, endings: Sequence[str]) -> str:
    """Say: make the foreground much cooler and slightly darker, with a little more contrast."""
    words, about = _DEGREES[int(rng.integers(len(_DEGREES)))], _About()
    main = [f"{about.degree(part, words)} {part.sense.more}".strip() for part in parts if not part.quality]
    return _made(joined(main), _qualities(parts, about, words), _drawn(endings, rng))


def _made(main: str, qualities: str, ending: str) -> str:
    if not main:
        return f"give the foreground {qualities}{ending}"
    comma = "," if qualities and ending.startswith(" ") else ""
    return f"make the foreground {_with(main, qualities)}{comma}{ending}"


def _as_faults(parts: Sequence[Part], rng: np.random.Generator, endings: Sequence[str]) -> str:
    """Say: the foreground is much too warm and slightly too dark; match it to the background."""
    first = int(rng.integers(len(_TOO)))
    words, again, about = _TOO[first], (_TOO[1 - first][0], "too"), _About()
    faults = [f"{about.degree(part, words, again, 'too')} {part.sense.before}" for part in parts]
    if rng.integers(2):
        return f"the foreground is {joined(faults)} for this scene. {_drawn(_REMEDIES[:2], rng)}"
    return f"the foreground is {joined(faults)}. {_drawn(_REMEDIES, rng)}"


def words_of(change: ForegroundChange, direction: Direction, seed: int, key: str) -> Words:
    """Return the words of a row, given the change from photo to composite; seed and key draw the wording."""
    wanted = change if direction == "inverse" else change.undone()
    instruction = instruct(wanted, direction, seeds.numpy_rng("caption", seed, key))
    return Words(described(change), instruction, bool(notable_parts(change)))
