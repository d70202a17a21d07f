"""Training on composites that a data set has: which, in what order, and what bad ones do."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from harmonygen.augmentation.augment import augment
from harmonygen.augmentation.export import export
from harmonygen.augmentation.settings import AugmentSettings, ExportSettings
from harmonygen.data.composites import composites_of
from harmonygen.errors import TooManyBadInputsError, UsageError
from harmonygen.records import CellSource, Composite
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.synthesize import synthesize
from harmonygen.training.composites import IndexRange
from harmonygen.training.data_sets import read_samples
from harmonygen.training.photos import BadSamples
from harmonygen.training.run import train
from harmonygen.training.settings import ClassifierTraining
from harmonygen.training.stored import EpochOrder, StoredComposites, known_by


@pytest.fixture
def tree(tmp_path, small_photos, ellipse):
    """An iHarmony4 tree: four photos, one mask each, three composites of foregrounds made darker and darker."""
    root = tmp_path / "tree"
    names = []
    for folder in ("composite_images", "masks", "real_images"):
        (root / "HFlickr" / folder).mkdir(parents=True)
    for index, photo in enumerate(small_photos(4)):
        mask = ellipse(*photo.shape[:2])
        Image.fromarray(photo).save(root / "HFlickr" / "real_images" / f"f{index}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / "HFlickr" / "masks" / f"f{index}_1.png")
        for variant in range(3):
            composite = np.where(mask[..., None], photo // (variant + 2), photo).astype(np.uint8)
            names.append(f"HFlickr/composite_images/f{index}_1_{variant}.png")
            Image.fromarray(composite).save(root / names[-1])
    (root / "IHD_train.txt").write_text("\n".join(names) + "\n")
    return root


@pytest.fixture
def of(tmp_path):
    """Settings of a stored data set."""

    def make(data, **changes):
        common = {"data": str(data), "source": "stored", "resolution": 32, "output_dir": tmp_path / "out"}
        return ClassifierTraining(**{**common, **changes})

    return make


@pytest.fixture
def stored(of):
    """The stored composites of a data set, all of them for training."""

    def make(data, bad=None, augment=True, **changes):
        return StoredComposites(composites_of(data).composites, of(data, **changes), "train", augment, bad)

    return make


def quiet(_: str) -> None:
    """A log that says nothing."""


def equal(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 40), seed=st.integers(0, 5), start=st.integers(0, 200))
def test_every_epoch_meets_every_item_once_from_wherever_it_is_asked(count, seed, start):
    order = EpochOrder(count, seed, "train")
    first = [order(index) for index in range(3 * count)]
    for epoch in range(3):
        assert sorted(first[epoch * count : (epoch + 1) * count]) == list(range(count))
    assert EpochOrder(count, seed, "train")(start) == order(start)


def test_epochs_and_seeds_have_orders_of_their_own():
    order, other = EpochOrder(50, 0), EpochOrder(50, 1)
    epochs = [[order(50 * epoch + place) for place in range(50)] for epoch in range(2)]
    assert epochs[0] != epochs[1]
    assert epochs[0] != [other(place) for place in range(50)]


def test_every_composite_of_a_tree_or_list_is_a_sample(tree):
    names = [item.name for item in composites_of(tree).composites]
    assert len(names) == len(set(names)) == 12
    (tree / "some.txt").write_text("HFlickr/composite_images/f1_1_2.png\nHFlickr/composite_images/f0_1_0.png\n")
    assert [str(item.composite) for item in composites_of(tree / "some.txt").composites] == [
        str(tree / "HFlickr/composite_images/f0_1_0.png"),
        str(tree / "HFlickr/composite_images/f1_1_2.png"),
    ]


def test_checkpoints_know_composites_by_the_ids_that_they_always_had(tree):
    cell = CellSource(tree / "train-00000-of-00001.parquet", "composite", 7)
    made = CellSource(tree / "candidates" / "part-00000-of-00001.parquet", "composite", 0)
    photo, mask = CellSource(tree / "x.parquet", "real", 0), CellSource(tree / "x.parquet", "mask", 0)
    assert [known_by(item) for item in composites_of(tree)][:2] == [
        "HFlickr/composite_images/f0_1_0.png",
        "HFlickr/composite_images/f0_1_1.png",
    ]
    of_row = Composite("train-00000-of-00001-000007", "", "f0", cell, photo, mask)
    assert known_by(of_row) == "train-00000-of-00001.parquet-000007"
    assert known_by(Composite("HFlickr/f0_1_hg3", "HFlickr", "HFlickr/f0", made, photo, mask)) == "HFlickr/f0_1_hg3"


def test_a_table_with_a_column_of_composites_is_trained_on(tree, of):
    lines = ["real,mask,composite,real_id"]
    lines += [f"real_images/f{i}.png,masks/f{i}_1.png,composite_images/f{i}_1_2.png,f{i}" for i in range(4)]
    (tree / "HFlickr" / "pairs.csv").write_text("\n".join(f"{line}\n" for line in lines))
    data, held_out = read_samples(of(tree / "HFlickr" / "pairs.csv"), quiet)
    assert len(data.composites) + len(held_out.composites) == 4


def test_a_sample_is_the_stored_composite_with_its_photo(stored, tree):
    data = stored(tree, crop="square", random_flip=False)
    met = Counter()
    for index in range(12):
        sample, item = data[index], data.composites[data.order(index)]
        inside = sample["mask"].bool().expand(3, -1, -1)
        assert sample["real"].shape == sample["composite"].shape == (3, 32, 32)
        photo = np.asarray(Image.open(item.real.path).resize((32, 32), Image.Resampling.BILINEAR), dtype=np.float32)
        assert torch.allclose(sample["real"], torch.from_numpy(photo / 127.5 - 1).permute(2, 0, 1), atol=1e-6)
        assert sample["composite"][inside].mean() < sample["real"][inside].mean()
        met[item.name] += 1
    assert set(met.values()) == {1}


@pytest.mark.parametrize(("enlarge", "method"), [("bilinear", "BILINEAR"), ("bicubic", "BICUBIC")])
def test_pictures_that_grow_are_enlarged_as_asked(stored, tree, enlarge, method):
    data = stored(tree, crop="square", random_flip=False, resolution=160, enlarge=enlarge)
    sample, item = data[0], data.composites[data.order(0)]
    for name, source in (("real", item.photo), ("composite", item.composite)):
        grown = np.asarray(Image.open(source.path).resize((160, 160), Image.Resampling[method]), dtype=np.float32)
        assert torch.allclose(sample[name], torch.from_numpy(grown / 127.5 - 1).permute(2, 0, 1), atol=1e-6)


def test_sample_i_is_a_function_of_seed_and_i_for_any_number_of_workers(stored, tree):
    data, fresh = stored(tree, seed=3), stored(tree, seed=3)
    backwards = {index: data[index] for index in (30, 7, 0)}
    assert all(equal(fresh[index], backwards[index]) for index in (0, 7, 30))
    assert not equal(data[0], stored(tree, seed=4)[0])
    loader = DataLoader(data, 2, sampler=IndexRange(3, 9), num_workers=2, multiprocessing_context="fork")
    batches = list(loader)
    assert torch.equal(
        torch.cat([batch["real"] for batch in batches]), torch.stack([fresh[i]["real"] for i in range(3, 9)])
    )


def test_what_fits_into_memory_is_decoded_once_and_samples_are_the_same(stored, tree, monkeypatch):
    kept, anew = stored(tree), stored(tree, photo_memory_gb=0)
    photo_bytes = 64 * 64 * 4 + 16
    some = stored(tree, photo_memory_gb=(photo_bytes + 64 * 64 * 3) / 1e9)
    counts = Counter()
    for name, data in {"kept": kept, "anew": anew, "some": some}.items():
        read = data.sources.image
        monkeypatch.setattr(data.sources, "image", lambda s, read=read, name=name: (counts.update([name]), read(s))[1])
    for index in range(36):
        plain = anew[index]
        assert equal(kept[index], plain)
        assert equal(some[index], plain)
    assert counts["kept"] == 12 + 4  # composites and photos
    assert counts["anew"] == 36 * 2
    assert 16 < counts["some"] < 72


def test_crops_keep_the_foreground_and_cut_photo_and_composite_alike(stored, tree):
    data = stored(tree, crop="random", crop_scale=2.0)
    corners = set()
    for index in range(24):
        sample = data[index]
        outside = ~sample["mask"].bool().expand(3, -1, -1)
        assert 0.01 < sample["mask"].mean() < 0.99
        near = torch.nn.functional.max_pool2d(sample["mask"][None], 5, 1, 2)[0].bool().expand(3, -1, -1)
        assert torch.equal(sample["real"][~near], sample["composite"][~near])
        assert outside.any()
        corners.add(sample["mask"].sum().item())
    assert len(corners) > 4
    still = stored(tree, augment=False)
    assert equal(still[0], still[0])


def test_a_run_its_export_and_its_augmentation_give_the_same_composites(
    photo_folder, tiny_classifier, tmp_path, stored
):
    run = SynthesizeSettings(
        data=str(photo_folder),
        out=tmp_path / "run",
        generator="color-jitter",
        classifier=str(tiny_classifier),
        k=4,
        device="cpu",
    )
    synthesize(run)
    export(ExportSettings(run=run.out, out=tmp_path / "tree"))
    of_run, of_tree = composites_of(run.out).composites, composites_of(tmp_path / "tree").composites
    assert 0 < len(of_run) == len(of_tree) <= 12
    assert len({item.name for item in of_run}) == len(of_run)

    more = run.model_copy(update={"data": str(tmp_path / "tree"), "out": tmp_path / "more", "seed": 9, "k": 6})
    synthesize(more)
    mixed = AugmentSettings(
        data=str(tmp_path / "tree"), candidates=more.out, out=tmp_path / "mixed", format="parquet", gamma=0.5
    )
    result = augment(mixed)
    assert len(composites_of(tmp_path / "mixed").composites) == result.originals + result.new

    def pixels(data) -> Counter:
        samples = stored(data, crop="square", random_flip=False)
        return Counter(samples[index]["composite"].numpy().tobytes() for index in range(len(samples.composites)))

    assert pixels(run.out) == pixels(tmp_path / "tree")
    assert len(pixels(run.out)) == len(of_run)
    assert not pixels(tmp_path / "tree") - pixels(tmp_path / "mixed")


def test_a_bad_composite_is_recorded_once_and_the_next_stands_in_for_it(stored, tree, tmp_path):
    clean = stored(tree)
    victim = clean.order(5)
    clean.composites[victim].composite.path.write_bytes(b"broken")
    bad = BadSamples(tmp_path / "quarantine", 12, 0.1)
    data = stored(tree, bad)
    batches = list(DataLoader(data, 4, sampler=IndexRange(0, 36), num_workers=2, multiprocessing_context="fork"))
    composites = torch.cat([batch["composite"] for batch in batches])
    again = stored(tree, bad)
    for index in range(36):  # from wherever it is asked, as after a resume
        assert torch.equal(again[index]["composite"], composites[index])
        if clean.order(index) != victim:
            assert torch.equal(composites[index], clean[index]["composite"])
    assert victim != clean.order(6)
    assert [row.id for row in bad.rows()] == [known_by(clean.composites[victim])]
    assert "not an image" in bad.rows()[0].message


def test_a_composite_of_another_size_than_its_photo_is_bad(stored, tree, tmp_path):
    data = stored(tree, BadSamples(tmp_path / "quarantine", 12, 0.5))
    path = data.composites[data.order(0)].composite.path
    Image.open(path).resize((50, 50)).save(path)
    data[0]
    assert "is 50x50, its photo 128x96" in data.bad.rows()[0].message


def test_too_many_bad_ones_end_the_run_with_what_to_do(tree, of, tmp_path):
    for path in (tree / "HFlickr" / "composite_images").glob("f[012]*"):
        path.write_bytes(b"")
    with pytest.raises(TooManyBadInputsError, match=r"^2 of 12 inputs could not be used, 1 are allowed") as stopped:
        train(of(tree, dataloader_num_workers=1, depth="resnet10", max_train_steps=50), quiet)
    assert "\n" not in str(stopped.value)
    assert "max_bad_fraction" in str(stopped.value)


def test_training_on_stored_composites_resumes_exactly_with_a_bad_file(tree, of, tmp_path):
    victim = sorted((tree / "HFlickr" / "composite_images").iterdir())[4]
    victim.write_bytes(b"broken")
    steps = {
        "depth": "resnet10",
        "max_train_steps": 6,
        "checkpointing_steps": 3,
        "train_batch_size": 4,
        "logging_steps": 1,
    }
    straight = train(of(tree, **steps, validation_samples=2), quiet)
    cut = of(tree, **steps, validation_samples=2, output_dir=tmp_path / "cut")
    train(cut.model_copy(update={"max_train_steps": 3}), quiet)
    resumed = train(cut.model_copy(update={"resume_from_checkpoint": "latest"}), quiet)
    losses = [[row["loss"] for row in result.history if "loss" in row] for result in (straight, resumed)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6
    records = [json.loads(path.read_text()) for path in (tmp_path / "cut" / "quarantine").iterdir()]
    assert [row["id"] for row in records] == [f"HFlickr/composite_images/{victim.name}"]


def test_held_out_photos_share_no_composite_with_training(tree, of):
    data, held_out = read_samples(of(tree), quiet)
    photos = [{item.real_id for item in part.composites} for part in (data, held_out)]
    assert not photos[0] & photos[1]
    assert len(data.composites) + len(held_out.composites) == 12
    assert data.digest != held_out.digest


def test_photos_of_a_test_list_are_never_trained_on(tree, of):
    lines = (tree / "IHD_train.txt").read_text().splitlines()
    (tree / "IHD_test.txt").write_text("\n".join(lines[:3]) + "\n")
    said: list[str] = []
    data, held_out = read_samples(of(tree), said.append)
    assert {item.real_id for item in (*data.composites, *held_out.composites)} == {f"HFlickr/f{i}" for i in (1, 2, 3)}
    assert any(line.startswith("left out: 3 inputs whose photos are in a test list") for line in said)
    for source in ("stored", "on-the-fly"):
        with pytest.raises(UsageError, match=r"all .* are of photos in its test list"):
            read_samples(of(tree / "IHD_test.txt", source=source), quiet)
    (tree / "IHD_train.txt").unlink()  # the reader would take the test list now
    with pytest.raises(UsageError, match="all 3 inputs"):
        read_samples(of(tree), quiet)


def test_a_layout_without_composites_is_refused_with_the_way_out(photo_folder, of):
    with pytest.raises(UsageError, match=r"layout 'folders', which holds no composites.*source=on-the-fly"):
        read_samples(of(photo_folder), quiet)


def test_a_test_part_of_a_parquet_data_set_is_refused(of):
    with pytest.raises(UsageError, match="is a test split"):
        read_samples(of("data/test-00000-of-00001.parquet"), quiet)
