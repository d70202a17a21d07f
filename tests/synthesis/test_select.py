"""Selection rules: a ranking of what passed the gates, and a reason for everything else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygen.errors import UsageError
from harmonygen.records import Candidate, Dropped, GateValues, Scored, Selected
from harmonygen.synthesis.select import RULES, keep_count, select

NONE = (0.0, 0.0, 0.0)


def scored(p: float, k: int, gate: str = "", shift: tuple[float, float, float] = NONE, pair: str = "a/1") -> Scored:
    return Scored(Candidate(pair, k, k), p, GateValues(0, 100, 1, 0, shift), gate)


def chosen(outcomes) -> list[int]:
    taken = [outcome for outcome in outcomes if isinstance(outcome, Selected)]
    return [outcome.scored.candidate.k for outcome in sorted(taken, key=lambda outcome: outcome.rank)]


def test_max_composite_takes_the_most_composite_like():
    assert chosen(select([scored(0.2, 0), scored(0.9, 1), scored(0.5, 2)], "max-composite")) == [1]


def test_the_answer_keeps_the_order_and_says_why_each_was_dropped():
    outcomes = select([scored(0.2, 0), scored(0.9, 1), scored(0.99, 2, "clipped")], "max-composite")
    assert [type(outcome) for outcome in outcomes] == [Dropped, Selected, Dropped]
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, Dropped)] == [
        "rule:max-composite rank 2",
        "gate:clipped",
    ]


@pytest.mark.parametrize("rule", ["max-composite", "quantile", "diverse"])
def test_ties_go_to_the_smaller_k(rule):
    items = [scored(0.5, k) for k in (3, 1, 2, 0)]
    assert chosen(select(items, rule, count=4)) == [0, 1, 2, 3]


def test_quantile_takes_the_one_nearest_to_three_quarters():
    items = [scored(p, k) for k, p in enumerate((0.0, 0.1, 0.2, 0.31, 1.0))]  # the 0.75 quantile is 0.31
    assert chosen(select(items, "quantile", count=3)) == [3, 2, 1]


def test_quantile_is_of_what_passed_the_gates():
    items = [scored(0.1, 0), scored(0.2, 1), scored(0.3, 2), *(scored(1.0, k, "fmse-high") for k in range(3, 9))]
    assert chosen(select(items, "quantile")) == [1]  # the quantile of .1 .2 .3 is .25: a tie, the smaller k


def test_diverse_takes_the_farthest_colour_shift_each_time():
    items = [
        scored(0.9, 0, shift=(0, 0, 0)),
        scored(0.8, 1, shift=(1, 0, 0)),
        scored(0.1, 2, shift=(0, 50, 0)),
        scored(0.2, 3, shift=(0, 0, 20)),
    ]
    assert chosen(select(items, "diverse", count=3)) == [0, 2, 3]


def test_random_is_seeded_by_run_and_pair_and_blind_to_order():
    items = [scored(0.1 * k, k) for k in range(8)]
    first = chosen(select(items, "random", count=8, seed=4))
    assert first == chosen(select(items[::-1], "random", count=8, seed=4))
    others = [chosen(select(items, "random", count=8, seed=seed)) for seed in range(20)]
    assert len({tuple(order) for order in others}) > 15
    elsewhere = [scored(0.1 * k, k, pair="b/1") for k in range(8)]
    assert chosen(select(elsewhere, "random", count=8, seed=4)) != first


@given(
    p=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    gated=st.sets(st.integers(0, 11)),
    rule=st.sampled_from(sorted(RULES)),
    count=st.integers(1, 12),
    order=st.randoms(),
)
def test_every_rule_never_selects_the_gated_and_does_not_depend_on_order(p, gated, rule, count, order):
    items = [scored(value, k, "structure" if k in gated else "", (k, k % 3, 0)) for k, value in enumerate(p)]
    shuffled = list(items)
    order.shuffle(shuffled)
    selected = chosen(select(items, rule, count))
    assert len(selected) == min(count, len([k for k in range(len(p)) if k not in gated]))
    assert not set(selected) & gated
    assert selected == chosen(select(shuffled, rule, count))
    assert [outcome.scored for outcome in select(shuffled, rule, count)] == shuffled
    assert select(items, rule, count)[0] == select(items, rule, count)[0]


def test_a_rule_ranks_all_that_is_left_however_few_are_asked_for():
    items = [scored(float(p), k, shift=(p, 0, 0)) for k, p in enumerate(np.linspace(0, 1, 6))]
    for rule in RULES:
        ranks = {
            outcome.scored.candidate.k: outcome.reason
            for outcome in select(items, rule, 2)
            if isinstance(outcome, Dropped)
        }
        assert sorted(reason.rpartition(" ")[2] for reason in ranks.values()) == ["3", "4", "5", "6"]


@pytest.mark.parametrize(("keep", "count"), [("all", 1), ("best", 1), ("1", 1), ("10", 10)])
def test_keep_says_how_many_a_pair_selects(keep, count):
    assert keep_count(keep, 10) == count


@pytest.mark.parametrize("keep", ["0", "11", "-1", "some", "2.5", "", "²"])
def test_keep_refuses_what_is_not_a_number_up_to_k(keep):
    with pytest.raises(UsageError, match="from 1 to K"):
        keep_count(keep, 10)


DECISIONS = st.dictionaries(st.integers(0, 11), st.sampled_from(["accept", "reject"]))


@given(
    p=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    gated=st.sets(st.integers(0, 11)),
    rule=st.sampled_from(sorted(RULES)),
    count=st.integers(1, 12),
    made=DECISIONS,
)
def test_a_review_stands_above_every_rule_and_gate(p, gated, rule, count, made):
    items = [scored(value, k, "structure" if k in gated else "", (k, k % 3, 0)) for k, value in enumerate(p)]
    outcomes = select(items, rule, count, decisions=made)
    taken = chosen(outcomes)
    accepted = [k for k in range(len(p)) if made.get(k) == "accept"]
    assert not [k for k in taken if made.get(k) == "reject"]
    assert set(taken[: len(accepted)]) <= set(accepted)
    assert len(set(taken) & set(accepted)) == min(count, len(accepted))
    standing = [k for k in range(len(p)) if made.get(k) == "accept" or (k not in gated and made.get(k) != "reject")]
    assert len(taken) == min(count, len(standing))
    for outcome in outcomes:
        if made.get(outcome.scored.candidate.k) == "reject":
            assert outcome == Dropped(outcome.scored, "review:rejected")


@given(
    p=st.lists(st.floats(0, 1), min_size=2, max_size=12, unique=True),
    rule=st.sampled_from(sorted(RULES)),
    count=st.integers(1, 11),
    who=st.integers(0, 11),
)
def test_rejecting_one_displaces_no_other(p, rule, count, who):
    items = [scored(value, k, shift=(k * k % 7, k, 0)) for k, value in enumerate(p)]
    order = chosen(select(items, rule, len(p)))
    without = [k for k in order if k != who]
    assert chosen(select(items, rule, count, decisions={who: "reject"})) == without[:count]


def test_a_pair_whose_candidates_are_all_rejected_has_no_selected_one():
    items = [scored(0.5, 0), scored(0.6, 1)]
    assert chosen(select(items, "max-composite", decisions={0: "reject", 1: "reject"})) == []


def test_an_accepted_candidate_that_a_gate_refused_is_selected():
    items = [scored(0.9, 0), scored(0.2, 1, "clipped")]
    assert chosen(select(items, "max-composite", decisions={1: "accept"})) == [1]
