"""Of an option that is typed twice the last value counts, and the command says so."""

import pytest

from harmonygen_cli.main import run

PLAN = ("synthesize", "--data", "sample", "--limit", "1", "--dry-run", "--out")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--data", "sample"], "--data is given 2 times: only the last counts"),
        (["--k", "2", "--k=3", "--k", "4"], "--k is given 3 times: only the last counts"),
        (["--judge", "starter", "--judge", "again=starter", "--dry-run"], ""),  # a list, and a flag
    ],
)
def test_a_value_that_is_not_used_is_named(tmp_path, capsys, words, says):
    assert run([*PLAN, str(tmp_path / "run"), *words]) == 0
    told = capsys.readouterr().err
    assert says in told
    assert ("only the last counts" in told) == bool(says)
