"""`harmonygen harmonize` through the command line: its words, what it says, and its exit codes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from harmonygen_cli.harmonize import split_words
from harmonygen_cli.main import run


@pytest.fixture
def pasted(tmp_path, small_photos, ellipse):
    """Two folders: composites/ and masks/, three small photos."""
    for name, photo in zip("abc", small_photos(3, 48, 64), strict=True):
        for folder, picture in (("composites", photo), ("masks", ellipse(48, 64).astype(np.uint8) * 255)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(picture).save(tmp_path / folder / f"{name}.png")
    return tmp_path


@pytest.fixture
def folders(pasted, tiny_forward):
    """The command over both folders."""
    return [
        *("harmonize", "--composites", str(pasted / "composites"), "--masks", str(pasted / "masks")),
        *("--model", str(tiny_forward), "--steps", "2", "--device", "cpu", "--out", str(pasted / "out")),
    ]


@pytest.fixture
def single(pasted, tiny_forward):
    """The command for one image."""
    return [
        *("harmonize", str(pasted / "composites" / "a.png"), "--mask", str(pasted / "masks" / "a.png")),
        *("--model", str(tiny_forward), "--steps", "2", "--device", "cpu", "--out", str(pasted / "one.png")),
    ]


def test_one_image(single, pasted, capsys):
    assert run([*single, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["out"] == str(pasted / "one.png")
    assert Image.open(pasted / "one.png").size == (64, 48)


def test_folders_with_json_on_stdout_alone_and_a_second_run_that_does_nothing(folders, pasted, capsys):
    assert run([*folders, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["summary"]["harmonized"] == 3
    assert "made now" in said.err
    assert sorted(path.name for path in (pasted / "out").glob("*.png")) == ["a.png", "b.png", "c.png"]
    assert run(folders) == 0
    assert "nothing was left to do" in capsys.readouterr().err
    assert run([*folders, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_overrides_and_underscores_and_recipes_set_the_same_things(folders, pasted, capsys):
    assert run([*folders, "--max_side", "32", "draws=2"]) == 0
    plan = json.loads((pasted / "out" / "plan.json").read_text())
    assert (plan["settings"]["max_side"], plan["settings"]["draws"]) == (32, 2)
    (pasted / "mine.toml").write_text("max_side = 32\ndraws = 2\n")
    capsys.readouterr()
    assert run([*folders, "--recipe", str(pasted / "mine.toml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["made"] == 0  # the same plan
    assert run([*folders, "drows=2"]) == 2
    assert "did you mean 'draws'" in capsys.readouterr().err


def test_paper_is_square_and_decoded(single, folders, pasted):
    assert run([*folders, "--paper"]) == 0
    settings = json.loads((pasted / "out" / "plan.json").read_text())["settings"]
    assert (settings["fit"], settings["detail"]) == ("square", "decode")


def test_exit_codes(folders, single, pasted, tiny_inverse, capsys):
    assert run([*folders, "--model", str(tiny_inverse)]) == 2
    assert "a forward one is needed" in capsys.readouterr().err
    assert run([*folders, "--method", "zero-shot"]) == 2
    assert run(["harmonize", str(pasted / "composites" / "a.png")]) == 2
    assert run([*single, "--method", "nonsense"]) == 2
    assert run([*single[:1], "x.png", "y.png"]) == 2
    assert run([*single, "--mask", str(pasted / "masks")]) == 2
    for name in "ab":
        (pasted / "composites" / f"{name}.png").write_bytes(b"no image")
    assert run(folders) == 3
    assert "2 of 3 inputs could not be used" in capsys.readouterr().err
    assert run([*folders, "--max-bad-fraction", "0.7"]) == 0
    (pasted / "file").write_text("")
    assert run([*folders, "--out", str(pasted / "file")]) == 4


def test_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert split_words(["a.png", "steps=8"]) == ("a.png", ["steps=8"])
    assert split_words(["steps=8"]) == (None, ["steps=8"])
    (tmp_path / "x=y.png").write_bytes(b"")
    assert split_words(["x=y.png", "a=b"]) == ("x=y.png", ["a=b"])
