"""Run shards in this process, or in several that take the next shard when they are free, one per device."""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import torch

from harmonygen.errors import HarmonygenError
from harmonygen.storage.shards import Shard
from harmonygen.synthesis.engines.worker import (
    Results,
    ShardJob,
    build_context,
    device_of,
    do_shard,
    job_of,
    make_ready,
    worker_count,
)
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.shard import ShardContext, ShardResult, Tick, no_tick

Answer = tuple[Shard, ShardResult | BaseException | int]
"""What a worker says of a shard: its result, what ended it, or how many of its pairs are done."""
_POLL_SECONDS = 1.0


def run_shards(context: ShardContext, shards: Sequence[Shard], out: Path, tick: Tick = no_tick) -> Results:
    """Run shards and yield each with its result as it is done; ``tick`` is called for every pair before.

    Raises:
        HarmonygenError: a worker died; what it had committed stays: rerun the same command to resume.
    """
    make_ready(out, shards)
    workers = workers_here(context.settings)
    if workers == 1:
        for shard in shards:
            yield shard, do_shard(context, shard, out, tick)
    elif shards:
        yield from _in_processes(context, shards, out, min(workers, len(shards)), tick)


def workers_here(settings: SynthesizeSettings) -> int:
    """Return how many workers a run has on this machine; one works in the run's own process."""
    return worker_count(settings.workers, settings.device, _gpus())


def _gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _in_processes(context: ShardContext, shards: Sequence[Shard], out: Path, workers: int, tick: Tick) -> Results:
    spawn = multiprocessing.get_context("spawn")  # fork does not survive threads and CUDA
    tasks: Queue[Shard | None] = spawn.Queue()
    results: Queue[Answer] = spawn.Queue()
    for item in [*shards, *[None] * workers]:
        tasks.put(item)
    job, threads = job_of(context), max(1, torch.get_num_threads() // workers)
    devices = [device_of(job.settings.device, worker, _gpus()) for worker in range(workers)]
    processes = [spawn.Process(target=_work, args=(job, device, tasks, results, out, threads)) for device in devices]
    for process in processes:
        process.start()
    try:
        for _ in shards:
            shard, result = _next_result(results, processes, tick)
            if isinstance(result, BaseException):
                raise result
            yield shard, result
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _next_result(
    results: Queue[Answer], processes: Sequence[SpawnProcess], tick: Tick
) -> tuple[Shard, ShardResult | BaseException]:
    while True:
        with suppress(queue.Empty):
            shard, answer = results.get(timeout=_POLL_SECONDS)
            if not isinstance(answer, int):
                return shard, answer
            tick(shard, answer)
            continue
        dead = [process.exitcode for process in processes if process.exitcode not in (None, 0)]
        if dead:
            raise HarmonygenError(
                f"a worker died (exit code {dead[0]}): repeat the command to resume "
                "(with fewer --workers if memory ran out)"
            )


def _work(job: ShardJob, device: str, tasks: Queue[Any], results: Queue[Any], out: Path, threads: int) -> None:
    """Build the context once, then run shards until there are none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    torch.set_num_threads(threads)
    shard = None
    try:
        context = build_context(job, device)
        while (shard := tasks.get()) is not None:
            results.put((shard, do_shard(context, shard, out, lambda *told: results.put(told))))
    except Exception as error:
        results.put((shard, error))
