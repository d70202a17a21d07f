"""The result of a review, as files for others: `decisions.json`, and a table of all that was said."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.csv as pa_csv

from harmonygen.review.columns import JUDGES
from harmonygen.review.ledger import Desk
from harmonygen.runs.decisions import Decisions, decisions_json
from harmonygen.storage.parquet_cells import plain_texts

_CSV = ("pair_id", "k", "reviewer", "decision", "tags", "comment", *JUDGES, "gate")


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
        "gate": ["" if row is None else desk.columns.gates[desk.columns.gate[row]] for row in rows],
    }
    columns: dict[str, pa.Array] = {name: pa.array(values, pa.string()) for name, values in texts.items()}
    columns["k"] = pa.array([key[1] for _, key, _ in said], pa.int32())
    for name in JUDGES:
        scores = [None if row is None else float(desk.columns.values[name][row]) for row in rows]
        columns[name] = pa.array(scores, pa.float64())
    table = io.BytesIO()
    pa_csv.write_csv(plain_texts(pa.table(columns).select(list(_CSV))), table)
    return table.getvalue()
