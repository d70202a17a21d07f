import errno
import multiprocessing
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygen.errors import StorageError, UsageError
from harmonygen.records import Quarantined
from harmonygen.storage.shards import (
    PLAN_KEY,
    QUARANTINE_KEY,
    cut,
    file_metadata,
    is_whole,
    locked,
    make_folder,
    pack_quarantine,
    part_of,
    quarantine_table,
    storage_errors,
    unpack_quarantine,
    write_bytes,
    write_json,
    write_parquet,
)

TABLE = pa.table({"a": list(range(100))})


@given(st.integers(0, 500), st.integers(1, 60))
def test_shards_cover_every_item_exactly_once(total, shard_size):
    shards = cut(total, shard_size)
    assert [item for shard in shards for item in range(shard.start, shard.stop)] == list(range(total))
    assert all(0 < shard.stop - shard.start <= shard_size for shard in shards)
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert {shard.count for shard in shards} <= {len(shards)}


@given(st.integers(0, 300), st.integers(1, 20), st.integers(1, 40))
def test_parts_of_a_job_array_cover_every_shard_exactly_once(total, shard_size, parts):
    shards = cut(total, shard_size)
    given_out = [shard for part in range(parts) for shard in part_of(shards, part, parts)]
    assert sorted(given_out, key=lambda shard: shard.index) == shards
    sizes = [len(part_of(shards, part, parts)) for part in range(parts)]
    assert max(sizes) - min(sizes) <= 1


def test_file_names_sort_as_the_shards_do():
    names = [shard.filename for shard in cut(1200, 1)]
    assert names == sorted(names)
    assert names[7] == "part-00007-of-01200.parquet"


@pytest.mark.parametrize(("part", "parts"), [(2, 2), (-1, 2), (0, 0)])
def test_a_part_out_of_range_is_refused(part, parts):
    with pytest.raises(UsageError, match=f"--part {part}/{parts} is out of range"):
        part_of(cut(4, 2), part, parts)


def test_a_shard_size_below_one_is_refused():
    with pytest.raises(UsageError, match="--shard-size is 0"):
        cut(4, 0)


def full(*_args, **_options):
    raise OSError(errno.ENOSPC, "No space left on device")


def write_a_parquet(path):
    write_parquet(path, TABLE)


def write_a_json(path):
    write_json(path, {"a": 1})


def write_some_bytes(path):
    write_bytes(path, b"content")


WRITERS = pytest.mark.parametrize("write", [write_a_parquet, write_a_json, write_some_bytes])


@WRITERS
@pytest.mark.parametrize(("owner", "name"), [(os, "fsync"), (os, "replace"), (Path, "replace"), (Path, "write_bytes")])
def test_a_write_that_fails_leaves_nothing_behind_and_says_what_to_do(tmp_path, monkeypatch, write, owner, name):
    monkeypatch.setattr(owner, name, full)
    monkeypatch.setattr(pq, "write_table", full if name == "write_bytes" else pq.write_table)
    path = tmp_path / "out"
    with pytest.raises(StorageError, match=r"cannot write '.*out': No space left on device: free space.*repeat") as e:
        write(path)
    assert e.value.exit_code == 4
    assert list(tmp_path.iterdir()) == []


@WRITERS
def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path, monkeypatch, write):
    path = tmp_path / "out"
    write(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError):
        write(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@WRITERS
def test_contents_are_synced_before_the_file_gets_its_name(tmp_path, monkeypatch, write):
    path, seen = tmp_path / "out", []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (seen.append(path.exists()), sync(descriptor)))
    write(path)
    assert seen == [False, True]  # the file, then its folder


def test_a_footer_with_too_few_rows_is_never_named(tmp_path, monkeypatch):
    honest = pq.write_table
    monkeypatch.setattr(pq, "write_table", lambda table, *rest, **options: honest(table.slice(0, 7), *rest, **options))
    with pytest.raises(StorageError, match="7 of 100 rows were written"):
        write_parquet(tmp_path / "a.parquet", TABLE)
    assert list(tmp_path.iterdir()) == []


def test_a_parquet_file_is_whole_only_with_its_footer_and_plan(tmp_path):
    path = tmp_path / "a.parquet"
    assert not is_whole(path)
    write_parquet(path, TABLE, {PLAN_KEY: b"abc"})
    assert is_whole(path)
    assert is_whole(path, "abc")
    assert not is_whole(path, "other")
    assert file_metadata(path)[PLAN_KEY] == b"abc"
    content = path.read_bytes()
    for kept in (0, 3, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:kept])
        assert not is_whole(path)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.builds(Quarantined, TEXT, TEXT, TEXT, TEXT), max_size=4))
def test_quarantine_rows_travel_in_the_metadata_unchanged(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("q") / "a.parquet"
    write_parquet(path, TABLE, {QUARANTINE_KEY: pack_quarantine(rows)})
    assert unpack_quarantine(path) == rows
    assert quarantine_table(rows).column_names == ["id", "stage", "error", "message"]
    assert quarantine_table(rows).num_rows == len(rows)


def test_storage_errors_pass_other_errors_on():
    with pytest.raises(UsageError), storage_errors("it"):
        raise UsageError("wrong")
    with pytest.raises(StorageError, match="cannot write it: Permission denied: free space"), storage_errors("it"):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(StorageError, match=r"out' is a file, a folder is needed: choose another --out"):
        make_folder(tmp_path / "out")
    with pytest.raises(StorageError, match="Not a directory"):
        make_folder(tmp_path / "out" / "below")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_second_holder_is_refused_until_the_first_lets_go(tmp_path):
    with locked(tmp_path, "run"):
        with pytest.raises(UsageError, match="another run is writing to"), locked(tmp_path, "run"):
            pass
        with locked(tmp_path, "other part"):
            pass
    with locked(tmp_path, "run"):
        pass


def _try_to_lock(folder, answers):
    try:
        with locked(folder, "run"):
            answers.put("held")
    except UsageError as error:
        answers.put(str(error))


def test_a_second_process_is_refused(tmp_path):
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    with locked(tmp_path, "run"):
        process = fork.Process(target=_try_to_lock, args=(tmp_path, answers))
        process.start()
        assert "wait for it, or choose another --out" in answers.get(timeout=10)
        process.join()


def test_a_lock_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write the lock of"), locked(tmp_path / "file" / "x", "run"):
        pass
