import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data as pictures

from harmonygen.data import read_pairs
from harmonygen.data.imaterialist import union_counts
from harmonygen.errors import UsageError
from harmonygen.images import read_image
from harmonygen.masks import mask_to_runs, parse_runs, read_mask, runs_to_mask

SHARED = Path(os.environ.get("HARMONYGEN_SHARED", Path(__file__).resolve().parents[2].parent / "shared")) / "data"
HEAD = "ImageId,EncodedPixels,Height,Width,ClassId,AttributesIds\n"
HEIGHT, WIDTH = 32, 48


def box(top, left):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + 8, left : left + 10] = True
    return mask


def folder(path, rows):
    (path / "train").mkdir()
    for name in ("a1", "b2"):
        Image.fromarray(pictures.astronaut()).resize((WIDTH, HEIGHT)).save(path / "train" / f"{name}.jpg")
    (path / "train.csv").write_text(HEAD + "".join(f"{row}\n" for row in rows))
    return path


def row(name, mask, class_id="3", height=HEIGHT, width=WIDTH):
    return f'{name},{mask_to_runs(mask)},{height},{width},{class_id},"1,2"'


def test_a_photos_mask_is_the_union_of_its_segments(tmp_path):
    rows = [row("a1", box(2, 2), "12_115_138"), row("b2", box(5, 5)), row("a1", box(6, 8), "3")]
    pairs = read_pairs(folder(tmp_path, rows))
    assert pairs.layout == "imaterialist"
    assert [pair.pair_id for pair in pairs] == ["a1_union", "b2_union"]
    assert pairs[0].extra == {"class_ids": "3 12"}
    assert (read_mask(pairs[0].mask, read_image(pairs[0].real)) == (box(2, 2) | box(6, 8))).all()


@pytest.mark.parametrize("runs", ["1 2 3", "5 2 1 2", "1530 10", "0 4", "a b", ""])
def test_a_bad_segment_is_set_aside_and_the_others_of_its_photo_kept(tmp_path, runs):
    pairs = read_pairs(folder(tmp_path, [row("a1", box(2, 2)), f"a1,{runs},{HEIGHT},{WIDTH},3,"]))
    assert [row.id for row in pairs.bad] == ["a1 row 2"]
    assert read_mask(pairs[0].mask, read_image(pairs[0].real)).sum() == 80


def test_of_rows_that_disagree_about_the_size_those_of_the_file_are_kept(tmp_path):
    pairs = read_pairs(folder(tmp_path, [row("a1", box(2, 2)), row("a1", box(2, 2).T, "3", WIDTH, HEIGHT)]))
    assert read_mask(pairs[0].mask, read_image(pairs[0].real)).sum() == 80
    assert "32x48 but" in pairs.bad[0].message


def test_image_ids_that_lead_out_of_the_folder_are_refused(tmp_path):
    with pytest.raises(UsageError, match="ImageId"):
        read_pairs(folder(tmp_path, [row("../a1", box(2, 2))]))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), min_size=1, max_size=4))
def test_the_union_of_runs_is_the_union_of_masks(corners):
    boxes = [np.zeros((8, 9), bool) for _ in corners]
    for mask, (top, left) in zip(boxes, corners, strict=True):
        mask[top : top + 3, left : left + 3] = True
    counts = union_counts([parse_runs(mask_to_runs(mask), 72, "m") for mask in boxes], 72)
    values = np.repeat(np.arange(len(counts)) % 2, counts).astype(bool)
    assert np.array_equal(values.reshape(9, 8).T, np.logical_or.reduce(boxes))
    assert (runs_to_mask(mask_to_runs(boxes[0]), 8, 9, "m") == boxes[0]).all()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not here")
def test_the_contest_folder_gives_its_expected_union_masks(tmp_path):
    with tarfile.open(SHARED / "fashion_imaterialist.tar") as packed:
        members = {member.name: member for member in packed}
        names = [name for name in members if name.startswith("train/")][:6]
        wanted = [*names, "train.csv"] + [f"expected_union_masks/{Path(name).stem}.png" for name in names]
        packed.extractall(tmp_path, [members[name] for name in wanted], filter="data")
    pairs = read_pairs(tmp_path)
    assert (len(pairs), len(pairs.bad)) == (862, 0)
    for pair in pairs[:6]:
        expected = np.asarray(Image.open(tmp_path / "expected_union_masks" / f"{pair.real_id}.png").convert("L")) > 127
        assert (read_mask(pair.mask, read_image(pair.real)) == expected).all()


def test_a_folder_without_the_columns_is_refused(tmp_path):
    (tmp_path / "train.csv").write_text("ImageId,Label\n")
    with pytest.raises(UsageError, match=r"no layout fits"):
        read_pairs(tmp_path)
    with pytest.raises(UsageError, match=r"train\.csv with columns ImageId"):
        read_pairs(tmp_path, layout="imaterialist")
