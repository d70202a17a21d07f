import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harmonygen.data.manifest import PublishedFile, entry, read_manifest, write_manifest
from harmonygen.errors import StorageError, UsageError


def test_entries_tell_size_rows_and_sha256_and_come_back(tmp_path):
    part = tmp_path / "data" / "train-00000-of-00001.parquet"
    part.parent.mkdir()
    pq.write_table(pa.table({"k": range(7)}), part)
    readme = tmp_path / "README.md"
    readme.write_bytes(b"# card\n")
    listed = [entry(tmp_path, readme), entry(tmp_path, part, "default", "train")]
    write_manifest(tmp_path, reversed(listed))
    assert read_manifest(tmp_path) == tuple(listed)
    assert (listed[1].path, listed[1].rows) == ("data/train-00000-of-00001.parquet", 7)
    assert listed[0].sha256 == hashlib.sha256(b"# card\n").hexdigest()
    assert listed[1].bytes == part.stat().st_size
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]


def test_a_folder_without_a_manifest_has_none(tmp_path):
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", '{"files": [{"path": "a"}]}', '{"files": 3}'])
def test_what_is_no_manifest_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UsageError, match="is not a manifest"):
        read_manifest(tmp_path)


def test_a_size_must_be_a_number(tmp_path):
    row = {"path": "a", "config": "", "split": "", "rows": 0, "bytes": "12", "sha256": ""}
    (tmp_path / "manifest.json").write_text(json.dumps({"files": [row]}))
    with pytest.raises(UsageError, match="'bytes' of a file is '12'"):
        read_manifest(tmp_path)


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match="twice"):
        write_manifest(tmp_path, [PublishedFile("a", "", "", 0, 1, "x")] * 2)
    with pytest.raises(StorageError, match="No such file"):
        entry(tmp_path, tmp_path / "missing.txt")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no end")
    with pytest.raises(UsageError, match="not a complete Parquet"):
        entry(tmp_path, tmp_path / "cut.parquet")
    with pytest.raises(UsageError, match="is not in"):
        entry(tmp_path / "data", tmp_path / "cut.parquet")
