"""Several judges of one run: how their scores become a ranking, which of them decided, and how a run stores it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from harmonygen.errors import UsageError
from harmonygen.plugins.judges import named_judges
from harmonygen.records import Candidate, Dropped, GateValues, Scored, Selected
from harmonygen.runs.read import Run
from harmonygen.synthesis.combine import Combining
from harmonygen.synthesis.panel import Panel, mean_of
from harmonygen.synthesis.reselect import reselect
from harmonygen.synthesis.select import select
from harmonygen.synthesis.settings import JudgeSettings
from harmonygen.synthesis.synthesize import synthesize

SCORES = {"strict": (0.1, 0.4, 0.55, 0.6), "mild": (0.9, 0.8, 0.95, 0.7)}


def scored(gates=("", "", "", ""), **columns):
    columns = columns or SCORES
    rows = list(zip(*([(name, score) for score in column] for name, column in columns.items()), strict=True))
    return [
        Scored(Candidate("a", k, k), mean_of(judged), GateValues(0, 100, 1, 0, (10.0 * k, 0, 0)), gate, judged)
        for k, (judged, gate) in enumerate(zip(rows, gates, strict=True))
    ]


def outcome(how, rule="max-composite", least=0.5, count=1, items=None):
    """Return k of the selected in rank order, and who decided of each k."""
    made = select(items or scored(), rule, count, 0, None, Combining(how, least))
    chosen = sorted((each for each in made if isinstance(each, Selected)), key=lambda each: each.rank)
    return [each.scored.candidate.k for each in chosen], [each.decided_by for each in made]


@pytest.mark.parametrize(
    ("how", "selected", "deciders"),
    [
        ("mean", [2], ["all", "all", "mild", "mild"]),
        ("mean-rank", [2], ["all", "all", "mild", "mild"]),
        ("all-above", [3], ["strict", "strict", "strict", "strict"]),
        ("veto", [3], ["all", "all", "strict", "strict"]),
    ],
)
def test_each_way_of_combining_ranks_and_names_who_decided(how, selected, deciders):
    assert outcome(how) == (selected, deciders)


def test_all_above_drops_what_one_judge_refuses_by_its_gate():
    made = select(scored(), "max-composite", 4, 0, None, Combining("all-above", 0.5))
    assert [each.reason for each in made if isinstance(each, Dropped)] == ["gate:judge:strict"] * 2
    assert [each.scored.failed_gate for each in made] == ["judge:strict", "judge:strict", "", ""]


def test_of_several_judges_that_refuse_the_strictest_is_named():
    items = scored(a=(0.3,) * 4, b=(0.2,) * 4)
    assert outcome("all-above", items=items) == ([], ["b"] * 4)


def test_the_first_judge_ranks_and_never_vetoes():
    assert outcome("veto", least=0.75) == ([2], ["all", "all", "all", "mild"])
    first = scored(low=(0.1, 0.2, 0.3, 0.4), high=(0.9, 0.9, 0.9, 0.1))
    assert outcome("veto", items=first) == ([2], ["low", "all", "low", "high"])


def test_one_scale_is_not_another_for_ranks():
    """A judge whose scores hardly differ counts as much as one whose scores differ much."""
    items = scored(wide=(0.9, 0.1, 0.5, 0.2), narrow=(0.500, 0.503, 0.502, 0.501))
    assert outcome("mean", items=items)[0] == [0]
    assert outcome("mean-rank", items=items)[0] == [2]
    assert outcome("mean-rank", items=items)[1] == ["narrow", "wide", "mean-rank", "all"]


def test_a_gate_chance_and_a_review_are_nobodys_decision():
    assert outcome("mean", items=scored(("clipped", "", "", "")))[1][0] == ""
    assert set(outcome("mean", rule="random")[1]) == {""}
    made = select(scored(), "max-composite", 1, 0, {3: "accept"}, Combining("mean"))
    assert [each.decided_by for each in made if isinstance(each, Selected)] == [""]


@pytest.mark.parametrize("rule", ["max-composite", "random", "quantile", "diverse"])
def test_one_judge_selects_as_it_did(rule):
    alone = [replace(item, judged=(), p_composite=item.judged[0][1]) for item in scored()]
    as_panel = [replace(item, judged=item.judged[:1], p_composite=item.judged[0][1]) for item in scored()]
    for how in ("mean", "veto"):
        made, same = (select(items, rule, 2, 7, None, Combining(how, 0)) for items in (alone, as_panel))
        assert [type(each) for each in made] == [type(each) for each in same]
        assert {each.decided_by for each in made} == {""}


@pytest.mark.parametrize("how", ["mean", "mean-rank", "all-above", "veto"])
def test_the_order_of_candidates_does_not_matter(how):
    items = scored()
    whole = dict(zip(range(4), select(items, "max-composite", 2, 0, None, Combining(how)), strict=True))
    turned = select(items[::-1], "max-composite", 2, 0, None, Combining(how))
    assert [whole[each.scored.candidate.k] for each in turned] == turned


def test_a_candidate_without_a_score_of_one_judge_is_not_selected():
    items = scored(a=(float("nan"), 0.4, 0.5, 0.6), b=(0.99, 0.1, 0.1, 0.1))
    for how in ("mean", "mean-rank", "veto"):
        made = select(items, "max-composite", 4, 0, None, Combining(how, 0))
        assert made[0] == Dropped(replace(items[0], failed_gate="no-score"), "gate:no-score")


def test_judges_have_names_of_their_own():
    judges = "starter", "x=classifier:a/b-c", "classifier:a/b-c", "one.two:Three"
    named = named_judges(judges, {"x": {"y": 1}})
    assert [(each.name, each.spec) for each in named] == [
        ("starter", "starter"),
        ("x", "classifier:a/b-c"),
        ("b_c", "classifier:a/b-c"),
        ("two", "one.two:Three"),
    ]
    assert named[1].settings == {"y": 1}
    assert [each.name for each in JudgeSettings(classifier="models/mine").judges()] == ["mine"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"judge": ("starter", "starter")}, "two judges are called 'starter': name them"),
        (
            {"judge": ("starter",), "judge_settings": {"x": {}}},
            "judge_settings are for 'x', but the judges are starter",
        ),
        ({"judge": ("starter",), "judge_settings": {"starter": 3}}, "judge_settings.starter is not a table"),
        (
            {"judge": ("starter",), "judge_settings": {"starter": {"y": 3}}},
            "'classifier:starter': unknown key 'y'",
        ),
    ],
)
def test_judges_that_cannot_be_told_apart_are_refused(given, told):
    with pytest.raises(UsageError, match=told):
        JudgeSettings(**given).judges()


def test_a_classifier_and_judges_are_two_ways():
    with pytest.raises(ValidationError, match="give it as --judge too"):
        JudgeSettings(judge=("starter",), classifier="mine")


# A run


def bright(composites, mask):
    return [float(composite[mask].mean() / 255) for composite in composites]


def dark(composites, mask):
    return [1 - score for score in bright(composites, mask)]


@pytest.fixture
def run(settings_of):
    settings = settings_of(classifier="starter", combine="veto", min_score=0.0)
    synthesize(settings, judge={"bright": bright, "dark": dark})
    return settings.out


def table_of(run):
    return Run.open(run).to_pandas()


def test_every_judge_has_a_column_and_the_summary_counts_them(run, ellipse):
    rows = table_of(run)
    assert np.allclose(rows.p_bright + rows.p_dark, 1)
    assert np.allclose(rows.p_composite, 0.5)
    best = rows.loc[rows.groupby("pair_id").p_bright.idxmax()]
    assert (best.selected | (best.gate != "")).all()
    assert set(rows.decided_by[rows.selected]) <= {"bright", "all"}
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary["judges"]) == {"bright", "dark"}
    assert sum(summary["decided_by"].values()) <= summary["candidates"]
    scores = next(Run.open(run).scores())
    assert {"p_bright", "p_dark", "decided_by"} <= scores.keys()


def test_select_combines_in_another_way_without_scoring(run):
    before = table_of(run)
    reselect(run, combine="all-above", min_score=0.45)
    after = table_of(run)
    low = (before.p_bright < 0.45) | (before.p_dark < 0.45)
    gated = after.gate.str.startswith("judge:")
    assert (gated == (low & (before.gate == ""))).all()
    assert not after.usable[gated].any()
    assert json.loads((run / "selection.json").read_text())["combine"] == "all-above"
    assert json.loads((run / "summary.json").read_text())["selection"]["min_score"] == 0.45
    reselect(run, combine="veto", min_score=0.0)
    assert table_of(run).equals(before)


def test_score_brings_judges_in_and_takes_them_away(run, finished_run, tmp_path):
    panel = Panel({"third": Judging(bright, "3"), "bright": Judging(bright, "b")})
    reselect(run, scorer=panel, scorer_digest=panel.digest, combine="mean")
    assert [name for name in table_of(run).columns if name.startswith("p_")] == ["p_composite", "p_third", "p_bright"]
    one = Judging(dark, "d")
    reselect(run, scorer=one, scorer_digest="d")
    rows = table_of(run)
    assert [name for name in rows.columns if name.startswith("p_") or name == "decided_by"] == ["p_composite"]
    names = [pq.read_schema(path).names for path in sorted((run / "candidates").glob("*.parquet"))]
    assert names == [pq.read_schema(path).names for path in sorted((finished_run / "candidates").glob("*.parquet"))]
    with pytest.raises(UsageError, match="are for several judges and the run has one"):
        reselect(run, combine="mean")


class Judging:
    def __init__(self, scores, digest):
        self.scores, self.digest = scores, digest

    def __call__(self, composites, mask):
        return self.scores(composites, mask)


def test_a_scoring_that_was_stopped_is_finished_by_the_same_command(run):
    class Stops(Judging):
        calls = 0

        def __call__(self, composites, mask):
            Stops.calls += 1
            if Stops.calls == 3:
                raise KeyboardInterrupt
            return self.scores(composites, mask)

    panel = Panel({"new": Stops(bright, "n"), "dark": Judging(dark, "d")})
    with pytest.raises(KeyboardInterrupt):
        reselect(run, scorer=panel, scorer_digest=panel.digest)
    with pytest.raises(UsageError, match="half done"):
        Run.open(run)
    with pytest.raises(UsageError, match="scores of another classifier"):
        reselect(run, rule="diverse")
    reselect(run, scorer=panel, scorer_digest=panel.digest)
    rows = table_of(run)
    assert len(rows) == 24
    assert np.allclose(rows.p_new + rows.p_dark, 1)
