"""A lease on a run's folder in a store that has no locks: one small object, renewed while its holder lives.

It keeps two runs from doing the same work; it is not what keeps a run right. That is the plan (``plan.json`` is created
once, and a run with another one is refused) and the shards: each is a function of the plan and appears whole, so two
runs that did work side by side would write the same rows to the same names.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from typing import Any
from uuid import uuid4

from harmonygen.errors import StorageError, UsageError
from harmonygen.storage.remote import Remote
from harmonygen.storage.shards import lives

RENEW_SECONDS, STALE_SECONDS = 15.0, 90.0
SUFFIX = ".lease"


@contextmanager
def leased(remote: Remote, name: str, kin: str) -> Iterator[None]:
    """Hold the lease ``name`` of a remote folder; those that match the pattern ``kin`` may be held by others.

    A lease that was not renewed for 90 seconds is taken over; so is, at once, that of a dead process of this machine.

    Raises:
        UsageError: another run holds this lease, or one that is not kin.
    """
    for held in remote.listing():
        if "/" not in held and held.endswith(SUFFIX) and not fnmatch(held, f".{kin}{SUFFIX}"):
            _refuse(remote, held)
    path, token = f".{name}{SUFFIX}", uuid4().hex
    if not remote.write(path, _content(token), new=True):
        _refuse(remote, path)
        remote.write(path, _content(token))
    released = threading.Event()
    renewer = threading.Thread(target=_renew, args=(remote, path, token, released), daemon=True)
    renewer.start()
    try:
        yield
    finally:
        released.set()
        renewer.join()
        if _held_by(remote, path).get("token") == token:
            remote.remove(path)


def _content(token: str) -> bytes:
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "token": token, "renewed": time.time()}
    return json.dumps(mine).encode()


def _held_by(remote: Remote, path: str) -> dict[str, Any]:
    try:
        held: dict[str, Any] = json.loads(remote.read(path) or b"{}")
    except ValueError:
        return {}  # cut off while it was written
    return held


def _refuse(remote: Remote, path: str) -> None:
    """Raise UsageError if a lease is held by a run that lives."""
    held = _held_by(remote, path)
    age = time.time() - held.get("renewed", 0)
    if age < STALE_SECONDS and not (held["host"] == socket.gethostname() and not lives(held["pid"])):
        raise UsageError(
            f"another run is writing to '{remote.url}' (process {held['pid']} of {held['host']}, "
            f"seen {age:.0f} s ago): "
            f"wait for it, {STALE_SECONDS:.0f} s if it was killed, or choose another --out"
        )


def _renew(remote: Remote, path: str, token: str, released: threading.Event) -> None:
    """Renew a lease until it is released or another has taken it; a store that does not answer is asked again."""
    while not released.wait(RENEW_SECONDS):
        try:
            if _held_by(remote, path).get("token") != token:
                return
            remote.write(path, _content(token))
        except StorageError:
            continue
