import json
import re
import sys
import time
import traceback
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))
from fake_hub import TOKEN, FakeHub, Fault
from publish_cases import ALWAYS, CASES, ECHO
from small_dataset import build, seal

from harmonygen.errors import HarmonygenError, StorageError
from harmonygen.publishing.publish import carry_out, prepare
from harmonygen.publishing.settings import PublishSettings
from harmonygen_cli.main import run


@pytest.fixture
def hub(monkeypatch):
    from huggingface_hub import close_session, constants

    with FakeHub() as fake:
        template = f"{fake.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", fake.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        close_session()
        yield fake
        close_session()


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    waited = [0.0]
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("publish") / "built")


@pytest.fixture
def dataset(tmp_path):
    return build(tmp_path / "built")


@pytest.fixture
def publish(capfd, built):
    """Run the command; return its exit code, its JSON and what it said."""

    def publish(*options, folder=built):
        code = run(["publish", str(folder), "--repo", "user/set", "--json", "--sample", "2", *options])
        out, err = capfd.readouterr()
        assert TOKEN not in out + err
        return code, json.loads(out), " ".join(err.split())

    return publish


def on_main(hub, folder):
    """Whether main holds the folder's published files, byte for byte."""
    files = hub.repos["user/set"].files("main")
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    return all(
        each["path"] in files and files[each["path"]].content == (folder / each["path"]).read_bytes() for each in listed
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_leaves_main_whole_and_the_same_command_goes_on(hub, publish, built, waits, case):
    hub.faults = case.faults(hub)
    code, _, said = publish()
    assert (code, hub.commits_on_main()) == (case.code, int(case.main)), said
    assert re.search(case.said, said), said
    assert max(waits) >= case.waited
    before = dict(hub.whole)
    hub.faults = []
    again, told, said = publish("--revision", "v1")
    assert again == 0, said
    assert on_main(hub, built)
    assert hub.commits_on_main() == 1
    assert hub.sent_twice() == 0
    assert {oid: hub.whole[oid] for oid in before} == before
    assert set(hub.repos["user/set"].branches) == {"main"}
    assert list(hub.repos["user/set"].tags) == ["v1"]
    if case.main:
        assert told["sent_bytes"] == 0


def test_what_somebody_else_put_on_main_meanwhile_stays(hub, publish):
    hub.faults = next(case for case in CASES if case.name.startswith("412")).faults(hub)
    assert publish()[0] == 0
    assert hub.repos["user/set"].files("main")["notes.txt"].content == b"theirs"


def test_large_files_go_up_in_parts_where_the_hub_asks_for_it(hub, publish, built):
    hub.part_bytes = 40_000
    code, _, said = publish()
    assert code == 0, said
    assert on_main(hub, built)
    assert any(re.search(r"PUT /store/\w+/2$", call) for call in hub.calls)


def test_published_twice_sends_nothing(hub, publish):
    publish()
    count = len(hub.calls)
    code, told, said = publish()
    assert (code, told["sent_bytes"]) == (0, 0)
    assert "published before, nothing sent" in said
    assert {file["state"] for file in told["files"]} == {"there"}
    assert not [call for call in hub.calls[count:] if call.startswith(("POST", "PUT", "DELETE"))]


def test_a_new_version_removes_the_files_that_a_split_would_still_read(hub, publish, dataset, tmp_path):
    publish(folder=dataset)
    theirs = hub.repos["user/set"]
    theirs.commit({**theirs.files("main"), "LICENSE.md": theirs.files("main")["README.md"]}, "main")
    smaller = build(tmp_path / "smaller", {"train": 4, "test": 3})
    code, told, said = publish(folder=smaller)
    assert code == 0, said
    assert told["removed"] == [f"data/train-{index:05d}-of-00003.parquet" for index in range(3)]
    assert on_main(hub, smaller)
    assert {path for path in theirs.files("main") if path.startswith("data/train")} == {
        "data/train-00000-of-00001.parquet"
    }
    assert "LICENSE.md" in theirs.files("main")
    states = {file["path"]: file["state"] for file in told["files"]}
    assert (states["data/test-00000-of-00001.parquet"], states["README.md"]) == ("there", "changed")


def test_a_pull_request_is_opened_sent_read_back_and_found_again(hub, publish, built):
    hub.add_repo("user/set")
    hub.faults = [Fault("PUT /store", 503, 3, ALWAYS, ECHO)]
    assert publish("--create-pr")[0] == 4
    hub.faults = []
    code, told, said = publish("--create-pr")
    repo = hub.repos["user/set"]
    assert code == 0, said
    assert [request["status"] for request in repo.requests] == ["open"]
    assert told["pull_request"] == f"{hub.url}/datasets/user/set/discussions/1"
    assert (told["commit"], hub.commits_on_main(), hub.sent_twice()) == (None, 0, 0)
    repo.branches["main"] = repo.branches["refs/pr/1"]
    assert on_main(hub, built)


def test_a_dry_run_sends_nothing_and_tells_what_is_new(hub, publish):
    code, told, said = publish("--dry-run")
    assert (code, told["dry_run"], told["commit"]) == (0, True, None)
    assert {file["state"] for file in told["files"]} == {"new"}
    assert "dry run: nothing was sent" in said
    assert not hub.repos
    assert not [call for call in hub.calls if call.startswith(("POST", "PUT", "DELETE"))]


def test_a_dry_run_needs_no_token_and_no_hub(monkeypatch, publish):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    code, told, said = publish("--dry-run")
    assert code == 0
    assert "no token" in said
    assert {file["state"] for file in told["files"]} == {"unknown"}
    monkeypatch.setattr("huggingface_hub.get_token", lambda: TOKEN)  # HF_HUB_OFFLINE is set in tests
    code, _, said = publish("--dry-run")
    assert code == 0
    assert "HF_HUB_OFFLINE is set" in said


def test_private_is_kept_or_refused(hub, publish):
    assert publish("--private")[0] == 0
    assert hub.repos["user/set"].private
    hub.repos["user/set"].private = False
    code, told, _ = publish("--private")
    assert (code, "is there and public" in told["error"]) == (2, True)


def test_a_tag_is_never_moved(hub, publish, tmp_path):
    publish("--revision", "v1")
    assert publish("--revision", "v1")[0] == 0
    other = build(tmp_path / "other", shift=50)
    count = len(hub.calls)
    code, told, _ = publish("--revision", "v1", folder=other)
    assert (code, "holds other files" in told["error"]) == (2, True)
    assert not [call for call in hub.calls[count:] if call.startswith(("POST", "PUT", "DELETE"))]
    hub.repos["user/set"].branches["dev"] = hub.repos["user/set"].branches["main"]
    assert "has a branch of this name" in publish("--revision", "dev")[1]["error"]


def test_a_token_that_may_only_read_is_refused_before_anything_is_sent(hub, publish):
    hub.role = "read"
    code, told, _ = publish()
    assert (code, "may only read" in told["error"]) == (2, True)
    assert not hub.repos


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--repo", "user"), "write user/name"),
        (("--repo", "user/a b"), "--repo is 'user/a b'"),
        (("--revision", "main"), "--revision is 'main'"),
        (("--revision", "../x"), "--revision is"),
        (("--revision", "v1", "--create-pr"), "tag once it is merged"),
        (("--token-file", "nowhere"), "--token-file 'nowhere' cannot be read"),
        (("--token", TOKEN), "No such option"),
        ((f"token={TOKEN}",), "unknown key 'token'"),
    ],
)
def test_wrong_use_is_refused(hub, publish, options, told):
    code, said, _ = publish(*options)
    assert code == 2
    assert told in said["error"]
    assert not hub.calls


