import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from harmonygen.errors import InputError
from harmonygen.pictures import images
from harmonygen.pictures.images import (
    TO_RGB,
    decode,
    decode_plainly,
    encode,
    paste,
    read_image,
    resize,
    save,
    to_rgb,
    to_u8,
)
from harmonygen.records import FileSource

UPRIGHT_TO_STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
"""What a camera stores for each EXIF orientation, written in NumPy: not the code's own table."""


def photo(height=24, width=40):
    from skimage import data

    return np.asarray(Image.fromarray(data.coffee()).resize((width, height)))


def encoded(image, image_format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def with_orientation(image, orientation, image_format="PNG"):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, image_format, exif=exif)


def picture_of(mode, image_u8):
    """A Pillow image of a mode that a file can have, from a photo."""
    image = Image.fromarray(image_u8)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode == "I":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.int32) * 257)
    if mode == "F":
        return Image.fromarray((np.asarray(image.convert("L")) / 255).astype(np.float32))
    if mode == "1":
        return image.convert("1", dither=Image.Dither.NONE)
    if mode == "P":
        return image.convert("P", palette=Image.Palette.ADAPTIVE)
    return image.convert(mode)


FILES = [
    ("1", "PNG"),
    ("L", "PNG"),
    ("LA", "PNG"),
    ("P", "PNG"),
    ("RGB", "PNG"),
    ("RGBA", "PNG"),
    ("I;16", "PNG"),
    ("CMYK", "TIFF"),
    ("F", "TIFF"),
    ("I", "TIFF"),
    ("LAB", "TIFF"),
    ("RGB", "WEBP"),
    ("CMYK", "JPEG"),
    ("RGB", "JPEG"),
]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("mode", "image_format"), FILES)
def test_every_mode_comes_upright_from_every_orientation(mode, image_format, orientation):
    upright = photo()
    stored = Image.fromarray(np.ascontiguousarray(UPRIGHT_TO_STORED[orientation](upright)))
    plain = to_rgb(picture_of(mode, upright))
    lossy = image_format in ("JPEG", "WEBP") or mode in ("LAB", "P")
    decoded = decode(with_orientation(picture_of(mode, np.asarray(stored)), orientation, image_format), "x")
    assert decoded.orientation == orientation
    assert decoded.file_size == stored.size
    assert decoded.image_u8.shape == upright.shape
    assert decoded.image_u8.dtype == np.uint8
    error = np.abs(decoded.image_u8.astype(int) - plain).mean()
    assert error == 0 if not lossy else error < 12


@pytest.mark.parametrize("mode", sorted(TO_RGB))
def test_every_mode_of_the_table_is_converted(mode):
    assert to_rgb(Image.new(mode, (3, 2), 65535 if mode.startswith("I") else 0)).shape == (2, 3, 3)


def test_a_mode_that_is_not_in_the_table_is_refused_with_the_remedy():
    image = Image.new("L", (2, 2))
    image._mode = "XYZ"
    with pytest.raises(InputError, match="'XYZ' is not supported: convert the image to RGB"):
        to_rgb(image)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("1", (1, 1), 1), (255, 255, 255)),
        (Image.new("RGBA", (1, 1), (200, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (1, 1), (200, 0, 0, 255)), (200, 0, 0)),
        (Image.new("LA", (1, 1), (0, 51)), (204, 204, 204)),
        (Image.new("CMYK", (1, 1), (255, 0, 0, 0)), (0, 255, 255)),
        (Image.fromarray(np.array([[65535]], np.uint16)), (255, 255, 255)),
        (Image.fromarray(np.array([[128 * 257 + 128]], np.uint16)), (128, 128, 128)),
        (Image.fromarray(np.array([[128 * 257 + 129]], np.uint16)), (129, 129, 129)),
        (Image.fromarray(np.array([[65535]], np.int32)), (255, 255, 255)),
        (Image.fromarray(np.array([[0.5]], np.float32)), (128, 128, 128)),
        (Image.fromarray(np.array([[254.4]], np.float32)), (254, 254, 254)),
    ],
)
def test_the_table_in_numbers(image, expected):
    assert tuple(to_rgb(image)[0, 0].tolist()) == expected


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_grey_png_with_a_transparent_value_is_read(depth):
    grey = Image.fromarray(np.array([[0, 200]], depth))
    decoded = decode(encoded(grey, transparency=0), "x")
    assert decoded.image_u8.shape == (1, 2, 3)


def test_a_transparent_palette_entry_is_laid_over_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    decoded = decode(encoded(image, transparency=0), "x")
    assert decoded.image_u8[0].tolist() == [[255, 255, 255], [40, 50, 60]]


