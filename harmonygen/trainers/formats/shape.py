"""The common shape of a trainer's format: where a row's files go, what table lists them, what starts the trainer.

A row has the pictures ``source`` (what the model is given) and ``target`` (what it is to make), which are also called
by what they are, ``composite`` and ``real``; ``mask`` (white foreground) and ``text``.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Record = Mapping[str, Any]
"""A row on disk: :meth:`harmonygen.trainers.rows.EditRow.record`, and ``files`` by role, relative to the root."""
Places = Mapping[str, str]
"""Role -> path of its file relative to the root, with ``{key}``; a picture's lacks the suffix."""

Pack = Literal["folder", "tar", "zip"]
Alike = Literal["", "photos", "pictures"]


@dataclass(frozen=True)
class RowTable:
    """A text file with a line for each row."""

    name: str
    line: Callable[[Record], str]
    header: str = ""


@dataclass(frozen=True)
class Export:
    """What configs and commands are made for: the root (absolute), whether composites are the source, rows, archives.

    ``parts`` is the number of archives of a format that packs a shard's rows into one. With ``preferences``, a row's
    target is the composite that is preferred to its source.
    """

    root: Path
    harmonize: bool
    rows: int
    parts: int = 1
    preferences: bool = False

    def at(self, name: str) -> str:
        """Return the absolute path of a file or folder in the root."""
        return str(self.root / name)


@dataclass(frozen=True)
class Format:
    """How a trainer wants its data.

    ``configs`` makes the trainer's own config files, ``commands`` the lines of ``train.sh``, which are run in
    ``runs_in``, a place in words; where that is empty they start no trainer but show what was written. ``alike`` says
    what has to have one suffix in all rows: nothing, the photos, or photos and composites.
    """

    places: Places
    configs: Callable[[Export], Mapping[str, str]]
    commands: Callable[[Export], Sequence[str]]
    table: RowTable | None = None
    alike: Alike = ""
    pack: Pack = "folder"
    runs_in: str = ""


def command(*words: str | int | float, **options: str | int | float) -> str:
    """Return a command line: words as they are, options dashed by underscores, quoted where needed.

    >>> command("python train.py", data_dir="/my data", lr=1e-4)
    "python train.py --data_dir '/my data' --lr 0.0001"
    """
    typed = [f"--{name} {shlex.quote(str(value))}" for name, value in options.items()]
    return " ".join([*map(str, words), *typed])
