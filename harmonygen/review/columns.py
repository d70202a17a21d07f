"""A run's candidates as columns in memory: numbers and ids of every row, no pixel.

Rows are candidates in the order of the files; the rows of a pair lie together. The image cells stay on the disk
(:mod:`harmonygen.review.pictures`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from harmonygen.errors import UsageError
from harmonygen.records import Candidate, GateValues, Scored
from harmonygen.review.photo_copies import PhotoCopies
from harmonygen.review.within_pair import Floats, Ints, margins_of, nearest_of
from harmonygen.runs.identity import DIGEST_COLUMNS
from harmonygen.runs.read import Run
from harmonygen.runs.tables import DECIDED_BY, read_light
from harmonygen.seeds import stable_seed
from harmonygen.synthesis.gates import DUPLICATE

Bools = npt.NDArray[np.bool_]

JUDGES = ("p_composite",)
"""The column of the score; each of several judges has one of its own beside it (:attr:`Columns.judges`)."""
MEASURED = ("fmse", "structure", "clipped", "drift")
"""Columns that hold what the gates measure."""
SHIFT = ("shift_r", "shift_g", "shift_b")
NUMBERS = (*JUDGES, *MEASURED, "fg_ratio", "margin", "twin", *SHIFT)
"""Columns that can be filtered and sorted by; see :class:`Columns`."""
_KINDS: dict[str, Any] = {"k": np.int32, "seed": np.int64, "selected": np.bool_}
_READ = ("pair_id", "subset", "width", "height", "gate", "fg_ratio", *_KINDS, *JUDGES, *MEASURED, *SHIFT)
_GATE_VALUES = ("clipped", "fmse", "structure", "drift")  # in the order of GateValues


@dataclass(frozen=True, eq=False)
class Columns:
    """N candidates of P pairs.

    ``values`` holds (N,) floats by name, NaN where unknown: :data:`JUDGES`, :data:`MEASURED`, ``fg_ratio`` in [0, 1],
    ``shift_*`` (8-bit units), ``margin`` (the pair's best score minus its second best, of those that passed the gates)
    and ``twin`` (distance of the mean colour shift to that of the nearest other candidate of the pair, 8-bit units).
    ``starts`` (P + 1,) says where the rows of each pair begin. ``same_photo`` marks pairs (P,) whose photo and mask
    another pair has too, pixel for pixel. ``place`` is a row's number in its file.
    ``judges`` are the names of several judges, whose scores are in ``values`` as ``p_<name>``; ``decider`` (N,) is
    the place in ``deciders`` of those who decided about a row. ``whole`` is False while parts of the run are still to
    be read. ``measured`` are columns that were measured for the review, and ``copies`` says which photos are one
    (:mod:`harmonygen.review.measured`); None: nobody looked.
    """

    pair_ids: Sequence[str]
    starts: Ints
    subsets: Sequence[str]
    subset: npt.NDArray[np.int16]
    width: Ints
    height: Ints
    part: Ints
    same_photo: Bools
    k: Ints
    seed: npt.NDArray[np.int64]
    place: Ints
    gates: Sequence[str]
    gate: npt.NDArray[np.int16]
    selected: Bools
    values: dict[str, Floats]
    deciders: Sequence[str]
    decider: npt.NDArray[np.int16]
    judges: Sequence[str] = ()
    whole: bool = True
    measured: Sequence[str] = ()
    copies: PhotoCopies | None = None

    @property
    def rows(self) -> int:
        """Number of candidates."""
        return len(self.k)

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return len(self.pair_ids)

    @cached_property
    def pair(self) -> Ints:
        """The pair of each row (N,)."""
        return np.repeat(np.arange(self.pairs, dtype=np.int32), np.diff(self.starts))

    @cached_property
    def number_of(self) -> dict[str, int]:
        """The number of each pair by its id."""
        return {pair_id: number for number, pair_id in enumerate(self.pair_ids)}

    @cached_property
    def ids(self) -> pa.Array:
        """The pair ids (P,) as Arrow text."""
        return pa.array(self.pair_ids, pa.string())

    @property
    def numbers(self) -> tuple[str, ...]:
        """The columns to filter and sort by: :data:`NUMBERS`, the scores of several judges, and what was measured."""
        return (*NUMBERS, *(f"p_{name}" for name in self.judges), *self.measured)

    def judged(self, rows: slice = slice(None)) -> list[tuple[str, Floats]]:
        """Return the name and the scores of each of several judges."""
        return [(name, self.values[f"p_{name}"][rows]) for name in self.judges]

    @cached_property
    def extents(self) -> dict[str, list[float] | None]:
        """The least and greatest known value of each of :attr:`numbers`, None where none is known."""
        known = {name: self.values[name][np.isfinite(self.values[name])] for name in self.numbers}
        return {name: [float(each.min()), float(each.max())] if len(each) else None for name, each in known.items()}

    def rows_of(self, pair: int) -> range:
        """Return the rows of a pair."""
        return range(int(self.starts[pair]), int(self.starts[pair + 1]))

    def row_of(self, pair_id: str, k: int) -> int | None:
        """Return the row of a candidate, None if there is none."""
        pair = self.number_of.get(pair_id)
        if pair is None:
            return None
        return next((row for row in self.rows_of(pair) if self.k[row] == k), None)

    def like_of(self, pair: int) -> dict[str, str] | None:
        """Return the id of a pair that has a pair's photo under another id, and the kind of copy; None: there is none.

        While nobody looked for copies, there is none.
        """
        copies = self.copies
        if copies is None or not copies.group[pair]:
            return None
        return {"id": self.pair_ids[copies.like[pair]], "kind": copies.kind_of(pair)}

    def key_of(self, row: int) -> tuple[str, int]:
        """Return pair id and k of a row."""
        return self.pair_ids[self.pair[row]], int(self.k[row])

    def failed(self) -> Bools:
        """Return which rows failed a gate (N,)."""
        return np.not_equal(self.gate, 0)

    def is_duplicate(self) -> Bools:
        """Return which rows have the pixels of an earlier candidate of their pair (N,)."""
        return np.equal(self.gate, self.gates.index(DUPLICATE) if DUPLICATE in self.gates else -1)

    def scored(self, pair: int, failed: Sequence[str] | None = None) -> list[Scored]:
        """Return a pair's candidates as the rules take them; ``failed`` are other gates than those in force."""
        rows = slice(int(self.starts[pair]), int(self.starts[pair + 1]))
        names = failed if failed is not None else [self.gates[code] for code in self.gate[rows].tolist()]
        measured = zip(*(self.values[name][rows].tolist() for name in (*_GATE_VALUES, *SHIFT)), strict=True)
        gates = [GateValues(c, f, s, d, (red, green, blue)) for c, f, s, d, red, green, blue in measured]
        drawn = zip(self.k[rows].tolist(), self.seed[rows].tolist(), strict=True)
        candidates = [Candidate(self.pair_ids[pair], k, seed) for k, seed in drawn]
        of_judge = [[(name, score) for score in scores.tolist()] for name, scores in self.judged(rows)]
        judged = list(zip(*of_judge, strict=True)) or [()] * len(candidates)
        return list(map(Scored, candidates, self.values[JUDGES[0]][rows].tolist(), gates, names, judged))


def read_columns_of(run: Run, parts: int | None = None) -> Columns:
    """Read the columns of a run, or of its first ``parts`` files.

    Raises:
        UsageError: the run has no candidate, or a file lacks columns.
        StorageError: a file cannot be read.
    """
    count = len(run.parts) if parts is None else min(parts, len(run.parts))
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        read = list(threads.map(lambda part: _read_part(run, part), range(count)))
    pa.default_memory_pool().release_unused()
    read = [part for part in read if part.pair_ids]
    if not read:
        raise UsageError(f"'{run.folder}' holds no candidate yet: let its synthesize command make some first")
    return _joined(read, run.judges, count == len(run.parts))


class _Part(NamedTuple):
    """The columns of one file, its pairs' rows together: P pairs, N rows."""

    pair_ids: list[str]
    counts: Ints
    of_pair: dict[str, npt.NDArray[Any]]
    of_row: dict[str, npt.NDArray[Any]]
    texts: dict[str, list[str]]


def _read_part(run: Run, part: int) -> _Part:
    path, judged = run.parts[part], run.judge_columns_of(part)
    try:
        table = read_light(path, (*_READ, *judged, *DIGEST_COLUMNS))
    except UsageError:  # a run of an older version has no digests
        table = read_light(path, (*_READ, *judged))
    codes, pair_ids = _numbered(table["pair_id"])
    place = np.argsort(codes, kind="stable").astype(np.int32)
    if (np.diff(codes) < 0).any():  # a pair's rows lie apart
        table, codes = table.take(place), codes[place]
    counts = np.bincount(codes, minlength=len(pair_ids)).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int32)
    firsts = table.take(starts)
    subset, subsets = _numbered(firsts["subset"])
    gate, gates = _numbered(table["gate"])
    none = pa.chunked_array([pa.array([""] * table.num_rows)])
    decider, deciders = _numbered(table[DECIDED_BY] if DECIDED_BY in table.column_names else none)
    of_pair = {name: firsts[name].fill_null(0).to_numpy().astype(np.int32) for name in ("width", "height")}
    of_pair |= {"part": np.full(len(pair_ids), part, np.int32), "subset": subset, "digest": _digests(firsts)}
    of_row = {name: table[name].to_numpy().astype(kind) for name, kind in _KINDS.items()}
    of_row |= {name: _floats(table[name]) for name in (*JUDGES, *MEASURED, *SHIFT, "fg_ratio")}
    unknown = np.full(table.num_rows, np.nan)  # of a judge whose scoring was stopped half-way
    of_row |= {f"p_{name}": _floats(table[f"p_{name}"]) if f"p_{name}" in judged else unknown for name in run.judges}
    of_row |= {"gate": gate, "place": place, "decider": decider}
    return _Part(pair_ids, counts, of_pair, of_row, {"subset": subsets, "gate": gates, "decider": deciders})


