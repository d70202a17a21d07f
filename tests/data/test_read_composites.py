"""Composites with their masks, from every layout that has them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skimage
from PIL import Image

from harmonygen.data import read_pairs
from harmonygen.data.composites import read_composite_folders, read_composites
from harmonygen.data.sample import cached_sample
from harmonygen.errors import UsageError
from harmonygen.pictures.images import encode, read_image
from harmonygen.pictures.masks import read_mask
from harmonygen.records import FileSource
from harmonygen.storage.parquet_cells import IMAGE, image_cell, image_schema


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels).save(path)


@pytest.fixture
def pictures(small_photos, ellipse):
    photos = small_photos(3, 48, 64)
    return photos, ellipse(48, 64)


@pytest.fixture
def tree(tmp_path, pictures):
    """An iHarmony4 tree: two subsets, three composites of two photos in the list and one that is not."""
    photos, mask = pictures
    root = tmp_path / "tree"
    for line in ("HFlickr/f1_1_1", "HFlickr/f1_1_2", "Hday2night/d90-2_1_1", "Hday2night/d90-2_1_9"):
        subset, name = line.split("/")
        real = name.rsplit("_", 2)[0]
        save(root / subset / "composite_images" / f"{name}.jpg", photos[1])
        save(root / subset / "masks" / f"{name.rpartition('_')[0]}.png", mask)
        save(root / subset / "real_images" / f"{real}.jpg", photos[0])
    lines = ("HFlickr/composite_images/f1_1_2.jpg", "Hday2night/composite_images/d90-2_1_1.jpg")
    (root / "IHD_test.txt").write_text("HFlickr/composite_images/f1_1_1.jpg\n" + "\n".join(lines) + "\n")
    return root


def test_every_composite_of_the_list_is_named_by_its_subset_and_stem(tree):
    found = read_composites(tree)
    assert [each.name for each in found] == ["HFlickr/f1_1_1", "HFlickr/f1_1_2", "Hday2night/d90-2_1_1"]
    assert [Path(str(each.composite)).name for each in found] == ["f1_1_1.jpg", "f1_1_2.jpg", "d90-2_1_1.jpg"]
    assert {Path(str(each.composite)).parent.name for each in found} == {"composite_images"}
    assert [Path(str(each.mask)).name for each in found] == ["f1_1.png", "f1_1.png", "d90-2_1.png"]
    assert all(Path(str(each.composite)).is_file() and Path(str(each.mask)).is_file() for each in found)


def test_subset_list_and_limit_choose(tree):
    (tree / "few.txt").write_text("Hday2night/composite_images/d90-2_1_9.jpg\n")
    assert [each.name for each in read_composites(tree, subset="Hday2night")] == ["Hday2night/d90-2_1_1"]
    assert [each.name for each in read_composites(tree, list_file="few.txt")] == ["Hday2night/d90-2_1_9"]
    assert [each.name for each in read_composites(tree / "few.txt")] == ["Hday2night/d90-2_1_9"]
    assert [each.name for each in read_composites(tree, limit=2)] == ["HFlickr/f1_1_1", "HFlickr/f1_1_2"]
    with pytest.raises(UsageError, match="HCOCO"):
        read_composites(tree, subset="HCOCO")


def test_two_composites_whose_results_would_share_a_name_are_refused(tree, pictures):
    save(tree / "HFlickr" / "composite_images" / "f1_1_2.png", pictures[0][2])
    with (tree / "IHD_test.txt").open("a") as opened:
        opened.write("HFlickr/composite_images/f1_1_2.png\n")
    with pytest.raises(UsageError, match="'HFlickr/f1_1_2'"):
        read_composites(tree)


def test_two_folders_are_matched_by_name_and_named_by_the_mask(tmp_path, pictures):
    photos, mask = pictures
    for name, photo in zip(("a", "b", "inner/c"), photos, strict=True):
        save(tmp_path / "pasted" / f"{name}.jpg", photo)
    for name in ("a", "b_1", "b_2", "inner/c", "nobody"):
        save(tmp_path / "cut" / f"{name}.png", mask)
    save(tmp_path / "pasted" / "lonely.jpg", photos[0])
    found = read_composite_folders(tmp_path / "pasted", tmp_path / "cut")
    assert [(each.name, Path(str(each.composite)).name) for each in found] == [
        ("a", "a.jpg"),
        ("b_1", "b.jpg"),
        ("b_2", "b.jpg"),
        ("inner/c", "c.jpg"),
    ]
    assert sorted(Path(row.id).name for row in found.bad) == ["lonely.jpg", "nobody.png"]
    assert len(read_composite_folders(tmp_path / "pasted", tmp_path / "cut", limit=1)) == 1


def test_folders_that_do_not_match_are_refused(tmp_path, pictures):
    save(tmp_path / "pasted" / "a.png", pictures[0][0])
    save(tmp_path / "cut" / "b.png", pictures[1])
    with pytest.raises(UsageError, match=r"no mask in .* belongs to a photo"):
        read_composite_folders(tmp_path / "pasted", tmp_path / "cut")
    with pytest.raises(UsageError, match="is not a folder"):
        read_composite_folders(tmp_path / "nowhere", tmp_path / "cut")


def test_a_folder_of_photos_has_no_composites(photo_folder):
    with pytest.raises(UsageError, match=r"no composites: name the two folders with --composites and --masks"):
        read_composites(photo_folder)


def test_a_table_names_them_in_a_column(tmp_path, pictures):
    photos, mask = pictures
    for name, pixels in {"r.png": photos[0], "x1.png": photos[1], "x2.png": photos[2], "m.png": mask}.items():
        save(tmp_path / name, pixels)
    rows = [("r.png", "m.png", "x1.png", "p1"), ("r.png", "m.png", "x2.png", "p2"), ("r.png", "m.png", "", "p3")]
    with (tmp_path / "table.csv").open("w", newline="") as opened:
        csv.writer(opened).writerows([("real", "mask", "composite", "pair_id"), *rows])
    found = read_composites(tmp_path / "table.csv")
    assert [(each.name, str(each.composite)) for each in found] == [
        ("x1", str(tmp_path / "x1.png")),
        ("x2", str(tmp_path / "x2.png")),
    ]
    assert ["no path in column composite" in row.message for row in found.bad] == [True]
    (tmp_path / "table.csv").write_text("real,mask\nr.png,m.png\n")
    with pytest.raises(UsageError, match="has no column 'composite'"):
        read_composites(tmp_path / "table.csv")


def test_parquet_gives_the_cells_of_every_row(tmp_path, pictures):
    photos, mask = pictures
    columns = image_schema({"real": IMAGE, "mask": IMAGE, "composite": IMAGE})
    rows = [
        {
            "real": image_cell(encode(photos[0]), "r.png"),
            "mask": image_cell(encode(mask), "m.png"),
            "composite": image_cell(encode(photo), "c.png"),
        }
        for photo in photos
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=columns), tmp_path / "train-00000-of-00001.parquet")
    found = read_composites(tmp_path)
    assert [each.name for each in found] == [f"train-00000-of-00001-{row:06d}" for row in range(3)]
    for each, photo in zip(found, photos, strict=True):
        assert np.array_equal(read_image(each.composite).image_u8, photo)
    with pytest.raises(UsageError, match="lists are for iharmony4 only"):
        read_composites(tmp_path, list_file="x.txt")


def adobe(image: Image.Image, path) -> None:
    """Save a picture as a JPEG with Adobe RGB's profile, as iHarmony4's photos may be."""
    profile = next(path for path in (Path(skimage.__file__).parent / "data").glob("rocket.jpg"))
    with Image.open(profile) as opened:
        image.save(path, quality=100, subsampling=0, icc_profile=opened.info["icc_profile"])


def test_a_data_sets_composites_and_photos_are_read_as_they_are_stored(tmp_path):
    """Its composites were made of the stored values: converting the one that kept its profile would part them."""
    tree = tmp_path / "tree" / "HX"
    for inner in ("composite_images", "masks", "real_images"):
        (tree / inner).mkdir(parents=True)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize((32, 32))
    adobe(picture, tree / "real_images" / "a.jpg")
    picture.save(tree / "composite_images" / "a_1_1.jpg", quality=100, subsampling=0)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:16, 8:16] = 255
    Image.fromarray(mask).save(tree / "masks" / "a_1.png")
    (found,) = read_composites(tmp_path / "tree").composites
    assert np.array_equal(read_image(found.composite).image_u8, read_image(found.photo).image_u8)
    (pair,) = read_pairs(tmp_path / "tree")
    assert np.array_equal(read_image(pair.real).image_u8, read_image(found.composite).image_u8)
    plain = read_image(FileSource(tree / "real_images" / "a.jpg"))
    assert not np.array_equal(plain.image_u8, read_image(pair.real).image_u8)  # a photo alone is brought to sRGB


def test_a_tables_composites_and_photos_are_read_as_they_are_stored(tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    adobe(picture, tmp_path / "a.jpg")
    picture.save(tmp_path / "c.jpg", quality=100, subsampling=0)
    Image.fromarray(np.pad(np.full((8, 8), 255, np.uint8), 12)).save(tmp_path / "m.png")
    (tmp_path / "pairs.csv").write_text("real,mask,composite\na.jpg,m.png,c.jpg\n")
    (found,) = read_composites(tmp_path / "pairs.csv").composites
    assert np.array_equal(read_image(found.composite).image_u8, read_image(found.photo).image_u8)


def test_the_samples_composites_have_their_photos_backgrounds(tmp_path):
    """One of its photos has a profile: converted before it was recoloured, all its backgrounds were 6 levels off."""
    tree = cached_sample(tmp_path, "iharmony4")
    for found in read_composites(tree, list_file=tree / "IHD_test.txt").composites:
        photo, composite = read_image(found.photo), read_image(found.composite)
        outside = ~read_mask(found.mask, photo)
        assert np.abs(photo.image_u8.astype(int) - composite.image_u8)[outside].mean() < 1  # both are JPEG
