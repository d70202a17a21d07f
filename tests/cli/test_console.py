"""What a command prints is text: brackets and colons in names are no markup."""

from __future__ import annotations

import json
import sys

import pytest

from harmonygen_cli.console import Reporter
from harmonygen_cli.main import run

NAMES = ["pip install 'harmonygen[ray]'", "run[/v2]", "[bold]x[/bold]", "a:car:b", "[link=x]y", "\\[z]", "[/]"]


def said_by(capsys) -> str:
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", NAMES)
def test_names_are_printed_as_they_are_in_lines_tables_and_errors(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "200")
    reporter = Reporter()
    reporter.line(name)
    assert said_by(capsys) == name
    reporter.table(f"title {name}", ["column", f"head {name}"], [[f"cell {name}", 1], ["", 2]])
    shown = said_by(capsys)
    assert all(f"{where} {name}" in shown for where in ("title", "head", "cell"))
    reporter.error(name, 2)
    assert said_by(capsys) == f"error: {name}"


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_names_are_printed_as_they_are_beside_a_bar(capsys, monkeypatch, name, terminal):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with Reporter().progress(name, "[/pairs]") as advance:
        advance(1, 2)
        advance(2, 2)
    assert name in said_by(capsys)


def test_doctor_names_the_extra_to_install(capsys, monkeypatch):
    from harmonygen import doctor

    finding = type("Finding", (), {"what": "ray", "state": "missing", "detail": "pip install 'harmonygen[ray]'"})
    monkeypatch.setattr(doctor, "examine", lambda: [finding])
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["doctor"]) == 0
    assert "pip install 'harmonygen[ray]'" in said_by(capsys)


def test_folders_whose_names_look_like_markup_work_to_the_end(photo_folder, tiny_classifier, tmp_path, capsys):
    odd = tmp_path / "run[" / "v2]"
    synthesize = ["synthesize", "--data", str(photo_folder), "--generator", "color-jitter", "--k", "2"]
    assert run([*synthesize, "--classifier", str(tiny_classifier), "--out", str(odd)]) == 0
    assert str(odd) in "".join(said_by(capsys).split())
    assert run(["select", str(odd), "--rule", "random", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["out"] == str(odd)
    assert run(["report", str(odd), "--out", str(tmp_path / "[b]" / "page[/i].html")]) == 0
    assert run(["export", str(odd), "--out", str(tmp_path / "data[/set]")]) == 0
    assert run(["augment", "--data", str(tmp_path / "data[/set]"), "--candidates", str(odd), "--dry-run"]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err
