"""Put a measured change into words: what was done, and the instruction that leads from the condition to the target.

Only what is notable is said, strongest first, so that no word is guessed. The wording is drawn by seed and row: with
numbers or without, as verbs or as comparatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from harmonygen import seeds
from harmonygen.trainers.change import ForegroundChange

Direction = Literal["harmonize", "inverse"]

_SLIGHT, _STRONG = 2.5, 6.0  # times what is just notable
_MOST_KELVIN = 4000


class _Terms(NamedTuple):
    """How a dimension is spoken of, less and more of it, and the change that is just notable."""

    notable: float
    less: tuple[str, str, str]
    more: tuple[str, str, str]


_TERMS: dict[str, _Terms] = {  # (verb, participle, comparative); {it} and {its} are what is changed
    "ev": _Terms(0.12, ("darken {it}", "darkened", "darker"), ("brighten {it}", "brightened", "brighter")),
    "kelvin": _Terms(200.0, ("warm {it}", "warmed", "warmer"), ("cool {it}", "cooled", "cooler")),
    "saturation": _Terms(
        0.08,
        ("reduce {its} saturation", "desaturated", "less saturated"),
        ("raise {its} saturation", "made more saturated", "more saturated"),
    ),
    "contrast": _Terms(
        0.1,
        ("lower {its} contrast", "lowered in contrast", "lower in contrast"),
        ("raise {its} contrast", "raised in contrast", "higher in contrast"),
    ),
    "tint": _Terms(
        0.2,
        ("shift {it} toward magenta", "shifted toward magenta", "more magenta"),
        ("shift {it} toward green", "shifted toward green", "greener"),
    ),
}
_FIRST, _NEXT = {"it": "the foreground", "its": "the foreground's"}, {"it": "it", "its": "its"}
_ENDINGS: dict[Direction, tuple[str, ...]] = {
    "harmonize": ("", " so that it fits the scene", " to match the background", " so that it belongs in this light"),
    "inverse": ("", " and leave the background as it is", " without touching the background", " but nothing else"),
}
_NOTHING = (
    "Leave the foreground almost as it is",
    "The foreground needs hardly any change",
    "Keep the foreground as it is",
)


@dataclass(frozen=True, slots=True)
class Part:
    """One notable dimension of a change: its words, its amount in words and its strength in notable steps."""

    verb: str
    participle: str
    comparative: str
    amount: str
    strength: float

    @property
    def by(self) -> str:
        """The amount after a verb: `` by about 900 K``; nothing where there is no number."""
        return f" by {self.amount}" if self.amount else ""

    @property
    def degree(self) -> str:
        """The comparative with a degree in words: ``slightly darker``."""
        degree = "slightly " if self.strength < _SLIGHT else "much " if self.strength > _STRONG else ""
        return f"{degree}{self.comparative}"


@dataclass(frozen=True, slots=True)
class Words:
    """A row's words: what was done to the photo's foreground, and the instruction toward the target."""

    change: str
    instruction: str
    said: bool


def notable_parts(change: ForegroundChange) -> list[Part]:
    """Return what is notable about a change, the strongest first.

    >>> [part.verb for part in notable_parts(ForegroundChange(-0.4, 900.0, 0.0, 0.01, 0.0))]
    ['cool {it}', 'darken {it}']
    """
    parts = []
    for name, terms in _TERMS.items():
        value: float = getattr(change, name)
        strength = abs(value) / terms.notable
        if strength >= 1:
            parts.append(Part(*(terms.more if value > 0 else terms.less), _amount(name, value), strength))
    return sorted(parts, key=lambda part: -part.strength)


def _amount(name: str, value: float) -> str:
    if name == "ev":
        return f"{abs(value):.1f} EV"
    if name == "kelvin":
        return f"about {round(abs(value), -2):.0f} K" if abs(value) < _MOST_KELVIN else f"over {_MOST_KELVIN} K"
    if name == "tint":
        return ""
    return f"about {5 * round(20 * abs(value))} %"


def described(change: ForegroundChange) -> str:
    """Say what was done to the foreground.

    >>> described(ForegroundChange(-0.4, 900.0, 0.0, 0.01, 0.0))
    'foreground cooled by about 900 K and darkened by 0.4 EV'
    """
    parts = notable_parts(change)
    if not parts:
        return "foreground almost unchanged"
    return f"foreground {joined([f'{part.participle}{part.by}' for part in parts])}"


def joined(pieces: Sequence[str]) -> str:
    """Join pieces as a sentence does.

    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(pieces[:-1]), pieces[-1]] if len(pieces) > 1 else pieces)


def instruct(change: ForegroundChange, direction: Direction, rng: np.random.Generator) -> str:
    """Return an instruction that asks for a change; ``rng`` draws its wording."""
    parts = notable_parts(change)
    ending = _ENDINGS[direction][rng.integers(len(_ENDINGS[direction]))]
    if not parts:
        return f"{_NOTHING[rng.integers(len(_NOTHING))]}."
    wordings = (_as_verbs, _as_numbers, _as_degrees)
    sentence = wordings[rng.integers(len(wordings))](parts)
    return f"{sentence[0].upper()}{sentence[1:]}{ending}."


def _as_verbs(parts: Sequence[Part]) -> str:
    names = [_FIRST, *[_NEXT] * (len(parts) - 1)]
    return joined([f"{part.verb.format(**name)}{part.by}" for part, name in zip(parts, names, strict=True)])


def _as_numbers(parts: Sequence[Part]) -> str:
    return f"make the foreground {joined([f'{part.amount} {part.comparative}'.strip() for part in parts])}"


def _as_degrees(parts: Sequence[Part]) -> str:
    return f"make the foreground {joined([part.degree for part in parts[:3]])}"


def words_of(change: ForegroundChange, direction: Direction, seed: int, key: str) -> Words:
    """Return the words of a row, given the change from photo to composite; seed and key draw the wording."""
    wanted = change if direction == "inverse" else change.undone()
    instruction = instruct(wanted, direction, seeds.numpy_rng("caption", seed, key))
    return Words(described(change), instruction, bool(notable_parts(change)))
