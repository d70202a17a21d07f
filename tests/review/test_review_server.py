"""The review end to end: what the page sends is on the disk when it is answered, and the other verbs take it."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from review_client import Client

from harmonygen.augmentation.export import wanted
from harmonygen.errors import StorageError
from harmonygen.review import session as session_module
from harmonygen.review.session import Session
from harmonygen.runs.decisions import Decisions, read_decisions, write_decisions
from harmonygen.runs.read import Run
from harmonygen.runs.review_log import ReviewLogs
from harmonygen.synthesis import reselect as reselect_module
from harmonygen.synthesis.reselect import reselect, take_review
from harmonygen_cli.main import run as command


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    """Leave out the report's pictures."""
    monkeypatch.setattr(reselect_module, "_sum_up", lambda *_: None)


def rows(client: Client, **query) -> np.ndarray:
    words = "&".join(f"{name}={value}" for name, value in {"reviewer": "ana", **query}.items())
    return np.frombuffer(client.ask("GET", f"/api/rows?{words}")[2], "<u4")


def selected(run: Path) -> dict[str, list[int]]:
    table = Run.look(run).rows().to_pylist()
    return {
        row["pair_id"]: [r["k"] for r in table if r["pair_id"] == row["pair_id"] and r["selected"]] for row in table
    }


def test_a_decision_is_on_the_disk_when_it_is_answered_and_select_takes_it(served, run: Path):
    client, session, _ = served
    before = selected(run)
    first, second = map(int, rows(client)[:2])
    answer = client.post("/api/say", reviewer="ana", rows=[first], decision="reject")
    key = session.columns.key_of(first)
    assert ReviewLogs.read(run, Run.look(run).plan_digest).agreed() == {key: "reject"}
    following = [row for row, stands in answer["standing"] if stands and row != first]
    client.post("/api/say", reviewer="ana", rows=[second], decision="accept")
    assert Run.look(run).pending() == 2
    assert command(["select", str(run), "--quiet"]) == 0
    after = selected(run)
    assert after[key[0]] == [session.columns.key_of(row)[1] for row in following] != before[key[0]]
    assert Run.open(run).decisions == {key: "reject", session.columns.key_of(second): "accept"}
    assert Run.look(run).pending() == 0


def test_the_page_knows_the_pair_of_each_row(looked_at):
    client, session, _ = looked_at
    starts = np.frombuffer(client.ask("GET", "/api/starts")[2], "<u4")
    assert np.repeat(np.arange(len(starts) - 1), np.diff(starts)).tolist() == session.columns.pair.tolist()


def test_the_page_notices_another_selection(served, run: Path):
    client, session, _ = served
    version = client.get("/api/run?reviewer=ana")["version"]
    reselect(run, rule="quantile", count=2)
    facts = client.get("/api/run?reviewer=ana")
    assert (facts["rule"], facts["count"]) == ("quantile", 2)
    assert facts["version"] == version + 1
    assert len(rows(client)) == int(session.columns.selected.sum()) > 40


def test_augment_and_export_take_the_folder_as_it_is(served, run: Path, tmp_path: Path):
    client, *_ = served
    rejected = [int(row) for row in rows(client, scope="all", gate="passed")[::3]]
    client.post("/api/say", reviewer="ana", rows=rejected, decision="reject")
    names = set(map(served[1].columns.key_of, rejected))
    assert command(["export", str(run), "--out", str(tmp_path / "tree"), "--quiet"]) == 0
    used = {(row["pair_id"], row["k"]) for row in wanted(Run.open(run), "all")[0]}
    assert used
    assert not used & names
    assert len(list((tmp_path / "tree").rglob("composite_images/*"))) == len(used)
    assert take_review(run) is None


def test_a_run_with_pending_decisions_says_so(served, run: Path, caplog):
    client, *_ = served
    client.post("/api/say", reviewer="ana", rows=[0], decision="reject")
    Run.open(run)
    assert "1 decisions of the review" in caplog.text
    assert "harmonygen select" in caplog.text


