"""What an audit finds in a small set, and what it refuses where a run would."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from harmonygen.data import read_pairs
from harmonygen.errors import TooManyBadInputsError
from harmonygen.inspection.audit import PLAN, Depth, audit, spread
from harmonygen.inspection.check import Rules
from harmonygen.inspection.told import as_json, first_line, kind_of, lines, rows
from harmonygen.records import PairSet, PassedOver


@pytest.fixture
def pictures():
    """Photos (24, 32, 3) that look different, by number."""
    return [np.kron(np.random.default_rng(n).integers(0, 255, (3, 4, 3)), np.ones((8, 8, 1))) for n in range(8)]


@pytest.fixture
def folder(tmp_path, pictures):
    """Photos 0 to 7 beside masks of several kinds; 5 has an empty mask, 6 one of another size, 7 is no picture."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / f"images/{number}.png")
        mask = np.zeros((24, 32), np.uint8)
        mask[4:12, 4 : 12 + number] = {4: 7}.get(number, 255)
        mask[14:20, 4:12] = {4: 9}.get(number, 255)
        Image.fromarray(mask * (number != 5)).save(tmp_path / f"masks/{number}.png")
    Image.new("L", (16, 24), 255).save(tmp_path / "masks/6.png")
    (tmp_path / "images/7.png").write_bytes(b"no picture")
    shutil.copy(tmp_path / "images/0.png", tmp_path / "images/1.png")
    Image.fromarray(pictures[2].astype(np.uint8)).save(tmp_path / "images/3.png", compress_level=0)
    return tmp_path


def looked(folder, depth=PLAN, **rules):
    return audit(read_pairs(folder), Rules(**rules), depth)


def test_every_bad_pair_is_found_and_said_as_a_run_says_it(folder):
    seen = looked(folder)
    faults = {each.pair_id: each.fault.message for each in seen.checked if each.fault}
    assert set(faults) == {"5_0", "6_0", "7_0"}
    assert "is empty" in faults["5_0"]
    assert "is 16x24 but its photo is 32x24" in faults["6_0"]
    assert "not an image" in faults["7_0"]
    assert seen.complete
    assert (seen.expected, seen.allowed) == (3, 1)
    with pytest.raises(TooManyBadInputsError, match="3 of 8 inputs could not be used, 1 are allowed; first"):
        seen.refuse()


def test_rules_that_are_loosened_let_pairs_pass(folder):
    seen = looked(folder, mask_resize="nearest", max_bad_fraction=0.5)
    assert [each.pair_id for each in seen.checked if each.fault] == ["5_0", "6_0", "7_0"]  # 6 is full, resized
    seen.refuse()
    assert as_json(seen)["exit_code"] == 0


def test_headers_find_what_does_not_fit_and_pixels_are_read_of_those_and_of_a_sample(folder):
    seen = looked(folder, Depth(pixels=2))
    assert {each.pair_id for each in seen.checked} == {"0_0", "4_0", "6_0", "7_0"}
    assert {each.id for each in seen.bad} == {"6_0", "7_0"}  # the empty mask of 5 was not read
    assert not seen.complete
    assert "(2 looked at)" in first_line(seen)


def test_without_headers_only_the_sample_is_looked_at(folder):
    seen = looked(folder, Depth(pixels=2, headers=0))
    assert [each.pair_id for each in seen.checked] == ["0_0", "4_0"]


def test_a_samples_share_of_bad_pixels_is_expected_of_the_rest(folder, pictures):
    for number in (1, 2, 3, 4, 6, 7):  # every mask empty, every file whole
        Image.fromarray(pictures[number].astype(np.uint8)).save(folder / f"images/{number}.png")
        Image.new("L", (32, 24)).save(folder / f"masks/{number}.png")
    Image.new("L", (32, 24)).save(folder / "masks/0.png")
    seen = looked(folder, Depth(pixels=2), max_bad_fraction=0.5)
    assert (len(seen.bad), seen.expected, seen.allowed) == (2, 8, 4)
    with pytest.raises(TooManyBadInputsError, match="by a sample about 8 of 8"):
        seen.refuse()


def test_facts_tell_kinds_of_masks_with_values_and_groups_of_twins(folder):
    facts = as_json(looked(folder))
    labels = facts["masks"]["labels"]
    assert (labels["count"], labels["values"], labels["foreground"]) == (1, {"0": 1, "7": 1, "9": 1}, {"7": 1, "9": 1})
    assert facts["masks"]["two-valued"]["foreground"]["255"] >= 4
    assert facts["same_photos"] == (("0", "1"),)
    assert facts["look_alikes"] == (("2", "3"),)
    assert facts["bad"]["count"] == 3
    assert facts["sizes"]["largest"] == [32, 24]
    assert sum(facts["fg_ratio"]["histogram"]) == 6
    assert (facts["exit_code"], "could not be used" in facts["error"]) == (3, True)
    told = dict(rows(facts))
    assert told["a run would"].startswith("end with exit code 3")
    assert told["same bytes"] == "2 photos in 1 group, such as 0, 1"


def test_the_first_line_names_pairs_masks_and_what_is_left_out(photo_folder):
    pairs = read_pairs(photo_folder)
    passed = (
        PassedOver("a.gif", "suffix", "no"),
        PassedOver("b.gif", "suffix", "no"),
        PassedOver(".c", "hidden", "no"),
    )
    found = PairSet(pairs.pairs, "folders", pairs.root, passed_over=passed, notes=("masks are drawn upright",))
    seen = audit(found, Rules())
    line = "folders: 3 pairs; masks two-valued; 3 files passed over (2 suffix, 1 hidden)"
    assert lines(seen) == (line, "note: masks are drawn upright")


def test_a_mask_that_a_link_names_twice_is_the_same_without_being_read(folder):
    (folder / "masks/2.png").unlink()
    (folder / "masks/2.png").hardlink_to(folder / "masks/0.png")
    assert ("0_0", "2_0") in looked(folder).same_masks


def test_kinds_of_messages_leave_names_and_numbers_out():
    said = [kind_of(f"mask '{name}' is {size} but its photo is 60x40") for name, size in (("a", "3x2"), ("b", "5x4"))]
    assert said[0] == said[1] == "mask … is N but its photo is N"


def test_progress_starts_at_nothing_and_ends_with_all(photo_folder):
    steps = []
    audit(read_pairs(photo_folder), Rules(), progress=lambda done, total: steps.append((done, total)))
    assert steps[0] == (0, 9)
    assert steps[-1] == (9, 9)


def test_spread_takes_from_all_over():
    assert list(spread(range(100), 4)) == [0, 25, 50, 75]
    assert list(spread(range(3), 4)) == [0, 1, 2]
