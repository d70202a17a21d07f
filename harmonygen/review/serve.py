"""`harmonygen review`: hold the run's review, open a port of this machine, and serve the page until it is stopped."""

from __future__ import annotations

import getpass
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from harmonygen.errors import HarmonygenError, UsageError
from harmonygen.review.access import GuardedApp
from harmonygen.review.session import Session
from harmonygen.review.settings import ReviewSettings
from harmonygen.runs.review_log import REVIEW, reviewer_name
from harmonygen.storage.shards import locked, make_folder

if TYPE_CHECKING:
    import uvicorn

Say = Callable[[str], None]
HERE = "127.0.0.1"
_PATIENCE = 5.0  # seconds


def serve(folder: Path, settings: ReviewSettings, opened: Callable[[str, Session], None], say: Say) -> None:
    """Serve the review of a run until a signal ends it; ``opened`` gets the link once the port is open.

    Raises:
        UsageError: no run, another review of it is being served, the extra is missing, or the port is taken.
        StorageError: the run's folder cannot be written.
    """
    if find_spec("uvicorn") is None or find_spec("starlette") is None:
        raise UsageError("the review needs starlette and uvicorn: pip install 'harmonygen[review]'")
    reviewer = reviewer_name(settings.reviewer) if settings.reviewer else default_reviewer()
    session = Session(folder)
    held = (
        f"the review of '{session.run.folder}' is being served already: use that page (its terminal shows the link), "
        "or stop it first"
    )
    with locked(make_folder(session.run.folder / REVIEW), "server", held), listening(settings.port or 0) as listener:
        door = door_of(session, listener.getsockname()[1], lambda link: say(f"for another browser: {link}"))
        opened(f"{door.link}&{urlencode({'reviewer': reviewer})}", session)
        threading.Thread(target=_load, args=(session, say), daemon=True).start()
        server_of(door).run(sockets=[listener])
    session.desk.close()


def default_reviewer() -> str:
    """Return the user's name as a reviewer's, or ``reviewer``."""
    with suppress(Exception):  # a user id without a name raises what the platform likes
        return reviewer_name(getpass.getuser())
    return "reviewer"


def door_of(session: Session, port: int, used: Callable[[str], None]) -> GuardedApp:
    """Return the door to a session's app; ``used`` gets the next link when one was used."""
    from harmonygen.review.app import make_app

    door: GuardedApp
    app = make_app(session, lambda: door.link)
    door = GuardedApp(app, port, used)
    return door


def _load(session: Session, say: Say) -> None:
    session.asked.wait(_PATIENCE)  # the first page goes before the reading of all files
    with suppress(HarmonygenError):
        session.pictures.outline(session.columns, 0)  # what it needs takes half a second to import
    try:
        session.load()
    except HarmonygenError as error:
        say(f"error: {error}")


@contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """Hold a port of this machine open, which no other machine reaches; 0 is a free one.

    Raises:
        UsageError: it is taken, or not this user's to open.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HERE, port))
        except OSError as error:
            raise UsageError(f"port {port} cannot be opened ({error.strerror}): choose another --port") from error
        listener.listen(128)
        yield listener


def server_of(door: GuardedApp) -> uvicorn.Server:
    """Return the server of a door, which says nothing of itself."""
    import uvicorn

    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    quiet: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False, "proxy_headers": False}
    return uvicorn.Server(uvicorn.Config(door, lifespan="off", ws="none", timeout_graceful_shutdown=2, **quiet))