def test_reviewers_who_disagree_leave_the_selection_alone(served, run: Path):
    client, session, _ = served
    row = int(rows(client)[0])
    client.post("/api/say", reviewer="ana", rows=[row, row + 1], decision="reject")
    client.post("/api/say", reviewer="bo", rows=[row], decision="accept")
    assert [int(each) for each in rows(client, decided="disputed", scope="all")] == [row]
    assert Run.look(run).reviewed().of == {session.columns.key_of(row + 1): "reject"}
    (found,) = client.get("/api/agreement")
    assert (found["first"], found["second"], found["n"], found["table"]) == ("ana", "bo", 1, [0, 0, 1, 0])
    own = json.loads(client.ask("GET", "/decisions.json?of=bo")[2])
    assert [each["decision"] for each in own["decisions"]] == ["accept"]


def test_a_filter_is_decided_as_a_whole_and_undone_in_one_step(served):
    client, session, _ = served
    client.post("/api/say", reviewer="ana", rows=[3], decision="accept")
    query = {"scope": "all", "p_composite_max": "0.6", "gate": "passed"}
    hit = rows(client, **query)
    values = session.columns.values["p_composite"]
    assert set(hit.tolist()) == set(np.flatnonzero((values <= 0.6) & ~session.columns.failed()).tolist())
    status, _, said = client.ask(
        "POST",
        "/api/say-all",
        json.dumps({"reviewer": "ana", "query": query, "expected": len(hit) + 1, "decision": "reject"}).encode(),
    )
    assert (status, b"look at it again" in said) == (400, True)
    answer = client.post("/api/say-all", reviewer="ana", query=query, expected=len(hit), decision="reject")
    assert answer["changed"] == len(hit)
    codes = np.frombuffer(client.ask("GET", "/api/codes?reviewer=ana")[2], np.uint8)
    assert set(np.flatnonzero(codes == 2)) == set(hit.tolist())
    assert client.post("/api/undo", reviewer="ana")["changed"] == len(hit)
    codes = np.frombuffer(client.ask("GET", "/api/codes?reviewer=ana")[2], np.uint8)
    assert np.flatnonzero(codes).tolist() == [3]


def test_tags_and_comments_are_kept_and_exported_as_text(served):
    nasty = "=cmd|' /C calc'!A0,<img src=x onerror=alert(1)>"
    client, session, _ = served
    client.post("/api/say", reviewer="ana", rows=[7], tags=["halo", "dark"])
    client.post("/api/say", reviewer="ana", rows=[7], comment=nasty)
    (pair,) = client.get("/api/pairs?rows=7&reviewer=ana")
    made = next(each for each in pair["candidates"] if each["row"] == 7)
    assert (made["tags"], made["comment"]) == (["halo", "dark"], nasty)
    assert [int(row) for row in rows(client, scope="all", tag="halo")] == [7]
    assert [int(row) for row in rows(client, scope="all", decided="noted")] == [7]
    (line,) = csv.DictReader(io.StringIO(client.ask("GET", "/decisions.csv")[2].decode()))
    assert line["comment"] == f"'{nasty}"
    assert (line["pair_id"], int(line["k"])) == session.columns.key_of(7)


def test_an_exported_file_is_what_select_takes_and_the_page_imports(served, run: Path, tmp_path: Path):
    client, session, _ = served
    client.post("/api/say", reviewer="ana", rows=[1, 8], decision="reject")
    content = client.ask("GET", "/decisions.json")[2]
    (tmp_path / "d.json").write_bytes(content)
    assert read_decisions(tmp_path / "d.json") == Run.look(run).reviewed()
    client.post("/api/undo", reviewer="ana")
    client.post("/api/import", reviewer="bo", content=content.decode())
    assert Run.look(run).reviewed().of == read_decisions(tmp_path / "d.json").of
    foreign = content.replace(session.run.plan_digest.encode(), b"another")
    status, _, said = client.ask(
        "POST", "/api/import", json.dumps({"reviewer": "bo", "content": foreign.decode()}).encode()
    )
    assert (status, b"plan another" in said) == (400, True)


