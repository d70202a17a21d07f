import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harmonygen.data.write_parquet import ShardedParquetWriter, card_metadata, write_readme
from harmonygen.errors import StorageError, UsageError
from harmonygen.storage import shards
from harmonygen.storage.parquet_cells import image_schema

SCHEMA = image_schema({"composite": "image", "name": "string", "k": "int32"})


def row(index, size=1000):
    noise = np.random.default_rng(index).bytes(size)
    return {"composite": {"bytes": noise, "path": f"{index}.png"}, "name": f"row {index}", "k": index}


def write(folder, rows, digest="d", **limits):
    with ShardedParquetWriter(folder, "train", SCHEMA, digest, **limits) as writer:
        for each in rows[writer.rows :]:
            writer.write(each)
    return writer.close()


def read(info):
    return [each for path in info.files for each in pq.read_table(path).to_pylist()]


def test_rows_come_back_in_order_over_files_named_with_their_count(tmp_path):
    rows = [row(index) for index in range(23)]
    info = write(tmp_path, rows, row_group_bytes=3_500, file_bytes=6_000)
    assert [path.name for path in info.files] == [f"train-{i:05d}-of-00004.parquet" for i in range(4)]
    assert read(info) == rows
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [path.name for path in info.files]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 4_000), min_size=1, max_size=25), st.integers(100, 5_000), st.integers(100, 9_000))
def test_row_groups_keep_their_limit_unless_one_row_is_larger(tmp_path_factory, sizes, group_bytes, file_bytes):
    rows = [row(index, size) for index, size in enumerate(sizes)]
    info = write(tmp_path_factory.mktemp("x"), rows, row_group_bytes=group_bytes, file_bytes=file_bytes)
    assert read(info) == rows
    for path in info.files:
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            held = [len(cell["bytes"]) for cell in file.read_row_group(group)["composite"].to_pylist()]
            assert sum(held) <= group_bytes or len(held) == 1


def test_images_are_plain_and_uncompressed_with_a_page_index_and_features(tmp_path):
    info = write(tmp_path, [row(index) for index in range(5)])
    footer = pq.read_metadata(info.files[0])
    columns = {footer.row_group(0).column(i).path_in_schema: footer.row_group(0).column(i) for i in range(4)}
    image = columns["composite.bytes"]
    assert image.compression == "UNCOMPRESSED"
    assert not any("DICTIONARY" in encoding for encoding in image.encodings)
    assert columns["name"].compression == "ZSTD"
    assert all(column.has_offset_index for column in columns.values())
    stored = json.loads(pq.read_schema(info.files[0]).metadata[b"huggingface"])
    assert stored["info"]["features"]["composite"]["_type"] == "Image"


def test_content_defined_chunking_cuts_a_large_column_into_pages(tmp_path):
    rows = [row(index, 60_000) for index in range(60)]
    info = write(tmp_path, rows)
    table = pq.read_table(info.files[0])
    pq.write_table(table, tmp_path / "plain.parquet", compression="NONE", use_dictionary=False, write_page_index=True)
    image, plain = (
        pq.read_metadata(path).row_group(0).column(0).total_compressed_size
        for path in (info.files[0], tmp_path / "plain.parquet")
    )
    assert image > plain + 3 * 15  # 3.6 MB in chunks of at most 1 MiB: three page headers more than one page's
    assert json.loads(table.schema.metadata[b"content_defined_chunking"])["max_chunk_size"] == 1024 * 1024


def test_a_killed_writer_goes_on_from_its_whole_parts(tmp_path):
    rows = [row(index) for index in range(20)]
    limits = {"row_group_bytes": 2_500, "file_bytes": 4_000}

    def until(stop):
        with ShardedParquetWriter(tmp_path, "train", SCHEMA, "d", **limits) as writer:
            for each in rows[writer.rows : stop]:
                writer.write(each)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        until(13)
    parts = {path.name: path.stat().st_ino for path in (tmp_path / "data").iterdir()}
    assert parts
    assert all(name.startswith(".train-") and name.endswith(".parquet") for name in parts)
    info = write(tmp_path, rows, **limits)
    assert read(info) == rows
    assert set(parts.values()) <= {path.stat().st_ino for path in info.files}


def test_killed_between_renames_the_names_are_completed(tmp_path):
    rows = [row(index) for index in range(20)]
    limits = {"row_group_bytes": 2_500, "file_bytes": 4_000}
    info = write(tmp_path, rows, **limits)
    info.files[-1].rename(tmp_path / "data" / f".train-{len(info.files) - 1:05d}.parquet")
    assert read(write(tmp_path, rows, **limits)) == rows


def test_a_torn_part_is_written_again(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / ".train-00000.parquet").write_bytes(b"PAR1 torn")
    (data / ".train-00001.parquet.tmp").write_bytes(b"PAR1")
    rows = [row(index) for index in range(3)]
    assert read(write(tmp_path, rows)) == rows
    assert len(list(data.iterdir())) == 1


def test_finished_files_of_another_dataset_are_never_removed(tmp_path):
    info = write(tmp_path, [row(0)], digest="one")
    with pytest.raises(UsageError, match="belongs to another dataset"):
        write(tmp_path, [row(1)], digest="two")
    assert read(info) == [row(0)]


def test_a_full_disk_is_a_clean_stop(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards, "commit", full)
    with pytest.raises(StorageError, match="No space left"):
        write(tmp_path, [row(0)])


def test_the_readme_tells_splits_and_features(tmp_path):
    info = write(tmp_path, [row(index) for index in range(4)])
    write_readme(tmp_path, card_metadata(SCHEMA, {"train": info}), "# Title")
    _, front, body = (tmp_path / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(front)
    assert card["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*"}]
    assert card["dataset_info"]["splits"][0]["num_examples"] == 4
    assert {"name": "composite", "dtype": "image"} in card["dataset_info"]["features"]
    assert body.strip() == "# Title"
