"""What reviewers decided, by row of the run's columns: every change is on the disk before it is here.

The steps of each reviewer are written to the run's folder (:mod:`harmonygen.runs.review_writer`); this keeps for each
of them what it comes to as an array, and which candidates stand to be selected by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harmonygen.errors import UsageError
from harmonygen.records import Selected
from harmonygen.review.columns import Bools, Columns
from harmonygen.runs.decisions import Decision
from harmonygen.runs.read import Run
from harmonygen.runs.review_log import UNMARKED, Key, Mark, agreed, grouped, log_files, reviewer_name
from harmonygen.runs.review_writer import LogWriter
from harmonygen.settings import Rule
from harmonygen.synthesis.combine import ONE_JUDGE, Combining, combining_of
from harmonygen.synthesis.select import select

Codes = npt.NDArray[np.uint8]
UNDECIDED, ACCEPTED, REJECTED = 0, 1, 2
CODE_OF: dict[str, int] = {"": UNDECIDED, "accept": ACCEPTED, "reject": REJECTED}
DECISIONS: tuple[Decision | str, ...] = ("", "accept", "reject")


@dataclass(eq=False)
class _Own:
    """One reviewer's log, and what it comes to by row."""

    log: LogWriter
    codes: Codes
    standing: Bools


@dataclass(frozen=True)
class Applied:
    """What the run's selection was made by; decisions that it holds are part of ``selected``."""

    rule: Rule
    count: int
    seed: int
    decisions: Mapping[Key, Decision] = field(default_factory=dict)
    combining: Combining = ONE_JUDGE

    @classmethod
    def of(cls, run: Run) -> Applied:
        """Read it from a run."""
        held = run.selection
        combining = combining_of(held) if run.judges else ONE_JUDGE
        return cls(held["rule"], int(held["count"]), int(held["seed"]), run.decisions, combining)


