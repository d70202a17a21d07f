"""A review's decisions as they are made: one append-only file per reviewer, in the folder ``review`` of the run.

``RUN/review/<reviewer>.jsonl`` begins with a line that names the run; each line after it is a step: what was said about
which candidates, or that the last step is taken back. A step counts once its line is ended and on the disk, so a line
that a kill or a power cut left unfinished never was one. Nothing else is ever changed, and reading is strict.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from harmonygen.errors import UsageError
from harmonygen.runs.decisions import Decision, Decisions, read_decisions
from harmonygen.storage.shards import reading

REVIEW = "review"
"""The folder of a run that holds its review."""
MAX_TAGS, MAX_TAG, MAX_COMMENT = 20, 40, 2000
"""Most tags of a candidate, and most characters of a tag and of a comment."""

Key = tuple[str, int]
"""A candidate: pair id and k."""
Said = Mapping[str, Any]
"""What a step says: ``{"decision": "accept" | "reject" | ""}``, ``{"tags": [...]}`` or ``{"comment": "..."}``."""

HEAD = ("harmonygen", "folder", "plan_digest", "reviewer")
_NAME = re.compile(r"[^\W_][\w-]{0,39}")


@dataclass(frozen=True, slots=True)
class Mark:
    """What one reviewer says about one candidate; "" is undecided."""

    decision: Decision | Literal[""] = ""
    tags: tuple[str, ...] = ()
    comment: str = ""


UNMARKED = Mark()


@dataclass(eq=False)
class Marks:
    """What one reviewer says about candidates, and the steps by which it came about."""

    of: dict[Key, Mark] = field(default_factory=dict)
    steps: list[list[tuple[Key, Mark]]] = field(default_factory=list)
    last: str = ""

    def take(self, step: Mapping[str, Any]) -> list[Key]:
        """Take one step, and return the candidates whose marks it changed.

        Raises:
            ValueError: it is not a step.
        """
        self.last = str(step["at"])
        if "undo" in step:
            return self._undo()
        said, keys = said_of(step), keys_of(step["of"])
        before = [(key, self.of.get(key, UNMARKED)) for key in keys]
        now = {mark: replace(mark, **said) for mark in {mark for _, mark in before}}
        for key, mark in before:
            self._put(key, now[mark])
        if not step.get("base"):  # what a review began with is not undone
            self.steps.append(before)
        return keys

    def _undo(self) -> list[Key]:
        if not self.steps:
            raise ValueError("there is no step to undo")
        before = self.steps.pop()
        for key, mark in before:
            self._put(key, mark)
        return [key for key, _ in before]

    def _put(self, key: Key, mark: Mark) -> None:
        if mark == UNMARKED:
            self.of.pop(key, None)
        else:
            self.of[key] = mark

    def decisions(self) -> dict[Key, Decision]:
        """Return what was accepted and rejected."""
        return {key: mark.decision for key, mark in self.of.items() if mark.decision}


def said_of(step: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a step says about its candidates, as fields of :class:`Mark`.

    Raises:
        ValueError: nothing, several things, or something that a mark cannot hold.

    >>> said_of({"tags": ["halo", "halo", "dark"]})
    {'tags': ('halo', 'dark')}
    """
    said = {name: step[name] for name in ("decision", "tags", "comment") if name in step}
    if len(said) != 1:
        raise ValueError("a step says one thing: a decision, tags or a comment")
    (name, value), *_ = said.items()
    if name == "decision" and value in ("", *get_args(Decision)):
        return said
    if name == "comment" and isinstance(value, str) and len(value) <= MAX_COMMENT:
        return said
    if name == "tags" and isinstance(value, list) and len(value) <= MAX_TAGS and all(map(_is_tag, value)):
        return {"tags": tuple(dict.fromkeys(value))}
    raise ValueError(f"{name} is {json.dumps(value)[:80]}: see docs/review.md for what it may be")


def _is_tag(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TAG and value.isprintable()


def keys_of(of: Any) -> list[Key]:
    """Return the candidates that a step names, ``{pair_id: [k, ...]}``.

    Raises:
        ValueError: something else.

    >>> keys_of({"a": [0, 2]})
    [('a', 0), ('a', 2)]
    """
    if not isinstance(of, dict) or not all(isinstance(ks, list) for ks in of.values()):
        raise ValueError("'of' names no candidates")
    keys = [(pair_id, k) for pair_id, ks in of.items() for k in ks]
    if not all(type(k) is int and k >= 0 for _, k in keys):
        raise ValueError("'of' names candidates that are not a whole number from 0")
    return keys


def grouped(keys: Iterable[Key]) -> dict[str, list[int]]:
    """Return candidates as a step names them; the inverse of :func:`keys_of`."""
    of: dict[str, list[int]] = {}
    for pair_id, k in keys:
        of.setdefault(pair_id, []).append(k)
    return of


def reviewer_name(text: str) -> str:
    """Return a reviewer's name as it names a file: in lower case, letters, digits, ``-`` and ``_``.

    Raises:
        UsageError: another name.

    >>> reviewer_name("Ana-2")
    'ana-2'
    """
    name = unicodedata.normalize("NFC", text.strip()).casefold()
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{text[:60]!r} is not a reviewer's name: use 1 to 40 letters, digits, - and _, a letter or digit first"
        )
    return name


