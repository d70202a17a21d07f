"""The words that zero-shot harmonization is steered by: seven lists, a description, and the reply that states one.

A reply is one line a description: ``object & (foreground) word word & (background) word word``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harmonygen.errors import InputError

LISTS: dict[str, tuple[str, ...]] = {
    "brightness": ("dark", "dim", "shaded", "lit", "bright", "dazzling"),
    "weather": ("clear", "sunny", "cloudy", "overcast", "hazy", "foggy", "rainy", "stormy", "snowy", "windy"),
    "temperature": ("freezing", "cold", "chilly", "mild", "hot", "scorching"),
    "season": ("spring", "summer", "autumn", "winter"),
    "time": ("dawn", "morning", "noon", "afternoon", "sunset", "dusk", "evening", "night"),
    "colour tone": ("blue", "cool", "neutral", "warm", "golden", "green", "pink", "vivid", "faded", "grey"),
    "environment": ("indoors", "outdoors", "studio", "street", "forest", "beach", "desert", "mountain", "underwater"),
}
"""The seven lists of words. ``brightness`` runs from the darkest; the first five tones run from the coolest."""

LIST_OF = {word: name for name, words in LISTS.items() for word in words}
"""The list that each word is in; no word is in two."""

MAX_SUBJECT = 12  # words: an object's name, not a sentence about it
_TOLD = 160  # characters of a reply that a message quotes
_FORM = "object & (foreground) word word & (background) word word"
_LINE = re.compile(
    r"(?P<subject>[^&()]*)&\s*\(foreground\)(?P<foreground>[^&()]*)&\s*\(background\)(?P<background>[^&()]*)",
    re.IGNORECASE,
)


class ReplyError(InputError):
    """A reply that is not of the agreed form, or that holds words of no list."""


@dataclass(frozen=True, slots=True)
class Description:
    """An object and the words that fit it as it is (``foreground``) and as its surroundings are (``background``).

    Raises:
        InputError: no object, no word on a side, a word twice on a side, or a comma or line break within a word.
    """

    subject: str
    foreground: tuple[str, ...]
    background: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.subject:
            raise InputError("a description names no object: begin the foreground with it, as in 'girl, sunny'")
        for side in ("foreground", "background"):
            _check_side(side, getattr(self, side))
        for word in (self.subject, *self.foreground, *self.background):
            if "," in word or word != tidy(word) or not word.isprintable():
                raise InputError(f"{word!r} holds a comma, a control character or loose spaces: write plain words")

    @property
    def prompts(self) -> tuple[str, str]:
        """Return the foreground's prompt and the background's: the object first, then its words.

        >>> Description("girl in a coat", ("sunny", "warm"), ("dark", "night")).prompts
        ('girl in a coat, sunny, warm', 'girl in a coat, dark, night')
        """
        return ", ".join((self.subject, *self.foreground)), ", ".join((self.subject, *self.background))


def _check_side(side: str, words: tuple[str, ...]) -> None:
    if not words or not all(words):
        raise InputError(f"the {side} has no word, or an empty one: give at least one, as in 'dark, night'")
    twice = sorted({word for word in words if words.count(word) > 1})
    if twice:
        raise InputError(f"the {side} has {_quoted(twice)} twice: write each word once")


def tidy(text: str) -> str:
    """Return a text on one line with single spaces."""
    return " ".join(text.split())


def by_hand(foreground: str, background: str) -> Description:
    """Make a description of words given by hand, separated by commas; they need not be of the lists.

    Args:
        foreground: the object, then its words: ``girl, sunny``.
        background: the words of the surroundings: ``dark, night``; the object may stand first here too.

    Raises:
        InputError: as for :class:`Description`.

    >>> by_hand("woman in a red coat, sunny", "woman in a red coat, dark, night").prompts
    ('woman in a red coat, sunny', 'woman in a red coat, dark, night')
    """
    subject, *here = _split(foreground)
    there = _split(background)
    if there[0].casefold() == subject.casefold():
        there = there[1:]
    return Description(subject, tuple(here), tuple(there))


def _split(text: str) -> list[str]:
    return [tidy(word) for word in text.split(",")]


def parse_reply(text: str) -> Description:
    """Read one description off a line ``object & (foreground) word word & (background) word word``.

    Words may be separated by commas too, and are read in any case. Nothing else may stand in the line.

    Raises:
        ReplyError: another form, no object, no word on a side, a word of no list, or two of one list on a side.

    >>> parse_reply("a woman in a red coat & (foreground) Bright warm & (background) dark night")
    Description(subject='a woman in a red coat', foreground=('bright', 'warm'), background=('dark', 'night'))
    """
    found = _LINE.fullmatch(tidy(text))
    if not found:
        raise ReplyError(f"found {shortened(text)}: write '{_FORM}'")
    subject = tidy(found["subject"])
    if not subject or "," in subject or len(subject.split()) > MAX_SUBJECT:
        raise ReplyError(f"found the object {shortened(subject)}: a name has 1 to {MAX_SUBJECT} words")
    sides = [_listed(side, found[side]) for side in ("foreground", "background")]
    return Description(subject, *sides)


def _listed(side: str, text: str) -> tuple[str, ...]:
    """Return the words of one side of a reply, which all have to be in the lists, at most one of each."""
    words = tuple(text.casefold().replace(",", " ").split())
    if not words:
        raise ReplyError(f"the {side} has no word: it needs at least one of the lists")
    unknown = [word for word in words if word not in LIST_OF]
    if unknown:
        raise ReplyError(f"the {side} has {shortened(' '.join(unknown))}, needed are words of the lists alone")
    for name in LISTS:
        same = [word for word in words if LIST_OF[word] == name]
        if len(same) > 1:
            raise ReplyError(f"the {side} has {_quoted(same)} of the list {name}: it may have one at most")
    return words


def parse_replies(text: str) -> list[Description]:
    """Read the alternatives of one reply, one line each, in their order; the same one twice is kept once.

    Raises:
        ReplyError: there is none, or a line is not of the form (see :func:`parse_reply`); the message says which.
    """
    found: list[Description] = []
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ReplyError(f"found an empty reply: write '{_FORM}'")
    for number, line in lines:
        try:
            found.append(parse_reply(line))
        except ReplyError as error:
            raise ReplyError(f"line {number}: {error}") from error
    return list(dict.fromkeys(found))


def shortened(text: str) -> str:
    """Quote a text on one line, cut where it is long and with control characters escaped."""
    text = tidy(text)
    return repr(text if len(text) <= _TOLD else f"{text[: _TOLD - 1]}…")


def _quoted(words: list[str]) -> str:
    return " and ".join(f"'{word}'" for word in words)
