"""Runs at a URL: the same rows as in a folder, resumed from what is there, killed at any moment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from harmonygen.errors import StorageError, UsageError
from harmonygen.storage import url_lease as lease
from harmonygen.storage.remote import Remote, place_of
from harmonygen.storage.shards import is_whole
from harmonygen.storage.url_lease import leased
from harmonygen.synthesis.generators.color_jitter import ColorJitterGenerator
from harmonygen.synthesis.synthesize import synthesize

MEMORY = fsspec.filesystem("memory")
URL = "memory://bucket/run"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HARMONYGEN_CACHE", str(tmp_path / "cache"))
    MEMORY.store.clear()
    yield
    MEMORY.store.clear()


@pytest.fixture
def remote_of(settings_of):
    """Settings of a small run at a URL."""
    return lambda **changes: settings_of(**{"out": URL, "k": 2, **changes})


def fetched(url: str, folder: Path) -> Path:
    """Copy a run from its URL, to read it."""
    remote = Remote(url)
    for name in remote.listing():
        remote.get(name, folder / name)
    return folder


def keys_of(rows):
    return {(row["pair_id"], row["k"]): (row["seed"], row["pixels"], row["selected"]) for row in rows}


def stored() -> dict[str, tuple[object, bytes]]:
    return {name: (found.modified, found.getvalue()) for name, found in MEMORY.store.items()}


@pytest.fixture
def stop_at_put(monkeypatch):
    """Make the n-th file that is sent (0-based) fail, after ``arrives`` bytes of it, or whole."""

    def arm(number: int, after: bool) -> None:
        plain, count = Remote.put, iter(range(1000))

        def failing(self, local, name):
            fails = next(count) == number
            if after or not fails:
                plain(self, local, name)
            if fails:
                monkeypatch.setattr(Remote, "put", plain)
                raise StorageError("the line is cut")

        monkeypatch.setattr(Remote, "put", failing)

    return arm


def test_a_run_at_a_url_has_the_rows_of_one_in_a_folder(remote_of, settings_of, rows_of, tmp_path):
    here, there = synthesize(settings_of(k=2)), synthesize(remote_of())
    assert there.url == URL
    assert {key: value for key, value in there.summary.items() if "second" not in key} == {
        key: value for key, value in here.summary.items() if "second" not in key
    }
    copy = fetched(URL, tmp_path / "copy")
    assert keys_of(rows_of(copy)) == keys_of(rows_of(here.out))
    names = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert names == {str(path.relative_to(here.out)) for path in here.out.rglob("*") if path.is_file()} - {
        path.name for path in here.out.glob(".*.lock")
    }


def test_a_finished_run_repeated_sends_nothing(remote_of):
    synthesize(remote_of())
    before = stored()
    again = synthesize(remote_of())
    assert (again.shards_run, again.summary["candidates"]) == (0, 12)
    shutil.rmtree(place_of(URL, "runs"))  # another machine
    assert synthesize(remote_of()).summary == again.summary
    assert {name: value for name, value in stored().items() if not name.endswith(".lease")} == before


@pytest.mark.parametrize("elsewhere", [False, True], ids=["staged here", "on another machine"])
def test_a_run_at_a_url_does_not_go_on_with_other_photos(elsewhere, remote_of, six_photos):
    synthesize(remote_of())
    if elsewhere:
        shutil.rmtree(place_of(URL, "runs"))
    before = stored()
    for index in (1, 4):
        (six_photos / "images" / f"p{index}.png").write_bytes((six_photos / "images" / "p0.png").read_bytes())
    with pytest.raises(UsageError, match=r"of 2 pairs are not those .* p1_0 \(photo\), p4_0 \(photo\)"):
        synthesize(remote_of())
    assert stored() == before
    assert synthesize(remote_of(), overwrite=True).shards_run == 3


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_run_stopped_while_it_sends_goes_on(
    remote_of, settings_of, rows_of, stop_at_put, tmp_path, number, after, monkeypatch
):
    stop_at_put(number, after)
    with pytest.raises(StorageError, match="the line is cut"):
        synthesize(remote_of())
    records = [name for name in MEMORY.store if "candidates/part" in name]
    assert len(records) == (number + after) // 2
    made = []
    plain = ColorJitterGenerator.__call__
    monkeypatch.setattr(
        ColorJitterGenerator,
        "__call__",
        lambda *arguments: (made.append(arguments[1].pair.pair_id), plain(*arguments))[1],
    )
    synthesize(remote_of())
    assert len(made) == 6 - 2 * (number // 2 + 1)  # what was staged whole was sent, not made again
    rows = rows_of(fetched(URL, tmp_path / "copy"))
    assert set(Counter((row["pair_id"], row["k"]) for row in rows).values()) == {1}
    synthesize(settings_of(k=2))
    assert keys_of(rows) == keys_of(rows_of(settings_of().out))


def test_another_machine_takes_up_what_is_at_the_url(remote_of, rows_of, stop_at_put, tmp_path):
    stop_at_put(2, False)
    with pytest.raises(StorageError):
        synthesize(remote_of())
    shutil.rmtree(place_of(URL, "runs"))
    assert synthesize(remote_of()).shards_run == 2
    assert len(keys_of(rows_of(fetched(URL, tmp_path / "copy")))) == 12


def test_a_torn_file_at_the_url_is_made_again(remote_of):
    synthesize(remote_of())
    name = "/bucket/run/candidates/part-00001-of-00003.parquet"
    MEMORY.pipe_file(name, MEMORY.cat_file(name)[:-20])
    MEMORY.rm_file("/bucket/run/summary.json")
    shutil.rmtree(place_of(URL, "runs"))
    assert synthesize(remote_of()).shards_run == 1
    assert pq.read_metadata(MEMORY.open(name)).num_rows == 4


def test_what_was_staged_of_a_run_that_is_gone_is_sent(remote_of):
    synthesize(remote_of())
    MEMORY.rm("/bucket/run", recursive=True)
    again = synthesize(remote_of())
    assert (again.shards_run, again.summary["candidates"]) == (0, 12)


def test_other_options_are_refused_and_overwrite_begins_anew(remote_of, rows_of, tmp_path):
    synthesize(remote_of())
    before = stored()
    with pytest.raises(UsageError, match=r"k: 2 then, 3 now.*--overwrite"):
        synthesize(remote_of(k=3))
    assert stored() == before
    MEMORY.pipe_file("/bucket/run/notes.txt", b"mine")
    assert synthesize(remote_of(k=3, shard_size=3), overwrite=True).shards_run == 2
    copy = fetched(URL, tmp_path / "copy")
    assert len(keys_of(rows_of(copy))) == 18
    assert (copy / "notes.txt").read_text() == "mine"


def test_what_is_staged_of_another_plan_is_not_counted(remote_of, tmp_path, monkeypatch):
    synthesize(remote_of(shard_size=1))
    MEMORY.rm("/bucket/run", recursive=True)
    monkeypatch.setenv("HARMONYGEN_CACHE", str(tmp_path / "another"))
    synthesize(remote_of(k=1))
    MEMORY.rm_file("/bucket/run/summary.json")
    monkeypatch.undo()
    monkeypatch.setenv("HARMONYGEN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match="k: 1 then, 3 now"):
        synthesize(remote_of(k=3))
    assert synthesize(remote_of(k=1)).summary["candidates"] == 6


def test_overwrite_that_was_stopped_can_be_repeated(remote_of, monkeypatch):
    synthesize(remote_of())
    plain, calls = Remote.remove, iter(range(4))

    def stopping(self, name):
        if not name.endswith(".lease") and next(calls, None) is None:
            raise StorageError("the line is cut")
        plain(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(Remote, "remove", stopping)
        with pytest.raises(StorageError):
            synthesize(remote_of(k=1), overwrite=True)
    assert synthesize(remote_of(k=1), overwrite=True).summary["candidates"] == 6


def test_a_folder_that_is_not_a_run_is_refused(remote_of):
    MEMORY.pipe_file("/bucket/run/holiday.jpg", b"")
    with pytest.raises(UsageError, match=r"not empty and not a run \(found holiday.jpg\)"):
        synthesize(remote_of())
    assert list(MEMORY.store) == ["/bucket/run/holiday.jpg"]


def test_parts_on_several_machines_make_one_run(remote_of, rows_of, tmp_path, monkeypatch):
    for part in range(3):
        monkeypatch.setenv("HARMONYGEN_CACHE", str(tmp_path / f"machine-{part}"))
        result = synthesize(remote_of(part=f"{part}/3"))
        assert bool(result.summary) == (part == 2)
    assert result.summary["candidates"] == 12
    assert len(keys_of(rows_of(fetched(URL, tmp_path / "copy")))) == 12


def test_a_second_run_is_refused_while_one_holds_the_lease(remote_of, tmp_path, monkeypatch):
    with leased(Remote(URL), "part-0-of-1", "part-*-of-1"):
        monkeypatch.setenv("HARMONYGEN_CACHE", str(tmp_path / "another"))  # another machine: no lock is seen
        with pytest.raises(UsageError, match=r"another run is writing to 'memory://bucket/run' \(process \d+ of"):
            synthesize(remote_of())
        with pytest.raises(UsageError, match="another run is writing"):
            synthesize(remote_of(part="1/2"))
    assert list(MEMORY.store) == []
    assert synthesize(remote_of()).shards_run == 3


@pytest.mark.parametrize(
    "changed",
    [{"renewed": time.time() - lease.STALE_SECONDS, "host": "another"}, {"pid": 2**22 + 1}],
    ids=["stale", "dead"],
)
def test_the_lease_of_a_dead_run_is_taken_over(changed):
    remote = Remote(URL)
    with leased(remote, "part-0-of-1", "part-*-of-1"):
        held = json.loads(remote.read(".part-0-of-1.lease"))
        remote.write(".part-0-of-1.lease", json.dumps({**held, "token": "its", **changed}).encode())
        with leased(remote, "part-0-of-1", "part-*-of-1"):
            assert json.loads(remote.read(".part-0-of-1.lease"))["token"] not in ("its", held["token"])
    assert MEMORY.store == {}


def test_a_lease_is_renewed(monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    remote = Remote(URL)
    with leased(remote, "part-0-of-1", "part-*-of-1"):
        first = json.loads(remote.read(".part-0-of-1.lease"))["renewed"]
        time.sleep(0.3)
        assert json.loads(remote.read(".part-0-of-1.lease"))["renewed"] > first


def test_photos_at_a_url_are_in_the_run_with_their_bytes(settings_of, six_photos):
    url = f"file://{six_photos}"
    out = synthesize(settings_of(data=url, k=1)).out
    row = pq.read_table(out / "pairs" / "part-00000-of-00003.parquet").to_pylist()[0]
    assert row["real"]["bytes"] == (six_photos / "images" / "p0.png").read_bytes()
    assert row["source"] == f"{url}/images/p0.png"


def test_a_store_in_memory_is_not_for_several_processes(remote_of):
    with pytest.raises(UsageError, match="memory:// is seen by one process only"):
        synthesize(remote_of(workers=2))


COMMAND = "from harmonygen_cli.main import main; main()"


@pytest.mark.long
def test_a_run_killed_again_and_again_loses_nothing(settings_of, rows_of, tmp_path, six_photos, monkeypatch):
    """kill -9 across processes, on file://: after some files were sent, and with all cases after the first one too."""
    settings, out = settings_of(), tmp_path / "there"
    options = ["--generator", "color-jitter", "--classifier", settings.classifier, "--k", "2", "--shard-size", "1"]
    command = [sys.executable, "-c", COMMAND, "synthesize", *options, "--quiet", "--device", "cpu"]
    command += ["--data", f"file://{six_photos}", "--out", f"file://{out}"]
    for files in (1, 5):
        process = subprocess.Popen(command, start_new_session=True)
        while len(list(out.glob("*/part-*"))) < files and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (out / "summary.json").exists()
        assert all(is_whole(path) for path in out.glob("*/part-*"))
    (out / "pairs" / ".part-00005-of-00006.parquet.4242.tmp").write_bytes(b"half")
    synthesize(settings_of(data=f"file://{six_photos}", out=f"file://{out}", k=2, shard_size=1))
    assert list(out.rglob(".*")) == []  # no stray file, no lease
    synthesize(settings_of(k=2))
    rows = rows_of(out)
    assert set(Counter((row["pair_id"], row["k"]) for row in rows).values()) == {1}
    assert keys_of(rows) == keys_of(rows_of(settings_of().out))
    assert {path.name for path in out.glob("pairs/*")} == {path.name for path in out.glob("candidates/*")}
