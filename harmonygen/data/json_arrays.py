"""Read the arrays of a large JSON object element by element, so that the whole of it is never held."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

CHUNK = 2**20  # characters read at a time


def read_arrays(path: Path, chunk: int = CHUNK) -> Iterator[tuple[str, Iterator[Any]]]:
    """Yield (key, its elements) of each array directly in the object that the file holds; other values are skipped.

    Elements that are not asked for are read past when the next array is.

    Raises:
        ValueError: the file is not one JSON object, or not UTF-8.
        OSError: it cannot be read.
    """
    with path.open(encoding="utf-8-sig") as opened:
        text = _Text(opened, chunk)
        text.expect("{")
        while text.peek() != "}":
            key = text.value()
            text.expect(":")
            if text.peek() == "[":
                elements = text.elements()
                yield key, elements
                for _ in elements:
                    pass
            else:
                text.value()
            if text.peek() != "}":
                text.expect(",")


class _Text:
    """A window of a file that moves on as values are taken from it."""

    def __init__(self, opened: TextIO, chunk: int) -> None:
        self._opened, self._chunk = opened, chunk
        self._text, self._place, self._ended = "", 0, False
        self._decoder = json.JSONDecoder()

    def _more(self) -> None:
        """Drop what was taken and read on, twice as much as there is left where that is more than a chunk."""
        rest = self._text[self._place :]
        read = self._opened.read(max(self._chunk, len(rest)))
        self._text, self._place, self._ended = rest + read, 0, not read

    def peek(self) -> str:
        """Return the next character that is no blank, "" at the end."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in " \t\r\n":
                self._place += 1
            if self._place < len(self._text) or self._ended:
                return self._text[self._place : self._place + 1]
            self._more()

    def expect(self, character: str) -> None:
        """Take one character; raise ValueError if it is another."""
        found = self.peek()
        if found != character:
            raise ValueError(f"{character!r} expected, {found or 'the end'!r} found")
        self._place += 1

    def value(self) -> Any:
        """Take one JSON value."""
        self.peek()
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._place)
            except json.JSONDecodeError:
                if self._ended:
                    raise
            except RecursionError as error:
                raise ValueError("a value is nested too deeply") from error
            else:
                if self._text[end : end + 3].strip(".eE+-") or self._ended:  # else a number might go on: 0 of 0.5
                    self._place = end
                    return found
            self._more()

    def elements(self) -> Iterator[Any]:
        """Take an array, element by element."""
        self.expect("[")
        while self.peek() != "]":
            yield self.value()
            if self.peek() != "]":
                self.expect(",")
        self.expect("]")
