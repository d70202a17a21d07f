"""The built-in sample: our masks fit the photos inside the scikit-image wheel."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

SAMPLE = Path(str(files("harmonygen"))) / "assets" / "sample"
INSTANCES = SAMPLE / "instances.json"
PHOTOS = Path(skimage.__file__).parent / "data"
RECORDS = json.loads(INSTANCES.read_text())
PHOTO_OF = {image["id"]: image for image in RECORDS["images"]}


def pair_name(annotation: dict) -> str:
    return f"{PHOTO_OF[annotation['image_id']]['file_name']}:{annotation['name']}"


def each_image(test):
    return pytest.mark.parametrize("image", RECORDS["images"], ids=lambda image: image["file_name"])(test)


def each_annotation(test):
    return pytest.mark.parametrize("annotation", RECORDS["annotations"], ids=pair_name)(test)


@pytest.fixture(scope="module")
def coco() -> COCO:
    return COCO(str(INSTANCES))


def test_has_enough_photos_and_pairs(coco):
    assert len(coco.getImgIds()) >= 4
    assert len(coco.getAnnIds()) >= 8
    assert {a["image_id"] for a in coco.anns.values()} == set(coco.getImgIds())


def test_ids_and_names_are_unique_and_resolve(coco):
    assert len(coco.anns) == len(RECORDS["annotations"])
    assert len(coco.imgs) == len(RECORDS["images"])
    assert len({pair_name(a) for a in RECORDS["annotations"]}) == len(RECORDS["annotations"])
    assert {a["category_id"] for a in RECORDS["annotations"]} <= set(coco.cats)


def test_stays_small_enough_to_ship():
    assert INSTANCES.stat().st_size < 150_000


@each_image
def test_photo_lies_in_the_wheel_with_the_stated_size(image):
    with Image.open(PHOTOS / image["file_name"]) as photo:
        assert photo.size == (image["width"], image["height"])
        assert photo.mode == "RGB"


@each_image
def test_photo_is_credited(image):
    assert image["license"] in {licence["id"] for licence in RECORDS["licenses"]}
    assert image["credit"]
    assert f"`{image['file_name']}`" in (SAMPLE / "CREDITS.md").read_text()


@each_annotation
def test_mask_covers_a_sensible_part_of_its_photo(coco, annotation):
    image = PHOTO_OF[annotation["image_id"]]
    mask = coco.annToMask(annotation)
    assert mask.shape == (image["height"], image["width"])
    assert set(np.unique(mask)) == {0, 1}
    assert 0.01 <= mask.mean() <= 0.8


@each_annotation
def test_area_and_bbox_agree_with_the_mask(coco, annotation):
    rle = coco.annToRLE(annotation)
    assert annotation["iscrowd"] == 0
    assert annotation["area"] == coco_mask.area(rle)
    # toBbox reads a polygon's raster, so it is tight to whole pixels like ours.
    assert annotation["bbox"] == coco_mask.toBbox(rle).tolist()


@each_annotation
def test_polygons_have_one_decimal_and_stay_inside(annotation):
    if isinstance(annotation["segmentation"], dict):
        pytest.skip("run-length encoded")
    image = PHOTO_OF[annotation["image_id"]]
    for polygon in annotation["segmentation"]:
        points = np.array(polygon).reshape(-1, 2)
        assert np.array_equal(points, points.round(1))
        assert (points >= 0).all()
        assert (points <= [image["width"], image["height"]]).all()
