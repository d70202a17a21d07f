"""Run shards by Ray actors, one per GPU: on a Ray of the run's own, or on a cluster that is joined.

The pool follows our shards: each is one call of one actor, and a free actor gets the next. Ray restarts and retries
nothing by itself. An actor that dies is replaced here and its shard run again, so that a shard that always ends its
worker is detected and named.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import harmonygen
from harmonygen.data import is_url
from harmonygen.errors import HarmonygenError, UsageError
from harmonygen.runs.job_folder import PLAN, read_plan
from harmonygen.storage.fetch import fetch
from harmonygen.storage.shards import Shard
from harmonygen.synthesis.engines.worker import Results, ShardJob, build_context, do_shard, job_of, make_ready
from harmonygen.synthesis.shard import ShardContext, ShardResult

DEATHS_ALLOWED = 2
"""How often a shard, or the start of a worker, may end its actor before the run does."""
_POLL_SECONDS = 1.0
_OBJECT_STORE_BYTES = 100 * 2**20  # a run's pairs go through it, no pixels; Ray's least is 75 MB
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


class Node(NamedTuple):
    """What one machine of a cluster has for workers."""

    cpus: int
    gpus: int


class Share(NamedTuple):
    """How a run's workers share a cluster: how many, and what each has."""

    workers: int
    cpus: int
    gpus: int


def run_shards(context: ShardContext, shards: Sequence[Shard], out: Path) -> Results:
    """Run shards on Ray and yield each with its result as it is done.

    Raises:
        UsageError: Ray is not installed, the cluster is missing or too small, or a worker does not see the run.
        HarmonygenError: a shard ended its worker again and again; all others that were committed stay.
    """
    ray, settings = import_ray(), context.settings
    if not shards:
        return
    make_ready(out, shards)
    with _connected(ray, settings.ray_address, settings.workers):
        share = share_of(_nodes(ray), settings.workers, settings.device)
        options = {"num_cpus": share.cpus, "num_gpus": share.gpus, "max_restarts": 0, "max_task_retries": 0}
        actor, job = ray.remote(**options)(Worker), ray.put(job_of(context))

        def start() -> Any:
            return actor.remote(job, out.absolute(), Path.cwd(), harmonygen.__version__)

        def named(shard: Shard) -> str:
            first, last = context.pairs[shard.start].pair_id, context.pairs[shard.stop - 1].pair_id
            return f"shard {shard.index} ('{first}' to '{last}')"

        def sweep(shard: Shard) -> None:
            make_ready(out, [shard])

        yield from _in_actors(ray, start, shards, share.workers, named, sweep)


def import_ray() -> Any:
    """Import Ray; raise UsageError if it is not installed."""
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UsageError(
            f"--engine ray needs Ray, which cannot be imported ({error}): pip install 'harmonygen[ray]', or use "
            "--engine local with --workers"
        ) from error


@contextmanager
def _connected(ray: Any, address: str | None, workers: int) -> Iterator[None]:
    """Join the cluster at ``address`` or ``$RAY_ADDRESS``, else start a Ray that ends with the run.

    A connection that this process has already is used as it is.
    """
    if ray.is_initialized():
        yield
        return
    joined = address or os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    own = {
        "num_cpus": max(os.cpu_count() or 1, workers),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
    }
    with _signals_kept(), redirect_stdout(sys.stderr):
        try:
            ray.init(address=joined, **quiet) if joined else ray.init(address="local", **quiet, **own)
        except Exception as error:  # Ray raises it bare where a machine is too busy to start
            ray.shutdown()
            where = f"Ray at '{joined}' cannot be reached" if joined else "Ray does not start on this machine"
            remedy = (
                "check --ray-address, 'ray status' and, if the cluster asks for a token, RAY_AUTH_MODE=token"
                if joined
                else "repeat the command when the machine is less busy, or use --engine local"
            )
            raise UsageError(f"{where} ({str(error).rstrip('.')}): {remedy}") from error
    try:
        with redirect_stdout(_OursAlone(sys.stdout)):
            yield
    finally:
        with redirect_stdout(sys.stderr):  # Ray says now what it held back
            ray.shutdown()


class _OursAlone(io.TextIOBase):
    """A ``sys.stdout`` for a process with Ray: what Ray's own threads print there goes to stderr."""

    def __init__(self, stdout: TextIO) -> None:
        self.stdout = stdout

    def _sink(self) -> TextIO:
        return sys.stderr if threading.current_thread().name.startswith("ray_") else self.stdout

    def write(self, text: str) -> int:
        """Write text where it belongs."""
        return self._sink().write(text)

    def flush(self) -> None:
        """Flush what is written to."""
        self._sink().flush()

    def isatty(self) -> bool:
        """Return whether a person reads what is written."""
        return self._sink().isatty()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Put the handler of SIGTERM back that Ray replaces: it decides how a command ends."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _nodes(ray: Any) -> list[Node]:
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(int(found.get("CPU", 0)), int(found.get("GPU", 0))) for found in alive]


