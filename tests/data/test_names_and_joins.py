"""Which pairs are read from the names that people and tools give, and what is said of the other files."""

from __future__ import annotations

import json
import os
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harmonygen.data import detect_layout, read_pairs
from harmonygen.data.coco import CHUNK, instance_files
from harmonygen.data.folders import read_two_folders
from harmonygen.data.mask_names import Photos
from harmonygen.errors import UsageError
from harmonygen.pictures.images import read_image
from harmonygen.pictures.masks import read_mask
from harmonygen.records import ReadOptions

SIDE = 16
SQUARE = [4.0, 4.0, 12.0, 4.0, 12.0, 12.0, 4.0, 12.0]


def photo(path, shade=60):
    """A photo whose shade tells it from others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (SIDE, SIDE), (shade, 100, 140)).save(path, "PNG")


def mask(path, left=4):
    """A mask of a square; where it begins tells it from others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = np.zeros((SIDE, SIDE), np.uint8)
    whole[4:12, left : left + 8] = 255
    Image.fromarray(whole).save(path, "PNG")


def shade(pair):
    return int(read_image(pair.real).image_u8[0, 0, 0])


def left(pair):
    return int(np.flatnonzero(read_mask(pair.mask, read_image(pair.real)).any(axis=0))[0])


def tree(root, photos, masks):
    """Write photos and masks by name; their places in the lists show in their pixels."""
    for number, name in enumerate(photos):
        photo(root / name, 40 + number)
    for number, name in enumerate(masks):
        mask(root / name, number)
    return root


def joined(pairs):
    """Return (photo's file, mask's file) of each pair, checked by the pixels."""
    for pair in pairs:
        shade(pair), left(pair)
    return [(pair.real.path.name, pair.mask.path.name) for pair in pairs]


def seen(pairs):
    """Return each pair's id, its photo by its shade, its mask by where it begins."""
    return [(pair.pair_id, shade(pair), left(pair)) for pair in pairs]


def reasons(pairs):
    return sorted((row.reason, os.path.basename(row.name)) for row in pairs.passed_over)


# Habits of naming masks


@pytest.mark.parametrize(
    ("name", "mask_name", "mask_id"),
    [
        ("a.jpg", "a.png", "0"),
        ("a.jpg", "a_mask.png", "mask"),
        ("a.jpg", "a-mask.png", "mask"),
        ("a.jpg", "a.mask.png", "mask"),
        ("a.jpg", "mask_a.png", "mask"),
        ("a.jpg", "Mask-a.png", "Mask"),
        ("a.jpg", "a_seg.png", "seg"),
        ("a.jpg", "a-matte.png", "matte"),
        ("a.jpg", "a alpha.png", "alpha"),
        ("a.jpg", "a_gt.png", "gt"),
        ("a.jpg", "a.jpg.png", "0"),
        ("a.jpg", "a.jpg_mask.png", "mask"),
        ("a.jpg", "a_mask_2.png", "mask-2"),
        ("a.jpg", "a_2_mask.png", "2-mask"),
        ("a.jpg", "a-2.png", "2"),
        ("a.jpg", "a (2).png", "2"),
        ("A.JPG", "a.png", "0"),
        ("Image_1.jpg", "mask_1.png", "mask"),
        ("1_image.jpg", "1_label.png", "label"),
        ("IMG 1.jpg", "1.png", "0"),
        ("a_leftImg.jpg", "a_leftImg_segmentation.png", "segmentation"),
    ],
)
def test_a_mask_is_joined_to_its_photo_by_the_habits_of_tools(tmp_path, name, mask_name, mask_id):
    tree(tmp_path, ["images/zz.jpg", f"images/{name}"], ["masks/zz.png", f"masks/{mask_name}"])
    pairs = read_pairs(tmp_path)
    (own,) = [pair for pair in pairs if pair.real.path.name == name]
    assert (own.mask.path.name, own.mask_id, shade(own), left(own)) == (mask_name, mask_id, 41, 1)
    assert len(pairs) == 2
    assert not pairs.bad


def test_a_mask_that_fits_two_photos_is_given_to_none(tmp_path):
    tree(tmp_path, ["images/img_1.jpg", "images/photo_1.jpg", "images/b.jpg"], ["masks/mask_1.png", "masks/b.png"])
    pairs = read_pairs(tmp_path)
    assert joined(pairs) == [("b.jpg", "b.png")]
    assert "may be of the photos 'img_1' and 'photo_1'" in pairs.bad[0].message


