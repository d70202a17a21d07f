"""The shard function: pairs in, one whole Parquet file of scored candidates out, wherever it is called.

Photos are decoded ahead of the model, in threads. What follows the model (measuring, scoring, encoding) shares threads
too: on a CPU before the model continues, so that they do not fight for cores; on a GPU behind it, while the next pair
is drawn. So one pair's candidates are in memory at a time on a CPU, two pairs' on a GPU. The candidates' file is
renamed
last: it is the record that the shard is done.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harmonygen.errors import InputError
from harmonygen.models.device import image_threads
from harmonygen.models.scorer import Scorer
from harmonygen.pictures.images import ImageU8, encode
from harmonygen.pictures.photo import Photo, Sizing, load_ahead
from harmonygen.records import Candidate, Dropped, GateValues, Pair, Quarantined, Scored, Selected
from harmonygen.runs.tables import candidate_row, candidate_schema, pair_row, pair_schema, photo_columns
from harmonygen.seeds import candidate_seed, stable_seed
from harmonygen.storage.shards import (
    PLAN_KEY,
    QUARANTINE_KEY,
    Shard,
    commit,
    pack_quarantine,
    storage_errors,
    temporary_name,
)
from harmonygen.synthesis.combine import Combining
from harmonygen.synthesis.gates import GateMeter, first_failure
from harmonygen.synthesis.generators import Generator
from harmonygen.synthesis.panel import judges_of, scores_of
from harmonygen.synthesis.select import keep_count, select
from harmonygen.synthesis.settings import SynthesizeSettings

Tick = Callable[[Shard, int], None]
"""Told how many pairs of a shard are done, as they are."""
SECONDS_KEY = b"harmonygen.seconds"
_REDRAWS = 3
_BEHIND_GPU = 1


@dataclass(frozen=True)
class ShardContext:
    """What a process needs to run any shard of a plan."""

    settings: SynthesizeSettings
    plan_digest: str
    run_columns: dict[str, str]
    sizing: Sizing
    pairs: Sequence[Pair]
    generator: Generator
    scorer: Scorer

    @property
    def behind(self) -> int:
        """How many pairs may wait to be finished while the model draws the next."""
        return 0 if getattr(self.generator, "device", "cpu") == "cpu" else _BEHIND_GPU


@dataclass(frozen=True, slots=True)
class Drawn:
    """One photo's candidates as the generator made them; ``duplicates`` are the k whose pixels an earlier one has."""

    photo: Photo
    candidates: list[Candidate]
    composites: list[ImageU8]
    duplicates: set[int]


@dataclass(frozen=True, slots=True)
class Finished:
    """One photo's rows, ready to be written."""

    candidates: list[dict[str, Any]]
    pair: dict[str, Any]


@dataclass(frozen=True)
class ShardResult:
    """The result of a shard: pairs done, candidates stored, inputs quarantined."""

    pairs: int
    candidates: int
    quarantined: int


def no_tick(_shard: Shard, _done: int) -> None:
    """Tell nobody."""


def run_shard(context: ShardContext, shard: Shard, out: Path, tick: Tick = no_tick) -> ShardResult:
    """Run one shard and commit its two files; nothing is left under a final name if it fails half-way."""
    began = time.monotonic()
    pairs = context.pairs[shard.start : shard.stop]
    bad: list[Quarantined] = []
    done = stored = 0
    final, beside = out / "candidates" / shard.filename, out / "pairs" / shard.filename
    with (
        storage_errors(f"shard {shard.index} in '{out}'"),
        _Writer(final, candidate_schema(judges_of(context.scorer))) as candidates,
        _Writer(beside, pair_schema()) as photos,
        ThreadPoolExecutor(image_threads()) as threads,
    ):
        for finished in _finished(_drawn(pairs, context, threads, bad), context, threads):
            candidates.write(finished.candidates)
            photos.write([finished.pair])
            done, stored = done + 1, stored + len(finished.candidates)
            tick(shard, done + len(bad))
        plan = {PLAN_KEY: context.plan_digest.encode()}
        photos.commit(plan)
        seconds = f"{time.monotonic() - began:.3f}".encode()
        candidates.commit({**plan, QUARANTINE_KEY: pack_quarantine(bad), SECONDS_KEY: seconds})
    return ShardResult(done, stored, len(bad))


def _drawn(
    pairs: Sequence[Pair], context: ShardContext, threads: ThreadPoolExecutor, bad: list[Quarantined]
) -> Iterator[Drawn]:
    """Yield each pair's candidates; a pair that cannot be used goes to ``bad``."""
    for pair, loaded in load_ahead(pairs, context.sizing, threads):
        try:
            drawn = draw(loaded.result(), context)
        except InputError as error:
            bad.append(Quarantined(pair.pair_id, "synthesize", type(error).__name__, str(error)))
            continue
        yield drawn


