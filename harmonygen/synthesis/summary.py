"""Sum up a run whose shards are all done: quarantine.parquet, summary.json, report.html."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from harmonygen.plugins.doors import shown_spec
from harmonygen.records import Quarantined
from harmonygen.runs.counts import count_scores
from harmonygen.runs.job_folder import QUARANTINE, REPORT, SUMMARY, versions
from harmonygen.runs.read import Run
from harmonygen.storage.shards import (
    file_metadata,
    is_whole,
    quarantine_table,
    unpack_quarantine,
    write_json,
    write_parquet,
)
from harmonygen.synthesis.plan import Plan


def finished(out: Path, plan: Plan) -> bool:
    """Return whether the run is complete and summed up."""
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
    from harmonygen.synthesis.shard import SECONDS_KEY  # brings torch, which an evaluation of pictures does not need

    scores = list(Run.look(out).scores())
    seconds = sum(float(file_metadata(path).get(SECONDS_KEY, b"0")) for path in files)
    return {
        "generator": shown_spec(plan.settings.generator),
        "pairs": plan.pairs - quarantined_pairs(plan, files),
        "k": plan.settings.k,
        "candidates": len(scores),
        "kept": sum(pq.read_metadata(path).num_rows for path in files),
        "quarantined": quarantined,
        **count_scores(scores),
        "seconds": round(seconds, 3),
        "candidates_per_second": round(len(scores) / seconds, 3) if seconds else None,
        "model": {
            "name": plan.settings.weights,
            "digest": plan.model_digest,
            "classifier_digest": plan.classifier_digest,
        },
        "versions": versions(),
    }


def quarantined_pairs(plan: Plan, files: Sequence[Path]) -> int:
    """Return how many pairs of the plan were quarantined in its shards."""
    return sum(len(unpack_quarantine(path)) for path in files)