@pytest.mark.parametrize("stem", ["ab", "a_b_c", "xa", "mask"])
def test_a_mask_of_another_name_is_not_given_to_a_photo(stem):
    assert Photos([("", "a")]).owner(("", stem)) is None


def test_masks_beside_their_photos(tmp_path):
    tree(tmp_path, ["a.jpg", "x/b.jpg", "c.jpg"], ["a_mask.png", "x/mask-b.png"])
    (tmp_path / "notes.md").write_text("x")
    pairs = read_pairs(tmp_path)
    assert joined(pairs) == [("a.jpg", "a_mask.png"), ("b.jpg", "mask-b.png")]
    assert [os.path.basename(row.id) for row in pairs.bad] == ["c.jpg"]
    assert reasons(pairs) == [("not a picture", "notes.md")]


def test_roboflows_semantic_folders_are_splits_with_masks_beside_photos(tmp_path):
    tree(
        tmp_path,
        ["train/p_jpg.rf.0a1.jpg", "valid/q_jpg.rf.0b.jpg"],
        ["train/p_jpg.rf.0a1_mask.png", "valid/q_jpg.rf.0b_mask.png"],
    )
    pairs = read_pairs(tmp_path)
    assert joined(pairs) == [("p_jpg.rf.0a1.jpg", "p_jpg.rf.0a1_mask.png")]
    assert reasons(pairs) == [("split", "valid")]


def test_a_mask_among_the_photos_is_no_photo(tmp_path):
    tree(tmp_path, ["images/a.jpg"], ["images/a_mask.png", "masks/a.png"])
    pairs = read_pairs(tmp_path)
    assert joined(pairs) == [("a.jpg", "a.png")]
    assert not pairs.bad
    assert reasons(pairs) == [("mask among photos", "a_mask.png")]


def test_a_photo_and_its_mask_of_one_name_in_one_folder_are_told_how_to_part(tmp_path):
    tree(tmp_path, ["k1.jpg", "k2.jpg"], ["k1.png", "k2.png"])
    with pytest.raises(UsageError, match=r"side by side.*mkdir images masks"):
        read_pairs(tmp_path)


# Unicode and odd names


