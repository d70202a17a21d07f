"""Columns, filters and orders in memory are what the run's rows give one by one; and how reviewers agree."""

from __future__ import annotations

import math
import random
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from harmonygen.errors import UsageError
from harmonygen.human_harmony.rows import margins
from harmonygen.records import Selected
from harmonygen.review import column_store
from harmonygen.review.agreement import agreements, kappa
from harmonygen.review.columns import NUMBERS, read_columns_of
from harmonygen.review.query import Query, mask_of, order_of
from harmonygen.review.session import Session
from harmonygen.review.within_pair import margins_of
from harmonygen.runs.read import Run
from harmonygen.synthesis import reselect as reselect_module
from harmonygen.synthesis.reselect import reselect
from harmonygen.synthesis.select import select


@pytest.fixture(scope="module")
def session(made_run: Path) -> Session:
    """The run of 40 pairs; nothing is written."""
    found = Session(made_run)
    found.load()
    return found


def test_columns_are_the_rows_of_the_run(made_run: Path):
    columns = read_columns_of(Run.look(made_run))
    rows = Run.look(made_run).rows().to_pylist()
    assert (columns.rows, columns.pairs, columns.whole) == (240, 40, True)
    for number, row in enumerate(rows):
        assert columns.key_of(number) == (row["pair_id"], row["k"])
        assert columns.row_of(row["pair_id"], row["k"]) == number
        for name in ("p_composite", "fmse", "structure", "clipped", "drift", "fg_ratio", "shift_g"):
            assert columns.values[name][number] == row[name]
        pair = int(columns.pair[number])
        assert columns.gates[columns.gate[number]] == row["gate"]
        assert columns.subsets[columns.subset[pair]] == row["subset"]
        assert (columns.part[pair], columns.place[number]) == (row["part"], row["row"])
        assert (bool(columns.selected[number]), columns.seed[number]) == (row["selected"], row["seed"])


def test_margins_are_those_of_a_build(made_run: Path):
    columns = read_columns_of(Run.look(made_run))
    found = margins(Run.look(made_run).rows().to_pylist())
    for pair, pair_id in enumerate(columns.pair_ids):
        own = columns.values["margin"][columns.starts[pair]]
        assert (None if math.isnan(own) else own) == found[pair_id]
    scores = np.array([0.5, np.nan, 0.5, 0.25, np.nan, np.nan, 1.0])
    assert str(margins_of(scores, np.array([0, 2, 4, 6, 7], np.int32)).tolist()) == "[nan, 0.25, nan, nan]"


def test_the_nearest_twin_is_the_nearest(made_run: Path):
    columns = read_columns_of(Run.look(made_run))
    shifts = np.stack([columns.values[name] for name in ("shift_r", "shift_g", "shift_b")], axis=1)
    for row in range(0, columns.rows, 7):
        others = [other for other in columns.rows_of(int(columns.pair[row])) if other != row]
        assert columns.values["twin"][row] == pytest.approx(
            min(np.linalg.norm(shifts[row] - shifts[o]) for o in others)
        )


@pytest.mark.parametrize("seed", range(12))
def test_a_filter_is_what_it_says_row_by_row(seed, session: Session):
    drawn, columns = random.Random(seed), session.columns
    given: dict[str, str] = {"scope": drawn.choice(["all", "selected"])}
    for name in drawn.sample(NUMBERS, 2):
        low, high = np.nanquantile(columns.values[name], [0.1, 0.9])
        given |= {f"{name}_min": repr(float(low)), f"{name}_max": repr(float(high))}
    given |= drawn.choice([{}, {"gate": "passed"}, {"gate": "refused"}, {"gate": columns.gates[1]}])
    given |= drawn.choice([{}, {"subset": "HCOCO"}, {"find": "PHOTO-0001"}, {"duplicates": "photo"}])
    sort = drawn.choice(["run", "-run", "fmse", "-p_composite", "margin"])
    query = Query.parse({**given, "sort": sort})
    found = order_of(query, columns, mask_of(query, columns, session.desk, "ana"))
    expected = [row for row in range(columns.rows) if fits(row, given, session)]
    if sort.removeprefix("-") == "run":
        expected = expected[::-1] if sort == "-run" else expected
    else:
        values, sign = columns.values[sort.removeprefix("-")], -1 if sort.startswith("-") else 1
        expected.sort(
            key=lambda row: (math.isnan(values[row]), sign * values[row] if values[row] == values[row] else 0)
        )
    assert found.tolist() == expected


