"""The door: layouts found out, subsets, limits, and the built-in sample."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harmonygen.data import LAYOUTS, PairSet, detect_layout, read_pairs
from harmonygen.data.lists import read_lines
from harmonygen.data.sample import TEST_PHOTOS, cached_sample, read_sample, sample_version, write_sample
from harmonygen.errors import StorageError, UsageError
from harmonygen.pictures.images import read_image
from harmonygen.pictures.masks import read_mask


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return cached_sample(tmp_path_factory.mktemp("cache"), "iharmony4")


def test_the_sample_has_eight_pairs_or_more_and_all_decode():
    pairs = read_pairs()
    assert isinstance(pairs, PairSet)
    assert pairs.layout == detect_layout("sample") == "sample"
    assert len(pairs) >= 8
    assert not pairs.bad
    for pair in pairs:
        mask = read_mask(pair.mask, read_image(pair.real))
        assert 0.005 < mask.mean() < 0.95


def test_the_samples_test_photos_are_read_only_when_asked_for():
    train, test, whole = (read_sample(split) for split in ("train", "test", "all"))
    assert {pair.real_id for pair in test} == TEST_PHOTOS
    assert not TEST_PHOTOS & {pair.real_id for pair in train}
    assert len(whole) == len(train) + len(test)


def test_the_iharmony4_sample_has_the_same_ids_and_two_composites_a_pair(tree):
    pairs = read_pairs(tree)
    assert pairs.layout == "iharmony4"
    assert [pair.pair_id for pair in pairs] == [pair.pair_id for pair in read_pairs("sample")]
    assert {len(pair.originals) for pair in pairs} == {2}
    assert {pair.subset for pair in pairs} == {"Sample"}
    for name in ("IHD_train.txt", "Sample_train.txt"):
        assert len(read_pairs(tree, list_file=name)) == len(pairs)
    test = read_pairs(tree, list_file="IHD_test.txt")
    assert {pair.real_id for pair in test} == TEST_PHOTOS
    assert len(list((tree / "Sample" / "composite_images").iterdir())) == 2 * (len(pairs) + len(test))


def test_the_samples_composites_differ_from_the_photo_in_the_foreground_alone(tree):
    from PIL import Image

    pairs = read_pairs(tree)
    for pair in (pairs[0], pairs[-1]):
        real = read_image(pair.real)
        mask = read_mask(pair.mask, real)
        for name in pair.originals:
            composite = np.asarray(Image.open(tree / name).convert("RGB"), dtype=float)
            error = np.abs(composite - real.image_u8).mean(axis=2)
            assert error[mask].mean() > 5
            assert np.median(error[~mask]) < 1.5  # JPEG once more


def test_the_imaterialist_sample_has_the_masks_of_the_drawings(tmp_path):
    folder = write_sample(tmp_path / "fashion", "imaterialist")
    pairs = read_pairs(folder)
    assert pairs.layout == "imaterialist"
    assert not pairs.bad
    drawn = {}
    for pair in read_sample("all"):
        mask = read_mask(pair.mask, read_image(pair.real))
        drawn[pair.real_id] = drawn.get(pair.real_id, False) | mask
    assert len(pairs) == len(drawn)
    for pair in pairs:
        assert (read_mask(pair.mask, read_image(pair.real)) == drawn[f"Sample/{pair.real_id}"]).all()
    labels = json.loads((folder / "label_descriptions.json").read_text())
    assert {"id", "name", "supercategory", "level"} == set(labels["categories"][0])
    classes = {name for pair in pairs for name in pair.extra["class_ids"].split()}
    assert classes <= {str(category["id"]) for category in labels["categories"]}


def test_the_sample_is_written_once_and_the_same_each_time(tree, tmp_path):
    before = (tree / "IHD_train.txt").stat().st_mtime_ns
    assert write_sample(tree, "iharmony4") == tree
    assert (tree / "IHD_train.txt").stat().st_mtime_ns == before
    assert sample_version() in tree.name
    again = tmp_path / "empty"
    again.mkdir()
    write_sample(again)
    for line in read_lines(tree / "IHD_train.txt"):
        assert (again / line).read_bytes() == (tree / line).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_the_sample_never_overwrites_another_folder(tmp_path, tree):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="holds something else"):
        write_sample(tmp_path)
    with pytest.raises(UsageError, match="another version"):
        write_sample(tree, "imaterialist")
    with pytest.raises(UsageError, match="is not known"):
        write_sample(tmp_path / "x", "voc")
    with pytest.raises(StorageError):
        write_sample(tmp_path / "mine.txt" / "x")


def test_no_layout_says_what_is_there_and_what_is_supported(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(UsageError) as refused:
        read_pairs(tmp_path)
    assert "a.docx, notes/" in str(refused.value)
    assert all(layout in str(refused.value) for layout in LAYOUTS)


def test_a_path_that_is_not_there_an_unknown_layout_and_bad_options_are_refused(tmp_path):
    with pytest.raises(UsageError, match="is not there"):
        read_pairs(tmp_path / "x")
    with pytest.raises(UsageError, match="layout 'yolo' is not known"):
        read_pairs("sample", layout="yolo")
    with pytest.raises(UsageError, match="lists are for iharmony4"):
        read_pairs("sample", list_file="x.txt")
    with pytest.raises(UsageError, match=r"no pair of subset 'HCOCO', found Sample"):
        read_pairs("sample", subset="HCOCO")
    with pytest.raises(UsageError, match="limit is 0"):
        read_pairs("sample", limit=0)


def test_a_path_the_disk_refuses_is_a_storage_error():
    with pytest.raises(StorageError, match="check the path and permissions"):
        read_pairs("x" * 5000)


def test_a_limit_keeps_the_first_pairs():
    assert read_pairs("sample", limit=3).pairs == read_pairs("sample").pairs[:3]


def test_every_layout_has_its_page():
    docs = Path(__file__).resolve().parents[2] / "docs" / "inputs"
    index = (docs / "README.md").read_text(encoding="utf-8")
    for layout in LAYOUTS:
        assert f"({layout}.md)" in index
        assert "harmonygen synthesize" in (docs / f"{layout}.md").read_text(encoding="utf-8")


def test_importing_the_readers_loads_no_heavy_library():
    heavy = ("torch", "datasets", "pandas", "skimage", "pyarrow", "PIL")
    code = f"import sys, harmonygen.data; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
