"""`harmonygen evaluate` from the command line, and the paper's recipes in their small form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from harmonygen import recipes
from harmonygen.errors import UsageError
from harmonygen.evaluation.settings import EvaluateSettings
from harmonygen.settings import resolve
from harmonygen_cli.main import run

PAPER = recipes.names("paper")
OURS = [name for name in PAPER if recipes.find(name).read_text().startswith("# harmonygen evaluate")]


def test_there_is_a_recipe_for_each_table_and_figure():
    wanted = {"table1", "table3", "table4", "table5", "randomness", "figure2", "figures3-4"}
    assert wanted <= {name.partition("/")[2] for name in OURS}


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """A folder of one's own to run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["paper/table5", "paper/randomness"])
def test_a_recipe_without_a_small_form_is_not_run_in_its_large_one(name, quick, capfd):
    assert run(["evaluate", "--recipe", name, "--small"]) == 2
    assert f"--small needs a recipe with a table [small], {name} has none" in capfd.readouterr().err


@pytest.mark.parametrize("name", [name for name in OURS if "small" in recipes.load(name)])
def test_a_recipe_of_the_paper_runs_in_its_small_form_with_the_published_numbers_beside(name, quick, capfd):
    settings = resolve(EvaluateSettings, name)
    assert settings.published
    words = ["--small", "--limit", "2", "--cases", "0", "--no-ssim", "--json", "--quiet", "--device", "cpu"]
    assert run(["evaluate", "--recipe", name, *words]) == 0
    summary = json.loads(capfd.readouterr().out)["summary"]
    assert summary["images"] == 2
    assert summary["methods"][0] == "composite"
    small = EvaluateSettings.model_validate({**settings.model_dump(exclude={"small"}), **settings.small})
    assert len(summary["methods"]) == 1 + sum(spec.seeds for spec in small.methods)
    text = (Path(settings.out) / "table.md").read_text()
    for row in settings.published:
        assert row.name in text
        told = [row.psnr, row.mse, row.fmse]
        assert all(f"{value:.2f}" in text for value in told if value is not None and row.std is None)
        assert row.std is None or f"{row.psnr} ± {row.std}" in text
    assert (Path(settings.out) / "sheet.png").is_file() == bool(settings.sheet)
    assert (Path(settings.out) / "fg_ratio.png").is_file() == settings.curve


def test_two_folders_are_compared_from_the_command_line(quick, capfd):
    for name in ("one", "two"):
        (quick / name).mkdir()
    from harmonygen.evaluation.cases import read_cases

    for case in read_cases("sample").composites:
        picture = Image.open(case.composite.path)
        stem = case.name.rpartition("/")[2]
        picture.save(quick / "one" / f"{stem}.png")
        picture.point(lambda value: value // 2).save(quick / "two" / f"{stem}_out.png")
    words = ["--predictions", "ours=one", "--predictions", "two", "--no-ssim", "--workers", "1", "resamples=200"]
    assert run(["evaluate", *words]) == 0
    told = capfd.readouterr().err
    for word in ("protocol paper", "ours", "two", "Paired comparison", "4 images"):
        assert word in told
    assert run(["evaluate", *words, "--json"]) == 0
    again = json.loads(capfd.readouterr().out)
    assert (again["scored"], again["kept"]) == (0, 4)
    (quick / "two" / "rocket_rocket_1_out.png").unlink()
    assert run(["evaluate", *words]) == 2
    assert "rocket_rocket_1" in capfd.readouterr().err


def test_a_small_form_that_does_not_fit_is_refused_with_the_recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('table = "bins"\n[small]\ntabel = "methods"\n')
    with pytest.raises(UsageError, match="tabel"):
        resolve(EvaluateSettings, str(path))