def test_decisions_that_the_selection_holds_are_the_beginning_of_a_review(run: Path):
    keys = list(zip(*(Run.look(run).rows()[name].to_pylist()[:3] for name in ("pair_id", "k")), strict=True))
    held = Decisions(run.name, Run.look(run).plan_digest, {keys[0]: "reject", keys[1]: "accept"})
    reselect(run, decisions=held)
    session = Session(run)
    session.load()
    assert session.desk.codes("ana")[:3].tolist() == [2, 1, 0]
    session.say("ana", [2], {"decision": "reject"})
    session.undo("ana")
    assert Run.look(run).reviewed().of == held.of
    assert session.desk.codes("bo")[:3].tolist() == [0, 0, 0]
    session.desk.close()
    write_decisions(run / "none.json", Decisions(run.name, held.plan_digest, {}))
    assert command(["select", str(run), "--decisions", str(run / "none.json"), "--quiet"]) == 0
    assert Run.look(run).decisions == {}


def test_what_cannot_be_written_is_told_and_not_shown(served, run: Path, monkeypatch):
    client, session, _ = served
    monkeypatch.setattr(
        session.desk, "_write", lambda *_: (_ for _ in ()).throw(StorageError("cannot write: disk full"))
    )
    status, _, said = client.ask(
        "POST", "/api/say", json.dumps({"reviewer": "ana", "rows": [0], "decision": "accept"}).encode()
    )
    assert (status, json.loads(said)) == (507, {"error": "cannot write: disk full"})
    assert session.desk.codes("ana")[0] == 0


def test_pictures_are_those_of_the_run(served, run: Path):
    client, *_ = served
    table = pq.read_table(sorted((run / "candidates").glob("*.parquet"))[0])
    stored = table["composite"].to_pylist()[5]["bytes"]
    assert client.ask("GET", "/picture/candidate/5")[2] == stored
    for kind in ("candidate", "real", "mask"):
        status, headers, content = client.ask("GET", f"/picture/{kind}/5?height=12")
        assert (status, headers["content-type"].partition("/")[0], bool(content)) == (200, "image", True)
    assert client.get("/api/outline/0")["path"].startswith("M")


def test_the_first_file_is_shown_before_the_others_are_read(run: Path, monkeypatch):
    assert Session(run).columns.whole  # three files are few
    monkeypatch.setattr(session_module, "_FEW_FILES", 1)
    session = Session(run)
    first = session.columns
    assert not first.whole
    session.load()
    assert session.columns.whole
    assert session.columns.pair_ids[: first.pairs] == first.pair_ids
    assert session.columns.k[: first.rows].tolist() == first.k.tolist()


def test_a_killed_server_has_lost_nothing_and_a_second_is_refused(run: Path):
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(
        [sys.executable, "-m", "harmonygen", "review", str(run), "--reviewer", "ana", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    )
    assert server.stdout is not None
    link = json.loads(server.stdout.readline())["link"]
    client = Client(int(link.partition("127.0.0.1:")[2].partition("/")[0]))
    assert client.enter(link)[0] == 200
    refused = subprocess.run(
        [sys.executable, "-m", "harmonygen", "review", str(run)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (refused.returncode, "is being served already" in refused.stderr) == (2, True)
    answered = {}
    for row in (0, 5, 1, 9):
        made = "accept" if row % 2 else "reject"
        client.post("/api/say", reviewer="ana", rows=[row], decision=made)
        answered[row] = made
    server.kill()
    assert server.wait(20) == -signal.SIGKILL
    session = Session(run)
    session.load()
    codes = session.desk.codes("ana")
    assert {int(row): ("", "accept", "reject")[codes[row]] for row in np.flatnonzero(codes)} == answered
