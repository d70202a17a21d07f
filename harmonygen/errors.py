"""The few kinds of error harmonygen raises on purpose, and the exit code each one ends a command with.

Every message says what was wrong, what was found and what to do next. Errors are raised deep and caught once,
at the edge of the command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


class HarmonygenError(Exception):
    """Base of every error harmonygen raises on purpose. Ends a command with ``exit_code``."""

    exit_code = 1


class UsageError(HarmonygenError):
    """A wrong option, recipe, plan or data layout: nothing was started. Exit code 2."""

    exit_code = 2


class CheckpointError(UsageError):
    """A checkpoint of the wrong kind, direction, channels or label order. Exit code 2."""


class PluginError(HarmonygenError):
    """A plug-in that breaks its contract: what it returns cannot be used, or it cannot be built. Exit code 1."""


class InputError(HarmonygenError):
    """One photo, mask or row that cannot be used; a run quarantines it and continues. Exit code 2 when met alone."""

    exit_code = 2


class TooManyBadInputsError(HarmonygenError):
    """More inputs were quarantined than ``--max-bad-fraction`` allows. Exit code 3."""

    exit_code = 3


class StorageError(HarmonygenError):
    """Disk, permission or network trouble: a clean stop that the same command resumes. Exit code 4."""

    exit_code = 4


_SHOWN = 5  # ids in a message
_TOLD = 160  # characters of another library's error


def told(error: BaseException, most: int = _TOLD) -> str:
    r"""Return what another library's error says, for a message of ours: its first sentence, printable and short.

    What follows is advice for those who call that library, such as switches that turn a check off.

    >>> told(ValueError("bad \x1b[31mheader. Please set check=False"))
    'bad \\x1b[31mheader'
    """
    first, *others = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    line = f"{first} {others[0]}" if first.endswith(":") and others else first
    return printable(_SENTENCE.split(line)[0].rstrip(". "))[:most]


def printable(text: str) -> str:
    r"""Return text in which nothing can steer a terminal: control characters are written as escapes, line ends stay.

    >>> printable("a\x1b[2Jb\nc")
    'a\\x1b[2Jb\nc'
    """
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


NOT_FINITE = "the model made NaN or infinite values of this photo: compute in float32, or choose other weights"
_SENTENCE = re.compile(r"[.!] (?=[A-Z`'])")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(ids: Iterable[str], of: str = "", most: int = _SHOWN) -> str:
    """Return the first ids in order of their names for a message, each once, and how many more there are.

    >>> shown(["b", "a"]), shown("abcdefg", "photos")
    ('a, b', 'a, b, c, d, e and 2 more photos')
    """
    return listed(sorted(set(ids)), of, most)


def listed(texts: Sequence[str], of: str = "", most: int = _SHOWN, between: str = ", ") -> str:
    """Return the first texts for a message, as they are ordered, and how many more there are.

    >>> listed(["b: gone", "a: empty", "c: gone"], most=2, between="; ")
    'b: gone; a: empty; and 1 more'
    """
    more = len(texts) - most
    end = "" if between == ", " else between.rstrip(" ")
    return between.join(texts[:most]) + (f"{end} and {more} more {of}".rstrip() if more > 0 else "")
