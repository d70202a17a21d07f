"""Which candidates of a run are mixed in: read the rows without their images, check them, pick per pair.

A pair's pick depends on the seed, the pair's id and its own candidates alone, never on the order or on other pairs;
with one seed, a larger gamma's random picks contain a smaller one's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from harmonygen import seeds
from harmonygen.errors import UsageError, shown
from harmonygen.runs.read import Run, rows_by_pair

Rule = Literal["random", "top", "selected"]


def pick(scores: Sequence[float], count: int, rule: Rule, seed: int, pair_id: str) -> list[int]:
    """Pick ``count`` of a pair's candidates, given their p_composite in order of ``k``; return indices, ascending.

    ``random`` and ``selected`` draw without replacement from (seed, pair); ``top`` takes the highest p_composite,
    the lower k on a tie.

    >>> pick([0.2, 0.9, 0.9, 0.1], 2, "top", 0, "a")
    [1, 2]
    """
    if rule == "top":
        order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    else:
        order = seeds.numpy_rng("augment", seed, pair_id).permutation(len(scores)).tolist()
    return sorted(order[:count])


@dataclass(frozen=True, slots=True)
class Picks:
    """Picked candidate rows by pair (metadata only).

    ``gated`` candidates may not be used (a gate or a reviewer refused them); ``skipped_pairs`` were quarantined by the
    run; ``unused`` candidates are of pairs that were not asked for; ``short_pairs`` got fewer than gamma asks for, as
    no more may be used.
    """

    by_pair: dict[str, list[dict[str, Any]]]
    gated: int
    skipped_pairs: tuple[str, ...]
    unused: int
    short_pairs: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Number of picked candidates."""
        return sum(len(rows) for rows in self.by_pair.values())


def pick_all(
    run: Run, needed: Mapping[str, int], gamma: float, rule: Rule, seed: int, allow_fewer: bool = False
) -> Picks:
    """Pick ``needed[pair_id]`` candidates for every pair.

    ``random`` and ``top`` choose among all that may be used (:meth:`~harmonygen.runs.read.Run.usable`), ``selected``
    at random among those of them that the run's rule selected. Pairs that the run has quarantined get none and are
    named.

    Raises:
        UsageError: pairs without any candidate, or with fewer eligible ones than needed: the ids and the K needed.
    """
    table, quarantined = run.rows(), {row.id for row in run.quarantine()}
    rows: dict[str, list[int]] = {**{pair_id: [] for pair_id in run.emptied()}, **rows_by_pair(table)}
    wanted = {pair_id: count for pair_id, count in needed.items() if count}
    skipped = tuple(pair_id for pair_id in wanted if pair_id not in rows and pair_id in quarantined)
    _refuse_without(run, [pair_id for pair_id in wanted if pair_id not in rows and pair_id not in quarantined])
    allowed = pc.and_(table["usable"], table["selected"]) if rule == "selected" else table["usable"]
    passed, scores = allowed.to_pylist(), table["p_composite"].to_pylist()
    eligible = {pair_id: [row for row in rows[pair_id] if passed[row]] for pair_id in wanted if pair_id in rows}
    short = tuple(pair_id for pair_id, own in eligible.items() if len(own) < wanted[pair_id])
    if not allow_fewer:
        _refuse_short(run, short, eligible, rows, wanted, gamma)
    by_pair = {}
    for pair_id, own in eligible.items():
        chosen = pick([scores[row] for row in own], wanted[pair_id], rule, seed, pair_id)
        by_pair[pair_id] = [own[index] for index in chosen]
    gated = sum(len(rows[pair_id]) - len(own) for pair_id, own in eligible.items())
    unused = sum(len(own) for pair_id, own in rows.items() if pair_id not in needed)
    return Picks(_records(table, by_pair), gated, skipped, unused, short)


def _records(table: pa.Table, by_pair: Mapping[str, Sequence[int]]) -> dict[str, list[dict[str, Any]]]:
    taken = table.take([row for rows in by_pair.values() for row in rows]).to_pylist() if by_pair else []
    records = iter(taken)
    return {pair_id: [next(records) for _ in rows] for pair_id, rows in by_pair.items()}


def _refuse_without(run: Run, missing: Collection[str]) -> None:
    if missing:
        raise UsageError(
            f"{len(missing)} pairs of the dataset have no candidates in '{run.folder}': {shown(missing, 'pairs')}: "
            "synthesize from the same --data, --list-file and --subset (and without --limit)"
        )


def _refuse_short(
    run: Run,
    short: Collection[str],
    eligible: Mapping[str, Sequence[int]],
    rows: Mapping[str, Sequence[int]],
    needed: Mapping[str, int],
    gamma: float,
) -> None:
    if not short:
        return
    most = max(needed[pair_id] for pair_id in short)
    counted = {pair_id: (len(eligible[pair_id]), len(rows[pair_id])) for pair_id in short} | _made(run, short)
    few = [name for name, (passed, made) in counted.items() if made < needed[name] or passed >= needed[name]]
    if few:
        found = max(len(rows[pair_id]) for pair_id in few)
        raise UsageError(
            f"gamma {gamma:g} needs K >= {most}, found {found} for {len(few)} pairs: {shown(few, 'pairs')}: "
            f"synthesize with --k {most} or more (and --keep all), or lower --gamma"
        )
    worst = [f"{pair_id} ({passed} of {made} passed the gates)" for pair_id, (passed, made) in counted.items()]
    raise UsageError(
        f"gamma {gamma:g} needs {most} candidates per pair that pass the gates; {len(short)} pairs have fewer: "
        f"{shown(worst, 'pairs')}: loosen the gates with harmonygen select, make more candidates with a larger --k, "
        "lower --gamma, or pass --allow-fewer to take what passed (--pick selected: harmonygen select --count)"
    )


def _made(run: Run, short: Collection[str]) -> dict[str, tuple[int, int]]:
    """Return how many candidates passed the gates, and how many were made, of pairs of a run that keeps not all."""
    if run.plan["settings"].get("keep") == "all":
        return {}
    found: dict[str, tuple[int, int]] = {}
    for part in range(len(run.parts)):
        for pair_id, scores in run.pair_scores(part).items():
            if pair_id in short:
                found[pair_id] = (sum(not score["gate"] for score in scores), len(scores))
    return found
