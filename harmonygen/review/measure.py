"""Measure all candidates of a run for its review: in chunks that are kept, so that a killed measurement resumes.

The result is one file beside the review. It belongs to the run's plan and to the candidates that there are; of others
it is read no more. A chunk's file is whole under its name or not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from harmonygen.errors import UsageError
from harmonygen.review.array_file import Arrays, read_arrays, write_arrays
from harmonygen.review.columns import Columns
from harmonygen.runs.job_folder import digest_of
from harmonygen.runs.read import Run
from harmonygen.runs.review_log import REVIEW
from harmonygen.seeds import digest_of_bytes
from harmonygen.storage.shards import locked, make_folder, remove_folder, remove_strays, strays

Kind = Literal["colour", "judge", "copies"]
COLOUR = ("dl", "da", "db", "contrast")
"""Change of mean L, a and b, and base-2 logarithm of the ratio of L's standard deviations, inside the mask."""
FEATURES = ("judge_x", "judge_y")
"""The first and the second principal component of the judge's features."""
Progress = Callable[[int, int], None]
"""Called with (pairs done, pairs in all)."""
Tick = Callable[[], None]
_ROWS = 2000  # candidates of a chunk, at least: what a kill loses at most


class Measurement(Protocol):
    """One thing that is measured: chunk by chunk, and then all chunks as a whole."""

    kind: Kind
    digest: str
    """What decides what comes out, beside the run."""

    def chunk(self, pairs: range, tick: Tick) -> Arrays:
        """Measure a range of pairs; call ``tick`` for each."""

    def whole(self, chunks: Sequence[Arrays]) -> tuple[Arrays, Mapping[str, Any]]:
        """Return what all chunks come to, and facts about it that JSON can hold."""


def measured_file(run: Run, kind: Kind) -> Path:
    """Return where a measurement of a run is kept."""
    return run.folder / REVIEW / f".{kind}.npz"


def candidates_digest(run: Run, columns: Columns) -> str:
    """Return a digest of the run's plan and of which candidates there are, in their order."""
    ids = "\n".join(columns.pair_ids).encode("utf-8", "surrogateescape")
    parts = [run.plan_digest.encode(), ids, columns.starts.tobytes(), columns.k.tobytes(), columns.part.tobytes()]
    return digest_of_bytes(parts)


def measure(run: Run, columns: Columns, measurement: Measurement, progress: Progress | None = None) -> bool:
    """Measure a run, or what is left to measure of it; tell whether there was anything to do.

    Raises:
        UsageError: parts of the run are not read yet, or somebody else is measuring it.
        StorageError: a file cannot be read or written.
    """
    if not columns.whole:
        raise UsageError("the run is still being read: wait a moment")
    folder, kind = make_folder(run.folder / REVIEW), measurement.kind
    of = candidates_digest(run, columns)
    held = f"'{run.folder}' is being measured already ({kind}): wait for it, or stop it first"
    with locked(folder, f"measure-{kind}", held):
        if read_arrays(measured_file(run, kind), lambda head: (head["of"], head["by"]) == (of, measurement.digest)):
            return False
        work = folder / f".{kind}-{digest_of([of, measurement.digest])}"
        for old in folder.glob(f".{kind}-*"):
            if old != work:
                remove_folder(old)
        arrays, facts = measurement.whole(_chunks(make_folder(work), columns, measurement, progress))
        head = {"of": of, "by": measurement.digest, "plan_digest": run.plan_digest, "facts": dict(facts)}
        write_arrays(measured_file(run, kind), arrays, head)
        remove_folder(work)
    return True


class _Chunks(Sequence[Arrays]):
    """The chunks of a measurement on the disk, read one at a time."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, place: Any) -> Any:
        found = read_arrays(self._paths[place], lambda _head: True)
        if found is None:
            raise UsageError(f"'{self._paths[place]}' changed while it was used: measure again")
        return found[1]


def _chunks(work: Path, columns: Columns, measurement: Measurement, progress: Progress | None) -> _Chunks:
    """Measure the chunks that are not there, and return all of them."""
    remove_strays(strays(work))
    done, paths = 0, []

    def tick() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, columns.pairs)

    for number, pairs in enumerate(chunk_ranges(columns)):
        path = work / f"{number:05d}.npz"
        if read_arrays(path, lambda _head: True) is None:
            before = done
            write_arrays(path, measurement.chunk(pairs, tick), {})
            done = before
        done += len(pairs)
        paths.append(path)
        if progress:
            progress(done, columns.pairs)
    return _Chunks(paths)


def chunk_ranges(columns: Columns) -> list[range]:
    """Return ranges of pairs that cover whole files of the run, with at least some thousand candidates each."""
    ends = [*(np.flatnonzero(np.diff(columns.part)) + 1).tolist(), columns.pairs]
    edges = [0]
    for end in ends:
        if columns.starts[end] - columns.starts[edges[-1]] >= _ROWS or end == columns.pairs:
            edges.append(int(end))
    return [range(*both) for both in pairwise(edges) if both[0] < both[1]]
