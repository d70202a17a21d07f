import pytest

from harmonygen.data.split import read_ids
from harmonygen.errors import UsageError


def test_ids_are_read_from_text_csv_and_file_names(tmp_path):
    path = tmp_path / "products"
    path.write_text("\ufeffImageId,why\n0a1b,shoe\ntrain/0c2d.JPG,bag\n\n# by eye\n0a1b,again\n v1.2 \n")
    assert read_ids(path) == ["0a1b", "0c2d", "v1.2"]


def test_a_list_of_one_id_that_is_no_header(tmp_path):
    (tmp_path / "list.txt").write_text("00000663ed1ff0c4e0132b9b9ac53f6e\n")
    assert read_ids(tmp_path / "list.txt") == ["00000663ed1ff0c4e0132b9b9ac53f6e"]


def test_an_empty_missing_or_binary_list_is_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("ImageId\n")
    with pytest.raises(UsageError, match="is empty: write one photo id per line"):
        read_ids(tmp_path / "empty.txt")
    with pytest.raises(UsageError, match="cannot read the list of ids"):
        read_ids(tmp_path / "none.txt")
    (tmp_path / "photo.jpg").write_bytes(bytes(range(256)))
    with pytest.raises(UsageError, match="cannot read the list of ids"):
        read_ids(tmp_path / "photo.jpg")