def _finished(drawn: Iterable[Drawn], context: ShardContext, threads: ThreadPoolExecutor) -> Iterator[Finished]:
    """Yield what comes of each pair, in order; the generator is at most ``context.behind`` pairs ahead."""
    if not context.behind:
        yield from (finish(item, context, threads) for item in drawn)
        return
    waiting: deque[Future[Finished]] = deque()
    with ThreadPoolExecutor(1) as behind:
        for item in drawn:
            waiting.append(behind.submit(finish, item, context, threads))
            while len(waiting) > context.behind:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def draw(photo: Photo, context: ShardContext) -> Drawn:
    """Generate the K candidates of one photo; no two have equal pixels, if that can be had."""
    settings, pair_id = context.settings, photo.pair.pair_id
    candidates = [Candidate(pair_id, k, candidate_seed(settings.seed, pair_id, k)) for k in range(settings.k)]
    composites = list(context.generator(photo, candidates))
    return Drawn(photo, candidates, composites, _redraw_equals(photo, candidates, composites, context.generator))


def finish(drawn: Drawn, context: ShardContext, threads: ThreadPoolExecutor) -> Finished:
    """Measure, score and select one photo's candidates, and encode what is kept."""
    outcomes = judge(drawn, context, threads)
    shared = photo_columns(drawn.photo)
    rows = _rows(shared, drawn.composites, outcomes, context, threads)
    return Finished(rows, pair_row(drawn.photo, shared, outcomes))


def judge(drawn: Drawn, context: ShardContext, threads: ThreadPoolExecutor) -> list[Selected | Dropped]:
    """Measure, score and select one photo's candidates."""
    settings, photo = context.settings, drawn.photo
    measured: Iterable[GateValues] = threads.map(GateMeter(photo.image_u8, photo.mask), drawn.composites)
    if not context.behind:
        measured = list(measured)  # the judge's own threads would wait for cores that measuring has
    scores = scores_of(context.scorer, drawn.composites, photo.mask)
    scored = []
    for candidate, values, (score, judged) in zip(drawn.candidates, measured, scores, strict=True):
        failure = first_failure(values, score, settings.gates, candidate.k in drawn.duplicates)
        scored.append(Scored(candidate, score, values, failure, judged))
    combining = Combining(settings.combine, settings.min_score)
    return select(scored, settings.rule, keep_count(settings.keep, settings.k), settings.seed, None, combining)


def _redraw_equals(photo: Photo, drawn: list[Candidate], composites: list[ImageU8], generator: Generator) -> set[int]:
    """Draw a candidate equal to an earlier one again, from a seed of its own; return the k of those that stay equal."""
    duplicates = set()
    for k, candidate in enumerate(drawn):
        for attempt in range(_REDRAWS):
            if not any(np.array_equal(composites[k], earlier) for earlier in composites[:k]):
                break
            candidate = Candidate(candidate.pair_id, k, stable_seed("again", candidate.seed, attempt))
            drawn[k] = candidate
            composites[k] = next(iter(generator(photo, [candidate])))
        else:
            duplicates.add(k)
    return duplicates


def _rows(
    shared: Mapping[str, Any],
    composites: Sequence[ImageU8],
    outcomes: Sequence[Selected | Dropped],
    context: ShardContext,
    threads: ThreadPoolExecutor,
) -> list[dict[str, Any]]:
    """Encode what is kept, in threads, and return its rows."""
    settings = context.settings
    kept = [
        (outcome, composite)
        for outcome, composite in zip(outcomes, composites, strict=True)
        if settings.keep == "all" or isinstance(outcome, Selected)
    ]
    encoded = threads.map(lambda item: encode(item[1], settings.image_format), kept)
    suffix = {"jpeg": "jpg"}.get(settings.image_format, settings.image_format)
    return [
        candidate_row(shared, outcome, content, context.run_columns, suffix)
        for (outcome, _), content in zip(kept, encoded, strict=True)
    ]


class _Writer:
    """Appends rows to a temporary Parquet file and gives it its final name on commit."""

    def __init__(self, final: Path, schema: pa.Schema) -> None:
        self.final, self.schema, self.rows = final, schema, 0
        self.temporary = final.with_name(temporary_name(final.name))

    def __enter__(self) -> _Writer:
        self.writer = pq.ParquetWriter(
            self.temporary, self.schema, compression={"composite": "none"}, write_page_checksum=True
        )
        return self

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Append rows as one row group."""
        if rows:
            self.writer.write_table(pa.Table.from_pylist(rows, schema=self.schema))
            self.rows += len(rows)

    def commit(self, metadata: dict[bytes, bytes]) -> None:
        """Close the file, check its footer, sync it and rename it."""
        self.writer.add_key_value_metadata(metadata)
        self.writer.close()
        written = pq.read_metadata(self.temporary).num_rows
        if written != self.rows:
            raise OSError(f"{written} of {self.rows} rows were written")
        commit(self.temporary, self.final)

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):
            self.writer.close()
        self.temporary.unlink(missing_ok=True)
