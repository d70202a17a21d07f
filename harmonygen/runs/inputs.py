"""What a job was given: which pairs, and how many of them may be bad."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harmonygen.errors import TooManyBadInputsError
from harmonygen.records import Pair, Quarantined
from harmonygen.runs.job_folder import QUARANTINE
from harmonygen.seeds import digest_of_bytes
from harmonygen.storage.shards import quarantine_table, write_parquet


def allowance(fraction: float, pairs: int) -> int:
    """Return how many inputs may be bad: the fraction of all pairs, but never less than one unless it is 0.

    >>> allowance(0.01, 15), allowance(0.01, 1000), allowance(0, 15)
    (1, 10, 0)
    """
    return max(1, int(fraction * pairs)) if fraction else 0


def check_bad(bad: Sequence[Quarantined], allowed: int, pairs: int, out: Path) -> None:
    """If more inputs are bad than allowed, write ``quarantine.parquet`` and raise TooManyBadInputsError."""
    if len(bad) > allowed:
        write_parquet(out / QUARANTINE, quarantine_table(bad))
        refuse_bad(bad, allowed, pairs, f"what was wrong is in '{out / QUARANTINE}', ")


def refuse_bad(
    bad: Sequence[Quarantined], allowed: int, pairs: int, where: str = "", expected: int | None = None
) -> None:
    """Raise TooManyBadInputsError if more inputs are bad, or more are expected from a sample, than allowed."""
    count = max(len(bad), expected or 0)
    if count > allowed:
        number = f"{count}" if count == len(bad) else f"by a sample about {count}"
        raise TooManyBadInputsError(
            f"{number} of {pairs} inputs could not be used, {allowed} are allowed; {where}first {bad[0].message!r}: "
            "mend them, or repeat the command with a larger --max-bad-fraction"
        )


def inputs_digest(pairs: Sequence[Pair]) -> str:
    """Return a digest over every pair's id and sources: files by name, so that a moved data set still resumes."""
    return digest_of_bytes(
        f"{pair.pair_id}\0{Path(str(pair.real)).name}\0{Path(str(pair.mask)).name}\n".encode() for pair in pairs
    )
