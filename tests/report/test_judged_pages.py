"""A run that two judges scored: both pages show the score of each, and which of them decided."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from harmonygen.report import write_report, write_review
from harmonygen.report.render import gate_words
from harmonygen.runs.read import Run

sys.path.append(str(Path(__file__).resolve().parents[1] / "fakes"))

from channel_judge import judge_by_channels


@pytest.fixture
def judged(builder, tmp_path: Path, monkeypatch) -> Path:
    """A run of 4 pairs that two judges scored; one of them refuses some candidates alone."""
    return judge_by_channels(builder(tmp_path / "run"), monkeypatch, ("red", "green"), combine="veto", min_score=0.25)


def test_the_report_shows_each_judge_and_who_decided(judged: Path) -> None:
    write_report(judged)
    text, rows = (judged / "report.html").read_text(), Run.open(judged).rows().to_pylist()
    tiles = {
        (int(k), red, green, decided or "")
        for k, red, green, decided in re.findall(
            r'</b> k(\d+).*?<span class="m">red ([\d.]+)</span><span class="m">green ([\d.]+)</span>'
            r'(?:<span class="m">decided by (\S+?)</span>)?',
            text,
        )
    }
    assert tiles == {(row["k"], f"{row['p_red']:.3f}", f"{row['p_green']:.3f}", row["decided_by"]) for row in rows}
    assert {row["decided_by"] for row in rows} >= {"green", "all"}
    assert all(f"Scores of the judge {name}" in text for name in ("red", "green"))
    assert "is the mean of the probabilities that the judges red, green give" in text
    counts = dict(re.findall(r'<span class="what">([\w+-]+)</span><span class="count">(\d+)</span>', text))
    for name in {row["decided_by"] for row in rows} - {""}:
        assert int(counts[name]) == sum(row["decided_by"] == name for row in rows)
    best = re.findall(r'data-best-1="([\d.]+)"', text)
    assert best == [f"{max(r['p_green'] for r in rows if r['pair_id'] == pair):.6f}" for pair in _pairs(rows)]
    assert "the judge green gives it too low a score" in text


def test_the_review_page_holds_each_judge_and_who_decided(judged: Path) -> None:
    write_review(judged)
    text, rows = (judged / "review.html").read_text(), Run.open(judged).rows().to_pylist()
    run = json.loads(re.search(r'<script type="application/json" id="run">(.*?)</script>', text)[1])
    assert run["judges"] == ["red", "green"]
    held = {(pair[0], tile[0]): tile[6:] for pair in run["pairs"] for tile in pair[8]}
    assert held == {
        (row["pair_id"], row["k"]): [[round(row["p_red"], 4), round(row["p_green"], 4)], row["decided_by"]]
        for row in rows
    }
    assert run["gates"]["judge:green"] == gate_words("judge:green") == "the judge green gives it too low a score"
    options = re.search(r'<select name="judge">(.*?)</select>', text)[1]
    assert re.findall(r'value="(\d?)">([^<]+)', options) == [
        ("", "all judges: the mean"),
        ("0", "red"),
        ("1", "green"),
    ]
    deciders = re.search(r'<select name="decider">(.*?)</select>', text)[1]
    assert set(re.findall(r"<option>([^<]+)", deciders)) == {row["decided_by"] for row in rows} - {""}


def test_a_run_of_one_judge_shows_no_judges(run_folder: Path, tmp_path: Path) -> None:
    write_report(run_folder, tmp_path / "r.html")
    write_review(run_folder, tmp_path / "v.html")
    assert "Which judge decided" not in (tmp_path / "r.html").read_text()
    assert 'name="judge"' not in (tmp_path / "v.html").read_text()


def _pairs(rows: list[dict]) -> list[str]:
    return list(dict.fromkeys(row["pair_id"] for row in rows))