def test_a_token_file_goes_before_the_environment(hub, publish, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_anotherTokenThatIsNotValidHere0000")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert publish("--token-file", str(tmp_path / "token"))[0] == 0
    (tmp_path / "token").write_text("two words")
    code, told, _ = publish("--token-file", str(tmp_path / "token"))
    assert (code, "holds 2 words" in told["error"]) == (2, True)


def test_a_plain_http_address_elsewhere_gets_no_token(hub, publish, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.example.org")
    code, told, _ = publish()
    assert (code, "would travel readable" in told["error"]) == (2, True)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("whoami", 401, message=ECHO),
        Fault("repos/create", 403, message=ECHO),
        Fault("PUT /store", 413, message=ECHO, headers={"X-Error-Message": ECHO}),
        Fault("commit/", 503, times=ALWAYS, message=ECHO, headers={"X-HF-Warning": f"topic; {ECHO}"}),
        Fault("commit/", 409, times=ALWAYS, message=ECHO),
        Fault("PUT /store", cut="before", times=ALWAYS),
    ],
    ids=lambda fault: f"{fault.status or 'cut'}",
)
def test_no_exception_holds_the_token(hub, built, fault, tmp_path):
    hub.faults = [fault]
    said = []
    with pytest.raises(HarmonygenError) as caught:
        carry_out(prepare(PublishSettings(folder=built, repo="user/set"), said.append), said.append)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    inside = caught.value.__traceback__.tb_next  # this test's own frame holds the fault, which holds the token
    told = traceback.TracebackException(HarmonygenError, caught.value, inside, capture_locals=True)
    assert TOKEN not in "".join(told.format()) + repr(caught.value) + repr(vars(caught.value)) + "".join(said)


def test_a_file_that_changes_while_it_is_sent_does_not_reach_main(hub, dataset):
    publication = prepare(PublishSettings(folder=dataset, repo="user/set"), print)
    part = dataset / "data" / "train-00001-of-00003.parquet"
    part.write_bytes(part.read_bytes()[:-8] + b"changed!")
    with pytest.raises(StorageError, match="does not hold what was sent"):
        carry_out(publication, print)
    assert hub.commits_on_main() == 0


def test_a_folder_without_a_manifest_is_published_by_its_card(hub, publish, dataset):
    (dataset / "manifest.json").unlink()
    code, told, said = publish(folder=dataset)
    assert code == 0, said
    seal(dataset)
    assert on_main(hub, dataset)
    assert "plan.json" not in {file["path"] for file in told["files"]}


def test_faults_of_the_folder_are_all_listed_and_nothing_is_asked_of_the_hub(hub, publish, dataset):
    (dataset / "data" / "train-00000-of-00003.parquet").write_bytes(b"PAR1")
    (dataset / "assets" / "examples.png").unlink()
    code, told, _ = publish(folder=dataset)
    assert (code, hub.calls) == (2, [])
    for part in ("train-00000-of-00003.parquet: has 4 bytes", "examples.png: is in the manifest but not"):
        assert part in told["error"]
