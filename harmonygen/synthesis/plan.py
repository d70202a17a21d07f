"""The plan of a synthesis run: what is asked, of which inputs, by which weights, cut into which shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harmonygen.errors import UsageError
from harmonygen.models.installed import runtime_in_plan
from harmonygen.plugins.doors import shown_spec
from harmonygen.records import Pair
from harmonygen.runs.inputs import inputs_digest
from harmonygen.runs.job_folder import JobPlan, digest_of
from harmonygen.runs.read import JUDGES
from harmonygen.settings import asked
from harmonygen.storage.shards import Shard, cut
from harmonygen.synthesis.settings import SynthesizeSettings

_PIXELS = (
    "seed",
    "generator",
    "methods",
    "cube",
    "resolution",
    "fit",
    "detail",
    "enlarge",
    "posterior",
    "max_side",
    "steps",
    "dtype",
    "image_format",
    "mask_resize",
    "decoded",
    "compile",
)
_LATER_PIXELS = ("mask_values", "mask_orientation", "generator_settings", "runtime")
"""Settings that came later: only what was asked for counts, so that runs of before keep their digest."""


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
    judges: Mapping[str, str] = field(default_factory=dict)

    @property
    def job(self) -> JobPlan:
        """What ``plan.json`` holds."""
        table = [
            {"index": shard.index, "start": shard.start, "stop": shard.stop, "first": first, "last": last}
            for shard, (first, last) in zip(self.shards, self.ids, strict=True)
        ]
        inputs = {
            "inputs_digest": self.inputs_digest,
            "model_digest": self.model_digest,
            "classifier_digest": self.classifier_digest,
            **runtime_in_plan(self.settings.runtime),
        }
        facts = {
            "params_digest": self.params_digest,
            "layout": self.layout,
            "data_root": str(self.data_root),
            "pairs": self.pairs,
            "shards": table,
            **({JUDGES: dict(self.judges)} if self.judges else {}),
        }
        return JobPlan("synthesize", self.settings, inputs, facts, digest_now=self.digest)


def make_plan(
    settings: SynthesizeSettings,
    pairs: Sequence[Pair],
    layout: str,
    root: Path,
    model_digest: str,
    classifier_digest: str,
    judges: Mapping[str, str] | None = None,
) -> Plan:
    """Cut the pairs into shards and sum up everything that decides the result.

    ``judges`` are the digests of several judges by name; ``classifier_digest`` is of all of them.
    """
    if not pairs:
        raise UsageError(f"no pair to work on in '{settings.data}': check --data, --subset and --list-file")
    dumped, wanted = settings.model_dump(mode="json"), asked(settings)
    later = {key: wanted[key] for key in _LATER_PIXELS if key in wanted}
    params = digest_of({key: dumped[key] for key in _PIXELS} | later)
    inputs = inputs_digest(pairs)
    weights = {"model": model_digest, "classifier": classifier_digest}
    digest = digest_of({"what": wanted, "inputs": inputs, **weights, **runtime_in_plan(settings.runtime)})
    shards = tuple(cut(len(pairs), settings.shard_size))
    ids = tuple((pairs[shard.start].pair_id, pairs[shard.stop - 1].pair_id) for shard in shards)
    return Plan(
        settings,
        digest,
        params,
        model_digest,
        classifier_digest,
        inputs,
        layout,
        root,
        len(pairs),
        shards,
        ids,
        judges or {},
    )


def run_columns(settings: SynthesizeSettings, model_digest: str, params_digest: str) -> dict[str, str]:
    """Return the columns that are the same for a whole run."""
    return {"generator": shown_spec(settings.generator), "model_digest": model_digest, "params_digest": params_digest}
