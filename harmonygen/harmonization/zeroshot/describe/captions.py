"""A caption file: a person's words for each photo of a folder, as CSV or JSON lines.

Columns (or keys): ``foreground``, ``background`` and what the photo is found by, ``name``, ``file_name`` or
``pair_id``. All three hold a pair id, a file name or a file name without its suffix; cells are compared, never opened.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from harmonygen.data.files import read_text
from harmonygen.errors import InputError, UsageError, listed
from harmonygen.harmonization.zeroshot.words import Description, by_hand, shortened
from harmonygen.pictures.photo import Photo
from harmonygen.records import FileSource, Pair
from harmonygen.seeds import stable_seed

NAMES = ("pair_id", "file_name", "name")
WORDS = ("foreground", "background")
_FAULTS = 5  # how many faulty lines a message tells
_NEEDS = f"it needs {WORDS[0]}, {WORDS[1]} and one of {', '.join(NAMES)}"


@dataclass(frozen=True, slots=True)
class Caption:
    """One line of a caption file."""

    line: int
    name: str
    description: Description


class CaptionDescriber:
    """Gives each photo the words that a caption file has for it; several lines for one photo are alternatives.

    Args:
        captions: the lines.
        where: what messages call the file.
        pairs: the photos to come, so that a line that fits two of them is noticed.
    """

    name = "captions"

    def __init__(self, captions: Iterable[Caption], where: str, pairs: Iterable[Pair] = ()) -> None:
        self.where = where
        self._lines: dict[str, list[Caption]] = {}
        for caption in captions:
            self._lines.setdefault(caption.name, []).append(caption)
        self._fits = self._photos(pairs)
        told = (
            part for lines in self._lines.values() for each in lines for part in (each.name, *each.description.prompts)
        )
        self.digest = f"{stable_seed('captions', *told):016x}"

    @classmethod
    def from_file(cls, path: Path, pairs: Iterable[Pair] = ()) -> CaptionDescriber:
        """Read a caption file: ``.jsonl`` or ``.ndjson`` as JSON lines, anything else as CSV; ``.gz`` is unpacked.

        Raises:
            UsageError: not UTF-8, not of the form, or lines without a name or words; each by its line number.
            StorageError: it cannot be read.
        """
        suffixes = [suffix.lower() for suffix in path.suffixes]
        rows = _json_rows if {".jsonl", ".ndjson"} & set(suffixes[-2:]) else _csv_rows
        captions: list[Caption] = []
        faults: list[str] = []
        for line, row in rows(read_text(path), path):
            try:
                captions.append(_caption(line, row))
            except InputError as error:
                faults.append(f"line {line}: {error}")
        if faults:
            raise UsageError(
                f"caption file '{path}' has {len(faults)} faulty lines, correct them or take them out:\n  "
                + listed(faults, most=_FAULTS, between="\n  ")
            )
        if not captions:
            raise UsageError(f"caption file '{path}' has no line with words: {_NEEDS}")
        return cls(captions, str(path), pairs)

    def __call__(self, photo: Photo, alternatives: int = 3) -> list[Description]:
        """Return the photo's lines in the file's order, the same words once.

        Raises:
            InputError: no line is for this photo, lines under different names are, or its line is for others too.
        """
        names = [name for name in photo_names(photo.pair) if name in self._lines]
        if not names:
            raise InputError(self._missing(photo.pair))
        lines = [line for name in names for line in self._lines[name]]
        if len(names) > 1:
            told = ", ".join(f"{line.line} ({shortened(line.name)})" for line in lines)
            raise InputError(
                f"lines {told} of '{self.where}' are all for '{photo.pair.pair_id}': keep one name for one photo"
            )
        others = sorted(self._fits.get(names[0], set()) - {photo.pair.pair_id})
        if others:
            raise InputError(
                f"line {lines[0].line} of '{self.where}' says {shortened(names[0])}, which fits "
                f"'{photo.pair.pair_id}' and '{others[0]}': name the photo by its pair id '{photo.pair.pair_id}'"
            )
        return list(dict.fromkeys(line.description for line in lines))[:alternatives]

    def _photos(self, pairs: Iterable[Pair]) -> Mapping[str, set[str]]:
        """Return the ids of the photos that each name of the file fits."""
        fits: dict[str, set[str]] = {}
        for pair in pairs:
            for name in self._lines.keys() & set(photo_names(pair)):
                fits.setdefault(name, set()).add(pair.pair_id)
        return fits

    def _missing(self, pair: Pair) -> str:
        names = photo_names(pair)
        example = f'{names[0]},"girl, sunny","dark, night"'
        return (
            f"no line of caption file '{self.where}' is for '{names[0]}' (looked for "
            f"{', '.join(repr(name) for name in names)}): add one with its name, foreground and background, "
            f"such as {example}"
        )


def photo_names(pair: Pair) -> tuple[str, ...]:
    """Return what a caption may call a photo: its pair id, its file's name, and that without its suffix.

    >>> source = FileSource(Path("in/a.b.jpg"))
    >>> photo_names(Pair("Set/a.b_1", "Set/a.b", "1", source, source))
    ('Set/a.b_1', 'a.b.jpg', 'a.b')
    """
    if not isinstance(pair.real, FileSource):  # the cells of one Parquet file share its name
        return (pair.pair_id,)
    file_name = pair.real.path.name
    return tuple(dict.fromkeys((pair.pair_id, file_name, PurePosixPath(file_name).stem)))


def _caption(line: int, row: Mapping[str, str]) -> Caption:
    name = next((row[key] for key in NAMES if row.get(key)), "")
    if not name:
        raise InputError(f"names no photo: fill {', '.join(key for key in NAMES if key in row) or NAMES[-1]}")
    return Caption(line, name, by_hand(row.get("foreground", ""), row.get("background", "")))


def _check_columns(found: Iterable[str], where: str) -> None:
    columns = set(found)
    if not set(WORDS) <= columns or not columns & set(NAMES):
        raise UsageError(f"{where} has {', '.join(sorted(columns)) or 'nothing'}: {_NEEDS}")


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, cells) of each row that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [name.strip() for name in next(reader, [])]
        _check_columns(columns, f"the header of caption file '{path}'")
        start = reader.line_num + 1
        for cells in reader:
            if len(cells) > len(columns):
                raise UsageError(
                    f"line {start} of caption file '{path}' has {len(cells)} cells, its header {len(columns)}: put "
                    'words that have commas between quotes, as in "girl, sunny"'
                )
            if any(cell.strip() for cell in cells):
                yield start, {name: cell.strip() for name, cell in zip(columns, cells, strict=False)}
            start = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"line {reader.line_num} of caption file '{path}' is not CSV ({error}): correct it") from error


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, values) of each line that is not blank."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"line {number} of caption file '{path}'"
        try:
            row: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{where} is not JSON ({error}): write one object per line") from error
        if not isinstance(row, dict):
            raise UsageError(f"{where} holds a {type(row).__name__}, an object is needed: {_NEEDS}")
        _check_columns(row, where)
        wrong = [key for key in (*NAMES, *WORDS) if not isinstance(row.get(key, ""), str)]
        if wrong:
            raise UsageError(f"{where} holds a {type(row[wrong[0]]).__name__} under {wrong[0]}, text is needed")
        yield number, {key: row[key].strip() for key in (*NAMES, *WORDS) if key in row}


class HandDescriber:
    """Gives every photo the words of a person: ``girl, sunny`` and ``dark, night``.

    Raises:
        InputError: the words make no description (see :func:`~harmonygen.harmonization.zeroshot.words.by_hand`).
    """

    name = "hand"

    def __init__(self, foreground: str, background: str) -> None:
        self.description = by_hand(foreground, background)
        self.digest = f"{stable_seed('hand', *self.description.prompts):016x}"

    def __call__(self, photo: Photo, alternatives: int = 3) -> list[Description]:
        """Return the one description."""
        return [self.description]