@pytest.mark.parametrize(("one", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_names_are_one(tmp_path, one, other):
    first, second = (unicodedata.normalize(form, "café ñ") for form in (one, other))
    tree(tmp_path, [f"images/{first}.jpg", "images/b.jpg"], [f"masks/{second}.png", f"masks/{second}_2.png"])
    pairs = read_pairs(tmp_path)
    assert [(pair.pair_id, left(pair)) for pair in pairs] == [("café-ñ_0", 0), ("café-ñ_2", 1)]


def test_lists_tables_and_coco_find_files_in_the_other_unicode_form(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    tree(tmp_path, [f"{decomposed}.jpg"], [f"m{decomposed}.png"])
    (tmp_path / "t.csv").write_text(f"real,mask\n{composed}.jpg,m{composed}.png\n", encoding="utf-8")
    (pair,) = read_pairs(tmp_path / "t.csv")
    assert (shade(pair), left(pair)) == (40, 0)
    (tmp_path / "i.json").write_text(json.dumps(coco([(1, f"{composed}.jpg")], [(1, 1)])), encoding="utf-8")
    (pair,) = read_pairs(tmp_path / "i.json")
    assert (shade(pair), left(pair)) == (40, 4)
    tree(
        tmp_path / "t" / "H",
        [f"real_images/{decomposed}.jpg"],
        [f"masks/{decomposed}_1.png", f"composite_images/{composed}_1_1.png"],
    )
    (pair,) = read_pairs(tmp_path / "t")
    assert shade(pair) == 40


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff\xfe", b"tab\there", b"line\nend", b"a..b", b"x" * 220])
def test_a_stray_name_is_quarantined_escaped_and_the_others_are_used(tmp_path, name):
    tree(tmp_path, ["images/a.jpg"], ["masks/a.png"])
    (tmp_path / "images" / os.fsdecode(name + b".png")).write_bytes(b"x")
    pairs = read_pairs(tmp_path)
    assert joined(pairs) == [("a.jpg", "a.png")]
    (row,) = pairs.bad
    assert row.id.encode("utf-8").isascii()
    assert row.message.isprintable()
    assert "rename it" in row.message


def test_a_stray_name_among_composites_is_quarantined(tmp_path):
    names = ["real_images/a.jpg"], ["masks/a_1.png", "composite_images/a_1_1.png"]
    tree(tmp_path / "HX", *names)
    (tmp_path / "HX" / "composite_images" / os.fsdecode(b"b\xe9_1_1.png")).write_bytes(b"x")
    pairs = read_pairs(tmp_path)
    assert [pair.pair_id for pair in pairs] == ["HX/a_1"]
    assert "b\\xe9_1_1.png" in pairs.bad[0].id


def test_a_folder_whose_path_is_not_utf8_is_refused_in_words(tmp_path):
    folder = tmp_path / os.fsdecode(b"d\xe9")
    tree(folder, ["images/a.jpg"], ["masks/a.png"])
    with pytest.raises(UsageError, match=r"d\\xe9' is not UTF-8 text"):
        read_pairs(folder)


# What is not read is counted and named


def test_files_that_are_not_read_are_named_with_their_reasons(tmp_path):
    tree(tmp_path, ["images/a.jpg"], ["masks/a.png", "masks/b.png", "masks/c.png"])
    for name in ("images/b.cr2", "images/._a.jpg", "images/.DS_Store", "images/notes.txt", "masks/a.svg"):
        (tmp_path / name).write_bytes(b"x")
    pairs = read_pairs(tmp_path)
    assert joined(pairs) == [("a.jpg", "a.png")]
    assert reasons(pairs) == [
        ("hidden", ".DS_Store"),
        ("hidden", "._a.jpg"),
        ("not a picture", "notes.txt"),
        ("suffix", "a.svg"),
        ("suffix", "b.cr2"),
    ]
    first, second = pairs.bad
    assert "'b.cr2' lies there, a kind that is not read" in first.message
    assert "add or rename it" in second.message


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".gif"])
def test_other_suffixes_of_formats_that_are_read_are_read(tmp_path, suffix):
    tree(tmp_path, [f"images/a{suffix}"], ["masks/a.png"])
    assert joined(read_pairs(tmp_path)) == [(f"a{suffix}", "a.png")]


def test_an_error_says_what_was_passed_over(tmp_path):
    tree(tmp_path, ["images/a.jpg"], ["masks/b.png"])
    (tmp_path / "images" / "b.dng").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"'b\.dng' lies there.*1 files passed over"):
        read_pairs(tmp_path)


# Links


def linked(root, name, to):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).symlink_to(to)


def test_a_linked_folder_and_a_linked_file_inside_the_data_are_read(tmp_path):
    tree(tmp_path, ["store/deep/a.jpg", "images/b.jpg"], ["store/m/a.png", "masks/b.png"])
    linked(tmp_path, "images/deep", tmp_path / "store" / "deep")
    linked(tmp_path, "masks/deep", "../store/m")
    linked(tmp_path, "images/c.jpg", "../store/deep/a.jpg")
    linked(tmp_path, "masks/c.png", tmp_path / "masks" / "b.png")
    pairs = read_pairs(tmp_path)
    assert [(pair.real_id, shade(pair), left(pair)) for pair in pairs] == [
        ("b", 41, 1),
        ("c", 40, 1),
        ("deep-a", 40, 0),
    ]
    assert not pairs.passed_over


def test_a_circle_of_links_is_not_entered(tmp_path):
    tree(tmp_path, ["images/a.jpg"], ["masks/a.png"])
    linked(tmp_path, "images/again", tmp_path / "images")
    pairs = read_pairs(tmp_path)
    assert joined(pairs) == [("a.jpg", "a.png")]
    assert reasons(pairs) == [("link", "again")]


def test_links_out_of_the_data_are_passed_over_unless_allowed(tmp_path):
    tree(tmp_path, ["private/p.jpg", "d/images/a.jpg"], ["private/m/x.png", "d/masks/a.png", "d/masks/p.png"])
    linked(tmp_path, "d/images/p.jpg", tmp_path / "private" / "p.jpg")
    linked(tmp_path, "d/masks/sub", tmp_path / "private" / "m")
    pairs = read_pairs(tmp_path / "d")
    assert joined(pairs) == [("a.jpg", "a.png")]
    assert reasons(pairs) == [("link", "p.jpg"), ("link", "sub")]
    allowed = read_pairs(tmp_path / "d", reading=ReadOptions(allow_outside=True))
    assert joined(allowed) == [("a.jpg", "a.png"), ("p.jpg", "p.png")]


