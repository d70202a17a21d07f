"""The parts of an evaluation: per-image rows of a range of cases, each file whole or not there; several processes.

A part belongs to the plan and to the very files it was scored from (by size and time of change): where a prediction
was replaced, its part is scored again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from harmonygen.errors import HarmonygenError, InputError
from harmonygen.evaluation.cases import score_case
from harmonygen.evaluation.predictors import Models, Predictor, from_folder
from harmonygen.evaluation.protocols import ProtocolRules
from harmonygen.evaluation.scores import SCHEMA
from harmonygen.evaluation.settings import MethodSpec
from harmonygen.records import Composite, SegmentSource
from harmonygen.runs.job_folder import digest_of
from harmonygen.storage.shards import PLAN_KEY, Shard, is_whole, write_parquet

PARTS = "parts"


@dataclass(frozen=True)
class ScoringJob:
    """All that scoring needs: no weights and no pixels. A worker process is sent it part by part (:meth:`of`)."""

    cases: tuple[Composite, ...]
    methods: tuple[MethodSpec, ...]
    files: Mapping[str, Mapping[str, Path]]
    rules: ProtocolRules
    with_ssim: bool
    max_pixels: int
    device: str
    dtype: str
    batch_size: str
    folder: Path
    threads: int = 0
    digests: Mapping[int, str] = field(default_factory=dict)

    def models(self) -> Models:
        """Return the loader of the on-the-fly methods' models."""
        return Models(self.device, self.dtype, self.batch_size, self.rules)

    def predictors(self, models: Models) -> dict[str, Predictor]:
        """Return the predictor of each method."""
        return {
            spec.name: from_folder(self.files[spec.name], self.max_pixels)
            if spec.predictions is not None
            else models.predictor(spec)
            for spec in self.methods
        }

    def of(self, shard: Shard) -> ScoringJob:
        """Return the job of one part alone: its cases, their predictions, its digest."""
        cases = self.cases[shard.start : shard.stop]
        files = {method: {case.name: paths[case.name] for case in cases} for method, paths in self.files.items()}
        digests = {shard.index: self.digests[shard.index]} if shard.index in self.digests else {}
        return replace(self, cases=cases, files=files, digests=digests)

    def on_the_fly(self) -> bool:
        """Return whether a model has to be run."""
        return any(spec.model is not None for spec in self.methods)


def part_digest(job: ScoringJob, shard: Shard, plan_digest: str) -> str:
    """Return what a part has to have: a digest of the plan and of the files that its rows come from."""
    stamps = []
    for case in job.cases[shard.start : shard.stop]:
        sources = [
            source for source in (case.composite, case.photo, case.mask) if not isinstance(source, SegmentSource)
        ]
        stamps += [_stamp(source.path) for source in sources]
        stamps += [_stamp(files[case.name]) for files in job.files.values()]
    _stamp.cache_clear()  # Parquet files were asked for once a cell
    return digest_of([plan_digest, stamps])


@lru_cache(maxsize=1024)
def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (-1, -1)  # scoring says what is wrong
    return (found.st_size, found.st_mtime_ns)


def is_done(job: ScoringJob, shard: Shard) -> bool:
    """Return whether a part is there, whole, and of these files."""
    return is_whole(job.folder / shard.filename, job.digests[shard.index])


def score_part(job: ScoringJob, predictors: Mapping[str, Predictor], shard: Shard) -> list[str]:
    """Score the cases of one part's job and write the part; or, if any cannot be scored, write none and return what."""
    rows, faults = [], []
    for case in job.cases:
        try:
            rows += score_case(case, predictors, job.rules, job.with_ssim, job.max_pixels)
        except InputError as error:
            faults.append(str(error))
    if not faults:
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        write_parquet(job.folder / shard.filename, table, {PLAN_KEY: job.digests[shard.index].encode()})
    return faults


def run_parts(
    job: ScoringJob, predictors: Mapping[str, Predictor], shards: Sequence[Shard], workers: int
) -> Iterator[tuple[Shard, list[str]]]:
    """Score parts and yield each, when it is done, with its faults.

    Raises:
        HarmonygenError: a worker process died; the parts that are written stay.
    """
    if workers == 1 or len(shards) <= 1:
        for shard in shards:
            yield shard, score_part(job.of(shard), predictors, shard)
        return
    spawn = multiprocessing.get_context("spawn")  # fork does not survive the threads of Arrow and torch
    pool = ProcessPoolExecutor(
        min(workers, len(shards)), spawn, _begin, (replace(job, cases=(), files={}, digests={}),)
    )
    try:
        waiting = {pool.submit(_score_in_worker, job.of(shard), shard): shard for shard in shards}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    except BrokenProcessPool as error:
        raise HarmonygenError(
            "a worker died: repeat the command to resume (with fewer --workers if memory ran out)"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_MODELS: Models | None = None  # of this process, set once as it begins


def _begin(job: ScoringJob) -> None:
    """Get a worker process ready: the parent alone hears Ctrl-C, and models are loaded once. ``job`` has no cases."""
    global _MODELS
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if job.threads and job.on_the_fly():
        import torch

        torch.set_num_threads(job.threads)
    _MODELS = job.models()


def _score_in_worker(job: ScoringJob, shard: Shard) -> list[str]:
    assert _MODELS is not None
    return score_part(job, job.predictors(_MODELS), shard)


def read_parts(folder: Path, shards: Sequence[Shard]) -> pa.Table:
    """Return the rows of all parts, in the cases' order."""
    return pa.concat_tables([pq.read_table(folder / shard.filename) for shard in shards]).replace_schema_metadata(None)