def fits(row: int, given: dict[str, str], session: Session) -> bool:
    columns = session.columns
    pair = int(columns.pair[row])
    gate = columns.gates[columns.gate[row]]
    wanted = given.get("gate", "")
    return all(
        [
            given["scope"] == "all" or bool(columns.selected[row]),
            *(columns.values[name][row] >= float(given[f"{name}_min"]) for name in NUMBERS if f"{name}_min" in given),
            *(columns.values[name][row] <= float(given[f"{name}_max"]) for name in NUMBERS if f"{name}_max" in given),
            not wanted or (not gate if wanted == "passed" else bool(gate) if wanted == "refused" else gate == wanted),
            given.get("subset", columns.subsets[columns.subset[pair]]) == columns.subsets[columns.subset[pair]],
            given.get("find", "").lower() in columns.pair_ids[pair],
            "duplicates" not in given or bool(columns.same_photo[pair]),
        ]
    )


def test_all_faults_of_an_address_are_told_at_once():
    with pytest.raises(UsageError) as told:
        Query.parse({"scop": "all", "decided": "maybe", "sort": "size", "fmse_min": "x", "fmse_max": "nan"})
    for said in (
        "did you mean 'scope'",
        "decided is 'maybe'",
        "sort is 'size'",
        "fmse_min is 'x'",
        "fmse_max is 'nan'",
    ):
        assert said in str(told.value)


@pytest.mark.parametrize("seed", range(8))
def test_what_stands_is_what_select_would_choose(seed, run: Path):
    session, drawn = Session(run), random.Random(seed)
    session.load()
    columns = session.columns
    for _ in range(25):
        rows = drawn.sample(range(columns.rows), drawn.choice([1, 1, 6]))
        session.say("ana", rows, {"decision": drawn.choice(["accept", "reject", "reject", ""])})
        if drawn.random() < 0.3:
            session.undo("ana")
    codes, standing = session.desk.codes("ana"), session.desk.standing("ana")
    for pair in range(columns.pairs):
        rows = columns.rows_of(pair)
        made = {int(columns.k[row]): ("", "accept", "reject")[codes[row]] for row in rows if codes[row]}
        outcomes = select(columns.scored(pair), session.desk.applied.rule, session.desk.applied.count, 0, made)
        chosen = [isinstance(outcome, Selected) or codes[row] > 0 for row, outcome in zip(rows, outcomes, strict=True)]
        assert standing[rows.start : rows.stop].tolist() == chosen


# Agreement


def test_kappa_of_a_table_from_the_books():
    assert kappa([20, 5, 10, 15])[0] == pytest.approx(0.4)
    assert kappa([45, 15, 25, 15])[0] == pytest.approx(0.1304, abs=1e-4)
    assert kappa([10, 0, 0, 10])[0] == 1
    assert kappa([0, 0, 0, 0]) is None
    assert kappa([9, 0, 0, 0]) is None


def test_two_reviewers_are_compared_where_both_decided():
    codes = {"bo": np.array([1, 2, 1, 0, 2], np.uint8), "ana": np.array([1, 1, 1, 2, 2], np.uint8)}
    (found,) = agreements(codes)
    assert (found.first, found.second, found.table, found.n) == ("ana", "bo", (2, 1, 0, 1), 4)
    assert found.same == 0.75
    assert found.low <= found.kappa <= found.high


# Columns that were kept


def test_kept_columns_are_the_columns_and_hold_for_the_files_as_they_are(run: Path, monkeypatch):
    monkeypatch.setattr(column_store, "_LEAST", 1)
    monkeypatch.setattr(reselect_module, "_sum_up", lambda *_: None)
    found = Run.look(run)
    assert column_store.stored_columns(found) is None
    made, kept = column_store.columns_of(found), column_store.stored_columns(found)
    for name in (each.name for each in fields(made) if each.name != "values"):
        assert np.array_equal(getattr(kept, name), getattr(made, name)), name
    assert {name: values.tobytes() for name, values in kept.values.items()} == {
        name: values.tobytes() for name, values in made.values.items()
    }
    assert Session(run).columns.whole
    reselect(run, rule="quantile")
    assert column_store.stored_columns(Run.look(run)) is None
    assert column_store.columns_of(Run.look(run)).selected.tolist() != made.selected.tolist()


@pytest.mark.parametrize("damage", [b"", b"PK", None])
def test_kept_columns_that_are_damaged_are_made_again(run: Path, monkeypatch, damage):
    monkeypatch.setattr(column_store, "_LEAST", 1)
    column_store.columns_of(Run.look(run))
    path = run / "review" / column_store.NAME
    path.write_bytes(path.read_bytes()[:-900] if damage is None else damage)
    assert column_store.stored_columns(Run.look(run)) is None
