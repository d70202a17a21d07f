"""Headers by a file's first bytes say what Pillow says, or are left to it."""

from __future__ import annotations

import io
import os
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from harmonygen.data.first_bytes import NotPlainError, Opened, fields_of
from harmonygen.data.headers import turned_photos
from harmonygen.inspection.headers import file_header, header_of_bytes
from harmonygen.pictures.images import decode
from harmonygen.records import FileSource

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation: int, padding: int = 0) -> Image.Exif:
    """EXIF with an orientation, and a text of ``padding`` bytes before the picture."""
    held = Image.Exif()
    held[0x0112] = orientation
    held[0x010E] = "x" * padding
    return held


def saved(mode: str, image_format: str, **options) -> bytes:
    """A picture of 24 x 16 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 24, 3), 90, np.uint8)).convert(mode).save(buffer, image_format, **options)
    return buffer.getvalue()


def deep_png(colour: int) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write in colour."""
    grey = Image.fromarray(np.full((4, 4), 3000, np.uint16))
    buffer = io.BytesIO()
    grey.save(buffer, "PNG")
    found = bytearray(buffer.getvalue())
    found[25] = colour
    found[29:33] = struct.pack(">I", __import__("zlib").crc32(found[12:29]))
    return bytes(found)


PLAIN = {
    **{f"jpeg {mode}": saved(mode, "JPEG") for mode in ("L", "RGB", "CMYK")},
    **{f"jpeg turned {way}": saved("RGB", "JPEG", exif=exif(way)) for way in (1, 3, 6, 8)},
    "jpeg with much before the picture": saved("RGB", "JPEG", exif=exif(6, 9000), icc_profile=SRGB),
    "jpeg progressive": saved("RGB", "JPEG", progressive=True, comment=b"hello"),
    **{f"png {mode}": saved(mode, "PNG") for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "I;16")},
    "png of 16 bits": deep_png(2),
    "png with a profile, turned": saved("RGB", "PNG", icc_profile=SRGB, exif=exif(5)),
}


def opened(content: bytes, tmp_path) -> Opened:
    path = tmp_path / "file"
    path.write_bytes(content)
    return Opened(os.open(path, os.O_RDONLY), content[:4096])


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_header_is_what_pillow_says(tmp_path, name):
    found, pillow = fields_of(opened(PLAIN[name], tmp_path)), header_of_bytes(PLAIN[name])
    for field in ("format", "mode", "bits", "width", "height", "orientation"):
        assert getattr(found, field) == getattr(pillow, field), field
    assert bool(found.icc) == bool(pillow.profile)
    assert file_header(FileSource(tmp_path / "file")).profile == pillow.profile


def with_xmp() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    return saved("RGB", "PNG", pnginfo=info)


NOT_PLAIN = {
    "webp": saved("RGB", "WEBP"),
    "gif": saved("P", "GIF"),
    "png that states an orientation in XMP": with_xmp(),
    "png cut off": PLAIN["png RGB"][:40],
    "jpeg cut off": PLAIN["jpeg RGB"][:30],
    "jpeg with broken EXIF": PLAIN["jpeg turned 6"].replace(b"II*\0", b"II*\1").replace(b"MM\0*", b"MM\1*"),
    "nothing": b"",
    "text": b"no picture",
}


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_pillow(tmp_path, name):
    with pytest.raises(NotPlainError):
        fields_of(opened(NOT_PLAIN[name], tmp_path))
    pillow, found = header_of_bytes(NOT_PLAIN[name]), file_header(FileSource(tmp_path / "file"))
    assert (pillow is None) == (found is None)
    assert pillow is None or (found.mode, found.orientation) == (pillow.mode, pillow.orientation)


def test_a_fifo_and_a_missing_file_have_no_header(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert file_header(FileSource(tmp_path / "pipe")) is None
    assert file_header(FileSource(tmp_path / "missing")) is None


def test_a_file_outside_its_data_set_is_not_opened(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "private.png").write_bytes(PLAIN["png RGB"])
    inside, outside = (FileSource(tmp_path / "private.png", within=tmp_path / name) for name in ("", "inside"))
    assert file_header(inside) is not None
    assert file_header(outside) is None


def exif_after_the_pixels(orientation: int) -> bytes:
    """A PNG whose eXIf chunk stands between its pixels and its end, as some tools write it."""
    found = saved("RGB", "PNG", exif=exif(orientation))
    place = found.index(b"eXIf") - 4
    chunk = found[place : place + 12 + int.from_bytes(found[place : place + 4], "big")]
    rest = found.replace(chunk, b"")
    return rest[:-12] + chunk + rest[-12:]


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_png_that_states_its_orientation_after_the_pixels_is_believed(tmp_path, orientation):
    content = exif_after_the_pixels(orientation)
    (tmp_path / "a.png").write_bytes(content)
    source = FileSource(tmp_path / "a.png")
    assert decode(content, "a").orientation == orientation
    assert file_header(source).orientation == header_of_bytes(content).orientation == orientation
    assert [head.orientation for head in turned_photos([source]).values()] == [orientation] * (orientation != 1)
