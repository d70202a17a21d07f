"""The plan of a synthesis run: what is asked, of which inputs, by which weights, cut into which shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harmonygen
from harmonygen.errors import UsageError
from harmonygen.records import Pair
from harmonygen.runs.inputs import inputs_digest
from harmonygen.runs.job_folder import adopt_json, digest_of
from harmonygen.storage.shards import Shard, cut
from harmonygen.synthesis.settings import SynthesizeSettings

HOW_ONLY = (
    "out",
    "remote",
    "batch_size",
    "device",
    "max_bad_fraction",
    "engine",
    "ray_address",
    "workers",
    "part",
)
"""Settings that say how a run is carried out, not what comes out: they may change between resumes."""
_PIXELS = (
    "seed",
    "generator",
    "methods",
    "cube",
    "resolution",
    "fit",
    "detail",
    "max_side",
    "steps",
    "dtype",
    "image_format",
    "mask_resize",
    "decoded",
    "compile",
)


@dataclass(frozen=True)
class Plan:
    """A run's plan: settings, digests and the shard table."""

    settings: SynthesizeSettings
    digest: str
    params_digest: str
    model_digest: str
    classifier_digest: str
    inputs_digest: str
    layout: str
    data_root: Path
    pairs: int
    shards: tuple[Shard, ...]
    ids: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Return what is written to ``plan.json``."""
        table = [
            {"index": shard.index, "start": shard.start, "stop": shard.stop, "first": first, "last": last}
            for shard, (first, last) in zip(self.shards, self.ids, strict=True)
        ]
        return {
            "harmonygen": harmonygen.__version__,
            "verb": "synthesize",
            "settings": self.settings.model_dump(mode="json"),
            "plan_digest": self.digest,
            "params_digest": self.params_digest,
            "inputs_digest": self.inputs_digest,
            "model_digest": self.model_digest,
            "classifier_digest": self.classifier_digest,
            "layout": self.layout,
            "data_root": str(self.data_root),
            "pairs": self.pairs,
            "shards": table,
        }


def make_plan(
    settings: SynthesizeSettings,
    pairs: Sequence[Pair],
    layout: str,
    root: Path,
    model_digest: str,
    classifier_digest: str,
) -> Plan:
    """Cut the pairs into shards and sum up everything that decides what comes out."""
    if not pairs:
        raise UsageError(f"no pair to work on in '{settings.data}': check --data, --subset and --list-file")
    dumped = settings.model_dump(mode="json")
    what = {key: value for key, value in dumped.items() if key not in HOW_ONLY}
    params = digest_of({key: dumped[key] for key in _PIXELS})
    inputs = inputs_digest(pairs)
    digest = digest_of({"what": what, "inputs": inputs, "model": model_digest, "classifier": classifier_digest})
    shards = tuple(cut(len(pairs), settings.shard_size))
    ids = tuple((pairs[shard.start].pair_id, pairs[shard.stop - 1].pair_id) for shard in shards)
    return Plan(
        settings, digest, params, model_digest, classifier_digest, inputs, layout, root, len(pairs), shards, ids
    )


def adopt(plan: Plan, out: Path) -> bool:
    """Write ``plan.json`` into a new run folder, or check the one that is there; tell whether it was there.

    Raises:
        UsageError: the folder holds another plan (the changed settings are named), or files that are not a run.
    """
    return adopt_json(plan.to_json(), out, HOW_ONLY, "choose another --out, or pass --overwrite")


def run_columns(settings: SynthesizeSettings, model_digest: str, params_digest: str) -> dict[str, str]:
    """Return the columns that are the same for a whole run."""
    return {"generator": settings.generator, "model_digest": model_digest, "params_digest": params_digest}
