"""A review's log: what was written is what is read, whatever moment the writing was cut at."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from harmonygen.errors import StorageError, UsageError
from harmonygen.runs.review_log import (
    MAX_COMMENT,
    Marks,
    ReviewLogs,
    agreed,
    grouped,
    keys_of,
    log_files,
    read_log,
    reviewed,
    reviewer_name,
    said_of,
)
from harmonygen.runs.review_writer import LogWriter

KEYS = st.lists(st.tuples(st.text(max_size=6), st.integers(0, 9)), min_size=1, max_size=5, unique=True)
SAID = st.one_of(
    st.fixed_dictionaries({"decision": st.sampled_from(["", "accept", "reject"])}),
    st.fixed_dictionaries({"tags": st.lists(st.sampled_from(["halo", "dark", "é"]), max_size=3)}),
    st.fixed_dictionaries({"comment": st.text(max_size=20)}),
)
STEPS = st.lists(st.one_of(st.tuples(SAID, KEYS), st.just("undo")), max_size=12)


def write(folder: Path, steps) -> LogWriter:
    writer = LogWriter(folder, "12ab", "ana")
    for step in steps:
        if step == "undo":
            if writer.marks.steps:
                writer.write({"undo": 1})
        else:
            writer.write({**step[0], "of": grouped(step[1])})
    return writer


@given(STEPS)
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_log_gives_back_its_marks(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("log")
    writer = write(folder, steps)
    read = read_log(writer.path, "12ab") if writer.path.is_file() else Marks()
    assert (read.of, read.steps) == (writer.marks.of, writer.marks.steps)
    writer.close()


def test_undo_takes_back_step_by_step():
    marks, empty = Marks(), {"at": ""}
    marks.take({**empty, "decision": "accept", "of": {"a": [0, 1]}})
    marks.take({**empty, "decision": "reject", "of": {"a": [1], "b": [2]}})
    assert marks.decisions() == {("a", 0): "accept", ("a", 1): "reject", ("b", 2): "reject"}
    assert marks.take({**empty, "undo": 1}) == [("a", 1), ("b", 2)]
    assert marks.decisions() == {("a", 0): "accept", ("a", 1): "accept"}
    marks.take({**empty, "undo": 1})
    assert marks.of == {}
    with pytest.raises(ValueError, match="no step"):
        marks.take({**empty, "undo": 1})


def test_a_log_cut_at_any_byte_is_the_log_up_to_its_last_whole_line_and_goes_on(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _file: None)  # hundreds of logs
    writer = write(tmp_path, [({"decision": "accept"}, [("é\n", 0)]), ({"comment": "ü"}, [("b", 1)]), "undo"])
    writer.close()
    content = writer.path.read_bytes()
    for end in range(len(content) + 1):
        writer.path.write_bytes(content[:end])
        lines = content[:end].count(b"\n")
        expected = read_at(tmp_path / "other", content, lines)
        assert (read_log(writer.path, "12ab") or Marks()).of == expected
        again = LogWriter(tmp_path, "12ab", "ana")
        again.write({"decision": "reject", "of": {"c": [3]}})
        again.close()
        assert read_log(writer.path, "12ab").of == {**expected, ("c", 3): again.marks.of["c", 3]}


def read_at(folder: Path, content: bytes, lines: int) -> dict:
    folder.mkdir(exist_ok=True)
    (folder / "ana.jsonl").write_bytes(b"".join(content.splitlines(keepends=True)[:lines]))
    read = read_log(folder / "ana.jsonl", "12ab")
    return {} if read is None else read.of


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch):
    writer = write(tmp_path, [({"decision": "accept"}, [("a", 0)])])
    before, write_now = writer.path.read_bytes(), os.write
    left = 10

    def full(file: int, data: bytes) -> int:
        nonlocal left
        if left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write_now(file, bytes(data)[:left])
        left -= written
        return written

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match="No space left"):
        writer.write({"decision": "reject", "of": {"a": [1]}})
    assert writer.path.read_bytes() == before
    assert writer.marks.decisions() == {("a", 0): "accept"}
    monkeypatch.setattr(os, "write", write_now)
    writer.write({"decision": "reject", "of": {"a": [1]}})
    assert read_log(writer.path, "12ab").decisions() == {("a", 0): "accept", ("a", 1): "reject"}


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '{"at": "x", "decision": "keep", "of": {"a": [0]}}', '{"at":"x","undo":1}']
)
def test_a_line_that_is_no_step_is_named(tmp_path: Path, line: str):
    writer = write(tmp_path, [({"decision": "accept"}, [("a", 0)])])
    writer.close()
    first, second = writer.path.read_text().splitlines()
    lines = [first, line, second] if "undo" in line else [first, second, line]
    writer.path.write_text("".join(f"{each}\n" for each in lines))
    number = 2 if "undo" in line else 3
    with pytest.raises(UsageError, match=f"line {number} of .*ana.jsonl"):
        read_log(writer.path, "12ab")


def test_the_log_of_another_run_is_refused(tmp_path: Path):
    writer = write(tmp_path, [({"decision": "accept"}, [("a", 0)])])
    writer.close()
    with pytest.raises(UsageError, match="with plan 12ab, this run's plan is 34cd"):
        reviewed(tmp_path, "34cd")
    with pytest.raises(UsageError, match="plan 12ab"):
        LogWriter(tmp_path, "34cd", "ana")
    writer.path.write_text('{"a": 1}\n')
    with pytest.raises(UsageError, match="does not begin as"):
        reviewed(tmp_path, "12ab")


def test_no_review_is_none_and_an_empty_one_is_empty(tmp_path: Path):
    assert reviewed(tmp_path, "12ab") is None
    writer = write(tmp_path, [({"decision": "accept"}, [("a", 0)]), "undo"])
    writer.close()
    assert reviewed(tmp_path, "12ab") == {}
    assert list(log_files(tmp_path)) == ["ana"]


def test_reviewers_who_disagree_decide_nothing(tmp_path: Path):
    for name, decision in (("ana", "accept"), ("bo", "reject"), ("Cy", "accept")):
        writer = LogWriter(tmp_path, "12ab", name)
        writer.write({"decision": decision, "of": {"a": [0]}})
        writer.write({"decision": "accept", "of": {name.lower(): [1]}})
        writer.close()
    assert ReviewLogs.read(tmp_path, "12ab").agreed() == {(name, 1): "accept" for name in ("ana", "bo", "cy")}
    assert agreed([]) == {}


@pytest.mark.parametrize("name", ["", "..", "a/b", "-a", "a b", "x" * 41, "a.b", "a\n", "a\0"])
def test_names_that_could_leave_the_folder_are_refused(name: str):
    if name == "a\n":
        assert reviewer_name(name) == "a"
        return
    with pytest.raises(UsageError, match="not a reviewer's name"):
        reviewer_name(name)


@pytest.mark.parametrize(
    "step",
    [
        {},
        {"decision": "accept", "comment": "x"},
        {"decision": 1},
        {"tags": "a"},
        {"tags": [""]},
        {"tags": ["a\n"]},
        {"tags": ["x"] * 21},
        {"comment": "x" * (MAX_COMMENT + 1)},
    ],
)
def test_what_a_mark_cannot_hold_is_no_step(step):
    with pytest.raises(ValueError):  # noqa: PT011
        said_of(step)


@pytest.mark.parametrize("of", [[], {"a": 0}, {"a": [-1]}, {"a": [True]}, {"a": ["0"]}, None])
def test_what_names_no_candidates_is_no_step(of):
    with pytest.raises(ValueError, match="'of'"):
        keys_of(of)


def test_lines_are_plain_json(tmp_path: Path):
    writer = write(tmp_path, [({"comment": "ü\n<script>"}, [("a\ud800", 0)])])
    writer.close()
    head, step = map(json.loads, writer.path.read_text(encoding="ascii").splitlines())
    assert list(head) == ["harmonygen", "folder", "plan_digest", "reviewer"]
    assert step["of"] == {"a\ud800": [0]}
