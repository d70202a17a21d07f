"""The crash suite: what its model loses and what its eyes see, on toys; then a few states of real commands."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pyarrow as pa
import pytest
from crash_states import commands, compare, table, warm
from crash_states.record import Recorder
from crash_states.states import ALL, states
from crash_states.trial import Result, try_share

from harmonygen.data.write_parquet import ShardedParquetWriter
from harmonygen.storage.shards import remove_folder

MOST = {"synthesize": 8, "export": 16, "augment": 12}
"""States tried of each command; `make crash` tries all."""


@pytest.fixture
def record(tmp_path):
    """Record what a function does to an empty folder; return the operations and the nodes."""

    def recorded(action):
        place = tmp_path / "place"
        place.mkdir()
        recorder = Recorder(place)

        def work():
            recorder.start()
            action(place)
            recorder.look()
            return 0, (recorder.operations, recorder.nodes)

        end = warm.forked(work, tmp_path / "said.txt")
        assert end.code == 0, end.told
        return end.answer

    return recorded


def sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def committed(place, skip=""):
    """Write a file as the library does: temporary, synced, renamed, folder synced; ``skip`` leaves one step out."""
    (place / ".a.tmp").write_bytes(b"whole")
    if skip != "sync":
        sync(place / ".a.tmp")
    if skip != "rename":
        (place / ".a.tmp").replace(place / "a")
    if skip != "folder":
        sync(place)
    (place / "done").write_bytes(b"")
    sync(place)


def held(record, tmp_path, **how):
    """The contents of "a" and whether "done" is there, in every state after a crash."""
    found = set()
    for number, state in enumerate(states(*record(lambda place: committed(place, **how)))):
        place = tmp_path / str(number)
        place.mkdir()
        state.disk.rebuild(place)
        a, done = place / "a", place / "done"
        found.add((a.read_bytes() if a.exists() else None, done.exists()))
    return found


def test_a_committed_file_is_absent_or_whole_and_there_once_something_tells_of_it(record, tmp_path):
    assert held(record, tmp_path) == {(None, False), (b"whole", False), (b"whole", True)}


@pytest.mark.parametrize(
    ("skip", "seen"),
    [("sync", {(b"", True), (b"wh", True), (bytes(5), True)}), ("folder", {(None, True)}), ("rename", {(None, True)})],
)
def test_each_step_that_is_left_out_is_seen(record, tmp_path, skip, seen):
    assert seen <= held(record, tmp_path, skip=skip)


def test_a_dataset_s_files_have_their_names_before_anything_tells_of_them(record):
    def action(place):
        with ShardedParquetWriter(place, "train", pa.schema([("n", pa.int64())]), "digest") as writer:
            writer.write({"n": 1})
        (place / "done").write_bytes(b"")
        sync(place)

    for state in states(*record(action)):
        names = {path for path, _ in state.disk.walk()}
        if "data" in names and "done" in names:
            assert "data/train-00000-of-00001.parquet" in names, state.said


def test_a_checkpoint_is_never_half_removed_under_its_name(record):
    def action(place):
        folder = place / "checkpoint-0000002"
        folder.mkdir()
        for name in ("model.safetensors", "step.json"):
            (folder / name).write_bytes(b"1")
            sync(folder / name)
        sync(folder)
        (place / "begun").touch()
        sync(place)
        remove_folder(folder)

    for state in states(*record(action)):
        paths = {path for path, _ in state.disk.walk()}
        if {"begun", "checkpoint-0000002"} <= paths:
            assert {"checkpoint-0000002/model.safetensors", "checkpoint-0000002/step.json"} <= paths, state.said


def test_every_change_of_a_folder_is_recorded_also_of_folders_that_move(record):
    def action(place):
        (place / "new").mkdir()
        (place / "new" / "a").write_bytes(b"1")
        os.link(place / "new" / "a", place / "b")
        os.symlink("b", place / "c")
        (place / "new").rename(place / "old")
        (place / "old" / "a").unlink()
        (place / "old").rmdir()
        with open(place / "b", "ab") as opened:
            opened.write(b"2")

    operations, nodes = record(action)
    assert [getattr(each, "what", type(each).__name__) for each in operations] == [
        "mkdir",
        "create",
        "Write",
        "link",
        "symlink",
        "rename",
        "unlink",
        "rmdir",
        "Write",
    ]
    half_removed = [
        state
        for state in states(operations, nodes)
        if state.lost == "rename /new -> /old" and dict(state.disk.walk()).keys() == {"b", "c", "new"}
    ]
    assert half_removed  # the removals reached the disk, the new name of their folder did not


def test_all_that_was_not_synced_can_be_lost_together(record):
    def action(place):
        for name in ("a", "b"):
            (place / name).write_bytes(b"1")

    operations, nodes = record(action)
    last = [state for state in states(operations, nodes) if state.lost == ALL]
    assert all(not list(state.disk.walk()) for state in last)
    assert {tuple(path for path, _ in state.disk.walk()) for state in states(operations, nodes)} == {
        (),
        ("a",),
        ("b",),
        ("a", "b"),
    }


def test_the_comparison_sees_strays_bytes_and_kinds_and_forgives_times_alone(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for place, seconds in ((one, 1), (two, 2)):
        place.mkdir()
        (place / "summary.json").write_text(f'{{"n": 1, "seconds": {seconds}}}')
        (place / "report.html").write_text(f"<dt>candidates/s</dt><dd>{seconds}</dd>")
        (place / "a").write_bytes(b"a")
    assert compare.differences(compare.tree_of(one), compare.tree_of(two)) == []
    (two / ".x.tmp").touch()
    (two / "summary.json").write_text('{"n": 2, "seconds": 1}')
    (two / "a").unlink()
    (two / "a").symlink_to("summary.json")
    assert compare.differences(compare.tree_of(one), compare.tree_of(two)) == [
        "stray .x.tmp",
        "other a",
        "other summary.json",
    ]


def test_a_row_is_good_only_if_all_states_were_recovered_and_no_file_was_torn():
    assert table.is_good(Result("x", tried=2, recovered=2))
    for bad in (Result("x"), Result("x", tried=2, recovered=1), Result("x", tried=2, recovered=2, torn=1)):
        assert not table.is_good(bad)
        assert "WRONG" in table.line(bad)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A few states of three commands, tried in one new process: it loads the library once."""
    place, context = tmp_path_factory.mktemp("crash"), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=warm.prepare) as pool:
        started = {
            name: pool.submit(try_share, commands.ALL[name], place / name, most=most) for name, most in MOST.items()
        }
        return {name: each.result(300) for name, each in started.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", MOST)
def test_the_same_command_recovers_from_a_crash_at_any_operation(results, name):
    result = results[name]
    assert MOST[name] // 2 < result.tried <= MOST[name] < result.states
    assert table.is_good(result), "\n".join(table.faults(result))
