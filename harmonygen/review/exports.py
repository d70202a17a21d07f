"""The result of a review, as files for others: `decisions.json`, and a table of all that was said."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.csv as pa_csv

from harmonygen.review.columns import JUDGES, Columns
from harmonygen.review.ledger import Desk
from harmonygen.runs.decisions import Decisions, decisions_json
from harmonygen.runs.tables import DECIDED_BY
from harmonygen.storage.parquet_cells import plain_texts

_SAID = ("pair_id", "k", "reviewer", "decision", "tags", "comment")


def decisions_file(desk: Desk, reviewers: Sequence[str] | None = None) -> bytes:
    """Return the content of a `decisions.json`: the decisions that count, or those of these reviewers alone."""
    made = Decisions(desk.folder.resolve().name, desk.digest, desk.agreed(reviewers))
    return (json.dumps(decisions_json(made), indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def decisions_csv(desk: Desk) -> bytes:
    """Return a table of what each reviewer said about which candidate; no cell is a formula."""
    said = [(name, *each) for name in desk.reviewers for each in sorted(desk.log(name).marks.of.items())]
    marks = [mark for _, _, mark in said]
    rows = [desk.columns.row_of(*key) for _, key, _ in said]
    texts = {
        "pair_id": [key[0] for _, key, _ in said],
        "reviewer": [name for name, _, _ in said],
        "decision": [mark.decision for mark in marks],
        "tags": [" ".join(mark.tags) for mark in marks],
        "comment": [mark.comment for mark in marks],
    }
    columns: dict[str, pa.Array] = {name: pa.array(values, pa.string()) for name, values in texts.items()}
    columns["k"] = pa.array([key[1] for _, key, _ in said], pa.int32())
    table = io.BytesIO()
    pa_csv.write_csv(
        plain_texts(pa.table({**{name: columns[name] for name in _SAID}, **_judged(desk.columns, rows)})), table
    )
    return table.getvalue()


def _judged(held: Columns, rows: Sequence[int | None]) -> dict[str, pa.Array]:
    """Return the scores, the gate and who of several judges decided of some rows, None where there is no such row."""
    found: dict[str, pa.Array] = {}
    for name in (*JUDGES, *(f"p_{judge}" for judge in held.judges)):
        found[name] = pa.array([None if row is None else float(held.values[name][row]) for row in rows], pa.float64())
    coded = {"gate": (held.gates, held.gate)} | ({DECIDED_BY: (held.deciders, held.decider)} if held.judges else {})
    for name, (texts, codes) in coded.items():
        found[name] = pa.array(["" if row is None else texts[codes[row]] for row in rows], pa.string())
    return found
