"""Folders at URLs: what is copied, what is copied again, and what a store's faults become."""

from __future__ import annotations

import json
import time
from importlib.util import find_spec
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from harmonygen.data import read_pairs
from harmonygen.errors import StorageError, UsageError
from harmonygen.storage.fetch import STATE, fetch, side_by_side
from harmonygen.storage.remote import Remote, place_of

MEMORY = fsspec.filesystem("memory")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HARMONYGEN_CACHE", str(tmp_path / "cache"))
    MEMORY.store.clear()
    yield
    MEMORY.store.clear()


@pytest.fixture
def photos_at_url(photo_folder):
    for path in photo_folder.glob("*/*.png"):
        MEMORY.pipe_file(f"/bucket/photos/{path.relative_to(photo_folder)}", path.read_bytes())
    return "memory://bucket/photos"


@pytest.fixture
def gets(monkeypatch):
    """The names that are copied."""
    names: list[str] = []
    plain = Remote.get
    monkeypatch.setattr(Remote, "get", lambda self, name, local: (names.append(name), plain(self, name, local))[1])
    return names


def test_data_at_a_url_are_read_as_the_folder_they_are(photos_at_url, photo_folder):
    found, here = read_pairs(photos_at_url), read_pairs(photo_folder)
    assert [pair.pair_id for pair in found] == [pair.pair_id for pair in here]
    assert [pair.real.path.read_bytes() for pair in found] == [pair.real.path.read_bytes() for pair in here]
    assert str(found[0].real) == "memory://bucket/photos/images/astronaut.png"
    assert str(found[0].mask) == "memory://bucket/photos/masks/astronaut.png"


def test_only_what_is_missing_or_changed_is_copied(photos_at_url, gets):
    copy = fetch(photos_at_url)
    assert len(gets) == 6
    gets.clear()
    fetch(photos_at_url)
    assert gets == []
    MEMORY.pipe_file("/bucket/photos/images/coffee.png", b"another")
    (copy / "masks" / "astronaut.png").unlink()
    (copy / "masks" / "coffee.png").write_bytes(b"cut")
    fetch(photos_at_url)
    assert sorted(gets) == ["images/coffee.png", "masks/astronaut.png", "masks/coffee.png"]
    assert (copy / "images" / "coffee.png").read_bytes() == b"another"


def test_what_is_gone_from_the_url_is_gone_from_the_copy(photos_at_url):
    copy = fetch(photos_at_url)
    MEMORY.rm_file("/bucket/photos/images/coffee.png")
    MEMORY.rm_file("/bucket/photos/masks/coffee.png")
    fetch(photos_at_url)
    assert not (copy / "images" / "coffee.png").exists()
    assert len(read_pairs(photos_at_url)) == 2


def test_a_copy_that_was_stopped_goes_on(photos_at_url, gets, monkeypatch):
    plain, calls = MEMORY.get_file, iter(range(2))

    def stopping(self, *arguments, **options):
        if next(calls, None) is None:
            raise OSError("the line is cut")
        return plain(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(MEMORY), "get_file", stopping)
        with pytest.raises(StorageError, match=r"cannot read .*the line is cut.*repeat the command"):
            fetch(photos_at_url)
    copy = place_of(photos_at_url, "inputs")
    done = [json.loads(line)[0] for line in (copy / STATE).read_text().splitlines()]
    assert len(done) == 2
    assert not list(copy.rglob("*.tmp"))
    gets.clear()
    with (copy / STATE).open("a") as notes:
        notes.write('["images/cof')  # killed while it noted
    fetch(photos_at_url)
    assert sorted([*gets, *done]) == sorted(name for name in Remote(photos_at_url).listing())


def test_one_file_and_a_list_at_urls(photo_folder, tmp_path):
    rows = "".join(f"{name}.png,{name}-mask.png\n" for name in ("astronaut", "coffee"))
    MEMORY.pipe_file("/bucket/table.csv", f"real,mask\n{rows}".encode())
    copy = fetch("memory://bucket/table.csv")
    assert copy.name == "table.csv"
    assert copy.read_text().startswith("real,mask")
    assert fetch(f"file://{photo_folder}/images/coffee.png").read_bytes()