def test_a_tree_of_links_is_read_if_harmonygen_wrote_it(tmp_path):
    tree(tmp_path / "from", ["a.jpg"], ["a_1.png", "a_1_1.png"])
    for name, file in (("masks", "a_1.png"), ("real_images", "a.jpg"), ("composite_images", "a_1_1.png")):
        linked(tmp_path, f"t/HX/{name}/{file}", tmp_path / "from" / file)
    with pytest.raises(UsageError, match="is a link to"):
        read_pairs(tmp_path / "t")
    (tmp_path / "t" / "summary.json").write_text("{}")
    assert [pair.pair_id for pair in read_pairs(tmp_path / "t")] == ["HX/a_1"]


def test_a_coco_photo_that_is_a_link_out_is_passed_over(tmp_path):
    tree(tmp_path, ["private/p.jpg", "d/a.jpg"], [])
    linked(tmp_path, "d/p.jpg", tmp_path / "private" / "p.jpg")
    (tmp_path / "d" / "i.json").write_text(json.dumps(coco([(1, "a.jpg"), (2, "p.jpg")], [(1, 1), (2, 2)])))
    pairs = read_pairs(tmp_path / "d")
    assert [pair.pair_id for pair in pairs] == ["a_1"]
    assert reasons(pairs) == [("link", "p.jpg")]


# Splits


@pytest.mark.parametrize(
    ("train", "other"),
    [("train", "val"), ("Train", "Test"), ("training", "validation"), ("train2017", "val2017"), ("train", "dev")],
)
def test_folders_that_are_splits_are_read_one_at_a_time(tmp_path, train, other):
    for split in (train, other):
        tree(tmp_path / split, ["images/a.jpg"], ["masks/a.png"])
    pairs = read_pairs(tmp_path)
    assert [pair.pair_id for pair in pairs] == [f"{train}/a_0"]
    assert reasons(pairs) == [("split", other)]
    assert f"the train split is read, {other} not" in pairs.notes[0]
    assert [pair.subset for pair in read_pairs(tmp_path, subset=other)] == [other]
    assert [pair.subset for pair in read_pairs(tmp_path, split="test")] == [other]


def test_splits_inside_the_photo_and_the_mask_folder(tmp_path):
    names = [f"{split}/{name}" for split, name in (("train", "a"), ("val", "b"))]
    tree(tmp_path, [f"images/{name}.jpg" for name in names], [f"masks/{name}.png" for name in names])
    pairs = read_pairs(tmp_path)
    assert joined(pairs) == [("a.jpg", "a.png")]
    assert joined(read_pairs(tmp_path, subset="val")) == [("b.jpg", "b.png")]
    assert reasons(pairs) == [("split", "val")]


def test_folders_named_by_split_and_side(tmp_path):
    tree(tmp_path, ["train_images/a.jpg", "val_images/b.jpg"], ["train_masks/a.png", "val_masks/b.png"])
    assert joined(read_pairs(tmp_path)) == [("a.jpg", "a.png")]


def test_a_subset_that_only_begins_like_a_split_is_none(tmp_path):
    for name in ("train_station", "beach"):
        tree(tmp_path / name, ["images/a.jpg"], ["masks/a.png"])
    assert [pair.subset for pair in read_pairs(tmp_path)] == ["beach", "train_station"]


def test_the_only_split_is_read_and_two_without_training_are_refused(tmp_path):
    tree(tmp_path / "val", ["images/a.jpg"], ["masks/a.png"])
    assert len(read_pairs(tmp_path)) == 1
    tree(tmp_path / "test", ["images/a.jpg"], ["masks/a.png"])
    with pytest.raises(UsageError, match="splits test, validation and none to train on"):
        read_pairs(tmp_path)


def png(shade):
    import io

    buffer = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("train", "other"),
    [
        ("train.parquet", "test.parquet"),
        ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"),
        ("training.parquet", "eval.parquet"),
        ("train/0000.parquet", "test/0000.parquet"),
        ("data/train/part.parquet", "data/dev/part.parquet"),
        ("default/train/0000.parquet", "default/valid/0000.parquet"),
    ],
)
def test_parquet_splits_are_known_by_file_and_by_folder(tmp_path, train, other):
    for number, name in enumerate((train, other)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"real": [png(40 + number)], "mask": [png(0)]}), tmp_path / name)
    pairs = read_pairs(tmp_path)
    assert [shade(pair) for pair in pairs] == [40]
    assert [row.reason for row in pairs.passed_over] == ["split"]
    assert [shade(pair) for pair in read_pairs(tmp_path / other)] == [41]
    split = "test" if "test" in other or "eval" in other else "val"
    assert [shade(pair) for pair in read_pairs(tmp_path, subset=split)] == [41]


