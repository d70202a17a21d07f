"""decisions.json: what is read is what was written, and nothing else is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygen.errors import UsageError
from harmonygen.runs.decisions import Decisions, from_rows, read_decisions, refuse_foreign, to_rows, write_decisions

KEYS = st.tuples(st.text(max_size=8), st.integers(0, 99))
MADE = st.dictionaries(KEYS, st.sampled_from(["accept", "reject"]), max_size=12)
ROW = {"pair_id": "a", "k": 3, "decision": "accept"}
HEAD = {"harmonygen": "0.1.0", "folder": "run", "plan_digest": "12ab"}


@given(MADE)
def test_rows_give_back_the_decisions(made):
    assert from_rows(to_rows(made), "x") == made


def test_a_file_gives_back_the_decisions_and_is_of_the_agreed_form(tmp_path: Path):
    decisions = Decisions("run", "12ab", {("b/ü", 0): "reject", ("a", 12): "accept", ("b/ü", 1): "reject"})
    write_decisions(tmp_path / "d.json", decisions)
    assert read_decisions(tmp_path / "d.json") == decisions
    assert (decisions.count("accept"), decisions.count("reject")) == (1, 2)
    value = json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))
    assert list(value) == ["harmonygen", "folder", "plan_digest", "decisions"]
    assert value["decisions"][0] == {"pair_id": "a", "k": 12, "decision": "accept"}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("{", "cannot read"),
        ("[]", "found a list"),
        ('{"decisions": []}', "found 'decisions'"),
        (json.dumps({**HEAD, "decisions": [], "more": 1}), "'more'"),
        (json.dumps({**HEAD, "decisions": {}}), "the list 'decisions'"),
        (json.dumps({**HEAD, "folder": 3, "decisions": []}), "three texts"),
    ],
)
def test_a_malformed_file_is_refused_with_what_was_found(tmp_path: Path, content: str, found: str):
    path = tmp_path / "d.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=found) as caught:
        read_decisions(path)
    assert str(path) in str(caught.value)
    assert "export it again" in str(caught.value)


@pytest.mark.parametrize(
    "row",
    [
        "a",
        {},
        {**ROW, "decision": "maybe"},
        {**ROW, "decision": ["accept"]},
        {**ROW, "k": -1},
        {**ROW, "k": "3"},
        {**ROW, "k": 3.0},
        {**ROW, "k": True},
        {**ROW, "pair_id": None},
        {**ROW, "note": ""},
        {"pair_id": "a", "decision": "accept"},
    ],
)
def test_a_malformed_row_is_refused_by_its_number(row):
    with pytest.raises(UsageError, match=r"decision 2 of 'd\.json' is"):
        from_rows([{**ROW, "k": 0}, row], "'d.json'")


def test_a_candidate_decided_twice_is_refused():
    with pytest.raises(UsageError, match="decision 3 of x decides candidate 3 of pair 'a' a second time"):
        from_rows([ROW, {**ROW, "k": 4}, {**ROW, "decision": "reject"}], "x")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="No such file"):
        read_decisions(tmp_path / "none.json")


def test_decisions_of_another_run_or_of_unknown_candidates_are_refused():
    candidates = {("a", 0), ("a", 1)}
    made = Decisions("there", "12ab", {("a", 1): "accept"})
    refuse_foreign(made, "12ab", candidates)
    with pytest.raises(UsageError, match="of the run 'there' with plan 12ab, this run's plan is 99"):
        refuse_foreign(made, "99", candidates)
    unknown = Decisions("there", "12ab", {("a", 7): "accept", ("b", 0): "reject", ("b", 1): "reject"})
    with pytest.raises(UsageError, match="does not have candidate 7 of pair 'a', pair 'b': export"):
        refuse_foreign(unknown, "12ab", candidates)
