"""A run with columns that differ, to review: copies of one that `synthesize`'s own shard function made."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harmonygen.review.access import GuardedApp
from harmonygen.review.serve import door_of, listening, server_of
from harmonygen.review.session import Session

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests" / "fakes")]

import review_run  # noqa: E402
from review_client import Client  # noqa: E402


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 40 pairs x 6 candidates in three shards; do not write into it."""
    return review_run.make_run(tmp_path_factory.mktemp("made") / "run", pairs=40, k=6, processes=1)


@pytest.fixture
def run(made_run: Path, tmp_path: Path) -> Path:
    """A run of 40 pairs x 6 candidates that may be written into."""
    return Path(shutil.copytree(made_run, tmp_path / "run"))


@contextmanager
def serving(run: Path) -> Iterator[tuple[Client, Session, GuardedApp]]:
    session = Session(run)
    session.load()
    with listening(0) as listener:
        door = door_of(session, listener.getsockname()[1], lambda _link: None)
        server = server_of(door)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        client = Client(door.port)
        assert client.enter(door.link)[0] == 200
        yield client, session, door
        server.should_exit = True
        thread.join(10)
    session.desk.close()


@pytest.fixture(name="serving")
def serving_of():
    """`serving`, for tests that change the run before it is served."""
    return serving


@pytest.fixture
def served(run: Path) -> Iterator[tuple[Client, Session, GuardedApp]]:
    """A server of a run in this process, and a client that has entered."""
    with serving(run) as found:
        yield found


@pytest.fixture(scope="module")
def looked_at(made_run: Path) -> Iterator[tuple[Client, Session, GuardedApp]]:
    """As ``served``, for tests that write nothing."""
    with serving(made_run) as found:
        yield found