# COCO


def coco(images, annotations, **more):
    return {
        "images": [{"id": key, "file_name": name, "height": SIDE, "width": SIDE} for key, name in images],
        "annotations": [
            {"id": key, "image_id": image, "category_id": 1, "segmentation": [SQUARE]} for key, image in annotations
        ],
        "categories": [{"id": 1, "name": "thing"}],
        **more,
    }


def write_coco(root, found, name="instances.json"):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    return path


def test_image_ids_that_stand_twice_are_refused_by_name(tmp_path):
    tree(tmp_path, ["a.jpg", "b.jpg"], [])
    write_coco(tmp_path, coco([(1, "a.jpg"), (1, "b.jpg")], [(1, 1), (2, 1)]))
    with pytest.raises(UsageError, match=r"1 image ids .* stand for several: 1:"):
        read_pairs(tmp_path)


def test_an_image_that_is_listed_twice_alike_is_one(tmp_path):
    tree(tmp_path, ["a.jpg"], [])
    write_coco(tmp_path, coco([(1, "a.jpg"), (1, "a.jpg")], [(1, 1)]))
    assert [pair.pair_id for pair in read_pairs(tmp_path)] == ["a_1"]


def test_category_ids_that_stand_twice_are_refused(tmp_path):
    tree(tmp_path, ["a.jpg"], [])
    twice = [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]
    write_coco(tmp_path, coco([(1, "a.jpg")], [(1, 1)], categories=twice))
    with pytest.raises(UsageError, match="1 category ids"):
        read_pairs(tmp_path)


def test_annotation_ids_that_stand_twice_are_said_and_keep_their_photos(tmp_path):
    tree(tmp_path, ["a.jpg", "b.jpg"], [])
    write_coco(tmp_path, coco([(1, "a.jpg"), (2, "b.jpg")], [(7, 1), (7, 2)]))
    pairs = read_pairs(tmp_path)
    assert [(pair.pair_id, shade(pair)) for pair in pairs] == [("a_7", 40), ("b_7", 41)]
    assert "1 annotation ids stand twice (7)" in pairs.notes[0]


def test_a_file_name_of_two_photos_is_refused_and_of_one_photo_said(tmp_path):
    tree(tmp_path, ["a.jpg"], [])
    found = coco([(1, "a.jpg"), (2, "a.jpg")], [(1, 1), (2, 2)])
    write_coco(tmp_path, found)
    pairs = read_pairs(tmp_path)
    assert [pair.pair_id for pair in pairs] == ["a_1", "a_2"]
    assert "1 photos are listed twice (a.jpg)" in pairs.notes[0]
    found["images"][1]["width"] = 99
    write_coco(tmp_path, found)
    with pytest.raises(UsageError, match=r"file names .* of different sizes or sources: a\.jpg"):
        read_pairs(tmp_path)


@pytest.mark.parametrize(
    ("train", "other", "photos"),
    [
        ("annotations/instances_train2017.json", "annotations/instances_val2017.json", ("train2017", "val2017")),
        ("annotations/instances_train.json", "annotations/instances_test.json", ("images", "images")),
        ("train/_annotations.coco.json", "valid/_annotations.coco.json", ("train", "valid")),
        ("train.json", "val.json", (".", ".")),
    ],
)
def test_coco_splits_are_read_one_at_a_time(tmp_path, train, other, photos):
    tree(tmp_path, [f"{photos[0]}/a.jpg", f"{photos[1]}/b.jpg"], [])
    write_coco(tmp_path, coco([(1, "a.jpg")], [(1, 1)]), train)
    write_coco(tmp_path, coco([(1, "b.jpg")], [(1, 1)]), other)
    pairs = read_pairs(tmp_path)
    assert [(pair.real_id, shade(pair), left(pair)) for pair in pairs] == [("a", 40, 4)]
    assert reasons(pairs) == [("split", os.path.basename(other))]
    subset = "test" if "test" in other else "val"
    assert [(pair.real_id, shade(pair)) for pair in read_pairs(tmp_path, subset=subset)] == [("b", 41)]


