"""`harmonygen harmonize --method zero-shot` through the command line: a folder, one image, its page, its exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harmonygen.harmonization.zeroshot import editor as editors
from harmonygen.harmonization.zeroshot.page import write_zero_shot_report
from harmonygen_cli.main import run

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fakes"))
from fake_editor import StepEditor


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "words.csv"
    path.write_text('name,foreground,background\nastronaut,"woman, lit","dark, night"\nchelsea,"cat, warm",cool\n')
    return path


@pytest.fixture
def command(photo_folder, captions, tmp_path, monkeypatch):
    """The command over a folder of three composites, one without a caption; a colour-shifting editor, 2 edits."""
    monkeypatch.setattr(editors, "load_editor", lambda *_inputs: StepEditor())
    return [
        *("harmonize", "--composites", str(photo_folder / "images"), "--masks", str(photo_folder / "masks")),
        *("--method", "zero-shot", "--model", "a-folder", "--captions", str(captions), "--iterations", "2"),
        *("--device", "cpu", "--out", str(tmp_path / "run")),
    ]


def test_a_folder_with_a_bad_image_a_missing_caption_and_an_empty_mask(command, photo_folder, tmp_path, capsys):
    (photo_folder / "images" / "astronaut.png").write_bytes(b"no image")
    Image.new("L", (128, 96)).save(photo_folder / "masks" / "bad.png")
    (photo_folder / "images" / "bad.png").write_bytes((photo_folder / "images" / "chelsea.png").read_bytes())
    assert run(command) == 3
    assert "inputs could not be used" in capsys.readouterr().err
    assert run([*command, "--max-bad-fraction", "0.8", "--json"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert (result["made"], result["quarantined"], result["summary"]["zero_shot"]["edits"]) == (1, 3, 2)
    assert "needs about 3.0 GiB of memory" in said.err
    assert "chelsea: edit 2 (cat, warm -> cat, cool): p_composite" in said.err
    assert "score better than untouched" in said.err
    bad = {row["id"]: row["message"] for row in pq.read_table(tmp_path / "run" / "quarantine.parquet").to_pylist()}
    assert "not an image" in bad["astronaut"]
    assert "no line of caption file" in bad["coffee"]
    assert "is empty" in bad["bad"]
    assert run([*command, "--max-bad-fraction", "0.8"]) == 0
    assert "nothing was left to do" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (["--model", "starter"], "none ships with harmonygen: give --model the folder"),
        (["--draws", "2"], "--draws averages random draws"),
        (["--sampler", "euler"], "--sampler is not for"),
        (["--refine", "x"], "--refine goes with"),
        (["--foreground", "girl, sunny"], "--foreground and --background go together"),
        (["--describer", "rules"], "--describer rules finds its own words"),
        (["--describer-model", "x"], "--describer-model goes with"),
        (["--method", "direct"], "captions of zero-shot with --method direct"),
        (["--iterations", "0"], "zero_shot.iterations"),
        (["--captions", "nowhere.csv"], "nowhere.csv"),
        (["zero_shot.guidence=3"], "did you mean 'guidance'"),
    ],
)
def test_wrong_use_ends_with_2_and_says_why(command, changed, told, tmp_path, capsys):
    assert run([*command, *changed]) in (2, 4)
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_default_model_is_no_stable_diffusion(command, capsys):
    at = command.index("--model")
    assert run([*command[:at], *command[at + 2 :]]) == 2
    assert "none ships with harmonygen" in capsys.readouterr().err


def test_the_page_of_a_run_is_written_again_by_report(command, tmp_path, capsys):
    assert run([*command, "--max-bad-fraction", "0.5"]) == 0
    page = tmp_path / "run" / "report.html"
    first = page.read_text()
    page.unlink()
    capsys.readouterr()
    assert run(["report", str(tmp_path / "run"), "--json"]) == 0
    assert page.read_text() == first
    said = json.loads(capsys.readouterr().out)
    assert (said["pairs"], said["candidates"], said["unreadable"]) == (2, 4, 0)
    assert run(["report", str(tmp_path / "run"), "--pairs", "ch*", "--out", str(tmp_path / "some.html"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pairs_shown"] == 1
    some = (tmp_path / "some.html").read_text()
    assert "1 of 2 composites fit the ids asked for" in some
    assert "cat, warm → cat, cool" in some
    assert "woman, lit" not in some
    assert run(["report", str(tmp_path / "run"), "--review"]) == 2


def test_the_page_is_self_contained_escaped_and_marks_the_best(command, captions, tmp_path):
    captions.write_text('name,foreground,background\nastronaut,"<script>alert(1)</script>, lit",dark\n')
    assert run([*command, "--max-bad-fraction", "0.8"]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert page.count('src="data:image/webp;base64,') == 3  # the composite and two edits
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("★ returned") == 1
    assert page.count('<li class="best">') == 1
    assert "the limit of 2 edits: conclude" in page


def test_a_page_says_what_it_leaves_out_and_what_it_cannot_read(command, tmp_path):
    assert run([*command, "--max-bad-fraction", "0.5"]) == 0
    (tmp_path / "run" / "astronaut.strip.jpg").write_bytes(b"torn")
    result = write_zero_shot_report(tmp_path / "run", tmp_path / "cut.html", max_candidates=3)
    assert (result.pairs, result.pairs_shown, result.candidates, result.candidates_shown) == (2, 1, 4, 2)
    assert result.unreadable == 3
    page = (tmp_path / "cut.html").read_text()
    assert "The first 1 of 2 composites are shown" in page
    assert page.count("picture could not be read") == 3


def test_a_random_stable_diffusion_of_the_real_classes_runs_from_end_to_end(random_sd1, photo_folder, tmp_path, capsys):
    image, mask = (photo_folder / folder / "coffee.png" for folder in ("images", "masks"))
    options = ["--method", "zero-shot", "--model", str(random_sd1), "--steps", "2", "--iterations", "1"]
    words = ["--foreground", "a dog, bright", "--background", "dark, night", "--resolution", "64", "--device", "cpu"]
    out = tmp_path / "one.png"
    assert run(["harmonize", str(image), "--mask", str(mask), *options, *words, "--out", str(out)]) == 0
    assert "edit 1 (a dog, bright -> a dog, dark, night): p_composite" in capsys.readouterr().err
    trace = json.loads((tmp_path / "one.trace.json").read_text())
    assert trace["iterations"][0]["figures"]["reconstruction_psnr"] > 0
    composite, made = np.asarray(Image.open(image)), np.asarray(Image.open(out))
    outside = np.asarray(Image.open(mask)) == 0
    assert np.array_equal(made[outside], composite[outside])
    assert not np.array_equal(made, composite)
