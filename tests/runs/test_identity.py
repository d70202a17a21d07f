import logging
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harmonygen.errors import StorageError, UsageError
from harmonygen.pictures.images import encode
from harmonygen.pictures.photo import Sizing, load_photo
from harmonygen.records import FileSource, Pair, SegmentSource
from harmonygen.runs import identity
from harmonygen.runs.identity import Noted, changed, of_noted, of_pairs, read_noted, refuse_changed
from harmonygen.storage.parquet_cells import image_schema

COLUMNS = {**identity.CONTENT_COLUMNS, **identity.DIGEST_COLUMNS}


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def oval(shift=0):
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:30, 10 + shift : 40 + shift] = True
    return mask


@pytest.fixture
def pairs(tmp_path):
    found = []
    for index in range(3):
        real, mask = tmp_path / f"p{index}.png", tmp_path / f"m{index}.png"
        real.write_bytes(encode(picture(index)))
        mask.write_bytes(encode(oval()))
        found.append(Pair(f"p{index}_0", f"p{index}", "0", FileSource(real), FileSource(mask)))
    return found


def noted_of(pairs, **sizing):
    rows = []
    for pair in pairs:
        photo = load_photo(pair, Sizing(32, 8, **sizing))
        size = {"height": photo.mask.shape[0], "width": photo.mask.shape[1]}
        contents = identity.content_columns(photo.real_file, photo.mask_file)
        digests = identity.digest_columns(photo.image_u8, photo.mask)
        rows.append({"pair_id": pair.pair_id, **size, **contents, **digests})
    return rows


def noted(pairs, folder, **sizing):
    path = folder / "part.parquet"
    schema = image_schema({"pair_id": "string", "height": "int32", "width": "int32", **COLUMNS})
    pq.write_table(pa.Table.from_pylist(noted_of(pairs, **sizing), schema=schema), path)
    return read_noted(path)


@pytest.mark.parametrize("sizing", [{}, {"max_side": 30}])
def test_each_change_is_named_with_what_changed(sizing, pairs, tmp_path):
    rows = noted(pairs, tmp_path, **sizing)
    assert changed(rows, of_pairs(pairs)) == changed(rows, of_noted(rows)) == {}
    pairs[0].real.path.write_bytes(encode(picture(9)))
    pairs[1].mask.path.write_bytes(encode(oval(9)))
    assert changed(rows, of_pairs(pairs)) == {"p0_0": "photo", "p1_0": "mask"}
    pairs[0].mask.path.write_bytes(encode(oval(3)))
    assert changed(rows, of_noted(rows)) == {"p0_0": "photo and mask", "p1_0": "mask"}


def test_a_cut_or_emptied_file_has_changed_and_one_that_is_gone_has_not(pairs, tmp_path):
    rows = noted(pairs, tmp_path)
    pairs[0].real.path.write_bytes(pairs[0].real.path.read_bytes()[:-600])
    pairs[1].mask.path.write_bytes(b"")
    pairs[2].real.path.unlink()
    assert changed(rows, of_pairs(pairs)) == {"p0_0": "photo", "p1_0": "mask"}


@pytest.mark.parametrize("sizing", [{}, {"max_side": 30}])
def test_other_bytes_of_the_same_pixels_are_the_same(sizing, pairs, tmp_path):
    """A PNG that was packed anew, or an export of the run, which holds photo and mask at the composite's size."""
    rows = noted(pairs, tmp_path, **sizing)
    for pair in pairs:
        for source in (pair.real, pair.mask):
            image = Image.open(source.path)
            image.load()
            image.save(source.path, compress_level=0)
    assert changed(rows, of_pairs(pairs)) == {}
    for pair in pairs:
        photo = load_photo(pair, Sizing(32, 8, **sizing))
        pair.real.path.write_bytes(encode(photo.image_u8))
        pair.mask.path.write_bytes(encode(photo.mask))
    assert changed(rows, of_pairs(pairs)) == {}


def test_a_segmentation_and_its_mask_drawn_as_a_picture_are_the_same(pairs, tmp_path):
    square = SegmentSource("[[10,10,40,10,40,30,10,30]]", 40, 60, "s")
    segmented = Pair("p0_0", "p0", "0", pairs[0].real, square)
    rows = noted([segmented], tmp_path)
    path = tmp_path / "drawn.png"
    path.write_bytes(encode(load_photo(segmented, Sizing(32, 8)).mask))
    assert changed(rows, {"p0_0": (pairs[0].real, FileSource(path))}) == {}
    moved = SegmentSource("[[12,10,40,10,40,30,12,30]]", 40, 60, "s")
    assert changed(rows, {"p0_0": (pairs[0].real, moved)}) == {"p0_0": "mask"}
    assert of_noted(rows)["p0_0"] == (pairs[0].real, None)


def test_pairs_that_were_not_asked_for_are_not_looked_at(pairs, tmp_path):
    rows = noted(pairs, tmp_path)
    pairs[0].real.path.write_bytes(b"")
    assert changed(rows, of_pairs(pairs[1:])) == {}


def test_unchanged_files_are_not_read(pairs, tmp_path, monkeypatch):
    rows = noted(pairs, tmp_path)
    monkeypatch.setattr(identity, "read_bytes", lambda source: pytest.fail(f"{source} was read"))
    assert changed(rows, of_pairs(pairs)) == {}
    os.utime(pairs[0].real.path, (1, 1))
    with pytest.raises(pytest.fail.Exception):
        changed(rows, of_pairs(pairs))


def test_a_refusal_names_the_pairs_and_the_remedy(pairs, tmp_path):
    rows = noted(pairs, tmp_path)
    pairs[1].real.path.write_bytes(encode(picture(9)))
    with pytest.raises(UsageError, match=r"1 pair are not those that 'run' was made from: p1_0 \(photo\): bring them"):
        refuse_changed(rows, of_pairs(pairs), "'run'")


def test_pairs_of_an_older_run_are_accepted_with_one_line(pairs, caplog):
    rows = [Noted(pair.pair_id, (40, 60)) for pair in pairs]
    with caplog.at_level(logging.WARNING, logger="harmonygen"):
        refuse_changed(rows, of_pairs(pairs), "'run'")
    assert [record.getMessage() for record in caplog.records] == [
        "3 pairs of 'run' were made by an older version, which did not record photos and masks: "
        "whether these changed cannot be checked"
    ]


def test_a_damaged_file_of_a_run_is_a_storage_error(tmp_path):
    (tmp_path / "part.parquet").write_bytes(b"PAR1")
    with pytest.raises(StorageError, match=r"cannot read '.*part\.parquet'"):
        read_noted(tmp_path / "part.parquet")


def test_the_digest_of_pixels_knows_values_shape_and_kind():
    flat = np.zeros((4, 6), dtype=np.uint8)
    kinds = [flat, flat.reshape(6, 4), flat.astype(bool), flat + 1]
    assert len({identity.pixels_digest(pixels) for pixels in kinds}) == 4
    assert identity.pixels_digest(flat[:, ::2]) == identity.pixels_digest(flat[:, :3].copy())
