import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harmonygen.errors import InputError
from harmonygen.pictures.images import read_bytes as read
from harmonygen.records import CellSource, FileSource, SegmentSource
from harmonygen.storage.content import Content, NotingReader, holds
from harmonygen.storage.parquet_cells import image_schema


def unread(source):
    raise AssertionError(f"{source} was read")


def noted(source):
    reader = NotingReader(read)
    reader(source)
    return reader.content_of(source)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"first")
    return FileSource(path)


def cells(path, *values):
    rows = [{"real": value} for value in values]
    pq.write_table(pa.Table.from_pylist(rows, schema=image_schema({"real": "image"})), path)
    return [CellSource(path, "real", row) for row in range(len(values))]


def test_an_unchanged_file_is_known_without_being_read(photo):
    assert holds(photo, noted(photo), unread)


def test_a_file_that_was_touched_or_copied_is_read_and_is_the_same(photo, tmp_path):
    content = noted(photo)
    os.utime(photo.path, (1, 1))
    copy = tmp_path / "b.png"
    copy.write_bytes(b"first")
    assert holds(photo, content, read)
    assert holds(FileSource(copy), content, read)


def test_other_bytes_are_another_content_whatever_their_length(photo):
    content = noted(photo)
    for other in (b"other", b"firs"):
        photo.path.write_bytes(other)
        assert not holds(photo, content, read)


def test_files_of_one_size_and_time_that_change_places_are_told_apart(tmp_path):
    one, other = FileSource(tmp_path / "a.png"), FileSource(tmp_path / "b.png")
    for source, content in ((one, b"first"), (other, b"other")):
        source.path.write_bytes(content)
        os.utime(source.path, (1_600_000_000, 1_600_000_000))
    content = noted(one)
    for source, target in ((one, "c"), (other, "a.png")):
        source.path.rename(tmp_path / target)
    assert one.path.stat().st_mtime_ns == content.stamp.mtime_ns
    assert not holds(one, content, read)


def test_a_cell_is_known_by_its_file_and_place_and_else_by_its_bytes(tmp_path):
    first, second = cells(tmp_path / "a.parquet", *({"bytes": text, "path": "p"} for text in (b"one", b"two")))
    content = noted(first)
    assert holds(first, content, unread)
    assert not holds(second, content, read)
    moved = cells(tmp_path / "b.parquet", *({"bytes": text, "path": "p"} for text in (b"two", b"one")))
    assert [holds(cell, content, read) for cell in moved] == [False, True]
    cells(tmp_path / "a.parquet", *({"bytes": text, "path": "p"} for text in (b"new", b"two")))
    assert not holds(first, content, read)


@pytest.mark.parametrize("absolute", [True, False])
def test_a_cell_that_points_to_a_file_is_that_file(absolute, photo, tmp_path):
    path = str(photo.path) if absolute else photo.path.name
    (cell,) = cells(tmp_path / "a.parquet", {"bytes": None, "path": path})
    content = noted(cell)
    assert content.source == photo
    assert holds(cell, content, unread)
    assert holds(photo, content, unread)
    photo.path.write_bytes(b"other")
    assert not holds(cell, content, read)


def test_a_segmentation_is_known_by_its_text_and_size():
    source = SegmentSource("[[1,1,5,1,5,5]]", 8, 8, "s")
    content = NotingReader(read).content_of(source)
    assert holds(source, content, unread)
    assert content.source is None
    assert not holds(SegmentSource("[[1,1,5,1,5,6]]", 8, 8, "s"), content, unread)
    assert not holds(SegmentSource("[[1,1,5,1,5,5]]", 8, 9, "s"), content, unread)


def test_a_content_survives_its_column(photo, tmp_path):
    (cell,) = cells(tmp_path / "a.parquet", {"bytes": b"one", "path": "p"})
    for source in (photo, cell):
        content = noted(source)
        assert Content.from_json(content.to_json()) == content
        assert content.source == source
    text = Content("ab")
    assert Content.from_json(text.to_json()) == text


@pytest.mark.parametrize("text", [None, "", "{}", "[]", "3", "{", '{"blake2b":"a","strange":1}'])
def test_a_column_that_holds_something_else_is_no_content(text):
    assert Content.from_json(text) is None


def test_what_cannot_be_read_says_so(photo):
    content = noted(photo)
    photo.path.write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        holds(photo, content, read)
    photo.path.unlink()
    for ask in (lambda: holds(photo, content, read), lambda: NotingReader(read)(photo)):
        with pytest.raises(InputError, match=r"cannot read '.*a\.png': No such file"):
            ask()
