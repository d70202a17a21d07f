"""What is notable about a measured change, and how each dimension of it is spoken of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from harmonygen.trainers.change import ForegroundChange

Units = Literal["EV", "stops"]

SLIGHT, STRONG = 2.5, 6.0  # times what is just notable
_MOST = {"kelvin": 4000.0, "saturation": 1.0, "contrast": 1.0, "ev": 3.0}  # past it, "much" says more than a number
_STOPS = {  # thirds and halves, as a camera's dial has them
    1 / 4: "a quarter of a stop",
    1 / 3: "a third of a stop",
    1 / 2: "half a stop",
    2 / 3: "two thirds of a stop",
    1.0: "one stop",
    1.5: "one and a half stops",
    2.0: "two stops",
    2.5: "two and a half stops",
    3.0: "three stops",
}


class Sense(NamedTuple):
    """How less, or more, of a dimension is spoken of; {it} and {its} are what is changed.

    ``verb`` takes an amount or a degree at {by}. ``more`` is the comparative, for qualities with their noun.
    ``before`` is what a foreground is too much of that needs this change.
    """

    verb: str
    participle: str
    more: str
    before: str


class _Terms(NamedTuple):
    """A dimension's senses, less and more of it; ``quality``: the foreground has it (contrast), rather than is it."""

    notable: float
    less: Sense
    more: Sense
    quality: bool = False


_TERMS: dict[str, _Terms] = {
    "ev": _Terms(
        0.12,
        Sense("darken {it}{by}", "darkened{by}", "darker", "bright"),
        Sense("brighten {it}{by}", "brightened{by}", "brighter", "dark"),
    ),
    "kelvin": _Terms(
        200.0,
        Sense("warm {it}{by}", "warmed{by}", "warmer", "cool"),
        Sense("cool {it}{by}", "cooled{by}", "cooler", "warm"),
    ),
    "saturation": _Terms(
        0.08,
        Sense("reduce {its} saturation{by}", "desaturated{by}", "less saturation", "vivid"),
        Sense("raise {its} saturation{by}", "saturated{by}", "more saturation", "dull"),
        quality=True,
    ),
    "contrast": _Terms(
        0.1,
        Sense("lower {its} contrast{by}", "lowered{by}", "less contrast", "contrasty"),
        Sense("raise {its} contrast{by}", "raised{by}", "more contrast", "flat"),
        quality=True,
    ),
    "tint": _Terms(
        0.2,
        Sense("shift {it}{by} toward magenta", "shifted{by} toward magenta", "more magenta", "green"),
        Sense("shift {it}{by} toward green", "shifted{by} toward green", "greener", "magenta"),
    ),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One notable dimension of a change: how it is spoken of, how much it is, its strength in notable steps."""

    name: str
    sense: Sense
    value: float
    strength: float

    @property
    def quality(self) -> bool:
        """Whether the foreground has it, rather than is it."""
        return _TERMS[self.name].quality

    def amount(self, units: Units = "EV") -> str:
        """Return the amount in numbers; nothing where a number would say little: a tint, or a very strong change."""
        size = abs(self.value)
        if size >= _MOST.get(self.name, 0.0):
            return ""
        if self.name == "kelvin":
            return f"{round(size, -2):.0f} K"
        if self.name != "ev":
            return f"{5 * round(20 * size)}%"
        return f"{size:.1f}".removesuffix(".0") + " EV" if units == "EV" else _STOPS[min(_STOPS, key=_off(size))]

    def degree(self, words: tuple[str, str], otherwise: str = "") -> str:
        """Return the word for a slight or a strong change, ``otherwise`` for one in between."""
        return words[0] if self.strength < SLIGHT else words[1] if self.strength > STRONG else otherwise


def _off(size: float) -> Callable[[float], float]:
    return lambda stop: abs(stop - size)


def notable_parts(change: ForegroundChange) -> list[Part]:
    """Return what is notable about a change, the strongest first.

    >>> [part.sense.more for part in notable_parts(ForegroundChange(-0.4, 900.0, 0.0, 0.01, 0.0))]
    ['cooler', 'darker']
    """
    values: dict[str, float] = {name: getattr(change, name) for name in _TERMS}
    parts = [
        Part(name, terms.more if values[name] > 0 else terms.less, values[name], abs(values[name]) / terms.notable)
        for name, terms in _TERMS.items()
        if abs(values[name]) >= terms.notable
    ]
    return sorted(parts, key=lambda part: -part.strength)