def test_two_coco_files_of_no_split_are_named(tmp_path):
    tree(tmp_path, ["a.jpg"], [])
    for name in ("one.json", "two.json"):
        write_coco(tmp_path, coco([(1, "a.jpg")], [(1, 1)]), name)
    with pytest.raises(UsageError, match=r"coco: .*one\.json.*two\.json.*name one \.json"):
        read_pairs(tmp_path)


def test_coco_photos_without_an_annotation_are_left_out_by_name(tmp_path):
    tree(tmp_path, ["a.jpg", "b.jpg"], [])
    write_coco(tmp_path, coco([(1, "a.jpg"), (2, "b.jpg")], [(1, 1)]))
    assert [row.id for row in read_pairs(tmp_path).left_out] == ["b.jpg"]


def test_a_contests_other_files_are_passed_over(tmp_path):
    tree(tmp_path, ["train/a.jpg", "test/t.jpg"], [])
    (tmp_path / "train" / "notes.txt").write_text("x")
    (tmp_path / "train.csv").write_text(f"ImageId,EncodedPixels,Height,Width,ClassId\na,65 8,{SIDE},{SIDE},1\n")
    pairs = read_pairs(tmp_path)
    assert seen(pairs) == [("a_union", 40, 4)]
    assert reasons(pairs) == [("not a picture", "notes.txt"), ("split", "test")]


# iHarmony4


def test_a_subset_without_a_list_is_said(tmp_path):
    for subset in ("HX", "HY"):
        tree(tmp_path / subset, ["real_images/f1.jpg"], ["masks/f1_1.png", "composite_images/f1_1_1.png"])
    (tmp_path / "HX_train.txt").write_text("HX/composite_images/f1_1_1.png\n")
    (tmp_path / "HX_test.txt").write_text("HX/composite_images/f9_1_1.png\n")
    pairs = read_pairs(tmp_path)
    assert [pair.pair_id for pair in pairs] == ["HX/f1_1"]
    assert reasons(pairs) == [("no list", "HY"), ("split", "HX_test.txt")]
    assert "the composites of 'HY' are in no list that is read ('HX_train.txt')" in pairs.notes[0]
    assert [pair.pair_id for pair in read_pairs(tmp_path, subset="HY")] == ["HY/f1_1"]


def test_a_test_list_that_is_read_for_want_of_another_is_said(tmp_path):
    tree(tmp_path / "HX", ["real_images/f1.jpg"], ["masks/f1_1.png", "composite_images/f1_1_1.png"])
    (tmp_path / "IHD_test.txt").write_text("HX/composite_images/f1_1_1.png\n")
    assert "there is no training list" in read_pairs(tmp_path).notes[0]


# Tables


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("semicolon.csv", "real;mask\np/a.jpg;m/a.png\n", "utf-8"),
        ("tab.tsv", "real\tmask\np/a.jpg\tm/a.png\n", "utf-8"),
        ("utf16.csv", "real,mask\np/a.jpg,m/a.png\n", "utf-16"),
        ("both.csv", "real;mask\r\np/a.jpg;m/a.png\r\n", "utf-16"),
        ("caps.csv", "Real, MASK\np/a.jpg,m/a.png\n", "utf-8"),
        ("excel.csv", "sep=;\nreal;mask\np/a.jpg;m/a.png\n", "utf-8-sig"),
        ("windows.csv", "real,mask\np\\a.jpg,m\\a.png\n", "utf-8"),
    ],
)
def test_tables_as_office_programs_write_them(tmp_path, name, text, encoding):
    tree(tmp_path, ["p/a.jpg"], ["m/a.png"])
    (tmp_path / name).write_bytes(text.encode(encoding))
    (pair,) = read_pairs(tmp_path / name)
    assert (pair.pair_id, shade(pair), left(pair)) == ("a_0", 40, 0)


def test_a_parquet_table_may_have_capital_columns(tmp_path):
    tree(tmp_path, ["a.jpg"], ["m.png"])
    pq.write_table(pa.table({"Real": ["a.jpg"], "Mask": ["m.png"]}), tmp_path / "t.parquet")
    (pair,) = read_pairs(tmp_path / "t.parquet")
    assert (shade(pair), left(pair)) == (40, 0)


