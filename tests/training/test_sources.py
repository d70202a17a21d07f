"""Further data and photos without masks: what a split or a test list keeps out stays out whichever source brings it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from harmonygen.data import read_pairs
from harmonygen.errors import UsageError
from harmonygen.training.data_sets import read_samples
from harmonygen.training.photos import BadSamples
from harmonygen.training.settings import ClassifierTraining


@pytest.fixture
def of(photo_folder, tmp_path):
    """Settings of the three photos."""

    def make(**changes):
        common = {"data": str(photo_folder), "resolution": 32, "output_dir": tmp_path / "out", "max_bad_fraction": 0.5}
        return ClassifierTraining(**{**common, **changes})

    return make


@pytest.fixture
def more(photo_folder, tmp_path):
    """A second data set of the same names, its photos turned upside down."""
    root = tmp_path / "objects"
    shutil.copytree(photo_folder, root)
    for path in (root / "images").iterdir():
        Image.open(path).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(path)
    return root


@pytest.fixture
def bare(small_photos, tmp_path):
    """A folder of two photos without masks, one of them one folder down."""
    root = tmp_path / "bare"
    (root / "deep").mkdir(parents=True)
    for name, photo in zip(("one", "deep/two"), small_photos(2), strict=True):
        Image.fromarray(photo[::-1]).save(root / f"{name}.jpg")
    return root


def quiet(_: str) -> None:
    """A log that says nothing."""


def ids(data):
    return {photo.real_id for photo in data.photos}


def test_extra_data_join_with_their_folders_name_before_their_ids(of, more):
    data, held_out = read_samples(of(extra_data=[str(more)]), quiet)
    names = {"astronaut", "chelsea", "coffee"}
    assert ids(data) | ids(held_out) == names | {f"objects/{name}" for name in names}
    assert not ids(data) & ids(held_out)
    alone, _ = read_samples(of(), quiet)
    assert data.digest != alone.digest


def test_photos_of_another_split_stay_out_of_every_source(of, photo_folder, more, bare, tmp_path):
    (kind,) = {pair.subset for pair in read_pairs(photo_folder)}
    listing = tmp_path / "split.csv"
    rows = ["astronaut,train", "coffee,train", "chelsea,study", "two,study"]
    listing.write_text("kind,name,split\n" + "".join(f"{kind},{row}\n" for row in rows))
    data, held_out = read_samples(of(extra_data=[str(more)], borrowers=str(bare), split_file=listing), quiet)
    found = ids(data) | ids(held_out)
    assert found == {"astronaut", "coffee", "objects/astronaut", "objects/coffee", "bare/one"}


def test_extra_data_that_the_split_file_does_not_name_are_taken_whole(of, photo_folder, more, tmp_path):
    (kind,) = {pair.subset for pair in read_pairs(photo_folder)}
    for folder in ("images", "masks"):
        for path in (more / folder).iterdir():
            path.rename(path.with_stem(f"new-{path.stem}"))
    listing = tmp_path / "split.csv"
    listing.write_text(f"kind,name,split\n{kind},astronaut,train\n{kind},coffee,study\n")
    data, held_out = read_samples(of(extra_data=[str(more)], split_file=listing), quiet)
    assert len(ids(data) | ids(held_out)) == 4


def test_the_test_lists_of_extra_data_are_heeded(of, tmp_path, small_photos, ellipse):
    root = tmp_path / "tree"
    for folder in ("composite_images", "masks", "real_images"):
        (root / "HFlickr" / folder).mkdir(parents=True)
    for index, photo in enumerate(small_photos(3)):
        Image.fromarray(photo).save(root / "HFlickr" / "real_images" / f"f{index}.png")
        Image.fromarray(photo).save(root / "HFlickr" / "composite_images" / f"f{index}_1_1.png")
        mask = ellipse(*photo.shape[:2])
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / "HFlickr" / "masks" / f"f{index}_1.png")
    (root / "IHD_train.txt").write_text("HFlickr/composite_images/f0_1_1.png\nHFlickr/composite_images/f1_1_1.png\n")
    (root / "IHD_test.txt").write_text("HFlickr/composite_images/f1_1_1.png\nHFlickr/composite_images/f2_1_1.png\n")
    said: list[str] = []
    data, held_out = read_samples(of(extra_data=[str(root)]), said.append)
    assert {name for name in ids(data) | ids(held_out) if name.startswith("tree/")} == {"tree/HFlickr/f0"}
    assert any("leak guard of" in line and "compared by id with 2 photos" in line for line in said)


@pytest.mark.parametrize("memory", [4.0, 0.0])
def test_photos_without_masks_come_last_and_borrow(of, bare, memory):
    data, held_out = read_samples(of(borrowers=str(bare), photo_memory_gb=memory), quiet)
    assert ids(data) | ids(held_out) == {"astronaut", "chelsea", "coffee", "bare/one", "bare/deep/two"}
    assert data.with_masks + held_out.with_masks == 3
    assert held_out.with_masks >= 1
    assert [photo.borrows for photo in data.photos] == sorted(photo.borrows for photo in data.photos)
    assert all(0 < data[index]["mask"].mean() < 1 for index in range(12))


def test_a_borrower_that_cannot_be_read_is_recorded(of, bare, tmp_path):
    (bare / "one.jpg").write_bytes(b"no image")
    read_samples(of(borrowers=str(bare)), quiet)
    assert [row.id for row in BadSamples(tmp_path / "out" / "quarantine", 5, 1).rows()] == ["bare/one"]


def test_what_cannot_be_used_is_refused(of, bare, tmp_path):
    with pytest.raises(UsageError, match=r"--borrowers .*nowhere' is not a folder"):
        read_samples(of(borrowers=str(tmp_path / "nowhere")), quiet)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="has no photo that may be trained on"):
        read_samples(of(borrowers=str(tmp_path / "empty")), quiet)
    with pytest.raises(UsageError, match="made on the fly"):
        read_samples(of(borrowers=str(bare), source="stored"), quiet)
