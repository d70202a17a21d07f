"""What every engine's workers share: the job they are sent, the context they build of it once, how a shard is done.

A worker is sent settings and pairs, no weights: it loads them itself, on its own device.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harmonygen.errors import CheckpointError, UsageError
from harmonygen.models.installed import runtime_version
from harmonygen.records import Pair
from harmonygen.storage.remote import Remote
from harmonygen.storage.shards import Shard, make_folder, remove_strays, strays
from harmonygen.synthesis.run_folder import send_shard
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.shard import ShardContext, ShardResult, Tick, no_tick, run_shard

Results = Generator[tuple[Shard, ShardResult], None, None]
"""Every shard with its result, as it is done. Closing it ends the workers."""


@dataclass(frozen=True)
class ShardJob:
    """What a worker needs to build a run's context: settings, pairs, and the digests that it must come to."""

    settings: SynthesizeSettings
    pairs: tuple[Pair, ...]
    plan_digest: str
    run_columns: dict[str, str]
    classifier_digest: str
    runtime: str = ""


def job_of(context: ShardContext) -> ShardJob:
    """Return the job that workers are sent in a context's place."""
    return ShardJob(
        context.settings,
        tuple(context.pairs),
        context.plan_digest,
        context.run_columns,
        getattr(context.scorer, "digest", ""),
        runtime_version(context.settings.runtime),
    )


def build_context(job: ShardJob, device: str) -> ShardContext:
    """Load a job's weights on ``device``.

    Raises:
        CheckpointError: they are not those that the run was planned with.
        UsageError: the device or the weights are missing, or the runtime is of another version.
    """
    from harmonygen.models.device import pick_device
    from harmonygen.synthesis.load import load_generator, load_scorer, sizing_of

    settings = job.settings
    device = pick_device(device)
    if (runtime := runtime_version(settings.runtime)) != job.runtime:
        raise UsageError(f"a worker has {runtime}, the run was planned with {job.runtime}: install the same everywhere")
    generator, scorer = load_generator(settings, job.pairs, device), load_scorer(settings, device)
    _same_weights(settings.weights, generator.digest, job.run_columns["model_digest"])
    _same_weights(", ".join(settings.judge) or settings.classifier, scorer.digest, job.classifier_digest)
    sizing = sizing_of(settings, generator)
    return ShardContext(settings, job.plan_digest, job.run_columns, sizing, job.pairs, generator, scorer)


def _same_weights(name: str, found: str, planned: str) -> None:
    if found != planned:
        raise CheckpointError(
            f"'{name}' has the digest {found} where a worker runs, the run was planned with {planned}: "
            "give all workers the same weights"
        )


def do_shard(context: ShardContext, shard: Shard, out: Path, tick: Tick = no_tick) -> ShardResult:
    """Run a shard into ``out`` and, if the run's folder is at a URL, send its two files there."""
    result = run_shard(context, shard, out, tick)
    if context.settings.remote:
        send_shard(Remote(context.settings.remote), shard, out)
    return result


def make_ready(out: Path, shards: Sequence[Shard]) -> None:
    """Make a run's folders and sweep what a killed run left of these shards.

    Of others nothing is touched: other parts of a job array may be writing theirs.
    """
    for folder in ("candidates", "pairs"):
        finals = {shard.filename for shard in shards}
        remove_strays(strays(make_folder(out / folder), finals, finals))


def device_of(name: str, worker: int, gpus: int) -> str:
    """Return the device of the ``worker``-th worker (0-based) on a machine with ``gpus`` GPUs: one per worker, in turn.

    >>> [device_of("auto", worker, 2) for worker in range(3)]
    ['cuda:0', 'cuda:1', 'cuda:0']
    >>> device_of("cuda:1", 0, 2), device_of("cpu", 1, 2), device_of("auto", 0, 0)
    ('cuda:1', 'cpu', 'auto')
    """
    return f"cuda:{worker % gpus}" if gpus and name in ("auto", "cuda") else name


def worker_count(asked: int, device: str, gpus: int) -> int:
    """Return how many workers to start: as many as asked for, else one per GPU, 1 without.

    >>> worker_count(0, "auto", 4), worker_count(0, "cpu", 4), worker_count(3, "auto", 4)
    (4, 1, 3)
    """
    return asked or (max(1, gpus) if device in ("auto", "cuda") else 1)
