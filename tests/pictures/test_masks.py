import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco

from harmonygen.errors import InputError
from harmonygen.pictures.images import Decoded, decode, encode
from harmonygen.pictures.masks import (
    check_mask,
    decode_segmentation,
    fg_ratio,
    mask_to_runs,
    read_mask,
    resize_mask,
    runs_to_mask,
    to_mask,
    unpack_counts,
)
from harmonygen.records import FileSource, SegmentSource

MASKS = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(0, 1)).map(
    lambda drawn: np.random.default_rng(drawn[2]).random(drawn[:2]) < drawn[3]
)


def segment(segmentation, height=32, width=48):
    return SegmentSource(json.dumps(segmentation), height, width, "a.png, annotation 7")


def photo_of(mask, orientation=1):
    height, width = mask.shape
    file_size = (height, width) if orientation > 4 else (width, height)
    return Decoded(np.zeros((height, width, 3), np.uint8), file_size, orientation)


def saved(image, path):
    image.save(path)
    return FileSource(path)


# Run-length codes


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_contest_runs_come_back_as_they_were(mask):
    runs = mask_to_runs(mask)
    if mask.any():
        assert np.array_equal(runs_to_mask(runs, *mask.shape, "m"), mask)
    else:
        assert runs == ""


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_contest_runs_are_what_pycocotools_counts(mask):
    """Both are column-major: COCO's uncompressed counts alternate background and foreground, from 0."""
    if not mask.any():
        return
    numbers = [int(number) for number in mask_to_runs(mask).split()]
    counts, end = [], 0
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        counts += [start - 1 - end, length]
        end = start - 1 + length
    rle = coco.frPyObjects({"size": list(mask.shape), "counts": [*counts, mask.size - end]}, *mask.shape)
    assert np.array_equal(coco.decode(rle).astype(bool), mask)


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_compressed_counts_unpack_to_the_lengths_of_the_runs(mask):
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *edges, flat.size]).tolist()
    assert unpack_counts(rle["counts"].decode()).tolist() == ([0, *lengths] if flat[0] else lengths)
    compressed = {"size": list(mask.shape), "counts": rle["counts"].decode()}
    assert np.array_equal(decode_segmentation(segment(compressed, *mask.shape)), mask)


def test_large_counts_are_unpacked():
    mask = np.zeros((3000, 2000), np.uint8, order="F")
    mask[1000:2999, 700:1900] = 1
    counts = unpack_counts(coco.encode(mask)["counts"].decode())
    assert (sum(counts), counts[0], counts[1]) == (mask.size, 700 * 3000 + 1000, 1999)


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ("1 2 3", "has 3 numbers: 'start length' pairs are needed"),
        ("", "has 0 numbers"),
        ("1 x", "not a whole number"),
        ("1 2.5", "not a whole number"),
        ("99999999999999999999 1", "not a whole number"),
        ("0 2", "starts are 1-based"),
        ("3 0", "length below 1"),
        ("3 -1", "length below 1"),
        ("9 2 3 1", "not sorted or its runs overlap"),
        ("3 4 5 1", "not sorted or its runs overlap"),
        ("23 3", "ends at 25, past the end of 24 pixels: check Height and Width"),
        (f"2 {2**63 - 1}", "past the end"),
    ],
)
def test_malformed_contest_runs_are_refused(runs, told):
    with pytest.raises(InputError, match=told) as caught:
        runs_to_mask(runs, 4, 6, "row 3")
    assert "'row 3'" in str(caught.value)


def test_runs_may_touch_and_reach_the_last_pixel():
    assert runs_to_mask("1 12 13 12", 4, 6, "m").all()


def packed(mask):
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


HALF = np.arange(32 * 48).reshape(32, 48) < 700


@pytest.mark.parametrize(
    ("segmentation", "told"),
    [
        ({"size": [48, 32], "counts": [32 * 48]}, "RLE of .* is 32x48 but its photo is 48x32"),
        ({"size": [32, 48], "counts": [700, 800]}, "covers 1500 pixels of 1536"),
        ({"size": [32, 48], "counts": [700, 837]}, "covers 1537 pixels of 1536"),
        ({"size": [32, 48], "counts": [-1, 1537]}, "not negative"),
        ({"size": [32, 48], "counts": [1.5, 1534.5]}, "must be whole"),
        ({"size": [32, 48], "counts": packed(np.ones((4, 4)))}, "covers 16 pixels of 1536"),
        ({"size": [32, 48], "counts": packed(np.ones((400, 480)))}, "covers 192000 pixels of 1536"),
        ({"size": [32, 48], "counts": ""}, "covers 0 pixels"),
        ({"size": [32, 48], "counts": packed(HALF)[:-1] + "o"}, "end within a count"),
        ({"size": [32, 48], "counts": "~~é"}, "not a character"),
        ({"size": [32, 48]}, "cannot be decoded"),
        ({"size": [32, 48], "counts": None}, "cannot be decoded"),
        ({"counts": [1536]}, "cannot be decoded"),
        ("52203", "cannot be decoded"),
        (7, "cannot be decoded"),
        ([], "is empty"),
        ([[1, 2, 3, 4]], "a polygon of 4 numbers"),
        ([[1, 2, 3, 4, 5, 6, 7]], "a polygon of 7 numbers"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], r"a point at 1000000000\.0, far outside its photo of 48x32"),
        ([[0, 0, float("nan"), 0, 5, 5]], "a point at nan"),
        ([[0, 0, 5, 0, 5, float("-inf")]], "a point at -inf"),
        ([["a", "b", 1, 2, 3, 4]], "cannot be decoded"),
        ([{"x": 1}], "a polygon of 1 numbers"),
    ],
)
def test_malformed_coco_segmentations_are_refused_with_their_name(segmentation, told):
    with pytest.raises(InputError, match=told) as caught:
        decode_segmentation(segment(segmentation))
    assert "'a.png, annotation 7'" in str(caught.value)


def test_a_polygon_a_little_over_the_edge_is_cut_there():
    mask = decode_segmentation(segment([[-4, -4, 24, -4, 24, 36, -4, 36]]))
    assert mask[:, :24].all()
    assert not mask[:, 25:].any()


def test_several_polygons_are_one_mask():
    squares = [[0, 0, 8, 0, 8, 8, 0, 8], [20, 10, 28, 10, 28, 18, 20, 18]]
    assert decode_segmentation(segment(squares)).sum() == 128


# Mask images


@pytest.mark.parametrize(("value", "foreground"), [(0, False), (127, False), (128, True), (255, True)])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "I;16"])
def test_a_soft_mask_is_cut_at_one_half_and_never_dithered(mode, value, foreground):
    grey = np.full((8, 8), value, np.uint8)
    grey[0, 0] = 255 - value  # both sides of the threshold, so that nothing is taken for a 0/1 mask
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    mask = to_mask(image)
    assert mask.dtype == np.bool_
    assert (mask.ravel()[1:] == foreground).all()


def test_a_soft_edge_keeps_its_place():
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (4, 1)))
    assert (to_mask(ramp) == (np.arange(256) >= 128)).all()


SHAPE = np.zeros((9, 14), bool)
SHAPE[2:6, 3:11] = True


def coloured(mode):
    return Image.fromarray(SHAPE.astype(np.uint8) * 255).convert(mode)


def palette(foreground, background):
    image = Image.fromarray(SHAPE.astype(np.uint8)).convert("P")
    image.putpalette([*background, *foreground])
    return image


def alpha_only():
    image = Image.new("RGB", SHAPE.shape[::-1], (90, 20, 20))
    image.putalpha(Image.fromarray(SHAPE.astype(np.uint8) * 255))
    return image


@pytest.mark.parametrize(
    "image",
    [
        coloured("1"),
        coloured("L"),
        coloured("RGB"),
        coloured("RGBA"),
        coloured("CMYK"),
        palette((255, 255, 255), (0, 0, 0)),
        palette((255, 200, 200), (60, 0, 0)),
        alpha_only(),
        Image.fromarray(SHAPE.astype(np.uint8)),
        Image.merge("RGB", [Image.fromarray(SHAPE.astype(np.uint8))] * 3),
        Image.fromarray(SHAPE.astype(np.uint16) * 65535),
        Image.fromarray(SHAPE.astype(np.float32)),
    ],
    ids=["1", "L", "RGB", "RGBA", "CMYK", "palette", "colours", "alpha", "0/1 L", "0/1 RGB", "16-bit", "float"],
)
def test_masks_of_every_kind_are_the_same_mask(image):
    assert np.array_equal(to_mask(image), SHAPE)


@pytest.mark.parametrize("mode", ["L", "LA", "La", "RGBA", "RGBa", "PA", "I;16", "I", "F", "HSV", "YCbCr", "LAB"])
def test_a_mask_of_any_mode_is_read(mode):
    assert to_mask(Image.new(mode, (3, 2))).shape == (2, 3)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_grey_mask_file_with_a_transparent_value_is_read(tmp_path, depth):
    path = tmp_path / "m.png"
    Image.fromarray(SHAPE.astype(depth) * np.iinfo(depth).max).save(path, transparency=0)
    assert np.array_equal(read_mask(FileSource(path), photo_of(SHAPE)), SHAPE)


def test_a_mask_file_on_a_grey_jpeg_is_cut_clean(tmp_path):
    source = saved(Image.fromarray(np.kron(SHAPE, np.ones((8, 8))).astype(np.uint8) * 255), tmp_path / "m.jpg")
    whole = np.kron(SHAPE, np.ones((8, 8))).astype(bool)
    assert np.array_equal(read_mask(source, photo_of(whole)), whole)


# The mask against its photo

STORED = {
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
CORNER = np.zeros((10, 16), bool)
CORNER[1:4, 2:12] = True
CORNER[7, 1] = True


def rotated_photo(orientation, image_format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgb = np.ascontiguousarray(STORED[orientation](np.repeat(CORNER[..., None], 3, axis=2))).astype(np.uint8) * 255
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, image_format, exif=exif)
    return decode(buffer.getvalue(), "photo")


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", sorted(STORED))
def test_a_mask_drawn_on_the_photo_as_stored_is_turned_with_it(tmp_path, orientation, image_format):
    photo = rotated_photo(orientation, image_format)
    assert np.array_equal(photo.image_u8[..., 0] > 0, CORNER)
    stored = np.ascontiguousarray(STORED[orientation](CORNER))
    source = saved(Image.fromarray(stored.astype(np.uint8) * 255), tmp_path / "m.png")
    assert np.array_equal(read_mask(source, photo), CORNER)


@pytest.mark.parametrize("orientation", sorted(STORED))
def test_a_mask_drawn_on_the_upright_photo_stays_as_it_is(tmp_path, orientation):
    source = saved(Image.fromarray(CORNER.astype(np.uint8) * 255), tmp_path / "m.png")
    assert np.array_equal(read_mask(source, rotated_photo(orientation, "PNG")), CORNER)


def test_a_mask_with_its_own_exif_rotation_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](CORNER)).astype(np.uint8) * 255)
    stored.save(tmp_path / "m.png", exif=exif)
    assert np.array_equal(read_mask(FileSource(tmp_path / "m.png"), rotated_photo(6, "PNG")), CORNER)


def test_a_mask_of_another_size_is_refused_with_both_sizes_and_the_way_out(tmp_path):
    source = saved(Image.fromarray(SHAPE.astype(np.uint8) * 255), tmp_path / "m.png")
    photo = photo_of(np.zeros((18, 28), bool))
    with pytest.raises(
        InputError, match=r"m\.png' is 14x9 but its photo is 28x18: re-export it at that size, or pass --mask-resize"
    ):
        read_mask(source, photo, "refuse")
    assert np.array_equal(read_mask(source, photo, "nearest"), np.kron(SHAPE, np.ones((2, 2))).astype(bool))


def test_a_segmentation_of_another_size_than_the_file_is_refused():
    with pytest.raises(InputError, match="is 48x32 but its photo is 10x10"):
        read_mask(segment([[1, 1, 9, 1, 9, 9]]), photo_of(np.zeros((10, 10), bool)))


@pytest.mark.parametrize(
    ("mask", "told"), [(np.zeros((4, 4), bool), "'m' is empty .*white"), (np.ones((4, 4), bool), "'m' is full")]
)
def test_empty_and_full_masks_are_refused(mask, told):
    with pytest.raises(InputError, match=told):
        check_mask(mask, "m")


def test_a_mask_of_one_pixel_is_a_mask():
    mask = np.zeros((4, 4), bool)
    mask[2, 1] = True
    assert check_mask(mask, "m") is mask
    assert fg_ratio(mask) == 1 / 16


@pytest.mark.parametrize("cut", range(16))
def test_a_truncated_mask_is_an_input_error(tmp_path, cut):
    rng = np.random.default_rng(0)
    whole = encode(rng.random((40, 40)) < 0.5)
    (tmp_path / "m.png").write_bytes(whole[: len(whole) * cut // 16])
    with pytest.raises(InputError, match=r"m\.png'"):
        read_mask(FileSource(tmp_path / "m.png"), photo_of(np.zeros((40, 40), bool)))


@settings(deadline=None)
@given(MASKS, st.integers(1, 4))
def test_enlarging_and_shrinking_by_whole_factors_is_exact(mask, factor):
    large = resize_mask(mask, mask.shape[0] * factor, mask.shape[1] * factor)
    assert large.mean() == pytest.approx(mask.mean())
    assert np.array_equal(resize_mask(large, *mask.shape), mask)
