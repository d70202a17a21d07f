"""Engines run the same shard function somewhere: in this process, in several, or on a Ray cluster.

Each offers ``run_shards(context, shards, out)``, which yields every shard with its result as it is done. A shard is
whole or absent, wherever it ran.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harmonygen.storage.shards import Shard
from harmonygen.synthesis.engines.worker import Results
from harmonygen.synthesis.shard import ShardContext, Tick, no_tick


def run_shards(context: ShardContext, shards: Sequence[Shard], out: Path, tick: Tick = no_tick) -> Results:
    """Run shards by the engine that the settings name and yield each with its result as it is done.

    ``tick`` is called for every pair that is done before its shard is; on Ray, where workers are on other machines, of
    none.

    Raises:
        HarmonygenError: workers died; what they had committed stays: rerun the same command to resume.
        UsageError: Ray is not installed, or cannot be reached.
    """
    if context.settings.engine == "ray":
        from harmonygen.synthesis.engines import ray as engine

        return engine.run_shards(context, shards, out)
    from harmonygen.synthesis.engines import local

    return local.run_shards(context, shards, out, tick)
