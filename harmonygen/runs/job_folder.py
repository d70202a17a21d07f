"""The folder of a job: its plan, what belongs to it, and whether it is finished."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import harmonygen
from harmonygen.errors import UsageError
from harmonygen.storage.shards import write_json

PLAN = "plan.json"


def digest_of(value: Any) -> str:
    """Return 16 hex digits of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


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


SUMMARY, QUARANTINE, REPORT = "summary.json", "quarantine.parquet", "report.html"


def versions() -> dict[str, str]:
    """Return the versions that decide what comes out."""
    names = ("torch", "torchvision", "diffusers", "numpy", "Pillow", "pyarrow")
    return {
        "harmonygen": harmonygen.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }
