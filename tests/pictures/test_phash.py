import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data, transform

from harmonygen.pictures.phash import MAX_DISTANCE, hash_source, hash_sources, near_pairs, phash
from harmonygen.records import FileSource

PHOTOS = {name: Image.fromarray(getattr(data, name)()) for name in ("astronaut", "chelsea", "coffee", "rocket")}


def distance(left: int, right: int) -> int:
    return (left ^ right).bit_count()


def as_jpeg(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue()))


@pytest.mark.parametrize("name", PHOTOS)
def test_a_resized_and_recompressed_photo_keeps_its_hash(name):
    photo = PHOTOS[name]
    copy = as_jpeg(photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.BILINEAR), 60)
    assert distance(phash(photo), phash(copy)) <= MAX_DISTANCE


@pytest.mark.parametrize("name", PHOTOS)
def test_another_brightness_keeps_the_hash(name):
    darker = Image.fromarray((np.asarray(PHOTOS[name]) * 0.8).astype(np.uint8))
    assert distance(phash(PHOTOS[name]), phash(darker)) <= MAX_DISTANCE


def test_different_photos_are_far_apart():
    hashes = [phash(photo) for photo in PHOTOS.values()]
    apart = [distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(apart) > 3 * MAX_DISTANCE


def test_a_rotated_photo_with_exif_hashes_as_the_upright_one(tmp_path):
    photo = PHOTOS["astronaut"].resize((200, 160))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "upright.jpg", quality=95)
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright, turned = (hash_source(FileSource(tmp_path / f"{name}.jpg")) for name in ("upright", "turned"))
    assert distance(upright, turned) <= MAX_DISTANCE


def test_the_reduced_decoding_of_a_large_jpeg_gives_the_same_hash(tmp_path):
    large = Image.fromarray((transform.resize(data.coffee(), (1600, 2400)) * 255).astype(np.uint8))
    large.save(tmp_path / "large.jpg", quality=92)
    assert distance(hash_source(FileSource(tmp_path / "large.jpg")), phash(large)) <= 2


def test_an_unreadable_image_is_told_apart_from_hash_zero(tmp_path):
    PHOTOS["rocket"].save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"not an image")
    seen = []
    sources = [FileSource(tmp_path / f"{name}.png") for name in ("bad", "good", "missing")]
    hashes, readable = hash_sources(sources, lambda done, total: seen.append((done, total)))
    assert readable.tolist() == [False, True, False]
    assert hashes[1] == phash(PHOTOS["rocket"])
    assert seen == [(1, 3), (2, 3), (3, 3)]


@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=150),
    st.lists(st.tuples(st.integers(0, 149), st.sets(st.integers(0, 63), max_size=6)), max_size=30),
)
def test_near_pairs_finds_exactly_the_pairs_within_the_distance(left, changes):
    right = [left[i] ^ sum(1 << bit for bit in bits) for i, bits in changes if i < len(left)]
    found = near_pairs(np.array(left, np.uint64), np.array(right, np.uint64))
    expected = [
        (i, j, distance(a, b))
        for i, a in enumerate(left)
        for j, b in enumerate(right)
        if distance(a, b) <= MAX_DISTANCE
    ]
    assert sorted(found) == sorted(expected)
