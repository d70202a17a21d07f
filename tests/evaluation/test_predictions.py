"""Predictions find their composites whatever they are called, and anything doubtful is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmonygen.errors import InputError, UsageError
from harmonygen.evaluation.predictions import match_predictions

NAMES = ["HAdobe5k/a0041_1_5", "HAdobe5k/a0041_1_51", "Hday2night/d1048-20120628-200951_1_3", "HFlickr/f15_1_1"]
STEMS = [name.rpartition("/")[2] for name in NAMES]


def fill(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


@pytest.mark.parametrize(
    "naming",
    [
        "{subset}/{stem}.png",
        "{stem}.jpg",
        "{stem}_harmonized.png",
        "out-{stem}.webp",
        "{subset}_{stem}.png",
        "{subset}/composite_images/{stem}.jpg",
        "run 3/{stem}.pred.png",
        "{stem}_512_output.png",
    ],
)
def test_every_naming_that_is_one_to_one_is_understood(tmp_path, naming):
    parts = [name.split("/") for name in NAMES]
    paths = [naming.format(subset=subset, stem=stem) for subset, stem in parts]
    fill(tmp_path, *paths, "notes.txt", "summary.png")
    assert match_predictions(tmp_path, NAMES) == {
        name: tmp_path / path for name, path in zip(NAMES, paths, strict=True)
    }


def test_the_longest_name_counts_so_that_one_may_begin_another(tmp_path):
    fill(tmp_path, "p_out.png", "p_2_out.png", "p_2_3_out.png")
    found = match_predictions(tmp_path, ["p", "p_2", "p_2_3"])
    assert [path.name for path in found.values()] == ["p_out.png", "p_2_out.png", "p_2_3_out.png"]


def test_one_stem_in_two_subsets_is_told_apart_by_folder_or_prefix_and_else_refused(tmp_path):
    names = ["A/x_1_1", "B/x_1_1"]
    for number, (first, second) in enumerate([("A/x_1_1.png", "B/x_1_1.png"), ("A_x_1_1.png", "B_x_1_1.png")]):
        folder = fill(tmp_path / str(number), first, second)
        assert match_predictions(folder, names) == {names[0]: folder / first, names[1]: folder / second}
    with pytest.raises(InputError, match=r"'x_1_1\.png' fits 'A/x_1_1' and 'B/x_1_1'"):
        match_predictions(fill(tmp_path / "flat", "x_1_1.png"), names)


def test_two_files_for_one_composite_are_refused_by_both_names_and_a_pattern_settles_it(tmp_path):
    fill(tmp_path, *(f"{stem}.png" for stem in STEMS), "f15_1_1_mask.png", "sub/a0041_1_5.jpg")
    with pytest.raises(InputError) as refused:
        match_predictions(tmp_path, NAMES)
    for told in ("'f15_1_1.png' and 'f15_1_1_mask.png'", "'a0041_1_5.png' and 'sub/a0041_1_5.jpg'", "2 names"):
        assert told in str(refused.value)
    (tmp_path / "sub/a0041_1_5.jpg").unlink()
    both = fill(tmp_path / "both", *(f"{stem}{end}.png" for stem in STEMS for end in ("_mask", "_harmonized")))
    found = match_predictions(both, NAMES, "*_harmonized.png")
    assert {path.name for path in found.values()} == {f"{stem}_harmonized.png" for stem in STEMS}


def test_missing_predictions_are_listed(tmp_path):
    fill(tmp_path, f"{STEMS[0]}.png", f"{STEMS[2]}.png")
    with pytest.raises(InputError, match=r"lacks predictions of 2 composites: HAdobe5k/a0041_1_51, HFlickr/f15_1_1"):
        match_predictions(tmp_path, NAMES)
    many = [f"c{index}_1_1" for index in range(100)]
    with pytest.raises(InputError, match=r"of 100 composites.* and 80 more"):
        match_predictions(tmp_path, many)


def test_a_folder_of_nothing_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is not a folder"):
        match_predictions(tmp_path / "none", NAMES)
    with pytest.raises(UsageError, match="no picture that fits"):
        match_predictions(fill(tmp_path, "notes.txt"), NAMES)
