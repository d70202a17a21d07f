"""Training samples made on the fly, and what is held out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from harmonygen.data import read_pairs
from harmonygen.errors import UsageError
from harmonygen.training.composites import IndexRange, OnTheFlyComposites, TrainingPhoto, hold_out, load_photos
from harmonygen.training.loop import collate
from harmonygen.training.run import select_split
from harmonygen.training.settings import ClassifierTraining

BLANK = np.zeros((8, 8, 3), dtype=np.uint8), np.eye(8, dtype=bool)


def photos_named(names: list[str]) -> list[TrainingPhoto]:
    return [TrainingPhoto(name, *BLANK) for name in names]


@pytest.fixture
def composites(photo_folder):
    photos, bad = load_photos(list(read_pairs(photo_folder)), 40)
    assert not bad

    def make(**changes) -> OnTheFlyComposites:
        return OnTheFlyComposites(photos, ClassifierTraining(resolution=32, **changes), "train")

    return make


def equal(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_sample_i_is_a_function_of_seed_and_i(composites):
    data, fresh = composites(seed=3), composites(seed=3)
    backwards = {index: data[index] for index in (7, 2, 0)}
    assert all(equal(fresh[index], backwards[index]) for index in (0, 2, 7))
    assert not equal(data[0], data[1])
    assert not equal(data[0], composites(seed=4)[0])


def test_samples_do_not_depend_on_loader_workers(composites):
    data = composites()
    alone = list(DataLoader(data, batch_size=2, sampler=IndexRange(3, 9)))
    shared = list(
        DataLoader(data, batch_size=2, sampler=IndexRange(3, 9), num_workers=2, multiprocessing_context="fork")
    )
    assert len(alone) == 3
    assert all(equal(one, other) for one, other in zip(alone, shared, strict=True))
    assert equal(alone[0], collate([data[3], data[4]]))


def test_a_sample_changes_the_foreground_alone(composites):
    data = composites()
    for index in range(12):
        sample = data[index]
        inside = sample["mask"].bool().expand(3, -1, -1)
        assert sample["real"].shape == sample["composite"].shape == (3, 32, 32)
        assert sample["real"].abs().max() <= 1
        assert set(sample["mask"].unique().tolist()) <= {0.0, 1.0}
        assert sample["mask"].any()
        assert torch.equal(sample["real"][~inside], sample["composite"][~inside])
        assert not torch.equal(sample["real"][inside], sample["composite"][inside])


def test_a_change_out_of_bounds_is_drawn_again(composites):
    def changes(**bounds) -> list[float]:
        data = composites(composites={"pitie": 0, **bounds})
        drawn = (data[index] for index in range(16))
        return [float(((s["composite"] - s["real"]) ** 2 * 127.5**2).sum() / s["mask"].sum() / 3) for s in drawn]

    assert np.median(changes(min_fmse=900)) > np.median(changes(min_fmse=0, max_fmse=900))


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(st.sampled_from([f"p{i}" for i in range(60)]), min_size=2, max_size=60),
    fraction=st.floats(0.05, 0.5),
)
def test_held_out_photos_are_disjoint_by_photo_and_none_is_lost(names, fraction):
    photos = photos_named(names)
    training, validation = hold_out(photos, fraction)
    assert training
    assert validation
    if len(set(names)) > 1:
        assert not {photo.real_id for photo in training} & {photo.real_id for photo in validation}
        assert len(training) + len(validation) == len(photos)


def test_what_is_held_out_depends_on_the_photos_id_alone():
    names = [f"p{index}" for index in range(400)]
    held = {photo.real_id for photo in hold_out(photos_named(names), 0.1)[1]}
    assert {photo.real_id for photo in hold_out(photos_named(names[::-1]), 0.1)[1]} == held
    assert {photo.real_id for photo in hold_out(photos_named(names[:200]), 0.1)[1]} == held & set(names[:200])
    assert held < {photo.real_id for photo in hold_out(photos_named(names), 0.2)[1]}
    assert 20 < len(held) < 60


def test_bad_photos_are_named_and_no_photo_at_all_is_refused(photo_folder):
    pairs = list(read_pairs(photo_folder))
    pairs[0].real.path.write_bytes(b"")
    photos, bad = load_photos(pairs, 40)
    assert len(photos) == 2
    assert "0 bytes" in bad[0]
    with pytest.raises(UsageError, match="none of 1 photos could be read"):
        load_photos(pairs[:1], 40)


def test_a_split_file_selects_by_subset_and_name(photo_folder, tmp_path):
    pairs = list(read_pairs(photo_folder))
    listing = tmp_path / "split.csv"
    kind, names = pairs[0].subset, [pair.real_id.rpartition("/")[2] for pair in pairs]
    rows = [f"{kind},{name},{'train' if index else 'study'}" for index, name in enumerate(names)]
    listing.write_text("kind,name,split\n" + "\n".join(rows) + "\n")
    assert select_split(pairs, listing, "train") == pairs[1:]
    assert select_split(pairs, None, "train") == pairs
    with pytest.raises(UsageError, match="no photo of the data is in split 'test'"):
        select_split(pairs, listing, "test")
    listing.write_text("name,split\n")
    listing.write_text("name,split\na,train\n")
    with pytest.raises(UsageError, match="kind, name and split"):
        select_split(pairs, listing, "train")