class Desk:
    """The decisions of all reviewers of one run."""

    def __init__(self, run: Run, columns: Columns) -> None:
        """Read the logs that are there.

        Raises:
            UsageError: a log is another run's, or damaged.
        """
        self.folder: Path = run.folder
        self.digest = run.plan_digest
        self.columns, self.applied = columns, Applied.of(run)
        self._logs: dict[str, LogWriter] = {}
        self._own: dict[str, _Own] = {}
        for name in log_files(run.folder):
            self._logs[name] = LogWriter(run.folder, self.digest, name)

    def renew(self, run: Run, columns: Columns) -> None:
        """Take other columns of the same run: more of its files, or another selection."""
        self.columns, self.applied, self._own = columns, Applied.of(run), {}

    @property
    def reviewers(self) -> list[str]:
        """The names of those who said anything."""
        return sorted(name for name, log in self._logs.items() if log.marks.last)

    def log(self, reviewer: str) -> LogWriter:
        """Return a reviewer's log, which need not be there yet.

        A review that is the run's first begins with the decisions that the run's selection holds.

        Raises:
            UsageError: no name.
        """
        name = reviewer_name(reviewer)
        if name not in self._logs:
            self._logs[name] = LogWriter(self.folder, self.digest, name)
        return self._logs[name]

    def own(self, reviewer: str) -> _Own:
        """Return what a reviewer's log comes to by row."""
        name = reviewer_name(reviewer)
        if name not in self._own:
            log, columns = self.log(name), self.columns
            own = _Own(log, np.zeros(columns.rows, np.uint8), columns.selected.copy())
            self._own[name] = own
            self._bring_up(own, self._held() if not log.marks.last else log.marks.decisions())
        return self._own[name]

    def _held(self) -> Mapping[Key, Decision]:
        """Return the decisions that a review begins with: those of the run's selection, while there is no log."""
        return {} if self.reviewers else self.applied.decisions

    def codes(self, reviewer: str) -> Codes:
        """Return a reviewer's decisions (N,): :data:`UNDECIDED`, :data:`ACCEPTED` or :data:`REJECTED`."""
        return self.own(reviewer).codes

    def standing(self, reviewer: str) -> Bools:
        """Return which rows (N,) are decided, or would be selected with this reviewer's decisions alone."""
        return self.own(reviewer).standing

    def _bring_up(self, own: _Own, made: Mapping[Key, str]) -> list[int]:
        """Note decisions by row, and return the rows."""
        found = [(self.columns.row_of(*key), CODE_OF[decision]) for key, decision in made.items()]
        rows = [row for row, _ in found if row is not None]
        own.codes[rows] = [code for row, code in found if row is not None]
        for pair in np.unique(self.columns.pair[rows]).tolist() if rows else ():
            self._stand(own, pair)
        return rows

    def _stand(self, own: _Own, pair: int) -> None:
        columns, applied, rows = self.columns, self.applied, self.columns.rows_of(pair)
        codes = own.codes[rows.start : rows.stop]
        if codes.all():  # whatever the rule says
            own.standing[rows.start : rows.stop] = True
            return
        of_k = zip(columns.k[rows].tolist(), codes.tolist(), strict=True)
        made: dict[int, Any] = {k: DECISIONS[code] for k, code in of_k if code}
        scored = columns.scored(pair)
        outcomes = select(scored, applied.rule, applied.count, applied.seed, made, applied.combining)
        chosen = np.array([isinstance(outcome, Selected) for outcome in outcomes])
        own.standing[rows.start : rows.stop] = chosen | (codes != UNDECIDED)

    # What is asked

    def mark(self, reviewer: str, row: int) -> Mark:
        """Return what a reviewer says about a row."""
        return self.log(reviewer).marks.of.get(self.columns.key_of(row), UNMARKED)

    def said_by(self, row: int) -> dict[str, Mark]:
        """Return what all reviewers say about a row, by name; those who say nothing are left out."""
        key = self.columns.key_of(row)
        return {name: log.marks.of[key] for name, log in sorted(self._logs.items()) if key in log.marks.of}

    def noted(self, reviewer: str) -> Bools:
        """Return which rows (N,) have a tag or a comment of a reviewer."""
        return self._rows_where(reviewer, lambda mark: bool(mark.tags or mark.comment))

    def tagged(self, reviewer: str, tag: str) -> Bools:
        """Return which rows (N,) have a tag of a reviewer."""
        return self._rows_where(reviewer, lambda mark: tag in mark.tags)

    def tags(self) -> list[str]:
        """Return the tags in use."""
        return sorted({tag for log in self._logs.values() for mark in log.marks.of.values() for tag in mark.tags})

    def _rows_where(self, reviewer: str, fits: Any) -> Bools:
        found = np.zeros(self.columns.rows, dtype=bool)
        for key, mark in self.log(reviewer).marks.of.items():
            if fits(mark) and (row := self.columns.row_of(*key)) is not None:
                found[row] = True
        return found

    def disputed(self) -> Bools:
        """Return which rows (N,) one reviewer accepted and another rejected."""
        made = [self.codes(name) for name in self.reviewers]
        accepted, rejected = (
            np.logical_or.reduce([own == code for own in made]) if made else np.zeros(self.columns.rows, bool)
            for code in (ACCEPTED, REJECTED)
        )
        return np.asarray(accepted & rejected)

    def counting(self) -> tuple[Bools, Bools]:
        """Return which rows (N,) are accepted and which are rejected by the decisions that count."""
        made = self.agreed() if self.reviewers else self.applied.decisions
        codes = np.zeros(self.columns.rows, np.uint8)
        found = [(self.columns.row_of(*key), CODE_OF[decision]) for key, decision in made.items()]
        codes[[row for row, _ in found if row is not None]] = [code for row, code in found if row is not None]
        return np.equal(codes, ACCEPTED), np.equal(codes, REJECTED)

    def agreed(self, reviewers: Sequence[str] | None = None) -> dict[Key, Decision]:
        """Return the decisions that count: those on which all reviewers (or ``these``) who decided agree."""
        names = self.reviewers if reviewers is None else reviewers
        return agreed([self.log(name).marks.decisions() for name in names])

    # What is done

    def say(self, reviewer: str, rows: Iterable[int], said: Mapping[str, Any]) -> list[int]:
        """Write what a reviewer says about rows to the disk, and return the rows that it changed.

        Raises:
            UsageError: a row that is missing, or something that cannot be said.
            StorageError: it cannot be written; nothing is changed.
        """
        rows = list(rows)
        if outside := [row for row in rows if not 0 <= row < self.columns.rows]:
            raise UsageError(f"there is no candidate {outside[0]}: reload the page")
        return self._write(reviewer, {**said, "of": grouped(map(self.columns.key_of, rows))})

    def undo(self, reviewer: str) -> list[int]:
        """Take back a reviewer's last step, and return the rows that it changed.

        Raises:
            UsageError: there is no step.
            StorageError: it cannot be written; nothing is changed.
        """
        return self._write(reviewer, {"undo": 1})

    def _write(self, reviewer: str, step: Mapping[str, Any]) -> list[int]:
        own = self.own(reviewer)
        try:
            self._take_over(own)
            changed = own.log.write(step)
        except ValueError as error:
            raise UsageError(f"this cannot be noted: {error}") from error
        of = own.log.marks.of
        return self._bring_up(own, {key: of.get(key, UNMARKED).decision for key in changed})

    def _take_over(self, own: _Own) -> None:
        """Begin the run's first log with the decisions that its selection holds, so that none is lost."""
        held = self._held()
        for decision in set(held.values()):
            keys = grouped(key for key, made in held.items() if made == decision)
            own.log.write({"decision": decision, "of": keys, "base": True})
        if held:
            self._own = {name: other for name, other in self._own.items() if other is own}

    def close(self) -> None:
        """Close the files."""
        for log in self._logs.values():
            log.close()
