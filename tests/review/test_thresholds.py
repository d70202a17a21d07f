"""The page's counts are those of `select`; its curves and examples are what brute force finds."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest

from harmonygen.errors import UsageError
from harmonygen.records import GateValues
from harmonygen.review.columns import SHIFT, read_columns_of
from harmonygen.review.limits import bounds_of, counted, limits_curve, write_recipe
from harmonygen.review.session import Session
from harmonygen.review.thresholds import EXAMPLES, LIMITS, Bounds, bounds_from, passing, recipe_text
from harmonygen.runs.read import Run
from harmonygen.settings import resolve
from harmonygen.synthesis import reselect as module
from harmonygen.synthesis.gates import first_failure
from harmonygen.synthesis.reselect import reselect
from harmonygen.synthesis.settings import GateSettings, SelectSettings


def random_limits(seed: int, columns) -> dict[str, str]:
    """Some limits, each at a value that a candidate has, or between."""
    drawn = random.Random(seed)
    found = {}
    for limit in LIMITS:
        if drawn.random() < 0.6 and limit.column != "drift":
            value = float(drawn.choice(columns.values[limit.column]))
            value *= drawn.choice([1, 1, drawn.uniform(0.8, 1.2)])
            found[limit.field] = repr(min(max(value, 0.0), 1.0 if limit.column != "fmse" else 1e9))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_select_with_the_recipe_gives_the_count_of_the_page(seed, run: Path, monkeypatch):
    monkeypatch.setattr(module, "_sum_up", lambda *_: None)  # the report's pictures
    session = Session(run)
    session.load()
    drawn = random.Random(1000 + seed)
    for name in ("ana", "bo")[: seed % 3]:
        for decision in ("accept", "reject"):
            session.say(name, drawn.sample(range(session.columns.rows), 30), {"decision": decision})
    said = write_recipe(session, random_limits(seed, session.columns))
    settings = resolve(SelectSettings, said["path"])
    result = reselect(run, settings.rule, settings.gates, settings.count, settings.seed)
    assert result.selected == said["selected"]
    assert result.unfilled == session.columns.pairs - said["pairs"]
    session.renew()
    assert np.count_nonzero(~session.columns.failed()) == said["passed"]
    assert bounds_of(session, {}).gates == settings.gates


def test_the_gates_on_columns_are_the_gates_on_candidates(made_run: Path):
    columns = read_columns_of(Run.look(made_run))
    for seed in range(10):
        bounds = bounds_from(random_limits(seed, columns), Bounds(GateSettings()))
        gates, found = bounds.gates, passing(columns, bounds).all_but()
        for row in range(0, columns.rows, 3):
            measured = [float(columns.values[name][row]) for name in ("clipped", "fmse", "structure", "drift", *SHIFT)]
            values = GateValues(*measured[:4], (measured[4], measured[5], measured[6]))
            assert found[row] == (not first_failure(values, float(columns.values["p_composite"][row]), gates))


def test_a_limit_stands_for_each_gate_and_field():
    assert {limit.field for limit in LIMITS} == set(GateSettings.model_fields)
    values = GateValues(0.1, 50, 0.9, 0.0)
    worse = {"clipped": 1.0, "fmse": 60000.0, "structure": -1.0, "drift": 1.0}
    for limit in LIMITS:
        bad = 0.0 if limit.field == "min_fmse" else worse.get(limit.column)
        changed = values if bad is None else dataclasses.replace(values, **{limit.column: bad})
        score, gates = (0.5, GateSettings(min_p_composite=0.6)) if bad is None else (0.5, GateSettings())
        assert first_failure(changed, score, gates) == limit.gate


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.field)
def test_a_curve_counts_what_passes_at_each_value(limit, made_run: Path):
    session = Session(made_run)
    session.load()
    drawn = limits_curve(session, limit.gate, {})
    assert drawn["x"] == sorted(drawn["x"])
    for x, count in list(zip(drawn["x"], drawn["count"], strict=True))[::17]:
        if limit.column == "drift" or (limit.column != "fmse" and not -1 <= x <= 1):
            continue
        assert count == counted_passed(session, {limit.field: repr(x)}), x


def counted_passed(session: Session, given: dict[str, str]) -> int:
    return counted(session, bounds_of(session, given)).passed


def test_examples_lie_on_the_two_sides_of_a_limit_nearest_first(made_run: Path):
    session = Session(made_run)
    session.load()
    given = {"min_fmse": "500"}
    drawn = limits_curve(session, "fmse-low", given)
    inside, outside = ([each["value"] for each in drawn[side]] for side in ("inside", "outside"))
    assert (len(inside), len(outside)) == (EXAMPLES, EXAMPLES)
    assert inside == sorted(inside)
    assert min(inside) >= 500 > max(outside)
    assert outside == sorted(outside, reverse=True)
    columns = session.columns
    others = passing(columns, bounds_of(session, given)).all_but("fmse-low")
    assert sorted(columns.values["fmse"][others & (columns.values["fmse"] >= 500)])[:EXAMPLES] == inside


def test_a_recipe_gives_back_its_numbers_and_refuses_what_is_none(tmp_path: Path, made_run: Path):
    gates = GateSettings(min_fmse=1e-05, max_fmse=123456.789, min_structure=0.1 + 0.2, min_p_composite=1 / 3)
    (tmp_path / "r.toml").write_text(recipe_text("diverse", 3, Bounds(gates)))
    settings = resolve(SelectSettings, str(tmp_path / "r.toml"))
    assert (settings.rule, settings.count, settings.gates) == ("diverse", 3, gates)
    session = Session(made_run)
    for given, said in (
        ({"max_clipped": "x"}, "number"),
        ({"max_clipped": "2"}, "max_clipped"),
        ({"max_cliped": "1"}, "max_clipped"),
    ):
        with pytest.raises(UsageError, match=said):
            bounds_of(session, given)