def bomb(width=60_000, height=60_000):
    """A PNG whose header claims a size that its few bytes of pixels do not have."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(60_000, 60_000), (16_000, 16_000), (2**31 - 1, 1)])
def test_a_bomb_is_refused_from_the_header_before_anything_is_decoded(size, monkeypatch):
    decodings = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: decodings.append(self))
    with pytest.raises(InputError, match=r"'big.png' is .*over the pixel limit.*shrink it first"):
        decode(bomb(*size), "big.png")
    assert not decodings


def test_the_pixel_limit_can_be_lowered_and_counts_pixels():
    whole = encode(photo(10, 10))
    assert decode(whole, "x", max_pixels=100).image_u8.shape == (10, 10, 3)
    with pytest.raises(InputError, match="is 10x10, over the pixel limit of 99"):
        decode(whole, "x", max_pixels=99)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("sixteenths", range(16))
def test_a_truncated_file_is_an_input_error_wherever_it_is_cut(image_format, sixteenths):
    whole = encoded(Image.fromarray(photo(64, 64)), image_format)
    with pytest.raises(InputError, match="'a photo'"):
        decode(whole[: len(whole) * sixteenths // 16], "a photo")


WHOLE = {
    (image_format, mode): encoded(picture_of(mode, photo(24, 24)), image_format)
    for image_format, mode in [("PNG", "RGB"), ("PNG", "P"), ("JPEG", "RGB"), ("TIFF", "LAB"), ("WEBP", "RGB")]
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(WHOLE)), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6))
def test_damaged_bytes_give_a_picture_or_an_input_error_and_nothing_else(kind, changes):
    damaged = bytearray(WHOLE[kind])
    for position, value in changes:
        damaged[position % len(damaged)] = value
    with suppress(InputError):
        assert decode(bytes(damaged), "x", max_pixels=10**6).image_u8.shape[2] == 3


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"%PDF-1.4", b"\0" * 1000])
def test_what_is_no_image_is_said_to_be_none(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png' is (empty|not an image)"):
        read_image(FileSource(path))


@pytest.mark.parametrize("name", ["missing.png", ".", "a.png/b.png"])
def test_a_file_that_cannot_be_read_is_an_input_error(tmp_path, name):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"cannot read .*check the path and permissions"):
        read_image(FileSource(tmp_path / name))


def test_damaged_exif_does_not_refuse_a_whole_picture():
    whole = encoded(Image.fromarray(photo()), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    assert decode(whole, "x").orientation == 1


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_lossless_formats_give_every_pixel_back(image_format):
    assert np.array_equal(decode(encode(photo(), image_format), "x").image_u8, photo())


def test_jpeg_keeps_colour_at_full_resolution():
    with Image.open(io.BytesIO(encode(photo(), "jpeg"))) as opened:
        assert opened.layer[0][1:3] == opened.layer[1][1:3]  # no chroma subsampling


def test_a_mask_is_encoded_as_black_and_white():
    assert decode(encode(np.array([[True, False]])), "x").image_u8[0, :, 0].tolist() == [255, 0]


@given(st.floats(0, 1))
def test_bytes_are_rounded_not_floored(value):
    assert abs(int(to_u8(np.array(value))) - value * 255) <= 0.5 + 1e-9


def test_values_out_of_range_are_clipped():
    assert to_u8(np.array([-0.2, 1.4])).tolist() == [0, 255]


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_paste_keeps_the_background_bit_for_bit(seed):
    rng = np.random.default_rng(seed)
    real, generated = rng.integers(0, 256, (2, 7, 9, 3), dtype=np.uint8)
    mask = rng.random((7, 9)) < 0.5
    pasted = paste(generated, real, mask)
    assert np.array_equal(pasted[~mask], real[~mask])
    assert np.array_equal(pasted[mask], generated[mask])


def test_resizing_to_the_same_size_changes_nothing():
    assert np.array_equal(resize(photo(), 24, 40), photo())


def test_shrinking_averages_and_does_not_alias():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(resize(stripes, 16, 16)[:, 1:-1].astype(int) - 127).max() <= 2


def test_saving_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save(photo(), path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save(photo(8, 8), path)
    assert path.read_bytes() == before
    assert images.read_image(FileSource(path)).image_u8.shape == (24, 40, 3)


def _modes():
    """Photos of every kind that a file may hold, and whether plain decoding gives what composites are made from."""
    colours = Image.fromarray(photo())
    fading = Image.fromarray(np.tile(np.linspace(0, 255, 40).astype(np.uint8), (24, 1)))
    kinds = {name: colours.convert(name) for name in ("RGB", "L", "1", "P", "CMYK", "RGBA", "LA")}
    yield from ((name, encoded(kinds[name]), True) for name in ("RGB", "L", "1", "P", "RGBA", "LA"))
    yield "CMYK", encoded(kinds["CMYK"], "TIFF"), False
    for name in ("RGBA", "LA"):
        kinds[name].putalpha(fading)
        yield f"{name} that fades", encoded(kinds[name]), False
    yield "P with a transparent entry", encoded(colours.quantize(32), transparency=3), False
    yield "L with a transparent value", encoded(kinds["L"], transparency=int(np.asarray(kinds["L"])[0, 0])), False
    deep = np.asarray(kinds["L"]).astype(np.uint16) * 257 - 31 * (np.asarray(kinds["L"]) > 0)
    yield "16 bits", encoded(Image.fromarray(deep.astype(np.uint16))), False
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"EXIF orientation {orientation}", encoded(colours, "JPEG", exif=exif), orientation == 1


@pytest.mark.parametrize(("kind", "content", "plain"), list(_modes()), ids=[kind for kind, *_ in _modes()])
def test_a_photo_is_plain_where_any_reader_gets_its_pixels(kind, content, plain):
    decoded = decode(content, kind)
    assert decoded.plain == plain
    plainly = decode_plainly(content, kind)
    same = plainly.shape == decoded.image_u8.shape and (plainly == decoded.image_u8).all()
    assert same or not plain
    if kind != "CMYK":  # readers disagree about it, and one of them is Pillow
        assert same == plain


def test_sixteen_bits_of_colour_are_not_plain():
    """Pillow drops the lower byte of an RGB PNG, other readers round."""
    rows = b"".join(b"\0" + bytes(range(40 * 6)) for _ in range(24))
    header = struct.pack(">IIBBBBB", 40, 24, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    assert not decode(b"\x89PNG\r\n\x1a\n" + b"".join(parts), "deep").plain
