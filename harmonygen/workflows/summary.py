"""Sum up a run whose shards are all done: quarantine.parquet, summary.json, report.html."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import harmonygen
from harmonygen.records import Quarantined
from harmonygen.shards import (
    file_metadata,
    is_whole,
    quarantine_table,
    read_parquet,
    unpack_quarantine,
    unreadable,
    write_json,
    write_parquet,
)
from harmonygen.workflows.plan import Plan

SUMMARY, QUARANTINE, REPORT = "summary.json", "quarantine.parquet", "report.html"


def finished(out: Path, plan: Plan) -> bool:
    """Tell whether the run is complete and summed up."""
    if not all((out / name).is_file() for name in (SUMMARY, QUARANTINE, REPORT)):
        return False
    return all(
        is_whole(out / folder / shard.filename, plan.digest)
        for shard in plan.shards
        for folder in ("candidates", "pairs")
    )


def finish(out: Path, plan: Plan, read_bad: Sequence[Quarantined]) -> dict[str, Any]:
    """Write what sums up a complete run, if it is not there yet, and return ``summary.json``."""
    from harmonygen.report import write_report

    if not finished(out, plan):
        files = [out / "candidates" / shard.filename for shard in plan.shards]
        bad = [*read_bad, *(row for path in files for row in unpack_quarantine(path))]
        write_parquet(out / QUARANTINE, quarantine_table(bad))
        write_json(out / SUMMARY, summarise(out, plan, files, len(bad)))
        write_report(out)
    summary: dict[str, Any] = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    return summary


def summarise(out: Path, plan: Plan, files: Sequence[Path], quarantined: int) -> dict[str, Any]:
    """Count a run: candidates, what was dropped and why, scores, rates, versions."""
    from harmonygen.workflows.shard import SECONDS_KEY  # brings torch, which an evaluation of pictures needs not

    scores = list(read_scores(out))
    seconds = sum(_seconds(path, SECONDS_KEY) for path in files)
    return {
        "generator": plan.settings.generator,
        "pairs": plan.pairs - quarantined_pairs(plan, files),
        "k": plan.settings.k,
        "candidates": len(scores),
        "kept": sum(pq.read_metadata(path).num_rows for path in files),
        "quarantined": quarantined,
        **count_scores(scores),
        "seconds": round(seconds, 3),
        "candidates_per_second": round(len(scores) / seconds, 3) if seconds else None,
        "model": {
            "name": plan.settings.model,
            "digest": plan.model_digest,
            "classifier_digest": plan.classifier_digest,
        },
        "versions": versions(),
    }


def _seconds(path: Path, key: bytes) -> float:
    metadata = file_metadata(path)
    with unreadable(path):
        return float(metadata.get(key, b"0"))


def count_scores(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sum up scores and outcomes: selected, dropped by reason, P(composite), medians of fMSE and structure."""
    reasons = Counter(row["reason"].partition(" rank")[0] for row in scores if row["reason"])
    p, fmse, structure = ([row[name] for row in scores] for name in ("p_composite", "fmse", "structure"))
    return {
        "selected": sum(row["selected"] for row in scores),
        "dropped": dict(sorted(reasons.items())),
        "p_composite": {
            "mean": _figure(np.mean, p),
            "median": _figure(np.median, p),
            "min": _figure(np.min, p),
            "max": _figure(np.max, p),
        },
        "fmse_median": _figure(np.median, fmse),
        "structure_median": _figure(np.median, structure),
    }


def _figure(of: Callable[[Sequence[float]], Any], values: Sequence[float]) -> float | None:
    """Return a statistic of values, or None (JSON has no NaN) of none."""
    return float(of(values)) if values else None


def quarantined_pairs(plan: Plan, files: Sequence[Path]) -> int:
    """Return how many pairs of the plan were quarantined in its shards."""
    return sum(len(unpack_quarantine(path)) for path in files)


def read_scores(out: Path) -> Iterator[dict[str, Any]]:
    """Yield the scores of every candidate made, kept or not."""
    for path in sorted((out / "pairs").glob("part-*.parquet")):
        for packed in read_parquet(path, columns=["scores"]).column("scores").to_pylist():
            yield from json.loads(packed)


def versions() -> dict[str, str]:
    """Return the versions that decide what comes out."""
    names = ("torch", "torchvision", "diffusers", "numpy", "Pillow", "pyarrow")
    return {
        "harmonygen": harmonygen.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }
