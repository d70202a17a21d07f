"""What can go wrong while publishing: the fault, and what has to come of it. Used by a test and by a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fake_hub import TOKEN, Blob, FakeHub, Fault

ECHO = f"refused: Bearer {TOKEN}"  # a server that says the token back
ALWAYS = 10_000
BRANCH = r"harmonygen-[0-9a-f]+$"


@dataclass(frozen=True)
class Case:
    """A fault; the first run's exit code, whether it reached main, and a pattern of what it said."""

    name: str
    faults: Callable[[FakeHub], list[Fault]]
    code: int
    main: bool
    said: str
    waited: float = 0.0  # at least, in one wait


def _status(
    match: str, status: int, first: int = 1, times: int = 1, **headers: str
) -> Callable[[FakeHub], list[Fault]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _hub: [Fault(match, status, first, times, ECHO, named)]


def _cut(match: str, cut: str, first: int = 1, times: int = 1) -> Callable[[FakeHub], list[Fault]]:
    return lambda _hub: [Fault(match, first=first, times=times, cut=cut)]


def _somebody_commits(hub: FakeHub) -> list[Fault]:
    def commit() -> None:
        repo = hub.repos["user/set"]
        repo.commit({**repo.commits[repo.branches["main"]], "notes.txt": Blob(b"theirs")}, "main")
        repo.log.pop()  # the log counts ours

    return [Fault(r"POST .*/commit/main$", also=commit)]


def _file_lost(hub: FakeHub) -> list[Fault]:
    """After the branch was sent and before it is read back, a file of it changes on the Hub."""

    def change() -> None:
        repo = hub.repos["user/set"]
        branch = next(name for name in repo.branches if name.startswith("harmonygen-"))
        files = dict(repo.commits[repo.branches[branch]])
        lost = next(path for path in files if path.endswith(".parquet"))
        files[lost] = Blob(b"something else", "0" * 64)
        repo.commit(files, branch)

    return [Fault(r"GET .*/refs$", also=change)]


CASES = (
    Case("none", lambda _hub: [], 0, True, "read back and published"),
    Case("401 whose token", _status("whoami", 401), 2, False, "token is not valid"),
    Case("401 later", _status(f"POST .*/commit/{BRANCH}", 401), 2, False, "token is not valid"),
    Case("403 create", _status("repos/create", 403), 2, False, "role 'write'"),
    Case("403 commit", _status(f"POST .*/commit/{BRANCH}", 403), 2, False, "role 'write'"),
    Case("403 main", _status("POST .*/commit/main$", 403), 2, False, "role 'write'"),
    Case("409 branch, once", _status(f"POST .*/commit/{BRANCH}", 409), 0, True, "answered 409"),
    Case("409 main, on and on", _status("POST .*/commit/main$", 409, times=ALWAYS), 4, False, "somebody else writes"),
    Case("412 somebody commits to main", _somebody_commits, 0, True, "answered 412"),
    Case("413 upload", _status("PUT /store", 413, first=2, times=ALWAYS), 2, False, "smaller files"),
    Case("413 commit", _status(f"POST .*/commit/{BRANCH}", 413), 2, False, "smaller files"),
    Case("429 commit, Retry-After 7", _status("/commit/main$", 429, Retry_After="7"), 0, True, "again in 7 s", 7),
    Case("429 batch, Retry-After 9", _status("objects/batch", 429, Retry_After="9"), 0, True, "Rate limited", 9),
    Case("429 for an hour", _status("/commit/main$", 429, Retry_After="3600"), 4, False, "wait 60 minutes"),
    Case("503 upload, once", _status("PUT /store", 503, first=2), 0, True, "published", 1),
    Case(
        "503 commit, on and on", _status("POST .*/commit/", 503, times=ALWAYS), 4, False, "rerun the same command", 30
    ),
    Case("503 tree, on and on", _status("GET .*/tree/", 503, 4, ALWAYS), 4, False, "rerun the same command", 30),
    Case("cut mid-upload, once", _cut("PUT /store", "before", 3), 0, True, "published", 1),
    Case("cut mid-upload, for good", _cut("PUT /store", "before", 3, ALWAYS), 4, False, "connection was lost", 30),
    Case("cut before a commit", _cut(f"POST .*/commit/{BRANCH}", "before"), 0, True, "connection was lost", 1),
    Case("answer to the branch's commit lost", _cut(f"POST .*/commit/{BRANCH}", "after"), 0, True, "was lost", 1),
    Case("answer to main's commit lost", _cut("POST .*/commit/main$", "after"), 0, True, "was lost", 1),
    Case("a file changes before it is read back", _file_lost, 4, False, "does not hold what was sent"),
)
