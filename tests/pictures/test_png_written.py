"""PNG files that are written without Pillow are read by it, pixel for pixel."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from harmonygen.pictures.images import decode, encode
from harmonygen.pictures.png_chunks import chunks, png_of


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_pillow_reads_the_same_pixels(image_u8):
    read = Image.open(io.BytesIO(png_of(image_u8)))
    read.load()
    assert read.mode == "RGB"
    assert np.array_equal(np.asarray(read), image_u8)
    assert np.array_equal(decode(png_of(image_u8), "image").image_u8, image_u8)


@pytest.mark.parametrize("view", ["whole", "cut", "turned"])
def test_a_photo_is_written_whatever_its_memory_and_hardly_larger_than_pillow_writes_it(small_photos, view):
    photo = small_photos(1, 192, 256)[0]
    photo = {"whole": photo, "cut": photo[10:, 20:-3], "turned": photo[::-1].transpose(1, 0, 2)}[view]
    found, usual = encode(photo), io.BytesIO()
    Image.fromarray(np.ascontiguousarray(photo)).save(usual, "PNG", compress_level=3)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(found))), photo)
    assert len(found) < 1.15 * len(usual.getvalue())
    assert [kind for kind, _, _ in chunks(found)] == [b"IHDR", b"IDAT", b"IEND"]
    assert found == encode(photo)