def share_of(nodes: Sequence[Node], asked: int, device: str) -> Share:
    """Share a cluster among workers: one per GPU, or without GPUs one per machine, unless ``asked`` for a number.

    Each worker gets as many CPUs as leave room for all of them; it waits for those that a cluster does not
    have yet (it may grow).

    Raises:
        UsageError: a GPU is asked for and there is none.

    >>> share_of([Node(16, 2), Node(16, 2)], 0, "auto")
    Share(workers=4, cpus=8, gpus=1)
    >>> share_of([Node(2, 0)], 2, "auto")
    Share(workers=2, cpus=1, gpus=0)
    """
    nodes = [node for node in nodes if node.cpus]
    gpus = sum(node.gpus for node in nodes)
    if device.startswith("cuda") and not gpus:
        raise UsageError(f"--device {device}: no machine of the Ray cluster has a GPU: use --device cpu, or add some")
    one_gpu = int(gpus > 0 and (device == "auto" or device.startswith("cuda")))
    workers = asked or (gpus if one_gpu else max(1, len(nodes)))

    def room(cpus: int) -> int:
        return sum(min(node.cpus // cpus, node.gpus if one_gpu else node.cpus) for node in nodes)

    fitting = (cpus for cpus in range(max((node.cpus for node in nodes), default=1), 0, -1) if room(cpus) >= workers)
    return Share(workers, next(fitting, 1), one_gpu)


class Worker:
    """The actor: builds the run's context once, then runs the shards that it is handed."""

    def __init__(self, job: ShardJob, out: Path, driver_folder: Path, version: str) -> None:
        self.job, self.out, self.version = job, out, version
        with suppress(OSError):  # paths of the command are relative to it; a machine without it needs none of them
            os.chdir(driver_folder)

    def ready(self) -> None:
        """Check that this machine sees the run, and load the weights.

        Raises:
            UsageError: another version of harmonygen is here, or the run's folder or data are not where they are
                for the command.
        """
        here = os.uname().nodename
        if harmonygen.__version__ != self.version:
            raise UsageError(
                f"'{here}' has harmonygen {harmonygen.__version__}, the command {self.version}: install the same"
            )
        settings = self.job.settings
        if settings.remote:
            make_ready(self.out, ())
        else:
            self._sees_the_run(here)
        self._sees_the_data(here)
        self.context = build_context(self.job, "cuda" if settings.device.startswith("cuda") else settings.device)

    def _sees_the_run(self, here: str) -> None:
        seen = read_plan(self.out)["plan_digest"] if (self.out / PLAN).is_file() else None
        if seen != self.job.plan_digest:
            raise UsageError(
                f"'{here}' does not see the run in '{self.out}': put --out where all machines of the cluster see it, "
                "or give a URL such as s3://bucket/run"
            )

    def _sees_the_data(self, here: str) -> None:
        """Copy data at a URL to this machine, where they are not yet."""
        data = self.job.settings.data
        if is_url(data):
            copy, real = fetch(data), self.job.pairs[0].real
            top = copy if copy.is_dir() else copy.parent
            if hasattr(real, "path") and not real.path.is_relative_to(top):
                raise UsageError(
                    f"'{here}' keeps its copy of '{data}' in '{top}', the command's is '{real.path}': set "
                    "HARMONYGEN_CACHE to the same path on every machine"
                )

    def run(self, shard: Shard) -> ShardResult:
        """Run one shard and commit it."""
        return do_shard(self.context, shard, self.out)


def _in_actors(
    ray: Any,
    start: Callable[[], Any],
    shards: Sequence[Shard],
    workers: int,
    named: Callable[[Shard], str],
    sweep: Callable[[Shard], None],
) -> Generator[tuple[Shard, ShardResult], None, None]:
    """Hand shards to actors that are free, and yield each with its result; ``sweep`` what a dead one left of a shard.

    An actor is handed none before it is ready, so those that a cluster has no room for hold nothing up.
    """
    waiting, deaths = deque(shards), Counter[Shard | None]()
    running: dict[Any, tuple[Any, Shard | None]] = {}

    def add() -> None:
        actor = start()
        running[actor.ready.remote()] = actor, None

    for _ in range(min(workers, len(shards))):
        add()
    left = len(shards)
    while left:
        for answer in ray.wait(list(running), timeout=_POLL_SECONDS)[0]:
            actor, shard = running.pop(answer)
            try:
                result = ray.get(answer)
            except ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, BaseException) else error from error
            except ray.exceptions.RayError as error:  # the actor, its process or its machine is gone
                deaths[shard] += 1
                if shard is not None:
                    sweep(shard)
                    waiting.appendleft(shard)
                if deaths[shard] > DEATHS_ALLOWED:
                    raise _too_many(shard, named, deaths[shard], error) from error
                ray.kill(actor)
                add()
                continue
            if shard is None:
                deaths[None] = 0  # workers do start
            if waiting:
                following = waiting.popleft()
                running[actor.run.remote(following)] = actor, following
            if shard is not None:
                left -= 1
                yield shard, result


def _too_many(shard: Shard | None, named: Callable[[Shard], str], times: int, error: Exception) -> HarmonygenError:
    why = " ".join(str(error).split())[:300]
    if shard is None:
        return HarmonygenError(
            f"workers on Ray ended {times} times before they were ready ({why}): see that harmonygen is installed on "
            "every machine and memory suffices, then repeat the command"
        )
    return HarmonygenError(
        f"{named(shard)} ended its worker {times} times ({why}): repeat the command with fewer --workers if memory "
        "ran out, else look at these photos"
    )
