"""A run that several judges scored: columns, curves, limits, counts and `why` know each of them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from harmonygen.review.limits import bounds_of, limits_curve, limits_facts, write_recipe
from harmonygen.review.query import Query
from harmonygen.review.session import Session
from harmonygen.review.why import explain
from harmonygen.runs.read import Run
from harmonygen.settings import resolve
from harmonygen.synthesis import reselect as module
from harmonygen.synthesis.panel import Panel
from harmonygen.synthesis.reselect import reselect
from harmonygen.synthesis.settings import SelectSettings


class Channel:
    """A judge: how bright one channel of the foreground is."""

    def __init__(self, channel: int) -> None:
        self.channel, self.digest = channel, f"channel-{channel}"

    def __call__(self, composites, mask) -> list[float]:
        return [float(composite[mask][:, self.channel].mean() / 255) for composite in composites]


@pytest.fixture
def judged(run: Path, monkeypatch) -> Path:
    """A run that three judges scored."""
    monkeypatch.setattr(module, "_sum_up", lambda *_: None)
    panel = Panel({"red": Channel(0), "green": Channel(1), "blue": Channel(2)})
    reselect(run, scorer=panel, scorer_digest=panel.digest, combine="veto", min_score=0.3)
    return run


def test_each_judge_has_a_column_and_those_who_may_refuse_a_limit(judged: Path):
    session = Session(judged)
    session.load()
    rows = Run.open(judged).rows().to_pylist()
    assert session.columns.judges == ("red", "green", "blue")
    for name in ("red", "green", "blue"):
        assert session.columns.values[f"p_{name}"].tolist() == [row[f"p_{name}"] for row in rows]
    fields = {limit["gate"]: limit["value"] for limit in limits_facts(session)["limits"]}
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
