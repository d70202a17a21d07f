"""A reviewer's decisions on a run's candidates: the file that the review page saves and `select` applies.

``decisions.json``: ``{"harmonygen", "folder", "plan_digest", "decisions": [{"pair_id", "k", "decision"}]}``, where a
decision is ``accept`` or ``reject``. Reading is strict: a slip here would put pictures into a data set, or keep them
out, without a word.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import harmonygen
from harmonygen.errors import UsageError, listed
from harmonygen.storage.shards import write_json

Decision = Literal["accept", "reject"]

FILENAME = "decisions.json"
REJECTED = "review:rejected"
"""The reason why a rejected candidate is not selected."""

_FIELDS = ("harmonygen", "folder", "plan_digest", "decisions")
_ROW = {"pair_id", "k", "decision"}
_REMEDY = "export it again from the page of harmonygen review RUN, or of harmonygen report RUN --review"


@dataclass(frozen=True, slots=True)
class Decisions:
    """What was decided of which candidate (pair id, k) of the run that has ``plan_digest``."""

    folder: str
    plan_digest: str
    of: Mapping[tuple[str, int], Decision] = field(default_factory=dict)

    def count(self, decision: Decision) -> int:
        """Return how many candidates were accepted, or rejected."""
        return sum(made == decision for made in self.of.values())


def read_decisions(path: Path) -> Decisions:
    """Read ``decisions.json``.

    Raises:
        UsageError: no such file, or one that is not exactly of the form above; the first fault is named.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read decisions from '{path}' ({error}): {_REMEDY}") from error
    return parse_decisions(content, f"'{path}'")


def parse_decisions(content: bytes, where: str) -> Decisions:
    """Read the content of a ``decisions.json``; ``where`` names it in messages.

    Raises:
        UsageError: it is not exactly of the form above; the first fault is named.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"cannot read decisions from {where} ({error}): {_REMEDY}") from error
    if not isinstance(value, dict) or set(value) != set(_FIELDS):
        found = ", ".join(map(repr, value)) if isinstance(value, dict) else f"a {type(value).__name__}"
        raise UsageError(f"{where} holds no decisions (needs {', '.join(_FIELDS)}; found {found}): {_REMEDY}")
    texts, rows = [value[name] for name in _FIELDS[:3]], value["decisions"]
    if not all(isinstance(text, str) for text in texts) or not isinstance(rows, list):
        raise UsageError(f"{where} holds no decisions: three texts and the list 'decisions' are needed: {_REMEDY}")
    return Decisions(value["folder"], value["plan_digest"], from_rows(rows, where))


def write_decisions(path: Path, decisions: Decisions) -> None:
    """Write ``decisions.json`` under its final name, or nothing.

    Raises:
        StorageError: it cannot be written.
    """
    write_json(path, decisions_json(decisions))


def decisions_json(decisions: Decisions) -> dict[str, Any]:
    """Return what ``decisions.json`` holds."""
    head = {"harmonygen": harmonygen.__version__, "folder": decisions.folder, "plan_digest": decisions.plan_digest}
    return {**head, "decisions": to_rows(decisions.of)}


def from_rows(rows: Sequence[Any], where: str) -> dict[tuple[str, int], Decision]:
    """Return the decisions that rows ``{"pair_id", "k", "decision"}`` hold.

    Raises:
        UsageError: a row of another form, or a candidate decided twice; ``where`` names the rows.
    """
    made: dict[tuple[str, int], Decision] = {}
    for number, row in enumerate(rows, start=1):
        if not _is_row(row):
            raise UsageError(
                f"decision {number} of {where} is {json.dumps(row)[:120]}: a text pair_id, a whole number k from 0 and "
                f"a decision 'accept' or 'reject' are needed, nothing else: {_REMEDY}"
            )
        key = row["pair_id"], row["k"]
        if key in made:
            raise UsageError(f"decision {number} of {where} decides {_name(key)} a second time: {_REMEDY}")
        made[key] = row["decision"]
    return made


def to_rows(decisions: Mapping[tuple[str, int], Decision]) -> list[dict[str, Any]]:
    """Return decisions as rows in order of pair id and k.

    >>> to_rows({("b", 1): "reject", ("a", 2): "accept"})[0]
    {'pair_id': 'a', 'k': 2, 'decision': 'accept'}
    """
    return [{"pair_id": pair_id, "k": k, "decision": made} for (pair_id, k), made in sorted(decisions.items())]


def refuse_foreign(decisions: Decisions, plan_digest: str, candidates: Collection[tuple[str, int]]) -> None:
    """Refuse decisions of another run, or about candidates (pair id, k) that the run does not have.

    Raises:
        UsageError: naming both runs, or the first unknown candidates.
    """
    if decisions.plan_digest != plan_digest:
        raise UsageError(
            f"these decisions are of the run '{decisions.folder}' with plan {decisions.plan_digest or '(none)'}, "
            f"this run's plan is {plan_digest or '(none)'}: give the decisions.json that was exported for this run"
        )
    if unknown := sorted(key for key in decisions.of if key not in candidates):
        pairs = {pair_id for pair_id, _ in candidates}
        raise UsageError(f"the run does not have {_named(unknown, pairs)}: {_REMEDY}")


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or set(row) != _ROW:
        return False
    whole = isinstance(row["k"], int) and not isinstance(row["k"], bool) and row["k"] >= 0
    return whole and isinstance(row["pair_id"], str) and row["decision"] in get_args(Decision)


def _named(unknown: Sequence[tuple[str, int]], pairs: Collection[str]) -> str:
    names = [_name(key) if key[0] in pairs else f"pair '{key[0]}'" for key in unknown]
    return listed(list(dict.fromkeys(names)), most=3)


def _name(key: Iterable[Any]) -> str:
    pair_id, k = key
    return f"candidate {k} of pair '{pair_id}'"