def _numbered(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int16], list[str]]:
    """Return the number of each row's text, and the texts, in the order in which they first stand."""
    coded = column.fill_null("").combine_chunks().dictionary_encode()
    whole = coded if isinstance(coded, pa.DictionaryArray) else coded.combine_chunks()
    return whole.indices.to_numpy().astype(np.int32), whole.dictionary.to_pylist()


def _floats(column: pa.ChunkedArray) -> Floats:
    values: Floats = column.cast(pa.float64()).to_numpy().astype(np.float64)
    return values


def _digests(firsts: pa.Table) -> npt.NDArray[np.int64]:
    """Return a number for the pixels of each pair's photo and mask, 0 where they are not known."""
    if not set(DIGEST_COLUMNS) <= set(firsts.column_names):
        return np.zeros(firsts.num_rows, np.int64)
    both = zip(*(firsts[name].to_pylist() for name in DIGEST_COLUMNS), strict=True)
    return np.array([stable_seed(*pair) if all(pair) else 0 for pair in both], np.int64)


def _joined(parts: Sequence[_Part], judges: Sequence[str], whole: bool) -> Columns:
    counts = np.concatenate([part.counts for part in parts])
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    of_pair = {name: np.concatenate([part.of_pair[name] for part in parts]) for name in parts[0].of_pair}
    of_row = {name: np.concatenate([part.of_row[name] for part in parts]) for name in parts[0].of_row}
    subset, subsets = _renumbered([(part.of_pair["subset"], part.texts["subset"]) for part in parts])
    gate, gates = _renumbered([(part.of_row["gate"], part.texts["gate"]) for part in parts], first="")
    decider, deciders = _renumbered([(part.of_row["decider"], part.texts["decider"]) for part in parts], first="")
    names = (*JUDGES, *MEASURED, *SHIFT, "fg_ratio", *(f"p_{name}" for name in judges))
    values = {name: of_row[name] for name in names}
    passed = np.where(gate == 0, values[JUDGES[0]], np.nan)
    values["margin"] = np.repeat(margins_of(passed, starts), counts)
    values["twin"] = nearest_of(np.stack([values[name] for name in SHIFT], axis=1), starts)
    _, digests, times = np.unique(of_pair["digest"], return_inverse=True, return_counts=True)
    return Columns(
        pair_ids=[pair_id for part in parts for pair_id in part.pair_ids],
        starts=starts,
        subsets=subsets,
        subset=subset,
        width=of_pair["width"],
        height=of_pair["height"],
        part=of_pair["part"],
        same_photo=(times[digests] > 1) & (of_pair["digest"] != 0),
        k=of_row["k"],
        seed=of_row["seed"],
        place=of_row["place"],
        gates=gates,
        gate=gate,
        selected=of_row["selected"],
        values=values,
        deciders=deciders,
        decider=decider,
        judges=tuple(judges),
        whole=whole,
    )


def _renumbered(
    parts: Sequence[tuple[npt.NDArray[Any], list[str]]], first: str | None = None
) -> tuple[npt.NDArray[np.int16], list[str]]:
    """Return texts numbered apart in each part as numbered together, in order of the texts, ``first`` being 0."""
    found = sorted({text for _, texts in parts for text in texts} - {first})
    texts = found if first is None else [first, *found]
    place = {text: number for number, text in enumerate(texts)}
    codes = [np.array([place[text] for text in own], np.int16)[of] for of, own in parts]
    return np.concatenate(codes), texts
