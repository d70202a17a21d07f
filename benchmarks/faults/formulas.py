"""Formula cells: what a spreadsheet would run in the CSV files that harmonygen writes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from faults.table import Row

FORMULAS = (
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "=cmd|' /C calc'!A0",
    "\t=1+1",
    "\r=1+1",
    '=HYPERLINK("x")',
    "＝1+1",
    " =1",
)
PLAIN = ("HCOCO/c1_2", "a-b", "a=b", "1", "", "été")
SIGNS = "=+-@＝＋－＠"


def rows(place: Path, quick: bool = False) -> Iterator[Row]:
    """Write names that are formulas as `evaluate` writes them, and read them back as a spreadsheet would."""
    import pyarrow as pa
    import pyarrow.csv

    from harmonygen.storage.parquet_cells import plain_texts

    place.mkdir(parents=True)
    table = pa.table({"name": [*FORMULAS, *PLAIN], "x": [-1.5] * (len(FORMULAS) + len(PLAIN))})
    pyarrow.csv.write_csv(plain_texts(table), place / "a.csv")
    with (place / "a.csv").open(newline="", encoding="utf-8") as opened:
        cells = [row["name"] for row in csv.DictReader(opened)]
    run = [text for text in cells[: len(FORMULAS)] if text.strip()[:1] in SIGNS]
    changed = [text for text, cell in zip(PLAIN, cells[len(FORMULAS) :], strict=True) if text != cell]
    wrong = f"; WRONG: {run + changed}" if run or changed else ""
    note = f"an apostrophe before each; other names and numbers as they are{wrong}"
    yield Row("formula cells in per_image.csv", len(FORMULAS), len(FORMULAS) - len(run) - len(changed), note=note)
