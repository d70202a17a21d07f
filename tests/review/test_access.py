"""Who is let in: one browser per link, under this machine's names, from the page itself; and to what."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harmonygen.errors import UsageError
from harmonygen.review.serve import serve
from harmonygen.review.settings import ReviewSettings
from harmonygen.runs.review_log import REVIEW
from harmonygen.storage.shards import locked, make_folder

SAY = json.dumps({"reviewer": "ana", "rows": [0], "decision": "accept"}).encode()
PATHS = ("/", "/app.js", "/api/run?reviewer=ana", "/picture/candidate/0", "/decisions.json", "/decisions.csv")


@pytest.mark.parametrize("path", PATHS)
def test_without_the_link_nothing_is_shown(looked_at, path):
    client, *_ = looked_at
    for cookie in ("", f"harmonygen-review-{client.port}=x", f"harmonygen-review-{client.port}=", "a=b; ;;="):
        status, _, body = client.ask("GET", path, headers={"Cookie": cookie})
        assert status == 403, path
        assert b"link" in body
    assert client.ask("POST", "/api/say", SAY, {"Cookie": ""})[0] == 403


def test_a_link_lets_one_browser_in_and_the_next_link_another(served):
    client, _, door = served
    link = door.link
    other = type(client)(client.port)
    assert other.enter(link)[0] == 200
    assert other.enter(link)[0] == 403
    assert other.enter(client.post("/api/link")["link"])[0] == 200
    for wrong in ("", "x", "é", "x" * 10_000):
        assert client.ask("GET", f"/?token={wrong.encode().hex()}")[0] == 403
    cookie = client.ask("GET", door.link.partition(str(client.port))[2])[1]["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:{port}.evil", "0.0.0.0:{port}", ""],
)
def test_another_host_is_refused_with_or_without_the_cookie(looked_at, host):
    client, _, door = looked_at
    headers = {"Host": host.format(port=client.port)}
    for path in (*PATHS, door.link.partition(str(client.port))[2]):
        assert client.ask("GET", path, headers=headers)[0] in (400, 403), path
    assert client.ask("POST", "/api/say", SAY, headers)[0] in (400, 403)
    assert client.ask("GET", PATHS[0], headers={"Host": f"localhost:{client.port}"})[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_other_pages_are_refused_even_of_this_machine(served, headers):
    client, session, _ = served
    assert client.ask("POST", "/api/say", SAY, headers)[0] == 403
    assert client.ask("GET", "/picture/candidate/0", headers=headers)[0] == 403
    assert session.desk.reviewers == []


def test_a_form_of_another_page_is_no_json(served):
    client, session, _ = served
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert client.ask("POST", "/api/say", SAY, {"Content-Type": kind})[0] == 400
    assert client.ask("PUT", "/api/say", SAY)[0] == 403
    assert client.ask("GET", "/api/say")[0] == 405
    assert session.desk.reviewers == []


@pytest.mark.parametrize(
    "path",
    [
        "/../plan.json",
        "/..%2fplan.json",
        "/%2e%2e/plan.json",
        "/picture/candidate/../../plan.json",
        "/picture/candidate/..%2f..%2fplan.json",
        "/picture/real/%2fetc%2fpasswd",
        "//etc/passwd",
        "/style.css/../../session.py",
        "/plan.json",
        "/review/ana.jsonl",
        "/page/app.js",
        "/picture/real/0.png",
        "/picture/pair/0",
        "/picture/candidate/240",
        "/picture/candidate/-1",
        "/picture/candidate/999999999999999999999",
        "/picture/candidate/0?height=0",
        "/picture/candidate/0?height=-1",
        "/api/pairs?rows=0,x&reviewer=ana",
        "/api/pairs?rows=-1&reviewer=ana",
        "/api/outline/999999",
        "/api/limits/curve?gate=..",
        "/api/run?reviewer=../../x",
        "/decisions.json?of=../x",
        "/api/rows?reviewer=ana&sort=__class__",
        "/api/rows?reviewer=ana&nothing=1",
        "/api/rows?reviewer=ana&fmse_min=x",
    ],
)
def test_paths_and_values_that_lead_elsewhere_lead_nowhere(looked_at, path):
    client, *_ = looked_at
    status, _, body = client.ask("GET", path)
    assert status in (400, 404), path
    assert b"root:" not in body
    assert b"plan_digest" not in body


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "", "x" * 99])
def test_a_reviewer_writes_no_other_file(served, name, run: Path):
    client, *_ = served
    for path in ("/api/say", "/api/undo", "/api/say-all", "/api/import"):
        body = {"reviewer": name, "rows": [0], "decision": "accept", "query": {}, "expected": 0, "content": "{}"}
        assert client.ask("POST", path, json.dumps(body).encode())[0] == 400
    assert not (run / REVIEW).exists()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"reviewer":"ana"}',
        b'{"reviewer":"ana","rows":["0"],"decision":"accept"}',
        b'{"reviewer":"ana","rows":[999999],"decision":"accept"}',
        b'{"reviewer":"ana","rows":[0],"decision":"maybe"}',
        b'{"reviewer":"ana","rows":[0]}',
        b'{"reviewer":"ana","rows":[true],"decision":"accept"}',
    ],
)
def test_what_is_no_decision_is_refused_and_nothing_is_written(served, body, run: Path):
    client, *_ = served
    status, _, content = client.ask("POST", "/api/say", body)
    assert status == 400
    assert json.loads(content)["error"]
    assert not list((run / REVIEW).glob("*.jsonl"))


def test_every_answer_forbids_scripts_and_frames_of_others(looked_at):
    client, *_ = looked_at
    for path in ("/", "/app.js", "/api/run?reviewer=ana", "/nowhere", "/picture/candidate/0"):
        _, headers, _ = client.ask("GET", path)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers


def test_a_body_beyond_the_limit_is_refused(looked_at):
    client, *_ = looked_at
    status, *_ = client.ask(
        "POST", "/api/say", None, {"Content-Length": str(2**40), "Content-Type": "application/json"}
    )
    assert status == 403


def test_a_second_server_on_a_run_is_refused(run: Path):
    with locked(make_folder(run / REVIEW), "server"), pytest.raises(UsageError, match="is being served already"):
        serve(run, ReviewSettings(), lambda *_: pytest.fail("it was opened"), print)


def test_a_port_that_is_taken_and_a_folder_that_is_no_run_are_told(run: Path, served, tmp_path: Path):
    client, *_ = served
    with pytest.raises(UsageError, match="another --port"):
        serve(run, ReviewSettings(port=client.port), lambda *_: pytest.fail("it was opened"), print)
    os.mkdir(tmp_path / "empty")
    with pytest.raises(UsageError, match="is not a run folder"):
        serve(tmp_path / "empty", ReviewSettings(), lambda *_: None, print)
