"""Count the scores and outcomes of candidates, as a run's summary and a build's card state them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from harmonygen.runs.tables import DECIDED_BY


def count_scores(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Count scores by outcome: selected, dropped by reason, P(composite), medians of fMSE and structure."""
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
        **_judged(scores),
        "fmse_median": _figure(np.median, fmse),
        "structure_median": _figure(np.median, structure),
    }


def _judged(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return, of several judges, the median score that each gave, and how many outcomes each decided."""
    names = [name for name in (scores[0] if scores else {}) if name.startswith("p_") and name != "p_composite"]
    if not names:
        return {}
    medians = {name.removeprefix("p_"): _figure(np.median, [row[name] for row in scores]) for name in names}
    return {
        "judges": medians,
        "decided_by": dict(sorted(Counter(filter(None, (row[DECIDED_BY] for row in scores))).items())),
    }


def _figure(of: Callable[[Sequence[float]], Any], values: Sequence[float]) -> float | None:
    """Return a statistic of values, None if there are no values (JSON has no NaN)."""
    return float(of(values)) if values else None
