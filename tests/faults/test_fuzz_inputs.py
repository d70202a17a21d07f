"""A few mutated inputs (`make fuzz` reads 2,000), and proof that the trial sees what it looks for."""

from __future__ import annotations

import os

import pytest
from fuzz import trial
from fuzz.examples import run_examples


def test_mutated_inputs_are_read_or_refused(tmp_path):
    outcomes = list(run_examples(tmp_path, 30, 3))
    assert len(outcomes) == 30
    assert [outcome for outcome in outcomes if outcome.fault] == []
    assert {outcome.code for outcome in outcomes} >= {0, 2}


def test_whatever_opens_a_file_outside_is_seen(tmp_path):
    outside = trial.outside_folder(tmp_path)
    watch = trial.Watch(outside)
    assert not watch.opened()
    os.close(os.open(outside / "secret.png", os.O_RDONLY))
    assert watch.opened()
    assert not watch.opened()


@pytest.mark.parametrize(
    ("code", "said", "megabytes", "opened", "told"),
    [
        (1, "error: a bug", 0, False, "exit 1"),
        (-1, "", 0, False, "ran over"),
        (0, "", 0, True, "outside"),
        (0, "", 5000, False, "took 5000 MB"),
        (2, "error: \x1b[31m", 0, False, "escape codes"),
        (2, "", 0, False, "without a word"),
        (2, "error: no layout", 0, False, ""),
    ],
)
def test_each_kind_of_failure_is_told(code, said, megabytes, opened, told):
    fault = trial._fault(code, said, megabytes, opened)
    assert (told in fault) if told else not fault
