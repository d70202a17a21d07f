import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from PIL import Image

from harmonygen.errors import InputError
from harmonygen.pictures.images import encode, read_image
from harmonygen.records import CellSource
from harmonygen.storage.parquet_cells import IMAGE, image_cell, image_schema, read_cell

COLOURS = [(10 * number, 100, 200) for number in range(7)]


def picture(number):
    return np.full((4, 6, 3), COLOURS[number], np.uint8)


@pytest.fixture
def table(tmp_path):
    """Seven rows in row groups of three: the last group is smaller."""
    rows = [{"id": str(number), "photo": image_cell(encode(picture(number)), f"{number}.png")} for number in range(7)]
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.Table.from_pylist(rows, schema=image_schema({"id": "string", "photo": IMAGE})), path, row_group_size=3
    )
    return path


def test_every_row_is_found_over_all_row_groups(table):
    for number in (6, 0, 3, 2, 5, 1, 4):
        assert np.array_equal(read_image(CellSource(table, "photo", number)).image_u8, picture(number))


@pytest.mark.parametrize(
    ("column", "row", "told"),
    [
        ("photo", 7, r"row 7\]' is past the last row \(7 rows\)"),
        ("mask", 0, r"cannot read '.*\[mask, row 0\]'"),
        ("id", 0, r"holds no image \(found str\)"),
    ],
)
def test_a_cell_that_is_not_there_is_an_input_error(table, column, row, told):
    with pytest.raises(InputError, match=told):
        read_cell(CellSource(table, column, row))


@pytest.mark.parametrize("keep", [0, 4, 40, -9])
def test_a_file_that_is_not_whole_is_an_input_error(table, keep):
    broken = table.with_name(f"broken{keep}.parquet")
    broken.write_bytes(table.read_bytes()[:keep])
    with pytest.raises(InputError, match="check that the Parquet file is whole"):
        read_cell(CellSource(broken, "photo", 0))
    with pytest.raises(InputError, match="cannot read"):
        read_cell(CellSource(table.with_name("missing.parquet"), "photo", 0))


def test_plain_bytes_and_paths_are_images_too(tmp_path):
    (tmp_path / "p.png").write_bytes(encode(picture(3)))
    plain = pa.table({"photo": [encode(picture(2))]})
    pointing = pa.Table.from_pylist(
        [{"photo": {"bytes": None, "path": path}} for path in ("p.png", str(tmp_path / "p.png"), "gone.png", None)],
        schema=image_schema({"photo": IMAGE}),
    )
    pq.write_table(plain, tmp_path / "plain.parquet")
    pq.write_table(pointing, tmp_path / "pointing.parquet")
    assert read_cell(CellSource(tmp_path / "plain.parquet", "photo", 0)) == encode(picture(2))
    for row in (0, 1):
        assert read_cell(CellSource(tmp_path / "pointing.parquet", "photo", row)) == encode(picture(3))
    with pytest.raises(InputError, match=r"cannot read 'gone\.png', named by .*row 2"):
        read_cell(CellSource(tmp_path / "pointing.parquet", "photo", 2))
    with pytest.raises(InputError, match="holds no image"):
        read_cell(CellSource(tmp_path / "pointing.parquet", "photo", 3))


def test_datasets_decodes_what_is_written_without_being_told_how(table, tmp_path):
    loaded = load_dataset("parquet", data_files=str(table), cache_dir=str(tmp_path / "cache"), split="train")
    assert isinstance(loaded[5]["photo"], Image.Image)
    assert np.array_equal(np.asarray(loaded[5]["photo"]), picture(5))
