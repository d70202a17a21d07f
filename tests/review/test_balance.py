"""What the selection lacks: bins are counted row by row, beside the published ones, on the page and in the terminal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harmonygen.data.published import HUMAN_HARMONY, IHARMONY4, bin_of
from harmonygen.review.balance import balance_of
from harmonygen.review.columns import read_columns_of
from harmonygen.review.measured import with_measured
from harmonygen.runs.read import Run
from harmonygen_cli.main import run as command


def test_the_published_figures_are_those_of_the_reference():
    assert (IHARMONY4.counts, sum(IHARMONY4.counts)) == ((3835, 1951, 1618), 7404)
    assert (HUMAN_HARMONY.counts, sum(HUMAN_HARMONY.counts)) == ((26, 323, 2597), 2946)
    counts = {"HCOCO": 4283, "HAdobe5k": 2160, "HFlickr": 828, "Hday2night": 133}
    mean = sum(IHARMONY4.fmse[name] * count for name, count in counts.items()) / 7404
    assert mean == pytest.approx(IHARMONY4.fmse["all"], abs=0.01)


def test_bins_and_changes_are_counted_row_by_row(made_run: Path):
    columns = read_columns_of(Run.look(made_run))
    found = balance_of(columns, columns.selected)
    rows = [row for row in Run.look(made_run).rows().to_pylist() if row["selected"]]
    for each in found.bins:
        inside = [row for row in rows if bin_of(row["fg_ratio"]) == each.name]
        assert (each.count, each.share) == (len(inside), len(inside) / len(rows))
        within = [row for row in rows if each.low <= row["fg_ratio"] <= each.high]
        assert within == inside
    for change in found.changes:
        of = [row["fmse"] for row in rows if change.subset in ("all", row["subset"])]
        assert (change.count, change.fmse) == (len(of), pytest.approx(np.mean(of)))
    assert [change.subset for change in found.changes] == ["all", "HCOCO", "HAdobe5k", "HFlickr", "Hday2night"]


def test_a_bin_lacks_if_it_has_under_half_of_the_published_share(made_run: Path):
    columns = read_columns_of(Run.look(made_run))
    ratios = np.full(columns.rows, 0.5)
    ratios[: columns.rows // 4] = 0.01
    few = replace(columns, values={**columns.values, "fg_ratio": ratios})
    found = balance_of(few, np.ones(columns.rows, bool))
    assert [each.lacks for each in found.bins] == [0.25 < 0.5 * 3835 / 7404, True, False]
    assert [each.name for each in found.lacking] == ["[0, .05)", "[.05, .15)"]
    none = balance_of(few, np.zeros(columns.rows, bool))
    assert (none.selected, none.lacking) == (0, [])


def test_the_terminal_says_what_the_page_says(looked_at, made_run: Path, capsys):
    client, *_ = looked_at
    assert command(["review", str(made_run), "--summary", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    page = client.get("/api/overview")
    assert told["bins"] == page["balance"]["bins"]
    assert told["changes"] == page["balance"]["changes"]
    assert [(each["figure"], each["median"] is None) for each in told["medians"]] == [
        ("fmse", False),
        ("structure", False),
        ("lightness", True),
        ("chroma", True),
        ("contrast", True),
    ]
    assert told["duplicates"] == page["duplicates"]
    for each in page["balance"]["bins"]:
        query = f"scope=all&fg_ratio_min={each['low']!r}&fg_ratio_max={each['high']!r}"
        rows = np.frombuffer(client.ask("GET", f"/api/rows?reviewer=ana&{query}")[2], "<u4")
        selected = read_columns_of(Run.look(made_run)).selected
        assert int(selected[rows].sum()) == each["count"]


def test_a_summary_measures_first_if_it_is_asked_to(run: Path, capsys):
    assert command(["review", str(run), "--measure", "colour", "--summary", "--json"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["measured"] == ["colour"]
    columns, _ = with_measured(Run.look(run), read_columns_of(Run.look(run)))
    contrast = next(each for each in told["medians"] if each["figure"] == "contrast")
    assert contrast["median"] == pytest.approx(np.median(np.abs(columns.values["contrast"][columns.selected])))
    assert "colour: measured" in captured.err
    assert "foreground ratio" in captured.err
    assert command(["review", str(run), "--measure", "size", "--summary"]) == 2
