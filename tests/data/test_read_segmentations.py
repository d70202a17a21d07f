import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco
from skimage import data as pictures

from harmonygen.data import read_pairs
from harmonygen.data.categories import Categories, read_labels
from harmonygen.data.coco import read_arrays
from harmonygen.data.sample import write_sample
from harmonygen.data.segmentations import read_segmentations
from harmonygen.errors import StorageError, UsageError
from harmonygen.pictures.images import read_image
from harmonygen.pictures.masks import decode_segmentation, mask_to_runs, read_mask

HEIGHT, WIDTH = 32, 48
CATEGORIES = [
    {"id": 0, "name": "shirt, blouse", "supercategory": "upperbody"},
    {"id": 6, "name": "pants", "supercategory": "lowerbody"},
    {"id": 23, "name": "shoe", "supercategory": "legs and feet"},
]
CONTEST = Categories("labels", {each["id"]: (each["name"], each["supercategory"]) for each in CATEGORIES})


def box(top, left):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + 8, left : left + 10] = True
    return mask


def polygon(top, left):
    return [[left, top, left + 10, top, left + 10, top + 8, left, top + 8]]


def compressed(mask):
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def photos(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(pictures.coffee()).resize((WIDTH, HEIGHT)).save(folder / name)


def fashionpedia(path, annotations, names=("a.jpg", "b.jpg")):
    photos(path / "train", *names)
    images = [{"id": n, "file_name": name, "height": HEIGHT, "width": WIDTH} for n, name in enumerate(names)]
    whole = {"info": {"images": []}, "categories": CATEGORIES, "annotations": annotations, "images": images}
    (path / "instances_attributes_train2020.json").write_text(json.dumps(whole))
    return path


def annotation(number, image, segmentation, category=0, **more):
    return {"id": number, "image_id": image, "category_id": category, "segmentation": segmentation, **more}


def contest(path, rows):
    photos(path / "train", "a.jpg", "b.jpg", "c.jpg")
    lines = [f"{name},{mask_to_runs(mask)},{HEIGHT},{WIDTH},{class_id}" for name, mask, class_id in rows]
    (path / "train.csv").write_text("\n".join(["ImageId,EncodedPixels,Height,Width,ClassId", *lines]))
    (path / "label_descriptions.json").write_text(json.dumps({"categories": CATEGORIES}))
    return path


# COCO


def test_the_annotations_of_a_photo_are_united_whatever_their_form(tmp_path):
    made = fashionpedia(
        tmp_path,
        [
            annotation(5, 0, polygon(2, 2), 0, attribute_ids=[138, 115]),
            annotation(6, 1, polygon(5, 5)),
            annotation(7, 0, compressed(box(12, 20)), 23, attribute_ids=[], iscrowd=1),
        ],
    )
    first, second = read_segmentations(made)
    assert (first.pair_id, first.real_id, first.mask_id) == ("a_union", "a", "union")
    assert first.extra == {"class_ids": "0 23", "attributes": "[115, 138]", "segments": "2"}
    assert (read_mask(first.mask, read_image(first.real)) == (box(2, 2) | box(12, 20))).all()
    assert (decode_segmentation(second.mask) == box(5, 5)).all()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (annotation(9, 0, [[1, 2, 3]]), "a polygon of 3 numbers"),
        (annotation(9, 0, {"size": [HEIGHT, WIDTH], "counts": [5, 5]}), "covers 10 pixels"),
        (annotation(9, 0, {"size": [9, 9], "counts": [81]}), "is 9x9 but its photo is 48x32"),
        (annotation(9, 0, {"counts": 3}), "cannot be decoded"),
        (annotation(9, 0, None), "has no segmentation"),
        (annotation(9, 77, polygon(1, 1)), "is of image 77, which the file does not list"),
        (annotation(9, [0], polygon(1, 1)), "which the file does not list"),
        (annotation(9, 0, polygon(1, 1), 99), "class 99 is not in '.*json' \\(3 categories\\)"),
        (annotation(9, 0, polygon(1, 1), "x"), "category_id 'x', which is not a whole number"),
        (annotation(9, 0, polygon(1, 1), attribute_ids="7"), "attribute_ids '7'"),
        (None, "which the file does not list"),
    ],
)
def test_a_bad_annotation_costs_itself_alone(tmp_path, wrong, told):
    made = fashionpedia(tmp_path, [annotation(5, 0, polygon(2, 2)), wrong, annotation(6, 1, polygon(5, 5))])
    found = read_segmentations(made)
    (fault,) = found.bad
    number = "9" if wrong else "number 1"
    assert fault.id in (f"a.jpg annotation {number}", f"? annotation {number}")
    assert re.search(told, fault.message)
    assert (decode_segmentation(found[0].mask) == box(2, 2)).all()
    assert len(found) == 2


def test_a_coco_photo_left_with_nothing_missing_or_of_another_size_is_quarantined(tmp_path):
    lines = [annotation(1, 0, [[1, 2, 3]]), *(annotation(n, n, polygon(5, 5)) for n in (1, 2, 3))]
    made = fashionpedia(tmp_path, lines, ("nothing.jpg", "missing.jpg", "other.jpg", "good.jpg"))
    (made / "train" / "missing.jpg").unlink()
    Image.new("RGB", (9, 9)).save(made / "train" / "other.jpg")
    found = read_segmentations(made)
    assert [pair.real_id for pair in found] == ["good"]
    told = {row.id: row.message for row in found.bad}
    assert "none of the 1 annotations" in told["nothing.jpg"]
    assert "No such file" in told["missing.jpg"]
    assert "are 32 and 48 but those of" in told["other.jpg annotation 2"]
    assert "none of the 1 annotations" in told["other.jpg"]


