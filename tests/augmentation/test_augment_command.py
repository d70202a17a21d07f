import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from harmonygen.errors import UsageError
from harmonygen_cli.augment import augment

app = typer.Typer()
app.command()(augment)


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("".join(f"S/composite_images/a_{m}_{v}.jpg\n" for m, v in [(1, 1), (1, 2), (2, 1)]))


def test_dry_run_prints_the_arithmetic_and_writes_nothing(names):
    done = run("--dry-run", "--gamma", "1", "--data", "list.txt")
    assert done.exit_code == 0
    for told in ("3/2 = 1.50", "needs K >= 2", "N1 pairs"):
        assert told in done.stderr
    assert done.stdout == ""
    assert [path.name for path in Path().iterdir()] == ["list.txt"]


def test_json_is_one_object_on_stdout(names):
    done = run("--dry-run", "--json", "--quiet", "--data", "list.txt", "gamma=0.5", "per_subset=false")
    result = json.loads(done.stdout)
    assert (result["gamma"], result["per_subset"], result["needed_k"]) == (0.5, False, 1)
    assert result["subsets"][0] == {
        "subset": "S",
        "pairs": 2,
        "composites": 3,
        "ratio": 0.75,
        "per_pair": 1,
        "added": 2,
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--pick", "best"), "pick: "),
        (("--gamma", "-1"), "gamma: "),
        (("gama=2",), "'gama'.*gamma"),
        (("--data", "nowhere"), "'nowhere' does not exist"),
    ],
)
def test_wrong_use_is_refused(names, arguments, told):
    done = run("--dry-run", "--data", "list.txt", *arguments)
    assert isinstance(done.exception, UsageError)
    with pytest.raises(UsageError, match=told):
        raise done.exception
