"""Sizes that synthesis works at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harmonygen.errors import InputError
from harmonygen.pictures.images import Decoded
from harmonygen.pictures.photo import Sizing, load_photo, model_size, output_size, shrink_mask, size_photo
from harmonygen.records import FileSource, Pair

PAIR = Pair("a/0", "a", "0", FileSource(Path("a.png")), FileSource(Path("a-mask.png")))


def test_native_keeps_the_aspect_ratio_and_the_photo_itself(make_photo):
    photo = make_photo(height=96, width=130)
    assert photo.low_u8.shape == (32, 40, 3)  # 130 / 96 * 32 = 43.3 -> 40, the nearest multiple of 8
    assert photo.image_u8.shape == (96, 130, 3)
    assert photo.low_mask.shape == (32, 40)
    assert not photo.converted


def test_square_makes_the_models_picture_square_only(make_photo):
    photo = make_photo(fit="square")
    assert photo.low_u8.shape == (32, 32, 3)
    assert photo.image_u8.shape == (96, 128, 3)


def test_decode_makes_the_composite_the_models_size(make_photo):
    photo = make_photo(detail="decode")
    assert photo.image_u8.shape == photo.low_u8.shape == (32, 40, 3)
    assert (photo.image_u8 == photo.low_u8).all()
    assert photo.converted


def test_max_side_shrinks_photo_and_mask_alike_and_never_enlarges(make_photo):
    photo = make_photo(max_side=64)
    assert photo.image_u8.shape == (48, 64, 3)
    assert photo.mask.shape == (48, 64)
    assert photo.converted
    assert make_photo(max_side=4000).image_u8.shape == (96, 128, 3)
    assert not make_photo(max_side=4000).converted


@given(
    height=st.integers(20, 3000), width=st.integers(20, 3000), resolution=st.integers(32, 1024),
    multiple=st.sampled_from([1, 8, 16]), fit=st.sampled_from(["native", "square"]),
)  # fmt: skip
def test_model_sides_are_multiples_near_the_resolution(height, width, resolution, multiple, fit):
    low = model_size(height, width, Sizing(resolution, multiple, fit))
    assert all(side % multiple == 0 and side > 0 for side in low)
    assert abs(min(low) - resolution) <= multiple / 2 + 0.5
    if fit == "native":
        assert abs(low[0] - resolution * height / min(height, width)) <= multiple / 2 + 0.5
        assert abs(low[1] - resolution * width / min(height, width)) <= multiple / 2 + 0.5


@given(height=st.integers(1, 4000), width=st.integers(1, 4000), max_side=st.integers(32, 4000))
def test_output_never_passes_max_side(height, width, max_side):
    made = output_size(height, width, max_side)
    assert max(made) == min(max_side, max(height, width))
    assert min(made) >= 1


@given(row=st.integers(0, 499), column=st.integers(0, 699), height=st.integers(1, 64), width=st.integers(1, 64))
def test_one_foreground_pixel_survives_any_shrinking(row, column, height, width):
    mask = np.zeros((500, 700), dtype=bool)
    mask[row, column] = True
    small = shrink_mask(mask, height, width)
    assert small.sum() == 1
    assert small[row * height // 500, column * width // 700]


def test_a_tiny_mask_reaches_the_model(make_photo):
    image = np.full((400, 400, 3), 90, dtype=np.uint8)
    mask = np.zeros((400, 400), dtype=bool)
    mask[201, 203] = True
    photo = size_photo(PAIR, Decoded(image, (400, 400), 1), mask, Sizing(32, 8))
    assert photo.low_mask.any()
    assert photo.mask.sum() == 1


def test_a_mask_that_turns_full_at_the_composites_size_is_refused():
    mask = np.ones((64, 64), dtype=bool)
    mask[0, 1] = False
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    with pytest.raises(InputError, match=r"32x32.*is full"):
        size_photo(PAIR, Decoded(image, (64, 64), 1), mask, Sizing(32, 8, max_side=32))


def test_a_strip_is_refused():
    image, mask = np.zeros((20, 500, 3), dtype=np.uint8), np.zeros((20, 500), dtype=bool)
    mask[3:9, 30:90] = True
    with pytest.raises(InputError, match=r"500x20.*crop it"):
        size_photo(PAIR, Decoded(image, (500, 20), 1), mask, Sizing(32, 8))


def test_resolution_under_the_models_multiple_is_refused():
    with pytest.raises(InputError, match="resolution 8 is under the model's multiple 16"):
        model_size(100, 100, Sizing(8, 16))


def test_a_turned_photo_counts_as_resized_since_its_file_has_other_pixels(tmp_path):
    image = Image.fromarray(np.arange(40 * 60 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 60, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    mask = np.zeros((60, 40), dtype=np.uint8)
    mask[10:30, 5:20] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    pair = Pair("a/0", "a", "0", FileSource(tmp_path / "a.png"), FileSource(tmp_path / "m.png"))
    photo = load_photo(pair, Sizing(32, 8))
    assert photo.image_u8.shape == (60, 40, 3)
    assert photo.converted


def test_a_mask_of_another_size_is_refused_unless_allowed(tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    mask = Image.new("L", (30, 20))
    mask.paste(255, (4, 4, 12, 12))
    mask.save(tmp_path / "m.png")
    pair = Pair("a/0", "a", "0", FileSource(tmp_path / "a.png"), FileSource(tmp_path / "m.png"))
    with pytest.raises(InputError, match="30x20 but its photo is 60x40"):
        load_photo(pair, Sizing(32, 8))
    assert load_photo(pair, Sizing(32, 8, mask_resize="nearest")).mask.sum() == 16 * 16


@pytest.mark.parametrize(("enlarge", "method"), [("bicubic", "BICUBIC"), ("bilinear", "BILINEAR")])
def test_a_photo_smaller_than_the_models_size_is_enlarged_as_asked(enlarge, method):
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    sizing, mask = Sizing(96, 8, "square", "decode", enlarge=enlarge), np.arange(48 * 64).reshape(48, 64) > 999
    photo = size_photo(PAIR, Decoded(image, (64, 48), 1), mask, sizing)
    expected = Image.fromarray(image).resize((96, 96), getattr(Image.Resampling, method))
    assert np.array_equal(photo.low_u8, expected)
    assert np.array_equal(photo.image_u8, expected)
    assert photo.enlarge == enlarge
