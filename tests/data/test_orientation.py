"""Masks of photos that EXIF turns: what they follow is shown by the set, chosen, or assumed and said."""

import json
import os

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pycocotools import mask as coco

from harmonygen.data import read_pairs
from harmonygen.data.composites import read_composite_folders
from harmonygen.data.headers import Header, turned_photos
from harmonygen.data.segmentations import read_segmentations
from harmonygen.pictures.images import read_image
from harmonygen.pictures.masks import load_mask, load_understood, turn
from harmonygen.records import FileSource, MaskRule, ReadOptions
from harmonygen.storage.content import Content

ORIENTATIONS = range(1, 9)
SEEN = np.zeros((16, 24), bool)
SEEN[1:5, 2:15] = True
SEEN[11, 3] = True
SQUARE = SEEN[:, :16]
INVERSE = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}


def as_stored(mask, orientation):
    return turn(mask, INVERSE[orientation])


def save_photo(path, seen, orientation):
    """Save a photo that shows its mask in white, stored so that EXIF turns it upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.repeat(as_stored(seen, orientation)[..., None], 3, axis=2).astype(np.uint8) * 255
    Image.fromarray(pixels).save(path, exif=exif)


def save_mask(path, mask, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path, **options)


def add(root, name, seen, orientation, way):
    save_photo(root / f"images/{name}.png", seen, orientation)
    save_mask(root / f"masks/{name}.png", as_stored(seen, orientation) if way == "stored" else seen)


def masks_of(pairs):
    return {pair.real_id: load_mask(pair.mask, read_image(pair.real)) for pair in pairs}


def agree(pairs):
    """Whether every mask lies where its photo is white."""
    return {
        pair.real_id: np.array_equal(
            load_mask(pair.mask, (photo := read_image(pair.real))), photo.image_u8[..., 0] > 99
        )
        for pair in pairs
    }


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_turning_a_mask_is_what_pillow_does_to_the_photo(tmp_path, orientation):
    save_photo(tmp_path / "a.png", SEEN, orientation)
    assert np.array_equal(read_image(FileSource(tmp_path / "a.png")).image_u8[..., 0] > 0, SEEN)


@pytest.mark.parametrize("way", ["stored", "upright"])
@pytest.mark.parametrize("seen", [SEEN, SQUARE], ids=["oblong", "square"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_masks_follow_what_the_user_says(tmp_path, orientation, seen, way):
    add(tmp_path, "a", seen, orientation, way)
    found = read_pairs(tmp_path, reading=ReadOptions(mask_orientation=way))
    assert agree(found) == {"a": True}
    assert not found.notes


@pytest.mark.parametrize("way", ["stored", "upright"])
def test_an_oblong_photo_on_its_side_shows_what_all_masks_of_the_set_follow(tmp_path, way):
    for orientation in ORIENTATIONS:
        add(tmp_path, f"square{orientation}", SQUARE, orientation, way)
        add(tmp_path, f"oblong{orientation}", SEEN, orientation, way)
    found = read_pairs(tmp_path)
    assert set(agree(found).values()) == {True}
    assert len(found.notes) == 1
    assert found.notes[0].startswith("10 photos have an EXIF orientation")  # 2-4 of each, 5-8 of the square ones
    assert "4 masks of others are drawn on the photo" in found.notes[0]
    assert {pair.mask.rule.orientation for pair in found if pair.real_id == "oblong1"} == {"auto"}


def test_with_nothing_to_tell_upright_is_assumed_and_said(tmp_path):
    for orientation in (1, 2, 3, 4):
        add(tmp_path, f"a{orientation}", SEEN, orientation, "upright")
    found = read_pairs(tmp_path)
    assert set(agree(found).values()) == {True}
    assert "3 photos have an EXIF orientation" in found.notes[0]
    assert "upright photo is assumed, --mask-orientation decides" in found.notes[0]
    assert load_understood(found[1].mask, read_image(found[1].real))[1].assumed


def test_a_set_that_shows_both_is_read_by_each_photos_size_and_said(tmp_path):
    add(tmp_path, "a", SEEN, 6, "stored")
    add(tmp_path, "b", SEEN, 8, "upright")
    add(tmp_path, "c", SEEN, 3, "upright")
    found = read_pairs(tmp_path)
    assert agree(found) == {"a": True, "b": True, "c": True}
    assert "1 masks of others are drawn on the photo as it is stored; 1 masks" in found.notes[0]


def test_a_photo_beyond_the_limit_still_shows_the_convention(tmp_path):
    add(tmp_path, "a", SEEN, 3, "stored")
    add(tmp_path, "b", SEEN, 6, "stored")
    assert agree(read_pairs(tmp_path, limit=1)) == {"a": True}


def test_a_mask_with_exif_of_its_own_is_turned_by_it_alone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    for name, orientation in (("a", 3), ("b", 4)):
        save_photo(tmp_path / f"images/{name}.png", SEEN, orientation)
        save_mask(tmp_path / f"masks/{name}.png", as_stored(SEEN, 3), exif=exif)
    found = read_pairs(tmp_path, reading=ReadOptions(mask_orientation="stored"))
    assert agree(found) == {"a": True, "b": True}
    assert not read_pairs(tmp_path).notes


def test_a_smaller_mask_is_turned_by_its_shape_before_it_is_resized(tmp_path):
    save_photo(tmp_path / "a.png", np.kron(SEEN, np.ones((2, 2))).astype(bool), 6)
    save_mask(tmp_path / "m.png", as_stored(SEEN, 6))
    mask = load_mask(FileSource(tmp_path / "m.png"), read_image(FileSource(tmp_path / "a.png")), "nearest")
    assert np.array_equal(mask, np.kron(SEEN, np.ones((2, 2))).astype(bool))


def test_photos_of_an_own_rule_keep_it_through_the_note_of_a_run(tmp_path):
    rule = MaskRule(("1", "7"), "stored")
    held = Content.from_json(Content("ab", None, rule).to_json())
    assert held == Content("ab", None, rule)
    assert "rule" not in Content("ab").to_json()


# COCO


def polygons(mask):
    """A polygon of each row run of a mask, as a tool would draw it on that canvas."""
    found = []
    for row, columns in enumerate(mask):
        edges = np.flatnonzero(np.diff([0, *columns.astype(int), 0]))
        found += [
            [int(left), row, int(right), row, int(right), row + 1, int(left), row + 1]
            for left, right in zip(edges[::2], edges[1::2], strict=True)
        ]
    return found


WIDE = np.zeros((16, 24), bool)
WIDE[2:5, 3:22] = True  # reaches beyond 16 columns
LEFT = np.zeros((16, 24), bool)
LEFT[2:9, 3:11] = True  # lies in both canvases
SMALL = np.zeros((16, 16), bool)
SMALL[1:4, 2:12] = True


def write_coco(root, items):
    """Write photos and instances.json; items: name -> (mask as seen, orientation, stated way, drawn way)."""
    images, annotations = [], []
    for number, (name, (seen, orientation, stated, drawn)) in enumerate(items.items(), 1):
        save_photo(root / f"images/{name}.png", seen, orientation)
        height, width = (as_stored(seen, orientation) if stated == "stored" else seen).shape
        canvas = as_stored(seen, orientation) if drawn == "stored" else seen
        images.append({"id": number, "file_name": f"images/{name}.png", "height": height, "width": width})
        segmentation = polygons(canvas)
        annotations.append({"id": number, "image_id": number, "category_id": 1, "segmentation": segmentation})
    categories = [{"id": 1, "name": "thing"}]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (root / "instances.json").write_text(json.dumps(whole))
    return root / "instances.json"


@pytest.mark.parametrize("drawn", ["stored", "upright"])
@pytest.mark.parametrize("stated", ["stored", "upright"])
@pytest.mark.parametrize("read", [read_pairs, read_segmentations])
def test_polygons_are_read_on_the_canvas_they_were_drawn_on(tmp_path, stated, drawn, read):
    items = {f"wide{orientation}": (WIDE, orientation, stated, drawn) for orientation in (5, 6, 7, 8)}
    items["left"] = (LEFT, 6, stated, drawn)
    items["small"] = (SMALL, 8, stated, drawn)
    items["mirrored"] = (LEFT, 2, stated, drawn)
    items["plain"] = (WIDE, 1, stated, drawn)
    found = read(write_coco(tmp_path, items))
    assert not found.bad
    assert set(agree(found).values()) == {True}
    assert len(found) == len(items)


def test_where_no_polygon_tells_the_stated_size_does_unless_the_user_knows_better(tmp_path):
    path = write_coco(tmp_path, {"left": (LEFT, 6, "stored", "upright")})
    assert agree(read_pairs(path)) == {"images-left": False}
    chosen = read_pairs(path, reading=ReadOptions(mask_orientation="upright"))
    assert agree(chosen) == {"images-left": True}
    assert "turned the other way than the sizes stated" in chosen.notes[0]


def test_run_lengths_say_their_size_themselves(tmp_path):
    path = write_coco(tmp_path, {"a": (WIDE, 6, "stored", "stored"), "b": (SMALL, 6, "stored", "stored")})
    whole = json.loads(path.read_text())
    runs = coco.encode(np.asfortranarray(as_stored(WIDE, 6).astype(np.uint8)))
    whole["annotations"][0]["segmentation"] = {"size": runs["size"], "counts": runs["counts"].decode()}
    path.write_text(json.dumps(whole))
    assert set(agree(read_pairs(path)).values()) == {True}


# Composites


def test_masks_of_composite_folders_follow_the_rule_too(tmp_path):
    add(tmp_path, "a", SEEN, 3, "stored")
    folders = tmp_path / "images", tmp_path / "masks"
    found = read_composite_folders(*folders, reading=ReadOptions(mask_orientation="stored")).as_pairs()
    assert set(agree(found).values()) == {True}
    assert read_composite_folders(*folders).as_pairs().notes


# Headers


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_the_first_bytes_tell_which_photos_are_turned(tmp_path, suffix, orientation):
    path = tmp_path / f"a.{suffix}"
    save_photo(path, SEEN, orientation)
    stored = as_stored(SEEN, orientation).shape
    assert turned_photos([FileSource(path)]) == ({} if orientation == 1 else {path: Header(stored, orientation)})


def test_exif_after_the_pixels_of_a_png_is_found(tmp_path):
    save_photo(tmp_path / "a.png", SEEN, 6)
    whole = (tmp_path / "a.png").read_bytes()
    start = whole.index(b"eXIf") - 4
    length = 12 + int.from_bytes(whole[start : start + 4], "big")
    end = whole.index(b"IEND") - 4
    late = whole[:start] + whole[start + length : end] + whole[start : start + length] + whole[end:]
    (tmp_path / "a.png").write_bytes(late)
    assert turned_photos([FileSource(tmp_path / "a.png")])[tmp_path / "a.png"].orientation == 6


def test_a_photo_outside_the_folder_of_its_data_is_not_opened(tmp_path):
    save_photo(tmp_path / "a.png", SEEN, 6)
    assert turned_photos([FileSource(tmp_path / "a.png", within=tmp_path)])
    assert not turned_photos([FileSource(tmp_path / "a.png", within=tmp_path / "data")])


def test_files_that_are_no_pictures_are_left_to_whoever_reads_them(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG not quite")
    (tmp_path / "b.jpg").write_bytes(b"")
    os.mkfifo(tmp_path / "c.jpg")
    text = PngInfo()
    text.add_text("Raw profile type exif", "nonsense")
    Image.new("L", (2, 2)).save(tmp_path / "d.png", pnginfo=text)
    assert turned_photos(map(FileSource, tmp_path.iterdir())) == {}
