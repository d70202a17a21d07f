"""A run that several judges scored: columns, curves, limits, counts and `why` know each of them."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

import numpy as np
import pytest
from channel_judge import judge_by_channels

from harmonygen.errors import UsageError
from harmonygen.review.exports import decisions_csv
from harmonygen.review.limits import bounds_of, limits_curve, limits_facts, write_recipe
from harmonygen.review.query import Query
from harmonygen.review.session import Session
from harmonygen.review.why import explain
from harmonygen.runs.read import Run
from harmonygen.settings import resolve
from harmonygen.synthesis.reselect import reselect
from harmonygen.synthesis.settings import SelectSettings
from harmonygen_cli.main import run as command


@pytest.fixture
def judged(run: Path, monkeypatch) -> Path:
    """A run that three judges scored."""
    return judge_by_channels(run, monkeypatch, ("red", "green", "blue"), combine="veto", min_score=0.3)


def test_each_judge_has_a_column_and_those_who_may_refuse_a_limit(judged: Path):
    session = Session(judged)
    session.load()
    rows = Run.open(judged).rows().to_pylist()
    assert session.columns.judges == ("red", "green", "blue")
    for name in ("red", "green", "blue"):
        assert session.columns.values[f"p_{name}"].tolist() == [row[f"p_{name}"] for row in rows]
    fields = {limit["gate"]: limit["value"] for limit in limits_facts(session, {})["limits"]}
    assert {gate: value for gate, value in fields.items() if gate.startswith("judge:")} == {
        "judge:green": 0.3,
        "judge:blue": 0.3,
    }
    drawn = limits_curve(session, "judge:blue", {"min_score": "0.4"})
    inside, outside = ([each["value"] for each in drawn[side]] for side in ("inside", "outside"))
    assert min(inside, default=1) >= 0.4 > max(outside, default=0)
    query = Query.parse({"p_blue_min": "0.5", "sort": "-p_green", "scope": "all"}, session.columns.numbers)
    found = session.rows(query, "ana")
    assert len(found) == np.count_nonzero(session.columns.values["p_blue"] >= 0.5)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("how", ["veto", "all-above", "mean-rank"])
def test_select_with_the_recipe_gives_the_count_of_the_page(how, seed, judged: Path):
    reselect(judged, combine=how)
    drawn, session = random.Random(seed), Session(judged)
    session.load()
    session.say("ana", drawn.sample(range(240), 20), {"decision": "accept"})
    session.say("ana", drawn.sample(range(240), 20), {"decision": "reject"})
    given = {"min_score": repr(drawn.random() / 2), "min_fmse": repr(drawn.uniform(0, 900))}
    said = write_recipe(session, given)
    settings = resolve(SelectSettings, said["path"])
    result = reselect(
        judged, settings.rule, settings.gates, settings.count, combine=settings.combine, min_score=settings.min_score
    )
    assert result.selected == said["selected"]
    session.renew()
    assert np.count_nonzero(~session.columns.failed()) == said["passed"]
    assert bounds_of(session, {}).combining.how == how
    standing = session.desk.standing("ana")
    assert (standing | ~session.columns.selected).all()


def test_why_tells_each_judge_and_its_limit(judged: Path):
    rows = Run.open(judged).rows().to_pylist()
    row = next(row for row in rows if row["gate"].startswith("judge:"))
    readings = {each.gate: each for each in explain(judged, row["pair_id"]).readings(row["k"])}
    refused = readings[row["gate"]]
    assert (refused.kept, refused.limit) == (False, 0.3)
    assert refused.value == row[refused.column] < 0.3


def test_the_app_is_told_each_judge_and_who_decided(judged: Path):
    session = Session(judged)
    session.load()
    facts, rows = session.facts("ana"), Run.open(judged).rows().to_pylist()
    assert (facts["judges"], set(facts["deciders"])) == (
        ("red", "green", "blue"),
        {row["decided_by"] for row in rows} - {""},
    )
    for pair in session.pairs(range(0, 240, 6), "ana"):
        for made in pair["candidates"]:
            row = rows[made["row"]]
            wanted = {name: row[name] for name in ("decided_by", "p_red", "p_green", "p_blue")}
            assert {name: made[name] for name in wanted} == wanted


def test_who_decided_can_be_filtered_by(judged: Path):
    session = Session(judged)
    session.load()
    rows = Run.open(judged).rows().to_pylist()
    for decider in session.facts("ana")["deciders"]:
        found = session.rows(Query.parse({"judge": decider, "scope": "all"}, session.columns.numbers), "ana")
        assert found.tolist() == [number for number, row in enumerate(rows) if row["decided_by"] == decider] != []
    assert not len(session.rows(Query.parse({"judge": "nobody", "scope": "all"}), "ana"))


def test_the_table_of_decisions_has_each_judge(judged: Path):
    session = Session(judged)
    session.load()
    row = next(number for number, by in enumerate(session.columns.decider) if by)
    session.say("ana", [row], {"decision": "accept"})
    (line,) = csv.DictReader(io.StringIO(decisions_csv(session.desk).decode()))
    made = Run.look(judged).rows().to_pylist()[row]
    assert (float(line["p_green"]), float(line["p_composite"])) == (made["p_green"], made["p_composite"])
    assert line["decided_by"] == made["decided_by"] != ""


def test_judges_can_be_combined_in_another_way_on_the_page(judged: Path):
    session = Session(judged)
    session.load()
    given = {"combine": "all-above", "min_score": "0.4"}
    facts = limits_facts(session, {"combine": "all-above"})
    assert [each["gate"] for each in facts["limits"]][-3:] == ["judge:red", "judge:green", "judge:blue"]
    assert (facts["combine"], facts["combine_in_force"]) == ("all-above", "veto")
    assert (facts["pairs"], facts["candidates"]) == (40, 240)
    assert len(limits_facts(session, {"combine": "mean"})["limits"]) == len(facts["limits"]) - 3
    said = write_recipe(session, given)
    settings = resolve(SelectSettings, said["path"])
    assert settings.combine == "all-above"
    result = reselect(
        judged, settings.rule, settings.gates, settings.count, combine=settings.combine, min_score=settings.min_score
    )
    assert result.selected == said["selected"]
    with pytest.raises(UsageError, match="combine"):
        limits_facts(session, {"combine": "loudest"})


def test_why_says_who_decided(judged: Path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "220")
    row = next(row for row in Run.open(judged).rows().to_pylist() if row["decided_by"])
    assert command(["why", str(judged), row["pair_id"]]) == 0
    said = capsys.readouterr().err
    assert "decided by" in said
    assert all(f"judge {name}" in said for name in ("red", "green", "blue"))
    assert "veto, least score 0.3" in said
    (line,) = [line for line in said.splitlines() if str(row["seed"]) in line]
    assert row["decided_by"] in line
