"""The table of results, and what was wrong."""

from __future__ import annotations

from collections.abc import Sequence

from crash_states.trial import Result

HEAD = ("command", "operations", "states", "tried", "recovered", "differing", "torn", "seconds")


def header() -> str:
    """Return the table's head in Markdown."""
    return "| " + " | ".join(HEAD) + " |\n|---|" + "---:|" * (len(HEAD) - 1)


def line(result: Result) -> str:
    """Return a row of the table in Markdown."""
    counts = (result.operations, result.states, result.tried, result.recovered, result.differing, result.torn)
    cells = (result.command, *counts, f"{result.seconds:.0f}")
    return "| " + " | ".join(map(str, cells)) + " |" + ("" if is_good(result) else " <- WRONG")


def is_good(result: Result) -> bool:
    """Tell whether every state was recovered and no file was torn."""
    return result.tried > 0 and not result.differing and not result.torn


def faults(result: Result, most: int = 8) -> list[str]:
    """Say the most frequent faults, each with the first state that had it."""
    return [
        f"{result.command}: {count} x {fault}; first: {result.first[fault]}"
        for fault, count in result.faults.most_common(most)
    ]


def together(shares: Sequence[Result]) -> Result:
    """Add up the shares of one command; they ran side by side."""
    whole = Result(shares[0].command, shares[0].operations, shares[0].states)
    for share in shares:
        whole.tried += share.tried
        whole.recovered += share.recovered
        whole.torn += share.torn
        whole.seconds = max(whole.seconds, share.seconds)
        whole.faults += share.faults
        whole.first = {**share.first, **whole.first}
    return whole
