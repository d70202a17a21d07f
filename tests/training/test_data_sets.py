"""What is read for training: the split, what is left out, and photos that do not fit in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from harmonygen.data import read_pairs
from harmonygen.errors import InputError, TooManyBadInputsError, UsageError
from harmonygen.training.composites import OnTheFlyComposites, sizing
from harmonygen.training.data_sets import read_samples
from harmonygen.training.photos import BadSamples, PhotosOnDisk, TrainingSize, load_photos
from harmonygen.training.settings import ClassifierTraining
from harmonygen.training.sources import select_split


@pytest.fixture
def of(photo_folder, tmp_path):
    """Settings of the three photos."""

    def make(**changes):
        common = {"data": str(photo_folder), "resolution": 32, "output_dir": tmp_path / "out", "max_bad_fraction": 0.5}
        return ClassifierTraining(**{**common, **changes})

    return make


def quiet(_: str) -> None:
    """A log that says nothing."""


def equal(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_name_to_exclude_that_is_of_no_photo_is_refused_with_the_nearest(of):
    with pytest.raises(UsageError, match=r"exclude names 1 photos .* as 'cofee' \(did you mean 'coffee'\?\)"):
        read_samples(of(exclude=["chelsea", "cofee"]), quiet)
    data, held_out = read_samples(of(exclude=["coffee"]), quiet)
    assert {photo.real_id for photo in (*data.photos, *held_out.photos)} == {"astronaut", "chelsea"}


@pytest.mark.parametrize("memory", [4, 0])
def test_photos_that_grow_are_enlarged_as_asked(of, photo_folder, memory):
    how = {"resolution": 160, "crop": "square", "photo_memory_gb": memory, "random_flip": False}
    data, _ = read_samples(of(enlarge="bilinear", **how), quiet)
    photo = data.photos[0]
    stored = Image.open(photo_folder / "images" / f"{photo.real_id}.png")
    assert np.array_equal(photo.image_u8, np.asarray(stored.resize((160, 160), Image.Resampling.BILINEAR)))
    assert not np.array_equal(photo.image_u8, read_samples(of(**how), quiet)[0].photos[0].image_u8)


def test_a_name_of_another_split_may_not_be_excluded(of, photo_folder, tmp_path):
    (kind,) = {pair.subset for pair in read_pairs(photo_folder)}
    listing = tmp_path / "split.csv"
    listing.write_text(f"kind,name,split\n{kind},astronaut,train\n{kind},coffee,train\n{kind},chelsea,study\n")
    with pytest.raises(UsageError, match="as 'chelsea'"):
        read_samples(of(exclude=["chelsea"], split_file=listing), quiet)


@pytest.mark.parametrize("content", ["", "a,b\n", "kind,name\nx,y\n", "kind;name;split\nx;y;train\n"])
def test_a_split_file_without_its_columns_is_refused(photo_folder, tmp_path, content):
    (tmp_path / "split.csv").write_text(content)
    with pytest.raises(
        UsageError, match=r"cannot use --split-file .*no column .*split.*kind, name and split is needed"
    ):
        select_split(read_pairs(photo_folder), tmp_path / "split.csv", "train")


def test_photos_that_do_not_fit_are_decoded_when_drawn_and_give_the_same_samples(of):
    said: list[str] = []
    kept, _ = read_samples(of(), quiet)
    streamed, _ = read_samples(of(photo_memory_gb=0), said.append)
    assert isinstance(streamed.photos, PhotosOnDisk)
    assert isinstance(kept.photos, list)
    assert any(line.endswith("each is decoded when it is drawn") for line in said)
    assert kept.digest == streamed.digest
    assert all(equal(kept[index], streamed[index]) for index in range(8))


def test_the_memory_of_photos_is_bounded_by_what_is_stated(small_photos):
    assert TrainingSize(256).bytes_of(1000) == 1000 * 256 * 256 * 1.5 * 4
    height, width = TrainingSize(256).of(2000, 3000)
    assert height * width * 4 == pytest.approx(TrainingSize(256).bytes_of(1))
    assert TrainingSize(256, square=True).bytes_of(10) == 10 * 256 * 256 * 4


def test_a_photo_that_turns_out_bad_when_drawn_is_recorded_and_the_next_sample_stands_in(photo_folder, of, tmp_path):
    pairs = list(read_pairs(photo_folder))
    settings, bad = of(), BadSamples(tmp_path / "quarantine", 3, 0.5)
    clean = OnTheFlyComposites(PhotosOnDisk(pairs, sizing(settings)), settings, "train")
    before = [clean[index] for index in range(20)]
    pairs[0].real.path.write_bytes(b"")
    data = OnTheFlyComposites(PhotosOnDisk(pairs, sizing(settings)), settings, "train", bad=bad)
    after = [data[index] for index in range(20)]
    same = [equal(one, other) for one, other in zip(before, after, strict=True)]
    assert 0 < sum(same) < 20
    for index in range(19):
        if not same[index]:
            assert equal(after[index], after[index + 1])
    assert [row.id for row in bad.rows()] == [pairs[0].pair_id]


def test_bad_photos_are_recorded_and_too_many_end_the_run(photo_folder, of, tmp_path):
    pairs = list(read_pairs(photo_folder))
    pairs[0].real.path.write_bytes(b"")
    data, held_out = read_samples(of(), quiet)
    assert len(data.photos) + len(held_out.photos) == 2
    assert [row.id for row in BadSamples(tmp_path / "out" / "quarantine", 3, 1).rows()] == [pairs[0].pair_id]
    with pytest.raises(TooManyBadInputsError, match="1 of 3 inputs could not be used, 0 are allowed"):
        read_samples(of(max_bad_fraction=0), quiet)


def test_a_foreground_that_shrinking_loses_is_bad(photo_folder):
    pairs = list(read_pairs(photo_folder))
    mask = np.zeros((96, 128), dtype=np.uint8)
    mask[1, 1] = 255
    Image.fromarray(mask).save(pairs[0].mask.path)
    photos, messages = load_photos(pairs, 16)
    assert len(photos) == 2
    assert "has no foreground left at 21x16" in messages[0]
    with pytest.raises(InputError, match="no foreground left"):
        PhotosOnDisk(pairs, TrainingSize(16))[0]


def test_a_square_crop_is_the_whole_photo_and_a_central_one_keeps_the_aspect(of):
    square, _ = read_samples(of(crop="square"), quiet)
    assert {photo.mask.shape for photo in square.photos} == {(32, 32)}
    central, _ = read_samples(of(crop="center", crop_scale=1.0, random_flip=False), quiet)
    assert {photo.mask.shape for photo in central.photos} == {(32, 43)}
    masks = {central[index]["mask"].numpy().tobytes() for index in range(8)}
    assert len(masks) == 1  # the ellipse is in the middle of every photo
    drawn, _ = read_samples(of(crop="random"), quiet)
    assert len({drawn[index]["mask"].numpy().tobytes() for index in range(8)}) > 2
