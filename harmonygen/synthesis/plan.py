"""The plan of a synthesis run: what is asked, of which inputs, by which weights, cut into which shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harmonygen
from harmonygen.settings import SynthesizeSettings
from harmonygen.errors import UsageError
from harmonygen.records import Pair
from harmonygen.storage.shards import Shard, cut, write_json

PLAN = "plan.json"
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


def digest_of(value: Any) -> str:
    """Return 16 hex digits of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def inputs_digest(pairs: Sequence[Pair]) -> str:
    """Return a digest over every pair's id and sources: files by name, so that a moved data set still resumes."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(f"{pair.pair_id}\0{Path(str(pair.real)).name}\0{Path(str(pair.mask)).name}\n".encode())
    return digest.hexdigest()[:16]


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


def adopt_json(plan: Mapping[str, Any], out: Path, how_only: Sequence[str], remedy: str) -> bool:
    """Do what :func:`adopt` does with any verb's plan: ``verb``, ``settings``, ``plan_digest`` and other digests.

    ``how_only`` names the settings that may change between resumes; ``remedy`` ends the message of a refusal.
    """
    path = out / PLAN
    if not path.exists():
        strangers = [entry.name for entry in out.iterdir() if not entry.name.startswith(".")] if out.exists() else []
        if strangers and not path.exists():  # another part of a job array may have just begun the run
            raise UsageError(
                f"'{out}' is not empty and not a run (found {', '.join(sorted(strangers)[:3])}): choose another --out"
            )
        if not strangers:
            write_json(path, plan)
            return False
    old = read_plan(out, plan["verb"])
    if old["plan_digest"] != plan["plan_digest"]:
        raise UsageError(
            f"'{out}' holds a run with other options ({_differences(old, plan, how_only)}): repeat them, {remedy}"
        )
    return True


def read_plan(out: Path, verb: str = "synthesize") -> dict[str, Any]:
    """Read a run's ``plan.json``.

    Raises:
        UsageError: there is none, or it is not a plan of ``verb``.
    """
    try:
        plan: dict[str, Any] = json.loads((out / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"'{out}' is not a run folder ({error}): give the --out of a {verb} run") from error
    if plan.get("verb") != verb:
        raise UsageError(f"'{out}' holds a {plan.get('verb')!r} plan, a {verb} run is needed: give another folder")
    return plan


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], how_only: Sequence[str]) -> str:
    changed = [
        f"{key}: {old['settings'].get(key)!r} then, {value!r} now"
        for key, value in new["settings"].items()
        if key not in how_only and old["settings"].get(key) != value
    ]
    digests = [key for key in new if key.endswith("_digest") and key not in ("plan_digest", "params_digest")]
    changed += [f"{key} changed" for key in digests if old.get(key) != new[key]]
    return "; ".join(changed[:5]) or "another version of harmonygen"
