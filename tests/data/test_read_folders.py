import os
import tarfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures

from harmonygen.data import read_pairs
from harmonygen.errors import UsageError
from harmonygen.pictures.images import read_image
from harmonygen.pictures.masks import read_mask

SHARED = Path(os.environ.get("HARMONYGEN_SHARED", Path(__file__).resolve().parents[2].parent / "shared")) / "data"


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pictures.coffee()).resize((48, 32)).save(path)


def mask(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = np.zeros((32, 48), np.uint8)
    whole[8:20, 10:30] = 255
    Image.fromarray(whole).save(path)


@pytest.mark.parametrize(("photos", "masks"), [("images", "masks"), ("Photos", "mask"), ("reals", "annotations")])
def test_masks_are_matched_by_name_and_by_number(tmp_path, photos, masks):
    for name in ("a.jpg", "b.png", "b_1.webp"):
        picture(tmp_path / photos / name)
    for name in ("a_2.png", "a_1.png", "b.png", "b_1.png"):
        mask(tmp_path / masks / name)
    pairs = read_pairs(tmp_path)
    assert pairs.layout == "folders"
    assert [(pair.pair_id, pair.real_id, pair.mask_id) for pair in pairs] == [
        ("a_1", "a", "1"),
        ("a_2", "a", "2"),
        ("b_0", "b", "0"),
        ("b_1_0", "b_1", "0"),  # b_1 is a photo of its own, so its mask is not b's
    ]
    assert read_mask(pairs[3].mask, read_image(pairs[3].real)).sum() == 240


def test_sub_folders_are_read_and_named_in_the_id(tmp_path):
    picture(tmp_path / "images" / "x" / "a.jpg")
    mask(tmp_path / "masks" / "x" / "a.png")
    picture(tmp_path / "images" / "a.jpg")
    mask(tmp_path / "masks" / "a.png")
    assert [pair.pair_id for pair in read_pairs(tmp_path)] == ["a_0", "x-a_0"]


def test_a_sub_folders_photo_that_takes_anothers_id_is_refused(tmp_path):
    for name in ("x/a", "x-a"):
        picture(tmp_path / "images" / f"{name}.jpg")
        mask(tmp_path / "masks" / f"{name}.png")
    with pytest.raises(UsageError, match="'x-a_0'"):
        read_pairs(tmp_path)


def test_a_photo_without_mask_and_a_mask_without_photo_are_set_aside(tmp_path):
    for name in ("a", "b"):
        picture(tmp_path / "images" / f"{name}.jpg")
    for name in ("a", "c_1"):
        mask(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    pairs = read_pairs(tmp_path)
    assert len(pairs) == 1
    assert [(Path(row.id).name, row.stage) for row in pairs.bad] == [("c_1.png", "read"), ("b.jpg", "read")]


def test_two_files_of_one_name_are_refused_by_name(tmp_path):
    for name in ("a.jpg", "a.png"):
        picture(tmp_path / "images" / name)
    mask(tmp_path / "masks" / "a.png")
    with pytest.raises(UsageError, match=r"'a\.jpg' and 'a\.png'"):
        read_pairs(tmp_path)


def test_two_photo_folders_are_refused_by_name(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    picture(tmp_path / "reals" / "a.jpg")
    mask(tmp_path / "masks" / "a.png")
    with pytest.raises(UsageError, match="'images' and 'reals'"):
        read_pairs(tmp_path)


def test_names_that_cannot_be_ids_are_quarantined(tmp_path):
    for name in ("a..b", "c"):
        picture(tmp_path / "images" / f"{name}.jpg")
        mask(tmp_path / "masks" / f"{name}.png")
    pairs = read_pairs(tmp_path)
    assert [pair.pair_id for pair in pairs] == ["c_0"]
    assert [Path(row.id).name for row in pairs.bad] == ["a..b.jpg", "a..b.png"]
    assert "holds '..'" in pairs.bad[0].message


def test_no_mask_that_fits_is_an_error_that_says_how_to_name_them(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    mask(tmp_path / "masks" / "b.png")
    with pytest.raises(UsageError, match=r"name masks <photo>\.png"):
        read_pairs(tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not here")
def test_a_root_of_several_such_folders_is_read_with_their_names_as_subsets(tmp_path):
    with tarfile.open(SHARED / "photos256.tar") as packed:
        for kind in ("fashion/", "scene/"):
            files = (member for member in packed if member.name.startswith(kind) and member.isfile())
            packed.extractall(tmp_path, list(islice(files, 20)), filter="data")
    pairs = read_pairs(tmp_path)
    assert {pair.subset for pair in pairs} == {"fashion", "scene"}
    assert len(pairs) == 20
    assert not pairs.bad
    assert len(read_pairs(tmp_path, subset="scene")) == 10
    for pair in pairs:
        assert read_mask(pair.mask, read_image(pair.real)).any()
