"""What composites change: as before where nothing new is asked for, as authentic ones do in the recipes."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))

from change_statistics import measure

from harmonygen.pictures.images import resize
from harmonygen.pictures.masks import resize_mask
from harmonygen.recolor.foreground import lightness_gap
from harmonygen.settings import resolve
from harmonygen.training.changes import foreground_change, make_composite
from harmonygen.training.composites import OnTheFlyComposites, TrainingPhoto
from harmonygen.training.settings import ClassifierTraining, CompositeSettings

SHARED = Path(os.environ.get("HARMONYGEN_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"
# Mean 8-bit values of (real, composite) of samples 0 to 7, by commit d2a1aed, which had none of the newer settings.
MEANS_OF_D2A1AED = [
    (82.1, 60.99),
    (119.71, 118.75),
    (120.23, 114.81),
    (121.71, 127.95),
    (118.94, 130.67),
    (103.72, 89.11),
    (110.13, 102.64),
    (102.36, 89.67),
]


@pytest.fixture(scope="module")
def photos(small_photos, ellipse) -> list[TrainingPhoto]:
    found = small_photos(3, 48, 64)
    return [TrainingPhoto(str(index), image, ellipse(48, 64)) for index, image in enumerate(found)]


@pytest.fixture
def made(photos):
    def make(photos=photos, borrowing=(), **changes) -> OnTheFlyComposites:
        settings = ClassifierTraining(resolution=32, composites=changes)
        return OnTheFlyComposites([*photos, *borrowing], settings, "train")

    return make


def u8(tensor):
    return np.rint((tensor.numpy().transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8)


def mask_of(sample):
    return sample["mask"].numpy()[0] > 0


def test_old_settings_give_the_samples_that_they_gave(made):
    data = made()
    means = [
        tuple(float(data[index][name].double().mean() * 127.5 + 127.5) for name in ("real", "composite"))
        for index in range(8)
    ]
    assert np.allclose(means, MEANS_OF_D2A1AED, atol=0.02)


@pytest.mark.parametrize("method", ["reinhard", "xiao", "ycbcr", "lut", "photometric"])
def test_a_change_has_the_strength_that_is_asked_for(photos, method):
    off = dict.fromkeys(("reinhard", "xiao", "fecker", "pitie", "lut"), 0)
    how = CompositeSettings(**{**off, method: 1}, median_fmse=500, fmse_spread=0)
    real, mask = photos[0].image_u8, photos[0].mask
    changes = [
        foreground_change(real, make_composite(real, mask, photos[1], how, np.random.default_rng(seed)), mask)
        for seed in range(12)
    ]
    assert np.median(changes) == pytest.approx(500, rel=0.15)


def test_a_photo_graded_with_its_composite_differs_from_it_in_the_foreground_alone(made):
    plain, graded = made(), made(grade_both=1)
    for index in range(8):
        sample, mask = graded[index], mask_of(graded[index])
        assert not np.array_equal(u8(sample["real"]), u8(plain[index]["real"]))
        assert np.array_equal(u8(sample["real"])[~mask], u8(sample["composite"])[~mask])
        assert not np.array_equal(u8(sample["real"])[mask], u8(sample["composite"])[mask])


def test_a_judges_photo_is_graded_alone_and_a_background_in_place_of_the_foreground(made):
    plain, graded, backgrounds = made(), made(grade_real=1), made(change_background=1)
    for index in range(8):
        real, mask = u8(plain[index]["real"]), mask_of(plain[index])
        assert np.array_equal(u8(graded[index]["composite"])[~mask], real[~mask])
        assert not np.array_equal(u8(graded[index]["real"])[~mask], real[~mask])
        composite = u8(backgrounds[index]["composite"])
        assert np.array_equal(composite[mask], real[mask])
        assert not np.array_equal(composite[~mask], real[~mask])


def test_photos_of_an_unusual_light_are_drawn_less_often(photos, made):
    dark = photos[0].image_u8.copy()
    dark[photos[0].mask] //= 8
    unusual = TrainingPhoto("dark", dark, photos[0].mask)

    def gaps(**changes):
        data = made([unusual, photos[1]], **changes)
        return [abs(lightness_gap(u8(data[i]["real"]), mask_of(data[i]))) for i in range(40)]

    assert np.mean(np.array(gaps()) > 25) > 0.3
    assert np.mean(np.array(gaps(lightness_sigma=10)) > 25) < 0.1


def test_a_share_of_the_photos_takes_the_masks_of_others(photos, made):
    whole = np.zeros((48, 64), dtype=bool)
    whole[4:44, 4:30] = True
    other = TrainingPhoto("other", photos[1].image_u8, whole)
    own = {mask_of(made([photos[0], other])[i]).tobytes() for i in range(20)}
    borrowed = {mask_of(made([photos[0], other], borrowed_masks=1)[i]).tobytes() for i in range(20)}
    assert borrowed - own
    tiny = np.zeros((48, 64), dtype=bool)
    tiny[20, 30] = True
    data = made([photos[0], TrainingPhoto("tiny", photos[1].image_u8, tiny)], borrowed_masks=1)
    assert all(mask_of(data[i]).sum() > 1 or (data[i]["mask"].sum() == 1) for i in range(10))


def test_photos_without_masks_borrow_always(photos, made):
    bare = TrainingPhoto("bare", 255 - photos[2].image_u8, np.ones((48, 64), dtype=bool), borrows=True)
    data, without = made(borrowing=[bare]), made()
    assert data.with_masks == 3
    assert all(0 < mask_of(data[i]).mean() < 1 for i in range(30))
    assert not torch.equal(data[0]["real"], without[0]["real"]) or data.digest != without.digest
    first, again = data[7], made(borrowing=[bare])[7]
    assert torch.equal(first["composite"], again["composite"])


@pytest.fixture(scope="module")
def study_like():
    """A hundred photos of ../shared/data at short side 154."""
    if not (SHARED / "photos256.tar").exists():
        pytest.skip(f"no {SHARED}/photos256.tar")
    found = []
    with tarfile.open(SHARED / "photos256.tar") as tar:
        names = sorted(name for name in tar.getnames() if "/images/" in name and name.endswith(".webp"))
        for name in names[:: len(names) // 100]:
            image = np.asarray(Image.open(io.BytesIO(tar.extractfile(name).read())).convert("RGB"))
            mask = tar.extractfile(name.replace("/images/", "/masks/").replace(".webp", ".png")).read()
            size = [round(side * 154 / min(image.shape[:2])) for side in image.shape[:2]]
            small = resize_mask(np.asarray(Image.open(io.BytesIO(mask)).convert("L")) > 127, *size)
            if 0.01 < small.mean() < 0.9:
                found.append(TrainingPhoto(name, resize(image, *size), small))
    return found


@pytest.mark.slow
def test_the_recipes_changes_are_those_of_authentic_composites(study_like):
    """Medians lie in the ranges of REFERENCE section 13 (as tests/fakes/change_statistics.py measures them)."""
    settings = resolve(ClassifierTraining, "starter/classifier", {}, ["chain.probability=0"])
    quiet = settings.composites.model_copy(update={"grade_both": 0, "grade_real": 0, "change_background": 0})
    data = OnTheFlyComposites(study_like, settings.model_copy(update={"composites": quiet}), "train")
    samples = [data[index] for index in range(120)]
    rows = [measure(u8(each["real"]), u8(each["composite"]), mask_of(each)) for each in samples]
    median = {name: float(np.median([row[name] for row in rows])) for name in rows[0]}
    print(median)
    assert 937 < median["fmse"] < 2300
    assert 0.25 < median["contrast"] < 0.45
    assert 0.28 < median["constant"] < 0.6
    assert 0.07 < median["affine"] < 0.25
    assert np.mean([row["clipped"] > 0.05 for row in rows]) < 0.16
