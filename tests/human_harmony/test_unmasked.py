"""`build-human-harmony --person` on photos without masks, and the product filter with a witness."""

from __future__ import annotations

import json
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data
from small_contest import crop

from harmonygen.errors import UsageError
from harmonygen.human_harmony.build import build_human_harmony
from harmonygen.human_harmony.products import load_product_filter
from harmonygen.human_harmony.verdict import Verdict
from harmonygen.human_harmony.witness import PersonWitness
from harmonygen.models.torso import Torso
from harmonygen_cli.main import run

FINDER = "bright_boxes:find"
PLUG_IN = "def find(image):\n    return (image[..., 0] > 240) & (image[..., 1] < 20)\n"


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Seven photos with a red box and one without."""
    (tmp_path / "bright_boxes.py").write_text(PLUG_IN)
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "photos"
    root.mkdir()
    for index in range(8):
        made = np.asarray(crop(index).convert("RGB")).copy()
        if index:
            made[20:60, 20 + index : 50 + index] = (255, 0, 0)
        Image.fromarray(made).save(root / f"p{index}.png")
    yield root
    sys.modules.pop("bright_boxes", None)
    sys.path[:] = [each for each in sys.path if each != str(tmp_path)]


def test_photos_alone_become_a_dataset_of_the_people_found_in_them(photos, settings_for, tree):
    settings = settings_for(data=str(photos), person=FINDER, product_filter="heuristic")
    foreseen = build_human_harmony(settings, dry_run=True)
    assert (foreseen.pairs, settings.out.exists()) == (8, False)
    result = build_human_harmony(settings)
    assert (result.pairs, result.left_out, result.train + result.test) == (7, {"no person": 1}, 7)
    rows = pq.read_table(settings.out / "data").to_pylist()
    assert {row["pair_id"] for row in rows} == {f"p{index}_person" for index in range(1, 8)}
    assert {row["subset"] for row in rows} == {"HumanHarmony"}
    assert all(abs(row["fg_ratio"] - 40 * 30 / (row["width"] * row["height"])) < 1e-9 for row in rows)
    assert "found by bright_boxes" in (settings.out / "README.md").read_text()
    assert (settings.out / "work" / "masks" / "overlay.png").is_file()
    before = tree(settings.out)
    assert build_human_harmony(settings).finished_before
    assert tree(settings.out) == before
    Image.fromarray(np.zeros((80, 96, 3), np.uint8)).save(photos / "p3.png")
    with pytest.raises(UsageError, match=r"p3 \(photo\)"):
        build_human_harmony(settings)


def test_person_alone_finds_people_in_a_folder_of_photos(tmp_path, tiny_classifier, capsys):
    folder, out = tmp_path / "photos", tmp_path / "built"
    folder.mkdir()
    Image.fromarray(data.astronaut()).resize((256, 256)).save(folder / "astronaut.png")
    Image.fromarray(data.astronaut()[:, ::-1]).resize((240, 240)).save(folder / "mirrored.jpg")
    Image.fromarray(data.coffee()).resize((300, 200)).save(folder / "coffee.jpg")
    words = ["build-human-harmony", "--data", str(folder), "--out", str(out), "--k", "2", "--device", "cpu", "--json"]
    words += ["--generator", "color-jitter", "--classifier", str(tiny_classifier), "--quiet"]
    assert run(words) == 2
    assert "add --person to find the people" in json.loads(capsys.readouterr().out)["error"]
    assert run([*words, "--person", "test_fraction=0.5"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pairs"], told["left_out"]) == (2, {"no person": 1})
    assert (told["train"], told["test"]) == (1, 1)
    assert json.loads((out / "plan.json").read_text())["settings"]["person"] == "selfie"


def test_what_does_not_go_together_is_refused_before_anything_is_written(photos, settings_for):
    for changes, message in (
        ({}, "add --person to find"),
        ({"person": FINDER, "classes": "garments"}, "has no segments"),
        ({"person": "selfy"}, "segmenter 'selfy' is not known"),
    ):
        settings = settings_for(data=str(photos), **changes)
        with pytest.raises(UsageError, match=message):
            build_human_harmony(settings)
        assert not settings.out.exists()


def test_masks_that_are_there_are_widened_by_the_same_door(contest, settings_for, tmp_path, monkeypatch):
    (tmp_path / "bright_boxes.py").write_text("def find(image):\n    return image[..., 0] > -1\n")
    monkeypatch.chdir(tmp_path)
    settings = settings_for(person=FINDER, max_fg=1, max_bad_fraction=1)
    with pytest.raises(UsageError, match="no photo was kept"):  # everything is the person, so no mask is usable
        build_human_harmony(settings)
    sys.modules.pop("bright_boxes")
    plan = json.loads((settings.out / "plan.json").read_text())
    assert plan["settings"]["person"] == FINDER


def drop(_image, _mask, _real_id):
    return Verdict(False, "product:heuristic", "a plain ground", {"edge": 0.0})


PICTURE = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(("score", "kept"), [(0.95, True), (0.85, False)])
def test_a_witness_keeps_what_the_heuristic_drops_where_it_is_sure(score, kept):
    witness = PersonWitness(drop, lambda _: [Torso(score, (4, 6), (4, 2), 5), Torso(0.1, (0, 0), (0, 0), 1)])
    verdict = witness(PICTURE, PICTURE[..., 0] > 0, "a")
    assert (verdict.keep, verdict.reason) == (kept, "" if kept else "product:witness")
    assert f"{score:.2f}" in verdict.detail
    assert verdict.measures == {"edge": 0.0, "person": score}


def test_a_witness_is_not_asked_where_the_heuristic_keeps():
    def unasked(_image):
        raise AssertionError

    verdict = PersonWitness(lambda *_: Verdict(True), unasked)(PICTURE, PICTURE[..., 0] > 0, "a")
    assert verdict.keep


def test_the_shipped_witness_is_loaded_by_its_name():
    assert isinstance(load_product_filter("witness"), PersonWitness)
