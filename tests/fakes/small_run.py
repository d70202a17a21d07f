"""What makes a folder of shards a finished run: its plan and its summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SETTINGS: dict[str, Any] = {"k": 4, "keep": "all", "rule": "max-composite", "gates": {}, "seed": 0}


def finish(run: Path, digest: str = "run-1") -> Path:
    """Write ``plan.json`` and ``summary.json`` of a run whose candidates and pairs are there."""
    shards = [{"index": index} for index, _ in enumerate(sorted((run / "candidates").glob("*.parquet")))]
    digests = {"plan_digest": digest, "classifier_digest": "c"}
    plan = {"verb": "synthesize", "settings": SETTINGS, "shards": shards, **digests}
    (run / "plan.json").write_text(json.dumps(plan))
    (run / "summary.json").write_text("{}")
    return run