def test_hidden_files_are_not_copied(photos_at_url):
    MEMORY.pipe_file("/bucket/photos/.part.png.77.tmp", b"half")
    MEMORY.pipe_file("/bucket/photos/.git/x.png", b"")
    assert {path.name for path in fetch(photos_at_url).iterdir()} == {"images", "masks", STATE}


@pytest.mark.parametrize("name", ["../out.png", "a/../../b.png", "a\\b.png"])
def test_names_that_leave_the_folder_are_refused(monkeypatch, name):
    found = {f"/bucket/x/{name}": {"size": 1, "type": "file"}}
    monkeypatch.setattr(type(MEMORY), "find", lambda *_, **__: found)
    with pytest.raises(UsageError, match="cannot be copied safely"):
        fetch("memory://bucket/x")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://bucket/none", "is not there or holds no file"),
        ("nosuch://bucket/x", r"nosuch.*cannot be opened.*s3fs"),
        ("s3://bucket/x", r"cannot be opened.*s3fs"),
        ("sftp://me:secret@host/x", "holds a password"),
    ],
)
def test_urls_that_cannot_be_read(url, message):
    if url.startswith("s3") and find_spec("s3fs"):
        pytest.skip("s3fs is here")
    with pytest.raises(UsageError, match=message) as refused:
        read_pairs(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["memory://bucket/out", "file://{folder}/out"])
def test_a_file_that_is_put_is_whole_and_replaces_an_older_one(url, tmp_path):
    remote, local = Remote(url.format(folder=tmp_path)), tmp_path / "a"
    for content in (b"first", b"the second"):
        local.write_bytes(content)
        remote.put(local, "inside/a")
        assert remote.read("inside/a") == content
    assert list(remote.listing()) == ["inside/a"]
    assert remote.read("inside/b") is None


def test_a_put_that_fails_leaves_nothing(tmp_path, monkeypatch):
    remote, local = Remote(f"file://{tmp_path}/out"), tmp_path / "a"
    local.write_bytes(b"content")

    def half(self, source, target, **_):
        Path(target).write_bytes(b"con")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(remote.fs), "put_file", half)
    with pytest.raises(StorageError, match="No space left"):
        remote.put(local, "inside/a")
    assert remote.listing() == {}


def test_a_put_that_arrives_short_is_seen(tmp_path, monkeypatch):
    remote, local = Remote("memory://bucket/out"), tmp_path / "a"
    local.write_bytes(b"content")
    monkeypatch.setattr(type(MEMORY), "put_file", lambda self, _, target: self.pipe_file(target, b"con"))
    with pytest.raises(StorageError, match="3 of 7 bytes arrived"):
        remote.put(local, "a")


def test_a_store_that_renames_is_given_whole_files_too(tmp_path):
    """SFTP and the like: no atomic put, no link to this disk."""
    remote, local = Remote("memory://bucket/out"), tmp_path / "a"
    remote.protocols = {"sftp"}
    for content in (b"first", b"the second"):
        local.write_bytes(content)
        remote.put(local, "inside/a")
        assert remote.read("inside/a") == content
    assert list(remote.listing()) == ["inside/a"]


@pytest.mark.parametrize("url", ["memory://bucket/out", "file://{folder}/out"])
def test_of_two_that_create_a_name_one_does(url, tmp_path):
    remote = Remote(url.format(folder=tmp_path))
    assert remote.write("plan.json", b"mine", new=True)
    assert not remote.write("plan.json", b"theirs", new=True)
    assert remote.read("plan.json") == b"mine"


def test_after_a_failure_no_further_file_is_begun():
    begun = []

    def act(name):
        begun.append(name)
        if name == "0":
            raise OSError("the line is cut")
        time.sleep(0.02)

    with pytest.raises(OSError, match="cut"):
        side_by_side(act, [str(number) for number in range(1000)])
    assert len(begun) < 900


def test_pictures_at_a_url_open(photos_at_url):
    assert Image.open(read_pairs(photos_at_url)[0].real.path).size == (128, 96)
