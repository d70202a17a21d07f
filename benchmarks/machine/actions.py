"""The verbs of a sequence: the command that is typed, the exit codes it may end with, and what it does to the model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from machine import trees
from machine.book import Book
from machine.choices import Choice, Key, picks
from machine.world import ORIGINALS

OK, WRONG_USE, STORAGE = 0, 2, 4


def _nothing() -> None:
    """Change nothing in the model."""


@dataclass
class Step:
    """A command and its meaning.

    ``home`` is the only folder that it may change, ``codes`` are the exit codes that the model expects, ``done`` is
    called if it succeeds, ``struck`` if it ended half-way; ``idle`` commands have to leave every file as it is.
    """

    words: tuple[object, ...]
    home: str
    codes: set[int]
    done: Callable[[], None] = _nothing
    struck: Callable[[], None] = _nothing
    idle: bool = False


@dataclass(frozen=True)
class Synthesize:
    """Begin or resume the run, or begin it anew with ``overwrite``; ``more`` are options that nobody gave before."""

    settings: str
    overwrite: bool = False
    more: tuple[object, ...] = ()

    def step(self, book: Book) -> Step:
        """Return the command under the model."""
        words = book.world.synthesize(self.settings, *self.more, *(("--overwrite",) if self.overwrite else ()))
        begun = book.settings()
        if begun and not self.overwrite and (begun != self.settings or self.more):
            return Step(words, "run", {WRONG_USE}, idle=True)
        if book.model["changed"] and not self.overwrite:  # candidates belong to pixels
            return Step(words, "run", {WRONG_USE}, idle=True)
        remade = bool(begun) and bool(book.missing() or book.model["damaged"])
        first, new = book.world.references[self.settings].first, self.overwrite or not begun
        idle = not new and book.summed_up() and not book.missing() and not book.model["damaged"]

        def done() -> None:
            if new:
                book.model |= {"settings": {self.settings}, "choices": [first], "damaged": {}, "remade": False}
            elif remade:
                struck()

        def struck() -> None:
            """A shard that is made (again) has the selection that the run was begun with."""
            book.model["settings"] |= {self.settings}
            book.model["remade"] = True
            book.model["choices"] += [first] if first not in book.model["choices"] else []

        return Step(words, "run", {OK}, done, struck, idle)


@dataclass(frozen=True)
class Select:
    """Select by other options; what is None stays. ``decisions`` of a review are written to a file first."""

    rule: str | None = None
    count: int | None = None
    seed: int | None = None
    gates: Mapping[str, float] = field(default_factory=dict)
    decisions: Mapping[Key, str] | None = None
    of_run: str = ""

    def step(self, book: Book) -> Step:
        """Return the command under the model."""
        options = {"rule": self.rule, "count": self.count, "seed": self.seed, **self.gates}
        given = [word for name, value in options.items() if value is not None for word in (_dashed(name), value)]
        words = ("select", book.world.run, "--quiet", *given)
        if self.decisions is not None:
            words = (*words, "--decisions", self._write(book))
        return _reselection(book, words, self._new, self._is_wrong(book))

    def _new(self, last: Choice) -> Choice:
        return last.changed(self.gates, rule=self.rule, count=self.count, seed=self.seed, decisions=self.decisions)

    def _is_wrong(self, book: Book) -> bool:
        """Tell whether the options alone make the command a wrong one for this run."""
        if not book.settings():
            return True
        unknown = bool(self.decisions) and not self.decisions.keys() <= book.reference.rows.keys()
        return unknown or bool(self.of_run) or (self.count or 0) > _k(book)

    def _write(self, book: Book) -> Any:
        path, digest = book.world.now / "decisions.json", book.reference.digest if book.settings() else ""
        made = [{"pair_id": pair_id, "k": k, "decision": word} for (pair_id, k), word in (self.decisions or {}).items()]
        head = {"harmonygen": "0.1.0", "folder": "run", "plan_digest": self.of_run or digest}
        path.write_text(json.dumps({**head, "decisions": made}))
        return path


@dataclass(frozen=True)
class Score:
    """Score by another classifier."""

    classifier: str

    def step(self, book: Book) -> Step:
        """Return the command under the model."""
        words = ("score", book.world.run, "--classifier", book.world.classifier(self.classifier), "--quiet")
        return _reselection(book, words, lambda last: last.changed({}, classifier=self.classifier), False)


def _reselection(book: Book, words: tuple[object, ...], new: Callable[[Choice], Choice], wrong: bool) -> Step:
    """Return a command that changes the choice of a finished run; ``wrong`` options are refused."""
    if wrong or not book.settings() or not (book.world.run / "summary.json").is_file():
        return Step(words, "run", {WRONG_USE}, idle=True)
    choices = book.model["choices"]
    choice = new(book.last())

    def done() -> None:
        choices[:] = [choice]
        book.model["remade"] = False

    unmarked = book.model["damaged"] or book.model["remade"] or not (book.world.run / "selection.json").is_file()
    idle = choices == [choice] and not unmarked
    codes = {WRONG_USE, STORAGE} if book.missing() else {OK}
    if book.model["changed"]:
        codes |= {WRONG_USE}
    if words[0] == "select" and len({each.classifier for each in choices}) > 1:
        codes |= {WRONG_USE}  # a scoring was stopped half-way: it may be asked for first
    return Step(words, "run", codes, done, lambda: choices.append(choice), idle)


@dataclass(frozen=True)
class Augment:
    """Mix the run into a tree."""

    tree: str
    gamma: float
    pick: str
    fewer: bool

    def step(self, book: Book) -> Step:
        """Return the command under the model."""
        words = book.world.augment(self.tree, self.gamma, self.pick, *(("--allow-fewer",) if self.fewer else ()))
        refused = Step(words, self.tree, {WRONG_USE}, idle=True)
        if not book.settings():
            return refused
        if (rows := book.rows()) is None:
            codes = {OK, WRONG_USE, STORAGE} if book.model["damaged"] else {WRONG_USE, STORAGE}
            return Step(words, self.tree, codes, lambda: self._done(book, None), lambda: self._struck(book, None))
        picked = picks(rows, self.gamma, ORIGINALS, self.pick)
        short = any(len(own) < math.ceil(self.gamma * ORIGINALS) for own in picked.values())
        before = self._before(book)
        known = before is not None and before["of"][-1] is not None
        if (short and not self.fewer) or (known and before["of"] != self._of(book, picked)):
            return refused
        unsure = book.missing() or not book.summed_up() or (before is not None and not known)
        codes = {OK, *({WRONG_USE} if unsure or len(book.model["choices"]) > 1 else ())}
        foreign = any(picked[pair_id] for pair_id in book.model["changed"].values())
        if foreign or not book.follows_what_it_states(rows):  # rejected ones may be in, or backgrounds not the photo's
            return refused
        codes |= {WRONG_USE} if book.model["changed"] else set()
        idle = known and before["finished"]
        return Step(words, self.tree, codes, lambda: self._done(book, picked), lambda: self._struck(book, picked), idle)

    def _of(self, book: Book, picked: dict[str, list[int]] | None) -> Any:
        """Return what makes two augmentations the same."""
        chosen = {pair_id: sorted(own) for pair_id, own in picked.items()} if picked is not None else None
        return self.gamma, self.pick, self.fewer, book.settings(), chosen

    def _before(self, book: Book) -> dict[str, Any] | None:
        """Return what the model knows of the tree if the tree was begun."""
        begun = (book.world.now / self.tree / "plan.json").is_file()
        return book.model["trees"].get(self.tree) if begun else None

    def _done(self, book: Book, picked: dict[str, list[int]] | None) -> None:
        """Check the finished tree; without ``picked`` the run was injured, and what the tree holds is only checked."""
        tree = book.world.now / self.tree
        found = list(trees.faults(tree, book.world, picked, book.reference.rows, book.model["changed"]))
        assert not found, f"{self.tree}: {found}"
        book.model["trees"][self.tree] = {"of": self._of(book, picked), "finished": True}

    def _struck(self, book: Book, picked: dict[str, list[int]] | None) -> None:
        if self._before(book) is None or not self._before(book)["finished"]:
            book.model["trees"][self.tree] = {"of": self._of(book, picked), "finished": False}


def _dashed(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _k(book: Book) -> int:
    return 1 + max(k for _, k in book.reference.rows)
