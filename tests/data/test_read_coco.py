import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from skimage import data as pictures

from harmonygen.data import read_pairs
from harmonygen.data.coco import read_coco
from harmonygen.errors import InputError, UsageError
from harmonygen.pictures.images import read_image
from harmonygen.pictures.masks import read_mask

SQUARE = [[10.0, 8.0, 30.0, 8.0, 30.0, 20.0, 10.0, 20.0]]


def whole_mask():
    mask = np.zeros((32, 48), np.uint8)
    mask[8:20, 10:30] = 1
    return mask


def compressed():
    rle = coco.encode(np.asfortranarray(whole_mask()))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def uncompressed():
    flat = whole_mask().T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    return {"size": [32, 48], "counts": np.diff([0, *edges, flat.size]).tolist()}


def write(folder, annotations, images=None, inside="", name="instances.json"):
    images = images or [{"id": 7, "file_name": "a.png", "height": 32, "width": 48}]
    for image in images:
        path = folder / inside / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures.coffee()).resize((48, 32)).save(path)
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))
    return path


@pytest.mark.parametrize("segmentation", [SQUARE, compressed(), uncompressed()], ids=["polygon", "rle", "counts"])
@pytest.mark.parametrize("crowd", [0, 1])
def test_polygons_and_both_kinds_of_rle_give_the_same_mask(tmp_path, segmentation, crowd):
    write(tmp_path, [{"id": 3, "image_id": 7, "segmentation": segmentation, "iscrowd": crowd}])
    (pair,) = read_pairs(tmp_path)
    assert (pair.pair_id, pair.real_id, pair.mask_id) == ("a_3", "a", "3")
    assert (read_mask(pair.mask, read_image(pair.real)) == whole_mask().astype(bool)).all()


@pytest.mark.parametrize(
    ("inside", "name"),
    [
        ("", "x.json"),
        ("images", "instances.json"),
        ("train2017", "annotations/instances_train2017.json"),
        ("images/val2017", "annotations/instances_val2017.json"),
    ],
)
def test_photos_are_found_in_the_usual_folders(tmp_path, inside, name):
    path = write(tmp_path, [{"id": 3, "image_id": 7, "segmentation": SQUARE}], inside=inside, name=name)
    for data in (path, tmp_path):
        (pair,) = read_pairs(data)
        assert pair.real.path == tmp_path / inside / "a.png"


def test_annotations_that_cannot_be_pairs_are_set_aside(tmp_path):
    good = {"id": 1, "image_id": 7, "segmentation": SQUARE}
    write(tmp_path, [good, good | {"id": 2, "image_id": 99}, {"id": 4, "image_id": 7, "bbox": [0, 0, 1, 1]}])
    pairs = read_pairs(tmp_path)
    assert [pair.pair_id for pair in pairs] == ["a_1"]
    assert [row.id for row in pairs.bad] == ["annotation 2", "annotation 4"]
    assert "image 99" in pairs.bad[0].message
    assert "no segmentation" in pairs.bad[1].message


@pytest.mark.parametrize("segmentation", [[[1, 2, 3]], {"size": [32, 48], "counts": [5, 5]}, {"size": [9, 9]}])
def test_a_malformed_segmentation_fails_for_its_pair_alone_when_decoded(tmp_path, segmentation):
    write(tmp_path, [{"id": 1, "image_id": 7, "segmentation": segmentation}])
    (pair,) = read_pairs(tmp_path)
    with pytest.raises(InputError, match=r"a\.png, annotation 1"):
        read_mask(pair.mask, read_image(pair.real))


@pytest.mark.parametrize("file_name", ["../a.png", "/etc/a.png", "a\\b.png", "a\0.png"])
def test_photo_names_that_lead_out_of_the_folder_are_refused(tmp_path, file_name):
    images = [{"id": 7, "file_name": file_name, "height": 32, "width": 48}]
    path = tmp_path / "i.json"
    path.write_text(json.dumps({"images": images, "annotations": [{"id": 1, "image_id": 7, "segmentation": SQUARE}]}))
    with pytest.raises(UsageError, match="photo name"):
        read_pairs(path)


def test_two_photos_of_one_stem_are_refused(tmp_path):
    images = [{"id": n, "file_name": name, "height": 32, "width": 48} for n, name in enumerate(("a.png", "a.jpg"))]
    write(tmp_path, [{"id": n, "image_id": n, "segmentation": SQUARE} for n in range(2)], images)
    with pytest.raises(UsageError, match=r"photo id.*a\.png.*a\.jpg"):
        read_pairs(tmp_path)


def test_photos_that_are_nowhere_are_an_error_that_lists_the_folders(tmp_path):
    path = write(tmp_path, [{"id": 1, "image_id": 7, "segmentation": SQUARE}])
    (tmp_path / "a.png").unlink()
    with pytest.raises(UsageError, match=r"first 'a\.png'.* was found in"):
        read_pairs(path)


def test_the_photo_folder_can_be_given(tmp_path):
    path = write(tmp_path, [{"id": 1, "image_id": 7, "segmentation": SQUARE}], inside="elsewhere/deep")
    (pair,) = read_coco(path, tmp_path / "elsewhere" / "deep")
    assert read_image(pair.real).image_u8.shape == (32, 48, 3)


def test_json_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "i.json"
    path.write_text('{"images": [], "annotations": 3, "x": "segmentation"')
    with pytest.raises(UsageError, match="is not COCO instances JSON"):
        read_pairs(path)
