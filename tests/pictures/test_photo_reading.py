"""Every photo file gives the right pixels, or says what was assumed, or is refused: depth, profiles, formats."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from harmonygen.errors import InputError
from harmonygen.pictures import colour_profile, formats
from harmonygen.pictures.colour_profile import SRGB_PRIMARIES, make_profile, read_profile
from harmonygen.pictures.images import decode, decode_plainly

P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RAMP = np.arange(16, dtype=np.uint8).reshape(4, 4) * 17


def colours(side=16):
    rng = np.random.default_rng(0)
    return rng.integers(40, 200, (side, side, 3), dtype=np.uint8)


def encoded(image, image_format="PNG", **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, image_format, **options)
    return buffer.getvalue()


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(content, kind, body):
    """Return a PNG file with a chunk more, behind the header."""
    return content[:33] + png_chunk(kind, body) + content[33:]


def linear(values):
    found = values / 255
    return np.where(found <= 0.04045, found / 12.92, ((found + 0.055) / 1.055) ** 2.4)


def in_srgb(linear01):
    found = np.clip(linear01, 0, 1)
    return np.rint(255 * np.where(found <= 0.0031308, found * 12.92, 1.055 * found ** (1 / 2.4) - 0.055))


def p3_to_srgb(image_u8):
    """Bring Display P3 to sRGB by the matrix that CSS Color 4 gives."""
    matrix = np.array(
        [[1.22494018, -0.22494018, 0], [-0.04205695, 1.04205695, 0], [-0.01963755, -0.07863605, 1.0982736]]
    )
    return in_srgb(linear(image_u8) @ matrix.T)


# Depth


@pytest.mark.parametrize(
    ("values", "image_format", "said"),
    [
        (RAMP.astype(np.uint16) * 257, "PNG", ""),
        (RAMP.astype(np.uint16) * 257, "TIFF", ""),
        (RAMP.astype(np.int32) * 257, "TIFF", ""),
        (RAMP.astype(np.uint16), "PNG", "taken as 8 bits"),
        (RAMP.astype(np.int32), "TIFF", "taken as 8 bits"),
        (RAMP.astype(np.float32) / 255, "TIFF", ""),
        (RAMP.astype(np.float32), "TIFF", ""),
        (RAMP.astype(np.float32) * 257, "TIFF", ""),
    ],
)
def test_deep_grey_files_give_the_pixels_of_the_8_bit_photo(values, image_format, said):
    decoded = decode(encoded(values, image_format), "x")
    np.testing.assert_array_equal(decoded.image_u8, np.repeat(RAMP[..., None], 3, axis=2))
    assert said in decoded.reading.warning
    assert decoded.reading.how
    assert not decoded.plain


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (RAMP.astype(np.uint16) * 4, "up to 1020"),
        (RAMP.astype(np.uint16) * 16, "up to 4080"),
        (RAMP.astype(np.int32) * 2**20, "32 bits"),
        (RAMP.astype(np.int32) - 3, "down to -3"),
        (RAMP.astype(np.uint16) > 99, "only 0 and 1"),
        (np.where(RAMP > 9, np.nan, 0.5).astype(np.float32), "NaN"),
        (np.where(RAMP > 9, np.inf, 0.5).astype(np.float32), "NaN or infinite"),
        (np.where(RAMP > 240, 9.0, 0.3).astype(np.float32), "neither 0 to 1 nor 0 to 255"),
        ((RAMP / 255 - 0.5).astype(np.float32), "neither 0 to 1"),
    ],
)
def test_values_whose_range_cannot_be_told_are_refused_by_name(values, said):
    kind = np.uint16 if values.dtype == bool else values.dtype
    with pytest.raises(InputError, match=rf"'dark\.tif' holds .*{said}"):
        decode(encoded(values.astype(kind), "TIFF"), "dark.tif")


def test_a_photo_of_14_bits_is_used_with_a_warning():
    assert "14 bits" in decode(encoded(RAMP.astype(np.uint16) * 60), "x").reading.warning


@pytest.mark.parametrize(
    ("tags", "values", "expected"),
    [
        ({281: 4095}, np.uint16(4095), 255),
        ({281: 1023}, np.uint16(341), 85),
        ({262: 0}, np.uint16(255 * 257), 0),
    ],
)
def test_what_a_tiff_states_of_its_range_is_followed(tags, values, expected):
    content = encoded(np.full((4, 4), values), "TIFF", tiffinfo=tags)
    assert decode(content, "x").image_u8[0, 0].tolist() == [expected] * 3


def test_packed_12_bits_fill_their_range():
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for number, value in ((256, 2), (257, 2), (258, 12), (259, 1), (262, 1), (273, 0), (277, 1), (278, 2), (279, 6)):
        tags[number] = value
    body = io.BytesIO()
    tags.save(body)
    body.write(bytes([0xFF, 0xFF, 0xFF] * 2))
    assert decode(body.getvalue(), "x").image_u8[0, 0].tolist() == [255] * 3


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_of_16_bits_that_would_be_black_are_refused(mode):
    channels = {"RGB": (2, 3), "RGBA": (6, 4), "LA": (4, 2)}[mode]
    for most, is_dark in ((255, True), (4095, True), (65535, False)):
        rows = b"".join(b"\0" + struct.pack(">H", most) * 4 * channels[1] for _ in range(4))
        head = struct.pack(">IIBBBBB", 4, 4, 16, channels[0], 0, 0, 0)
        parts = (png_chunk(b"IHDR", head), png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b""))
        content = b"\x89PNG\r\n\x1a\n" + b"".join(parts)
        if is_dark and mode == "RGB":
            with pytest.raises(InputError, match="'x' holds colours of 16 bits"):
                decode(content, "x")
        elif not is_dark:
            decoded = decode(content, "x")
            assert decoded.image_u8.min() == 255
            assert decoded.reading.bits == 16
            assert "lower 8 of 16 bits" in decoded.reading.how


def test_a_black_photo_is_named_and_an_ordinary_one_is_not():
    assert "black" in decode(encoded(np.zeros((4, 4, 3), np.uint8)), "x").reading.warning
    reading = decode(encoded(colours()), "x").reading
    assert (reading.mode, reading.bits, reading.profile, reading.how, reading.warning) == ("RGB", 8, "", "", "")


# Colour profiles


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_display_p3_becomes_srgb(image_format):
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(image_format, {})
    content = encoded(colours(), image_format, icc_profile=make_profile(P3, colour_profile._SRGB_CURVE), **options)
    decoded = decode(content, "x")
    raw = decode_plainly(content, "x")
    assert np.abs(decoded.image_u8 - p3_to_srgb(raw)).max() <= 2
    assert np.abs(decoded.image_u8.astype(int) - raw).mean() > 3
    assert not decoded.plain
    assert "converted to sRGB" in decoded.reading.how


@pytest.mark.parametrize("profile", [SRGB, make_profile(SRGB_PRIMARIES, colour_profile._SRGB_CURVE)])
def test_a_photo_with_an_srgb_profile_stays_bit_for_bit(profile):
    decoded = decode(encoded(colours(), icc_profile=profile), "x")
    np.testing.assert_array_equal(decoded.image_u8, colours())
    assert decoded.plain
    assert decoded.reading.profile
    assert not decoded.reading.how


def test_transparency_grey_palette_and_turned_photos_are_converted_too():
    p3 = make_profile(P3, colour_profile._SRGB_CURVE)
    expected = p3_to_srgb(np.array([[[200, 40, 90]]]))[0, 0]
    opaque = np.dstack([np.full((8, 8, 3), (200, 40, 90)), np.full((8, 8), 255)]).astype(np.uint8)
    opaque[:4, :, 3] = 0
    decoded = decode(encoded(opaque, icc_profile=p3), "x").image_u8
    assert np.abs(decoded[7, 0] - expected).max() <= 1
    assert decoded[0, 0].tolist() == [255, 255, 255]
    palette = Image.fromarray(opaque[..., :3]).convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.abs(decode(encoded(palette, icc_profile=p3), "x").image_u8[0, 0] - expected).max() <= 1
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode(encoded(opaque[..., :3], "JPEG", quality=100, icc_profile=p3, exif=exif), "x")
    assert np.abs(turned.image_u8[4, 4] - expected).max() <= 3


def grey_profile(gamma):
    """Return an ICC profile of grey, made of one of RGB: its green curve and another colour space."""
    rgb = make_profile(SRGB_PRIMARIES, (gamma,))
    return rgb[:16] + b"GRAY" + rgb[20:].replace(b"gTRC", b"kTRC")


def test_grey_with_its_own_profile_is_converted_with_it():
    decoded = decode(encoded(RAMP, icc_profile=grey_profile(1.0)), "x")
    expected = in_srgb(RAMP / 255)
    assert np.abs(decoded.image_u8[..., 0] - expected).max() <= 1


def cmyk_profile():
    """Return an ICC profile of CMYK whose table gives L = 100 (1 - K) (1 - (C + M + Y) / 6), without colour."""
    grid = np.array(list(np.ndindex(2, 2, 2, 2)))
    light = 100 * (1 - grid[:, 3]) * (1 - grid[:, :3].sum(axis=1) / 6)
    table = b"".join(bytes([round(value * 2.55), 128, 128]) for value in light)
    curve = bytes(range(256))
    unit = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + unit + curve * 4 + table + curve * 3
    lut += bytes(-len(lut) % 4)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = [(b"A2B0", lut), (b"A2B1", lut), (b"wtpt", white)]
    place, table_of_tags = 132 + 12 * len(tags), b""
    for name, content in tags:
        table_of_tags += struct.pack(">4sII", name, place, len(content))
        place += len(content)
    head = struct.pack(">I4sI4s4s4s12s4s28s", place, b"", 0x02400000, b"prtr", b"CMYK", b"Lab ", b"", b"acsp", b"")
    head += struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table_of_tags + lut + lut + white


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_cmyk_is_converted_with_its_own_profile(image_format):
    inks = Image.new("CMYK", (8, 8), (255, 0, 0, 0))  # by the profile a light grey; by Pillow's rule cyan
    decoded = decode(encoded(inks, image_format, icc_profile=cmyk_profile()), "x")
    red, green, blue = decoded.image_u8[4, 4].tolist()
    assert max(red, green, blue) - min(red, green, blue) <= 3
    assert 190 < red < 215
    assert decode(encoded(inks, image_format), "x").image_u8[4, 4, 0] <= 3


@pytest.mark.parametrize("profile", [b"broken", SRGB[:200], cmyk_profile(), b"\0" * 200])
def test_a_broken_or_misplaced_profile_is_named_and_the_photo_taken_as_srgb(profile):
    decoded = decode(encoded(colours(), icc_profile=profile), "x")
    np.testing.assert_array_equal(decoded.image_u8, colours())
    assert "taken as sRGB" in decoded.reading.warning
    assert decoded.plain


def test_a_pngs_gamma_and_primaries_are_followed_where_they_are_not_srgbs():
    content = encoded(colours())
    gamma = decode(with_chunk(content, b"gAMA", struct.pack(">I", 100_000)), "x")
    assert np.abs(gamma.image_u8 - in_srgb(colours() / 255)).max() <= 1
    assert "gamma 1" in gamma.reading.how
    usual = decode(with_chunk(content, b"gAMA", struct.pack(">I", 45_455)), "x")
    np.testing.assert_array_equal(usual.image_u8, colours())
    assert usual.plain
    primaries = b"".join(struct.pack(">I", round(value * 100_000)) for value in P3)
    assert np.abs(decode(with_chunk(content, b"cHRM", primaries), "x").image_u8 - p3_to_srgb(colours())).max() <= 2
    marked = with_chunk(with_chunk(content, b"gAMA", struct.pack(">I", 100_000)), b"sRGB", b"\0")
    np.testing.assert_array_equal(decode(marked, "x").image_u8, colours())
    assert "cannot be" in decode(with_chunk(content, b"gAMA", struct.pack(">I", 1)), "x").reading.warning


def test_code_points_are_followed_and_hdr_is_refused():
    content = encoded(colours())
    p3 = decode(with_chunk(content, b"cICP", bytes([12, 13, 0, 1])), "x")
    assert np.abs(p3.image_u8 - p3_to_srgb(colours())).max() <= 2
    np.testing.assert_array_equal(decode(with_chunk(content, b"cICP", bytes([1, 13, 0, 1])), "x").image_u8, colours())
    for transfer in (16, 18):
        with pytest.raises(InputError, match="'x' is HDR"):
            decode(with_chunk(content, b"cICP", bytes([9, transfer, 0, 1])), "x")


@pytest.mark.skipif(".avif" not in formats.readable_suffixes(), reason="this Pillow has no AVIF")
def test_avif_is_read_and_its_code_points_are_followed():
    content = encoded(np.full((16, 16, 3), (200, 60, 90), np.uint8), "AVIF", quality=100, subsampling="4:4:4")
    assert np.abs(decode(content, "x.avif").image_u8.astype(int) - (200, 60, 90)).max() <= 3
    place = content.index(b"colrnclx") + 8
    wide = content[:place] + struct.pack(">HH", 12, 13) + content[place + 4 :]
    expected = p3_to_srgb(np.array([[[200, 60, 90]]]))[0, 0]
    assert np.abs(decode(wide, "x.avif").image_u8[0, 0] - expected).max() <= 4
    with pytest.raises(InputError, match="HDR"):
        decode(content[:place] + struct.pack(">HH", 9, 16) + content[place + 4 :], "x.avif")


def test_a_camera_s_mark_of_adobe_rgb_is_followed():
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    decoded = decode(encoded(np.full((8, 8, 3), (120, 180, 90), np.uint8), "JPEG", quality=100, exif=exif), "x")
    assert "Adobe RGB" in decoded.reading.profile
    assert decoded.image_u8[4, 4, 0] < 110


# Formats


@pytest.mark.parametrize("kind", ["zTXt", "tEXt", "iTXt"])
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_png_with_large_text_is_read(kind, place):
    large = b"x" * 3_000_000
    body = {
        "tEXt": b"note\0" + large,
        "zTXt": b"note\0\0" + zlib.compress(large),
        "iTXt": b"note\0\1\0\0\0" + zlib.compress(large),
    }[kind]
    content = encoded(colours())
    chunk = png_chunk(kind.encode(), body)
    content = content[:33] + chunk + content[33:] if place == "before" else content[:-12] + chunk + content[-12:]
    np.testing.assert_array_equal(decode(content, "x").image_u8, colours())


def test_dropping_text_keeps_the_orientation_and_the_profile():
    info, exif = PngInfo(), Image.Exif()
    info.add_text("note", "x" * 2_000_000, zip=True)
    exif[0x0112] = 6
    p3 = make_profile(P3, colour_profile._SRGB_CURVE)
    content = encoded(colours()[:8], pnginfo=info, exif=exif, icc_profile=p3)
    decoded = decode(content, "x")
    assert (decoded.orientation, decoded.reading.profile) == (6, "stated")
    assert decoded.image_u8.shape == (16, 8, 3)


def test_a_profile_too_large_for_pillow_is_followed():
    p3 = make_profile(P3, colour_profile._SRGB_CURVE)
    size = 1_500_000
    large = struct.pack(">I", size) + p3[4:].ljust(size - 4, b"\0")
    content = with_chunk(encoded(colours()), b"iCCP", b"large\0\0" + zlib.compress(large))
    assert np.abs(decode(content, "x").image_u8 - p3_to_srgb(colours())).max() <= 2


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_is_used_and_that_is_said(image_format):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    options = {"lossless": True} if image_format == "WEBP" else {}
    decoded = decode(encoded(frames[0], image_format, save_all=True, append_images=frames[1:], **options), "x")
    assert np.abs(decoded.image_u8[0, 0].astype(int) - (255, 0, 0)).max() <= 1
    assert "the first is used" in decoded.reading.warning


def test_a_format_that_not_every_reader_knows_is_stored_converted():
    assert not decode(encoded(RAMP, "GIF"), "x").plain
    assert decode(encoded(RAMP, "MPO"), "x").plain


@pytest.mark.parametrize("tags", [{50706: b"\1\4\0\0"}, {254: 1}])
def test_a_raw_file_whose_first_picture_is_a_thumbnail_is_refused(tags):
    with pytest.raises(InputError, match=r"'a\.dng' begins with a thumbnail"):
        decode(encoded(colours(), "TIFF", tiffinfo=tags), "a.dng")


def test_heic_names_the_package_that_reads_it(monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda _name: None)
    content = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
    with pytest.raises(InputError, match=r"'a\.heic' is a HEIC picture.*harmonygen\[heif\]"):
        decode(content, "a.heic")


def test_the_suffixes_that_are_read_depend_on_what_is_installed(monkeypatch):
    always = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
    for installed in (None, object()):
        monkeypatch.setattr(formats, "find_spec", lambda _name, found=installed: found)
        found = formats.readable_suffixes.__wrapped__()
        assert always <= found
        assert (".heic" in found) == (installed is not None)


def test_a_profile_is_read_once():
    before = read_profile.cache_info().misses
    for _ in range(3):
        decode(encoded(colours(), icc_profile=make_profile(P3, (1.9,))), "x")
    assert read_profile.cache_info().misses == before + 1


def test_what_was_done_is_said_for_the_first_photos_of_a_kind_alone(caplog):
    content = encoded(colours(), icc_profile=make_profile(P3, (2.6,)))
    for number in range(6):
        decode(content, f"{number}.png")
    said = [record.message for record in caplog.records]
    assert len(said) <= 3
    assert all("converted to sRGB" in line for line in said)