# The nearest reader says why


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"pairs.csv": "image,mask\np/a.jpg,m/a.png\n"},
            r"table: .*no column real .*rename the column 'image'",
        ),
        (
            {"train.csv": "ImageId;EncodedPixels;Height;Width;ClassId\n"},
            r"imaterialist: .*not parted by commas",
        ),
        ({"x.json": '{"images": [], "annotations": []}'}, r"coco: .*is not one COCO instances file"),
        ({"images/a.txt": "", "notes": ""}, r"folders: .*photos in 'images' but no folder of masks"),
        ({"masks/a.txt": ""}, r"folders: .*masks in 'masks' but no folder of photos"),
        ({"JPEGImages/a.txt": ""}, r"voc: .*has no JPEGImages beside SegmentationClass"),
        ({"annotations.xml": "<annotations/>"}, r"CVAT's XML: export the task again as 'COCO 1\.0'"),
        ({"meta.json": "{}", "ds/ann/a.json": "{}", "ds/img/a.txt": ""}, "Supervisely project: export it as COCO"),
        ({"shard-000.tar": "", "shard-001.tar": ""}, r"2 archives such as WebDataset's shards: unpack them"),
        ({"labels/a.txt": "0 0 0"}, r"it is YOLO's"),
        ({"dataset_info.json": "{}", "data-0.arrow": ""}, "write it with to_parquet"),
    ],
)
def test_the_reader_that_comes_nearest_says_why_it_cannot(tmp_path, files, told):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=told):
        detect_layout(tmp_path)


def test_a_parquet_file_without_the_columns_says_which_it_has(tmp_path):
    pq.write_table(pa.table({"image": [png(1)], "label": [png(1)]}), tmp_path / "train-00000-of-00001.parquet")
    with pytest.raises(UsageError, match=r"parquet: .*no image column real or mask.*found image:binary, label:binary"):
        read_pairs(tmp_path)


def test_a_layout_that_is_named_gives_its_readers_own_message(tmp_path):
    (tmp_path / "pairs.csv").write_text("image,mask\n")
    with pytest.raises(UsageError, match=r"^'.*pairs\.csv' has no column real of paths"):
        read_pairs(tmp_path, reading=ReadOptions(layout="table"))
    with pytest.raises(UsageError, match=r"no labelme JSON"):
        read_pairs(tmp_path, layout="labelme")


# VOC and labelme


def voc(root, names=("a", "b", "c")):
    tree(
        root,
        [f"JPEGImages/{name}.jpg" for name in names],
        [f"{kind}/{name}.png" for kind in ("SegmentationClass", "SegmentationObject") for name in names[:2]],
    )
    return root


def test_voc_pairs_photos_with_their_label_images(tmp_path):
    pairs = read_pairs(voc(tmp_path))
    assert pairs.layout == "voc"
    assert [(pair.pair_id, shade(pair), left(pair)) for pair in pairs] == [("a_0", 40, 0), ("b_0", 41, 1)]
    assert reasons(pairs) == [("no mask", "c.jpg"), ("other masks", "SegmentationObject")]
    assert "'SegmentationClass'" in pairs.notes[0]


def test_voc_lists_are_splits(tmp_path):
    root = voc(tmp_path / "VOC2012")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name, text in (("train", "a\n"), ("val", "b\n"), ("trainval", "a\nb\n")):
        (lists / f"{name}.txt").write_text(text)
    assert [pair.pair_id for pair in read_pairs(tmp_path)] == ["VOC2012/a_0"]
    assert ("split", "val.txt") in reasons(read_pairs(tmp_path))
    assert [pair.real_id for pair in read_pairs(root, subset="val")] == ["b"]


def labelme(root, name, shapes, image=None, **more):
    held = {"version": "5", "shapes": shapes, "imagePath": image or f"{name}.jpg", "imageData": None}
    path = root / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(held | {"imageHeight": SIDE, "imageWidth": SIDE} | more))


def shape(points, kind="polygon", label="cat", group=None):
    return {"label": label, "points": points, "shape_type": kind, "group_id": group}


BOX = [[2, 4], [10, 4], [10, 12], [2, 12]]