def log_files(folder: Path) -> dict[str, Path]:
    """Return the logs of a run's review by reviewer; none if there is no review.

    Raises:
        UsageError: a file of another name.
    """
    found = sorted((folder / REVIEW).glob("*.jsonl"))
    return {reviewer_name(path.stem): path for path in found}


def read_log(path: Path, plan_digest: str) -> Marks | None:
    """Read one reviewer's log; None if not even its first line is whole.

    Raises:
        UsageError: the log of another run, or a line that is not a step: the file and the line are named.
        StorageError: it cannot be read.
    """
    with reading(path):
        *lines, _unfinished = path.read_bytes().split(b"\n")
    if not lines:
        return None
    head = _parsed(lines[0], path, 1)
    if set(head) != set(HEAD):
        raise UsageError(f"'{path}' does not begin as the log of a review: move it out of the run's folder")
    if head["plan_digest"] != plan_digest:
        raise UsageError(
            f"'{path}' is the review of the run '{head['folder']}' with plan {head['plan_digest']}, this run's plan "
            f"is {plan_digest}: move the file out of the run's folder"
        )
    marks = Marks()
    for number, line in enumerate(lines[1:], start=2):
        try:
            marks.take(_parsed(line, path, number))
        except (ValueError, KeyError, TypeError) as error:
            raise _faulty(path, number, error) from error
    return marks


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _faulty(path, number, error) from error
    if not isinstance(value, dict):
        raise _faulty(path, number, f"a {type(value).__name__}")
    return value


def _faulty(path: Path, number: int, why: object) -> UsageError:
    return UsageError(f"line {number} of '{path}' is not a step of a review ({why}): remove the line to do without it")


@dataclass(frozen=True, eq=False)
class ReviewLogs:
    """What all reviewers of a run say, by reviewer."""

    marks: Mapping[str, Marks]

    @classmethod
    def read(cls, folder: Path, plan_digest: str) -> ReviewLogs:
        """Read the review of the run in ``folder``; raises as :func:`read_log` does."""
        read = {name: read_log(path, plan_digest) for name, path in log_files(folder).items()}
        return cls({name: marks for name, marks in read.items() if marks is not None})

    def agreed(self) -> dict[Key, Decision]:
        """Return the decisions that count: those on which all reviewers who decided the candidate agree."""
        return agreed([marks.decisions() for marks in self.marks.values()])


def agreed(made: Sequence[Mapping[Key, Decision]]) -> dict[Key, Decision]:
    """Return the decisions on which all reviewers who decided agree; a disputed candidate has none.

    >>> agreed([{("a", 0): "accept", ("a", 1): "reject"}, {("a", 1): "accept"}])
    {('a', 0): 'accept'}
    """
    said: dict[Key, Decision] = {}
    disputed: set[Key] = set()
    for own in made:
        disputed.update(key for key, decision in own.items() if said.setdefault(key, decision) != decision)
    return {key: decision for key, decision in said.items() if key not in disputed}


def reviewed(folder: Path, plan_digest: str) -> dict[Key, Decision] | None:
    """Return the decisions of the review in a run's folder that count, None if the folder holds no review.

    Raises:
        UsageError: a log of another run, or a damaged one.
    """
    logs = ReviewLogs.read(folder, plan_digest)
    return logs.agreed() if logs.marks else None


def decisions_at(path: Path) -> Decisions:
    """Read the decisions at a path: a ``decisions.json``, or a run's folder with the review in it.

    Raises:
        UsageError: neither, or of another form.
    """
    if not path.is_dir():
        return read_decisions(path)
    from harmonygen.runs.job_folder import read_plan

    digest = str(read_plan(path).get("plan_digest", ""))
    made = reviewed(path, digest)
    if made is None:
        raise UsageError(f"'{path}' holds no review: make one with harmonygen review {path}, or give a decisions.json")
    return Decisions(path.resolve().name, digest, made)
