"""One review of one run, without the web: what the page asks for, as plain values.

The columns of the run's first file are read at once, so that the page has something to show, those of the others by
:meth:`Session.load`. Another selection of the run is noticed, and taken over.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import harmonygen
from harmonygen.errors import UsageError
from harmonygen.review.agreement import agreements
from harmonygen.review.column_store import columns_of, stored_columns
from harmonygen.review.columns import Bools, Columns, read_columns_of
from harmonygen.review.ledger import Desk
from harmonygen.review.measured import with_measured
from harmonygen.review.measuring import Measuring
from harmonygen.review.pictures import Pictures
from harmonygen.review.query import Query, mask_of, order_of
from harmonygen.runs.decisions import parse_decisions, refuse_foreign
from harmonygen.runs.read import SELECTION, Run, look_inside

MOST_ROWS = 2000
"""Most rows that an answer lists one by one; of more it says how many."""
_FIRST_FILES, _FEW_FILES = 1, 40  # a run of few files is read at once


class Session:
    """A run, its columns and its reviewers' decisions. Its methods may be called from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open a run, or the run inside a build, finished or not.

        Raises:
            UsageError: the folder holds no run, no candidate yet, or the review of another run.
        """
        self.run = look_inside(folder)
        self._stamp = self._selection_stamp()
        first = _FIRST_FILES if len(self.run.parts) > _FEW_FILES else None
        columns = stored_columns(self.run) or read_columns_of(self.run, first)
        self.columns, self.measured = with_measured(self.run, columns)
        self.measuring = Measuring(self.run.folder, self.take_measured)
        self.desk = Desk(self.run, self.columns)
        self.pictures = Pictures(self.run)
        self.version = 0
        self.asked = threading.Event()
        self.lock, self._renewing = threading.RLock(), threading.Lock()

    def load(self) -> None:
        """Read the columns of all files, and take them; those that are whole stay."""
        if self.columns.whole:
            return
        columns = columns_of(self.run)
        with self.lock:
            self._take(columns)

    def _take(self, columns: Columns) -> None:
        self.columns, self.measured = with_measured(self.run, columns)
        self.desk.renew(self.run, self.columns)
        self.version += 1

    def take_measured(self) -> None:
        """Take over what was measured since."""
        with self.lock:
            self.columns, self.measured = with_measured(self.run, self.columns)
            self.desk.columns = self.columns
            self.version += 1

    def _selection_stamp(self) -> tuple[int, int] | None:
        try:
            found = (self.run.folder / SELECTION).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def renew(self) -> None:
        """Take over another selection, if `select` or `score` made one since."""
        stamp = self._selection_stamp()
        if stamp == self._stamp or not self.columns.whole:
            return
        if not self._renewing.acquire(blocking=False):  # another request does it
            return
        try:
            run = Run.look(self.run.folder)
            columns = columns_of(run)
            with self.lock:
                self._stamp, self.run, self.pictures.run = stamp, run, run
                self._take(columns)
        finally:
            self._renewing.release()

    # What is asked

    def facts(self, reviewer: str) -> dict[str, Any]:
        """Return what the page needs to know of the run before it shows a candidate."""
        columns, selection = self.columns, self.run.selection
        keep = str(self.run.plan["settings"].get("keep", "all"))
        notes = (
            []
            if keep == "all"
            else [
                f"This run kept '{keep}' of its candidates, so select cannot select again: synthesize with --keep all."
            ]
        )
        if len(self.run.parts) < self.run.planned:
            notes.append(
                f"The run is not finished ({len(self.run.parts)} of {self.run.planned} shards are there): select "
                "applies decisions when it is."
            )
        return {
            "harmonygen": harmonygen.__version__,
            "folder": self.run.folder.resolve().name,
            "plan_digest": self.run.plan_digest,
            "reviewer": reviewer,
            "reviewers": self.desk.reviewers,
            "version": self.version,
            "whole": columns.whole,
            "candidates": columns.rows,
            "pairs": columns.pairs,
            "rule": selection["rule"],
            "count": int(selection["count"]),
            "subsets": [name for name in columns.subsets if name],
            "gates": [name for name in columns.gates if name],
            "judges": columns.judges,
            "deciders": [name for name in columns.deciders if name],
            "numbers": columns.extents,
            "tags": self.desk.tags(),
            "copies": None if columns.copies is None else [columns.copies.pairs, columns.copies.surplus],
            "notes": notes,
        }

    def rows(self, query: Query, reviewer: str) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Return the rows that a query lets through, in its order."""
        self.asked.set()
        with self.lock:
            return order_of(query, self.columns, self._mask(query, reviewer))

    def _mask(self, query: Query, reviewer: str) -> Bools:
        return mask_of(query, self.columns, self.desk, reviewer)

    def pairs(self, rows: Iterable[int], reviewer: str) -> list[dict[str, Any]]:
        """Return all that is known of the pairs of some rows, and of their candidates.

        Raises:
            UsageError: a row that is missing.
        """
        with self.lock:
            numbers = dict.fromkeys(int(self.columns.pair[self.checked(row)]) for row in rows)
            return [self._pair(number, reviewer) for number in numbers]

    def find(self, pair_id: str, k: int | None) -> int | None:
        """Return the row of a candidate, without ``k`` of the pair's selected or first one; None if there is none."""
        columns = self.columns
        if k is not None:
            return columns.row_of(pair_id, k)
        pair = columns.number_of.get(pair_id)
        rows = () if pair is None else columns.rows_of(pair)
        return next((row for row in rows if columns.selected[row]), rows[0] if rows else None)

    def checked(self, row: int) -> int:
        """Return a row; raises UsageError if the run does not have it."""
        if not 0 <= row < self.columns.rows:
            raise UsageError(f"there is no candidate {row}: reload the page")
        return row

    def _pair(self, number: int, reviewer: str) -> dict[str, Any]:
        columns = self.columns
        rows = columns.rows_of(number)
        return {
            "pair": number,
            "id": columns.pair_ids[number],
            "subset": columns.subsets[columns.subset[number]],
            "width": int(columns.width[number]),
            "height": int(columns.height[number]),
            "same_photo": bool(columns.same_photo[number]),
            "like": columns.like_of(number),
            "fg_ratio": _number(columns.values["fg_ratio"][rows.start]),
            "margin": _number(columns.values["margin"][rows.start]),
            "candidates": [self._candidate(row, reviewer) for row in rows],
        }

    def _candidate(self, row: int, reviewer: str) -> dict[str, Any]:
        columns = self.columns
        said = {name: asdict(mark) for name, mark in self.desk.said_by(row).items()}
        own = said.pop(reviewer, None) or {"tags": (), "comment": ""}
        return {
            "row": row,
            "k": int(columns.k[row]),
            "gate": columns.gates[columns.gate[row]],
            "decided_by": columns.deciders[columns.decider[row]],
            "selected": bool(columns.selected[row]),
            "standing": bool(self.desk.standing(reviewer)[row]),
            "tags": own["tags"],
            "comment": own["comment"],
            "others": said,
            **{name: _number(columns.values[name][row]) for name in columns.numbers},
        }

    def agreement(self) -> list[dict[str, Any]]:
        """Return how far each two reviewers agree."""
        with self.lock:
            found = agreements({name: self.desk.codes(name) for name in self.desk.reviewers})
        return [{**asdict(each), "n": each.n} for each in found]

    # What is done

    def say(self, reviewer: str, rows: Sequence[int], said: Mapping[str, Any]) -> dict[str, Any]:
        """Write what a reviewer says about rows to the disk; return what changed.

        Raises:
            UsageError: a row that is missing, or something that cannot be said.
            StorageError: it cannot be written; nothing is changed.
        """
        with self.lock:
            return self._changed(reviewer, self.desk.say(reviewer, rows, said))

    def say_all(self, reviewer: str, query: Query, expected: int, decision: str) -> dict[str, Any]:
        """Accept, reject or clear all that a query lets through, as one step.

        Raises:
            UsageError: it lets another number through than was ``expected``.
            StorageError: it cannot be written; nothing is changed.
        """
        with self.lock:
            rows = np.flatnonzero(self._mask(query, reviewer)).tolist()
            if len(rows) != expected:
                raise UsageError(f"this filter has {len(rows)} candidates now, not {expected}: look at it again")
            return self._changed(reviewer, self.desk.say(reviewer, rows, {"decision": decision}))

    def undo(self, reviewer: str) -> dict[str, Any]:
        """Take back a reviewer's last step; return what changed.

        Raises:
            UsageError: there is no step.
            StorageError: it cannot be written; nothing is changed.
        """
        with self.lock:
            return self._changed(reviewer, self.desk.undo(reviewer))

    def take_file(self, reviewer: str, content: bytes) -> dict[str, Any]:
        """Take the decisions of a ``decisions.json`` as this reviewer's.

        Raises:
            UsageError: it is none, or another run's.
            StorageError: it cannot be written.
        """
        with self.lock:
            columns = self.columns
            decisions = parse_decisions(content, "the file")
            refuse_foreign(decisions, self.run.plan_digest, _Candidates(columns))
            changed: list[int] = []
            for kind in ("accept", "reject"):
                rows = [columns.row_of(*key) for key, made in decisions.of.items() if made == kind]
                changed += self.desk.say(reviewer, [row for row in rows if row is not None], {"decision": kind})
            return self._changed(reviewer, changed)

    def _changed(self, reviewer: str, rows: Sequence[int]) -> dict[str, Any]:
        some = list(rows[:MOST_ROWS]) if len(rows) <= MOST_ROWS else []
        codes, standing = self.desk.codes(reviewer), self.desk.standing(reviewer)
        beside = sorted({row for each in some for row in self.columns.rows_of(int(self.columns.pair[each]))})
        return {
            "changed": len(rows),
            "first": int(rows[0]) if rows else None,
            "codes": [[row, int(codes[row])] for row in some],
            "standing": [[row, bool(standing[row])] for row in beside] if len(some) <= 50 else [],
        }


class _Candidates(Collection[tuple[str, int]]):
    """The candidates of a run as a collection of (pair id, k), none of them made."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and self._columns.row_of(*key) is not None

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return (self._columns.key_of(row) for row in range(self._columns.rows))

    def __len__(self) -> int:
        return self._columns.rows


def _number(value: float) -> float | None:
    """Return a number as JSON has it: NaN and infinity are null."""
    return float(value) if math.isfinite(value) else None
