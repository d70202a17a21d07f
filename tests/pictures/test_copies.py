"""Copies of photos are found whatever was done to them, and different photos are not taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from skimage import data

from harmonygen.pictures.copies import SAME, WINDOWS, candidates, copies, describe, lay_over, look_at, small_grey
from harmonygen.records import FileSource

NAMES = ("astronaut", "chelsea", "coffee", "rocket")
PHOTOS = {name: Image.fromarray(getattr(data, name)()) for name in NAMES}
MIRROR = Image.Transpose.FLIP_LEFT_RIGHT


def cut(photo, share):
    wide, high = round(share * photo.width), round(share * photo.height)
    return photo.crop((wide, high, photo.width - wide, photo.height - high))


def framed(photo, share):
    wide, high = round(share * photo.width), round(share * photo.height)
    frame = Image.new("RGB", (photo.width + 2 * wide, photo.height + 2 * high), "white")
    frame.paste(photo, (wide, high))
    return frame


KINDS = {
    "re-encoded": lambda photo: photo.resize((photo.width // 2, photo.height // 2)),
    "mirrored": lambda photo: photo.transpose(MIRROR),
    "cropped or framed": lambda photo: cut(photo, 0.05),
    "turned": lambda photo: photo.rotate(2, Image.Resampling.BICUBIC),
    "mirrored, cropped or framed": lambda photo: cut(photo, 0.1).transpose(MIRROR),
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    return [saved(photo, folder / f"{name}.png") for name, photo in PHOTOS.items()]


def saved(photo, path, **how):
    photo.save(path, **how)
    return FileSource(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_found_and_its_kind_is_named(kind, originals, tmp_path):
    made = [saved(KINDS[kind](photo), tmp_path / f"{name}.jpg", quality=60) for name, photo in PHOTOS.items()]
    found = copies(look_at(made), look_at(originals), made, originals)
    assert [(copy.left, copy.right, copy.kind) for copy in found] == [(place, place, kind) for place in range(4)]
    assert min(copy.alike for copy in found) > 0.6


@pytest.mark.parametrize("share", [0.02, 0.1])
@pytest.mark.parametrize("change", [cut, framed])
def test_other_crops_and_frames_are_found_from_either_side(change, share, originals, tmp_path):
    made = [saved(change(photo, share), tmp_path / f"{name}.jpg", quality=60) for name, photo in PHOTOS.items()]
    looks = look_at(made), look_at(originals)
    for left, right, sources in ((*looks, (made, originals)), (*reversed(looks), (originals, made))):
        assert [(copy.left, copy.right) for copy in copies(left, right, *sources)] == [(k, k) for k in range(4)]


def test_different_photos_are_none_and_a_set_is_compared_with_itself_pair_by_pair(originals, tmp_path):
    assert copies(look_at(originals), look_at(originals[:0]), originals, []) == []
    looks = look_at(originals)
    assert copies(looks, looks, originals, originals) == []
    more = [*originals, saved(PHOTOS["coffee"].transpose(MIRROR), tmp_path / "m.png")]
    looks = look_at(more)
    assert [(copy.left, copy.right, copy.kind) for copy in copies(looks, looks, more, more)] == [(2, 4, "mirrored")]


def test_quarters_of_one_photo_are_different_photos(tmp_path):
    photo = PHOTOS["astronaut"]
    boxes = [(x, y, x + 256, y + 256) for x in (0, 256) for y in (0, 256)]
    parts = [saved(photo.crop(box), tmp_path / f"{place}.png") for place, box in enumerate(boxes)]
    looks = look_at(parts)
    assert copies(looks, looks, parts, parts) == []


def test_alike_in_the_large_is_not_alike_in_detail():
    """Two noisy pictures of one gradient are candidates, and their detail tells them apart."""
    rng = np.random.default_rng(0)
    slope = np.add.outer(np.linspace(0, 120, 96), np.linspace(0, 60, 96))
    one, other = (np.float32(slope + rng.normal(0, 8, (96, 96))) for _ in range(2))
    assert float(describe(one)[0] @ describe(other)[0]) > 0.9
    whole = np.array([[1.0, 0, 0], [0, 1, 0]])
    assert lay_over(one, other, whole, SAME) is None
    assert lay_over(one, one, whole, SAME)[1] > 0.99


def test_a_description_is_of_length_one_and_a_window_is_a_crop():
    photo = PHOTOS["coffee"]
    whole, crop = describe(small_grey(photo)), describe(small_grey(cut(photo, 0.05)))
    assert np.linalg.norm(whole, axis=1) == pytest.approx(np.ones(len(WINDOWS)), abs=1e-5)
    assert float(whole[1] @ crop[0]) > 0.98


def test_flat_and_unreadable_pictures_are_copies_of_nothing(originals, tmp_path):
    flat = [saved(Image.new("RGB", (90, 60), "white"), tmp_path / f"{name}.png") for name in "ab"]
    (tmp_path / "bad.png").write_bytes(b"no image")
    sources = [*flat, FileSource(tmp_path / "bad.png"), FileSource(tmp_path / "missing.png")]
    seen = []
    looks = look_at(sources, lambda done, total: seen.append((done, total)))
    assert looks.readable.tolist() == [True, True, False, False]
    assert seen[-1] == (4, 4)
    assert list(candidates(looks, look_at(originals))) == []
    assert copies(looks, looks, sources, sources) == []