def test_labelme_shapes_are_pairs_of_their_photo(tmp_path):
    tree(tmp_path, ["a.jpg", "b.jpg", "c.jpg"], [])
    shapes = [shape(BOX), shape([[6, 4], [14, 12]], "rectangle"), shape([[1, 1], [2, 2]], "line"), shape([[1, 1]])]
    labelme(tmp_path, "a", shapes)
    labelme(tmp_path, "b", [shape([[8, 8], [8, 12]], "circle", "dog")], "..\\pictures\\b.jpg")
    pairs = read_pairs(tmp_path)
    assert pairs.layout == "labelme"
    assert [(pair.pair_id, shade(pair), left(pair)) for pair in pairs] == [
        ("a_0", 40, 2),
        ("a_1", 40, 6),
        ("b_0", 41, 4),
    ]
    assert [pair.extra["label"] for pair in pairs] == ["cat", "cat", "dog"]
    assert [row.reason for row in pairs.passed_over] == ["not an area"]
    assert [os.path.basename(row.id) for row in pairs.bad] == ["a.json shape 3", "c.jpg"]
    disk = read_mask(pairs[2].mask, read_image(pairs[2].real)).sum()
    assert disk == pytest.approx(np.pi * 16, rel=0.1)


def test_labelme_shapes_of_one_group_are_one_mask(tmp_path):
    tree(tmp_path, ["a.jpg"], [])
    far = [[12, 4], [15, 4], [15, 12], [12, 12]]
    labelme(tmp_path, "a", [shape(BOX, group=1), shape(far, group=1), shape(far, group=2)])
    one, two = read_pairs(tmp_path)
    areas = [int(read_mask(pair.mask, read_image(pair.real)).sum()) for pair in (one, two)]
    assert areas == [64 + 24, 24]


def test_labelme_never_reads_a_photo_outside_its_folder(tmp_path):
    tree(tmp_path, ["private/p.jpg", "d/a.jpg"], [])
    labelme(tmp_path / "d", "a", [shape(BOX)])
    labelme(tmp_path / "d", "p", [shape(BOX)], "../private/p.jpg")
    labelme(tmp_path / "d", "q", [shape(BOX)], str(tmp_path / "private" / "p.jpg"))
    pairs = read_pairs(tmp_path / "d")
    assert [pair.real_id for pair in pairs] == ["a"]
    assert len(pairs.bad) == 2
    assert all("put it beside the JSON" in row.message for row in pairs.bad)


def test_two_folders_that_are_named_are_joined_alike(tmp_path):
    tree(tmp_path, ["c/a.jpg"], ["m/a-mask.png"])
    assert joined(read_two_folders(tmp_path / "c", tmp_path / "m")) == [("a.jpg", "a-mask.png")]


# Tables, lists and Parquet files themselves


@pytest.mark.parametrize("name", ["train.parquet", "pairs.csv", "instances.json", "IHD_train.txt"])
def test_a_table_that_is_a_link_out_of_the_folder_is_not_opened(tmp_path, name):
    secret, data = tmp_path / "secret", tmp_path / "data"
    secret.write_text("secret")
    data.mkdir()
    (data / name).symlink_to(secret)
    secret.chmod(0)  # root reads it all the same; others would see an error of another kind
    with pytest.raises(UsageError, match=r"lies outside the data's folder .*--allow-outside"):
        read_pairs(data)


@pytest.mark.parametrize("kind", ["a folder", "a circle", "gone"])
def test_what_only_has_the_name_of_a_table_is_none(tmp_path, kind):
    name = tmp_path / "train.parquet"
    if kind == "a folder":
        name.mkdir()
    else:
        name.symlink_to("train.parquet" if kind == "a circle" else "nowhere.parquet")
    with pytest.raises(UsageError, match="no layout fits"):
        read_pairs(tmp_path)


def test_no_header_of_a_linked_photo_is_read_where_segments_are_united(tmp_path, monkeypatch):
    """Its size would decide which segments are right: iMaterialist's photos and COCO's unions."""
    data = tmp_path / "data"
    (data / "train").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (data / "train" / "a.png").symlink_to(tmp_path / "secret.png")
    (data / "train.csv").write_text("ImageId,EncodedPixels,Height,Width,ClassId\na,1 4,4,4,0\n")
    monkeypatch.setattr("harmonygen.data.headers.Header.read", lambda *_: pytest.fail("a photo outside was opened"))
    with pytest.raises(UsageError, match="lies outside the data's folder"):
        read_pairs(data)


def test_a_fifo_that_is_named_as_data_is_refused_unopened(tmp_path):
    os.mkfifo(tmp_path / "pairs.csv")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        read_pairs(tmp_path / "pairs.csv")


@pytest.mark.parametrize("place", [CHUNK - 4, CHUNK, 3])
def test_a_key_that_lies_over_two_chunks_is_found(tmp_path, place):
    path = tmp_path / "instances.json"
    path.write_text("{" + " " * place + '"images": [], "annotations": [], "segmentation": 1}')
    assert instance_files(path) == [path]
