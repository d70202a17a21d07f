"""The judge on scripted scores: continue, regenerate, conclude, never beyond the limit, the best returned."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygen.harmonization.zeroshot.judge import ScoredEdit, best, falls_in_a_row, judge


def play(scores, limit=10, others=2):
    """Let edits score as scripted (the composite first); return the verdicts and the history until the conclusion."""
    history, verdicts, start = [ScoredEdit(0, 0, scores[0])], [], 0
    for number, harmony in enumerate(scores[1:], 1):
        history.append(ScoredEdit(number, start, harmony))
        verdicts.append(judge(history, limit, others > 0))
        others -= verdicts[-1].decision == "regenerate"
        start = verdicts[-1].start_from
        if verdicts[-1].decision == "conclude":
            break
    return verdicts, history


def decisions(scores, **options):
    return [verdict.decision for verdict in play(scores, **options)[0]]


C, R, E = "continue", "regenerate", "conclude"


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4], [C, C, C]),
        ([0.5, 0.4, 0.6, 0.5, 0.7], [C, C, C, C]),  # one fall at a time
        ([0.5, 0.6, 0.5, 0.4], [C, C, R]),
        ([0.5, 0.4, 0.3], [C, R]),  # the very first two
        ([0.5, 0.6, 0.5, 0.4, 0.7, 0.8], [C, C, R, C, C]),  # 0.7 is made of the 0.6
        ([0.5, 0.6, 0.5, 0.4, 0.5, 0.4], [C, C, R, C, E]),  # 0.5 is made of the 0.6: a fall, though above 0.4
        ([0.5, 0.4, 0.3, 0.6, 0.5, 0.4], [C, R, C, C, E]),
        ([0.5, 0.5, 0.5], [C, R]),  # what changes nothing that counts is no rise
    ],
)
def test_the_score_decides(scores, expected):
    assert decisions(scores) == expected


def test_two_falls_go_back_to_the_picture_before_them():
    verdicts, history = play([0.5, 0.6, 0.7, 0.6, 0.5, 0.1, 0.9])
    assert [verdict.start_from for verdict in verdicts] == [1, 2, 3, 2, 5, 6]
    assert [step.started_from for step in history] == [0, 0, 1, 2, 3, 2, 5]


def test_without_another_description_two_falls_conclude():
    verdicts, _ = play([0.5, 0.4, 0.3], others=0)
    assert (verdicts[-1].decision, verdicts[-1].why) == (E, "two falls in a row and no other description")


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_the_limit_concludes_whatever_the_scores_do(limit):
    assert decisions([number / 10 for number in range(9)], limit=limit) == [C] * (limit - 1) + [E]
    assert decisions([0.9, 0.5, 0.4, 0.3, 0.2], limit=2) == [C, E]  # no regeneration that nothing comes after


def test_a_row_of_falls_begins_anew_where_an_edit_went_back():
    went_back = [ScoredEdit(0, 0, 0.5), ScoredEdit(1, 0, 0.4), ScoredEdit(2, 1, 0.3), ScoredEdit(3, 0, 0.2)]
    assert [falls_in_a_row(went_back[:length]) for length in range(1, 5)] == [0, 1, 2, 1]


def test_the_best_edit_is_returned_and_of_equals_the_first():
    history = [ScoredEdit(number, 0, harmony) for number, harmony in enumerate([0.9, 0.2, 0.6, 0.6, 0.1])]
    assert best(history).number == 2
    assert best(history, allow_unchanged=True).number == 0
    assert best([ScoredEdit(0, 0, 0.5), ScoredEdit(1, 0, 0.5)], allow_unchanged=True).number == 0
    assert best([ScoredEdit(0, 0, 0.9), ScoredEdit(1, 0, 0.1)]).number == 1


SCORES = st.lists(st.sampled_from([value / 8 for value in range(9)]), min_size=13, max_size=13)


@given(scores=SCORES, limit=st.integers(1, 12), others=st.integers(0, 3))
def test_laws(scores, limit, others):
    verdicts, history = play(scores, limit, others)
    said = [verdict.decision for verdict in verdicts]
    assert len(said) <= limit
    assert said[-1] == E
    assert said.count(E) == 1
    assert said.count(R) <= min(1, others)
    assert best(history).harmony == max(step.harmony for step in history[1:])
    assert best(history, allow_unchanged=True).harmony == max(step.harmony for step in history)
    assert play(scores, limit, others)[0] == verdicts
    for verdict, last, before in zip(verdicts, history[1:], history, strict=False):
        assert verdict.start_from == (before.started_from if verdict.decision == R else last.number)
        rose = last.harmony > history[last.started_from].harmony
        assert (verdict.why == "the score rose") <= rose
        if rose and last.number < limit:
            assert verdict.decision == C
