"""Lists and tables: text of a bounded size, whatever a packed file unpacks to."""

import gzip

import pytest

from harmonygen.data import files
from harmonygen.data.files import read_text
from harmonygen.data.lists import read_lines
from harmonygen.errors import UsageError


def test_a_packed_list_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_TEXT", 1000)
    path = tmp_path / "list.txt.gz"
    path.write_bytes(gzip.compress(b"a" * 1000))
    assert len(read_text(path)) == 1000
    path.write_bytes(gzip.compress(b"a" * 1001))
    with pytest.raises(UsageError, match="over 1000 bytes"):
        read_text(path)


@pytest.mark.parametrize("cut", [5, 20, 40])
def test_a_damaged_packed_list_is_refused(tmp_path, cut):
    path = tmp_path / "list.txt.gz"
    packed = bytearray(gzip.compress(b"some lines of a list\n" * 50, mtime=0))
    path.write_bytes(packed[:cut])
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        read_text(path)
    packed[12:20] = b"\xff" * 8
    path.write_bytes(packed)
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        read_text(path)


def test_a_line_nested_too_deeply_is_refused(tmp_path):
    path = tmp_path / "list.jsonl"
    path.write_text('{"file_name": ' + "[" * 200_000)
    with pytest.raises(UsageError, match="line 1"):
        read_lines(path)
