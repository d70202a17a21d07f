"""`harmonygen inspect` and the dry runs: what they print, and the exit codes of a run."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from harmonygen.inspection.inspect import inspect_data
from harmonygen.inspection.settings import InspectSettings
from harmonygen_cli.main import run


@pytest.fixture
def bad_folder(photo_folder):
    """Two of three masks are empty."""
    for name in ("coffee", "chelsea"):
        Image.new("L", (128, 96)).save(photo_folder / "masks" / f"{name}.png")
    return photo_folder


def said(capsys, *words):
    code = run([*map(str, words), "--json"])
    told = capsys.readouterr()
    return code, json.loads(told.out), told.err


def test_inspect_says_it_as_a_table_and_as_json(photo_folder, capsys):
    code, facts, shown = said(capsys, "inspect", photo_folder)
    assert (code, facts["pairs"], facts["layout"], facts["exit_code"]) == (0, 3, "folders", 0)
    assert facts["masks"]["two-valued"]["count"] == 3
    assert "folders: 3 pairs; masks two-valued" in shown
    assert "a run would" in shown


def test_inspect_ends_with_three_where_a_run_would_and_prints_one_object(bad_folder, capsys):
    code, facts, shown = said(capsys, "inspect", bad_folder)
    assert (code, facts["exit_code"], facts["bad"]["count"]) == (3, 3, 2)
    assert "error: 2 of 3 inputs could not be used" in shown
    assert said(capsys, "inspect", bad_folder, "--max-bad-fraction", "1")[0] == 0


def test_inspect_names_a_missing_path(tmp_path, capsys):
    code, facts, _ = said(capsys, "inspect", tmp_path / "nothing")
    assert code == 2
    assert "nothing" in facts["error"]


def test_the_page_shows_each_photo_with_its_outline_and_what_is_odd_first(bad_folder):
    page = bad_folder / "page.html"
    result = inspect_data(InspectSettings(data=str(bad_folder), out=page, shown=3))
    html = page.read_text()
    assert result.page == page
    assert html.count("<figure style") == 3
    assert html.count("data:image/webp") == 3
    assert "is empty" in html
    names = re.findall(r"<figcaption><b>([^<]+)", html)
    assert names == ["chelsea_0", "coffee_0", "astronaut_0"]
    assert len(re.findall(r'<path d="M', html)) == 2  # the outline, in two tones, of the one mask that has a foreground
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_names_on_the_page_are_text(tmp_path):
    folder = tmp_path / "a&b"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    photo = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(photo).save(folder / "images/<i>x.png")
    Image.fromarray((np.arange(256).reshape(16, 16) > 90).astype(np.uint8) * 255).save(folder / "masks/<i>x.png")
    inspect_data(InspectSettings(data=str(folder), out=tmp_path / "page.html"))
    html = (tmp_path / "page.html").read_text()
    assert "a&amp;b" in html
    assert "<i>x" not in html


def test_a_page_does_not_replace_another_file(photo_folder, tmp_path, capsys):
    (tmp_path / "mine.html").write_text("mine")
    code, _, _ = said(capsys, "inspect", photo_folder, "--out", tmp_path / "mine.html")
    assert code == 2
    assert (tmp_path / "mine.html").read_text() == "mine"


SYNTHESIZE = ("synthesize", "--generator", "color-jitter", "--dry-run")


def test_a_dry_run_of_synthesize_ends_as_the_run_would(bad_folder, tiny_classifier, tmp_path, capsys):
    words = (*SYNTHESIZE, "--data", bad_folder, "--classifier", tiny_classifier, "--out", tmp_path / "out")
    code, told, _ = said(capsys, *words)
    assert (code, "2 of 3 inputs could not be used" in told["error"]) == (3, True)
    code, told, shown = said(capsys, *words, "--max-bad-fraction", "1")
    assert (code, told["inputs"]["bad"]["count"]) == (0, 2)
    assert "2 inputs cannot be used, first: mask" in shown
    assert not (tmp_path / "out").exists()


def test_a_dry_run_of_gain_names_a_missing_path_and_counts_what_is_there(photo_folder, tmp_path, capsys):
    code, told, _ = said(capsys, "gain", "--dry-run", "--data", tmp_path / "nothing", "--out", tmp_path / "out")
    assert code == 2
    assert "nothing" in told["error"]
    words = ("gain", "--dry-run", "--data", photo_folder, "--out", tmp_path / "out", "--base-photos", "2")
    code, told, _ = said(capsys, *words, "--test-photos", "1", "--per-photo", "4")
    assert code == 0
    assert {arm["arm"]: (arm["base"], arm["added"]) for arm in told["arms"]}["base"] == (8, 0)
    assert told["inputs"]["pairs"] == 3
    assert said(capsys, *words)[0] == 2  # 100 test photos are asked for


def test_a_dry_run_of_a_build_ends_as_the_build_would(bad_folder, tiny_classifier, tmp_path, capsys):
    words = ("build-human-harmony", "--dry-run", "--imaterialist", bad_folder, "--out", tmp_path / "out")
    assert said(capsys, *words)[0] == 3
    code, told, _ = said(capsys, *words, "--max-bad-fraction", "1")
    assert (code, told["quarantined"], told["inputs"]["bad"]["count"]) == (0, 2, 2)