def test_a_coco_photo_without_chosen_segments_is_left_out(tmp_path):
    lines = [annotation(1, 0, polygon(2, 2)), annotation(2, 1, polygon(5, 5), 23)]
    found = read_segmentations(fashionpedia(tmp_path, lines, ("a.jpg", "b.jpg", "c.jpg")), "garments")
    assert [pair.real_id for pair in found] == ["a"]
    assert [(row.id, row.error) for row in found.left_out] == [("b.jpg", "NotChosen"), ("c.jpg", "NoSegment")]
    assert found.bad == ()


def test_single_annotations_stay_pairs_of_their_own_in_read_pairs(tmp_path):
    made = fashionpedia(tmp_path, [annotation(5, 0, polygon(2, 2)), annotation(6, 0, polygon(5, 5))])
    assert [pair.pair_id for pair in read_pairs(made)] == ["a_5", "a_6"]
    assert [pair.pair_id for pair in read_segmentations(made)] == ["a_union"]


# Classes


@pytest.mark.parametrize(
    ("classes", "ids"),
    [
        ("all", None),
        (" ALL ", None),
        ("garments", {0, 6}),
        ("0,23", {0, 23}),
        ("Shirt", {0}),
        ("blouse, pants", {0, 6}),
        ("legs and feet", {23}),
    ],
)
def test_classes_are_chosen_by_id_name_supercategory_or_garments(classes, ids):
    assert CONTEST.choose(classes) == ids


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ("9", r"class 9 is not in 'labels' \(3 categories\): its ids are 0, 6, 23"),
        ("pant", "did you mean 'pants'"),
        ("0, xyzzy", "'xyzzy' is not in 'labels': its classes are shirt, blouse, "),
        (" , ", "give all, garments, or ids or names"),
    ],
)
def test_classes_that_are_not_there_are_refused(classes, told):
    with pytest.raises(UsageError, match=told):
        CONTEST.choose(classes)


def test_without_descriptions_garments_are_the_contests_first_thirteen_ids(tmp_path):
    assert read_labels(tmp_path).choose("garments") == set(range(13))
    assert read_labels(tmp_path).choose("99") == {99}
    with pytest.raises(UsageError, match="no category of 'x' is a garment"):
        Categories("x", {0: ("chair", "furniture")}).choose("garments")


def test_only_segments_of_chosen_classes_are_united(tmp_path):
    rows = [("a", box(2, 2), 0), ("a", box(12, 20), 23), ("b", box(5, 5), 23)]
    found = read_segmentations(contest(tmp_path, rows), "shirt")
    assert [(pair.real_id, pair.extra["class_ids"]) for pair in found] == [("a", "0")]
    assert (decode_segmentation(found[0].mask) == box(2, 2)).all()
    assert [(row.id, row.error) for row in found.left_out] == [("b", "NotChosen"), ("c", "NoSegment")]
    assert "class 23 only" in found.left_out[0].message
    with pytest.raises(UsageError, match=r"no pair.*3 photos left out"):
        read_segmentations(tmp_path, "pants")


# The door


def test_the_sample_has_one_pair_a_photo(tmp_path):
    found = read_segmentations("sample")
    assert found.layout == "sample"
    assert [pair.real_id for pair in found] == sorted({pair.real_id for pair in found})
    assert {pair.mask_id for pair in found} == {"union"}
    assert len(read_segmentations("sample", limit=1)) == 1


def test_other_layouts_pass_as_they_are_but_have_no_classes(tmp_path):
    tree = write_sample(tmp_path / "tree")
    found = read_segmentations(tree)
    assert [pair.pair_id for pair in found] == [pair.pair_id for pair in read_pairs(tree)]
    assert found[0].extra["segments"] == "1"
    with pytest.raises(UsageError, match="layout 'iharmony4', which has no classes"):
        read_segmentations(tree, "garments")


@pytest.mark.parametrize("data", ["nowhere", ""])
def test_data_that_is_not_there_is_refused(tmp_path, data):
    with pytest.raises(UsageError):
        read_segmentations(tmp_path / data)


def test_a_table_that_cannot_be_read_is_a_storage_error(tmp_path, monkeypatch):
    made = contest(tmp_path, [("a", box(2, 2), 0)])

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("harmonygen.data.imaterialist.read_rows", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        read_segmentations(made)


# JSON element by element

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=5), st.integers(1, 40), st.sampled_from([None, 2]), st.booleans())
@example({"00\x1f\x1f\x0b": 0.0}, 2, None, False)
@example({"a": [0.5, 1e-07, 2.5e300], "b": 1e-07}, 1, None, True)
def test_arrays_are_read_as_the_json_module_does(whole, chunk, indent, asks):
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "x.json"
        path.write_text(json.dumps(whole, indent=indent), encoding="utf-8")
        found = {key: list(each) if asks else None for key, each in read_arrays(path, chunk)}
    assert found == {key: each if asks else None for key, each in whole.items() if isinstance(each, list)}


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": [1, 2', '{"a": [1 2]}', '{"a" [1]}', '{"a": 1 "b": 2}', '{"a": tru}']
)
def test_what_is_no_json_object_is_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"expected|Expecting|Unterminated"):
        [list(each) for _, each in read_arrays(path, 3)]
