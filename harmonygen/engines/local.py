"""Run shards in this process, or in several that take the next shard when they are free."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from harmonygen.errors import HarmonygenError
from harmonygen.shards import Shard, make_folder
from harmonygen.workflows.shard import ShardContext, ShardResult, run_shard

_POLL_SECONDS = 1.0


def run_shards(
    context: ShardContext, shards: Sequence[Shard], out: Path, workers: int = 1
) -> Iterator[tuple[Shard, ShardResult]]:
    """Run shards and yield each with its result as it is done.

    Raises:
        HarmonygenError: a worker died; what it had committed stays, and the same command goes on from there.
    """
    for folder in ("candidates", "pairs"):
        make_folder(out / folder)
        for shard in shards:  # only these: other parts of a job array may be writing theirs
            for stray in (out / folder).glob(f".{shard.filename}.*.tmp"):
                stray.unlink(missing_ok=True)
    if workers == 1 or len(shards) <= 1:
        for shard in shards:
            yield shard, run_shard(context, shard, out)
    else:
        yield from _in_processes(context, shards, out, min(workers, len(shards)))


def _in_processes(
    context: ShardContext, shards: Sequence[Shard], out: Path, workers: int
) -> Iterator[tuple[Shard, ShardResult]]:
    spawn = multiprocessing.get_context("spawn")  # fork does not survive threads and CUDA
    tasks: Queue[Shard | None] = spawn.Queue()
    results: Queue[tuple[Shard, ShardResult | BaseException]] = spawn.Queue()
    for item in [*shards, *[None] * workers]:
        tasks.put(item)
    threads = max(1, (os.cpu_count() or 1) // workers)
    processes = [
        spawn.Process(target=_work, args=(_portable(context), tasks, results, out, threads)) for _ in range(workers)
    ]
    for process in processes:
        process.start()
    try:
        for _ in shards:
            shard, result = _next_result(results, processes)
            if isinstance(result, BaseException):
                raise result
            yield shard, result
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _next_result(results: Queue[Any], processes: Sequence[SpawnProcess]) -> tuple[Shard, ShardResult | BaseException]:
    while True:
        with suppress(queue.Empty):
            answer: tuple[Shard, ShardResult | BaseException] = results.get(timeout=_POLL_SECONDS)
            return answer
        dead = [process.exitcode for process in processes if process.exitcode not in (None, 0)]
        if dead:
            raise HarmonygenError(
                f"a worker died (exit code {dead[0]}): repeat the command to go on "
                "(with fewer --workers if memory ran out)"
            )


def _portable(context: ShardContext) -> dict[str, Any]:
    """Return what a worker needs to build the same context: settings and pairs, no weights."""
    return {
        "settings": context.settings,
        "pairs": tuple(context.pairs),
        "plan_digest": context.plan_digest,
        "run_columns": context.run_columns,
    }


def _work(portable: dict[str, Any], tasks: Queue[Any], results: Queue[Any], out: Path, threads: int) -> None:
    """Build the context once, then run shards until there are none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    import torch

    from harmonygen.workflows.context import load_generator, load_scorer, pick_device, sizing_of

    torch.set_num_threads(threads)
    settings, pairs = portable["settings"], portable["pairs"]
    device = pick_device(settings.device)
    generator = load_generator(settings, pairs, device)
    context = ShardContext(
        settings,
        portable["plan_digest"],
        portable["run_columns"],
        sizing_of(settings, generator),
        pairs,
        generator,
        load_scorer(settings, device),
    )
    while (shard := tasks.get()) is not None:
        try:
            results.put((shard, run_shard(context, shard, out)))
        except Exception as error:
            results.put((shard, error))
            return
