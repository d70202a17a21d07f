"""Publish a built dataset on the Hub: verify, send to a branch of its own, read back, then one commit on main.

Main is not touched before everything is on the Hub and was read back; whatever stops a run before that leaves main as
it was, and the same command resumes: the branch is named after the content, and what it holds is not sent again.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from harmonygen.data.manifest import PublishedFile
from harmonygen.errors import HarmonygenError, StorageError, UsageError, listed
from harmonygen.publishing.front_matter import Card
from harmonygen.publishing.hub import MAIN, Hub, Refs
from harmonygen.publishing.hub_calls import Token, find_token, tamed_library
from harmonygen.publishing.hub_files import HubFile, difference, is_same
from harmonygen.publishing.settings import PublishSettings
from harmonygen.publishing.verify import Verified, published_entries, verify

Progress = Callable[[int, int], None]
Notify = Callable[[str], None]

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_SHOWN_FAULTS = 200


@dataclass(frozen=True, slots=True)
class FileState:
    """A file to be published: ``state`` is new, changed, sent (by a run that was cut), there, or unknown."""

    path: str
    bytes: int
    rows: int
    state: str


@dataclass(frozen=True)
class Remotely:
    """The repository as it was found: a hub to call, who calls, private (None: not there), refs, main's files."""

    hub: Hub
    user: str
    private: bool | None
    refs: Refs
    main: dict[str, HubFile]


@dataclass(frozen=True)
class Publication:
    """A verified folder beside the repository it goes to (None where the Hub was not asked)."""

    settings: PublishSettings
    verified: Verified
    card: Card
    files: tuple[FileState, ...]
    stale: tuple[str, ...]
    remote: Remotely | None

    @property
    def branch(self) -> str:
        """The working branch: named after the content, so that the same content resumes where it was cut."""
        return f"harmonygen-{content_digest(self.verified.entries)}"

    @property
    def finished(self) -> bool:
        """Whether main holds everything already."""
        return not self.stale and all(each.state == "there" for each in self.files)


@dataclass(frozen=True)
class PublishResult:
    """What was published: ``sent_bytes`` counts the files that the branch lacked; ``commit`` is the one on main."""

    repo: str
    url: str
    commit: str | None
    pull_request: str | None
    tag: str | None
    files: tuple[FileState, ...]
    removed: tuple[str, ...]
    bytes: int
    sent_bytes: int
    images: int
    dry_run: bool
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}


def content_digest(entries: tuple[PublishedFile, ...]) -> str:
    """Return 12 hex digits of the paths and contents."""
    digest = hashlib.blake2b(digest_size=6)
    for each in sorted(entries, key=lambda each: each.path):
        digest.update(f"{each.path}\0{each.sha256}\n".encode())
    return digest.hexdigest()


def prepare(
    settings: PublishSettings,
    notify: Notify,
    progress: Progress | None = None,
    sleep: Callable[[float], None] | None = None,
) -> Publication:
    """Verify the folder and look at the repository; nothing is sent. ``progress`` gets (bytes read, bytes in all).

    Raises:
        UsageError: wrong options, a folder with faults (all of them listed), no token or one without the right to
            write, a public repository with ``--private``, a ``--revision`` that is taken.
        StorageError: the Hub cannot be reached.
    """
    _check_options(settings)
    token = find_token(settings.token_file)
    if token is None and not settings.dry_run:
        raise UsageError("no token: log in with `hf auth login`, set HF_TOKEN, or name a file by --token-file")
    verified = verify(settings.folder, published_entries(settings.folder), settings.sample, settings.seed, progress)
    card = _refuse_faults(verified)
    for note in verified.notes:
        notify(note)
    if token is None:
        notify("no token, so the Hub was not asked what is there already")
        return _publication(settings, verified, card, None)
    try:
        with tamed_library(token, notify):
            return _publication(settings, verified, card, _look(settings, token, notify, sleep))
    except HarmonygenError as error:
        if not settings.dry_run:
            raise
        notify(f"the Hub could not be asked what is there already: {error}")
    return _publication(settings, verified, card, None)


def _check_options(settings: PublishSettings) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    repo = settings.repo or ""
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(f"--repo is {repo!r}: {error}") from error
    if repo.count("/") != 1:
        raise UsageError(f"--repo is {repo!r}: write user/name")
    name = settings.revision
    if name is not None and (name == MAIN or ".." in name or not _TAG.fullmatch(name) or name.endswith(".lock")):
        raise UsageError(f"--revision is {name!r}: give a name for a tag, such as v1.0 (main is always published)")
    if name is not None and settings.create_pr:
        raise UsageError("--revision tags what is on main, --create-pr leaves main to you: tag once it is merged")


def _refuse_faults(verified: Verified) -> Card:
    faults = verified.faults
    if faults or verified.card is None:
        named = listed([*map(str, faults)], most=_SHOWN_FAULTS, between="\n  - ")
        raise UsageError(f"'{verified.folder}' cannot be published, {len(faults)} faults:\n  - {named}")
    return verified.card


def _look(settings: PublishSettings, token: Token, notify: Notify, sleep: Callable[[float], None] | None) -> Remotely:
    hub = Hub(str(settings.repo), token, notify, sleep)
    user = hub.user()
    private = hub.is_private()
    if private is None:
        return Remotely(hub, user, None, Refs({}, {}), {})
    if settings.private and not private:
        raise UsageError(
            f"'{settings.repo}' is there and public, so --private cannot be kept: make it private in its settings on "
            "the Hub, or choose another --repo"
        )
    if private and not settings.private:
        notify(f"'{settings.repo}' is private and stays so")
    refs = hub.refs()
    return Remotely(hub, user, private, refs, hub.tree(MAIN))


def _publication(settings: PublishSettings, verified: Verified, card: Card, remote: Remotely | None) -> Publication:
    main = remote.main if remote else {}
    stale = difference(settings.folder, verified.entries, card, main).stale
    draft = Publication(settings, verified, card, (), stale, remote)
    sent: dict[str, HubFile] = {}
    if remote and draft.branch in remote.refs.branches:
        sent = remote.hub.tree(draft.branch)
    files = tuple(
        FileState(each.path, each.bytes, each.rows, _state(settings, each, main, sent) if remote else "unknown")
        for each in verified.entries
    )
    if remote and settings.revision:
        _refuse_taken(settings, verified, card, remote)
    return Publication(settings, verified, card, files, stale, remote)


def _state(settings: PublishSettings, entry: PublishedFile, main: dict[str, HubFile], sent: dict[str, HubFile]) -> str:
    if is_same(settings.folder, entry, main.get(entry.path)):
        return "there"
    if is_same(settings.folder, entry, sent.get(entry.path)):
        return "sent"
    return "changed" if entry.path in main else "new"


def _refuse_taken(settings: PublishSettings, verified: Verified, card: Card, remote: Remotely) -> None:
    name = str(settings.revision)
    if name in remote.refs.branches:
        raise UsageError(f"--revision {name}: '{settings.repo}' has a branch of this name: choose another")
    commit = remote.refs.tags.get(name)
    if commit and difference(settings.folder, verified.entries, card, remote.hub.tree(commit)):
        raise UsageError(f"--revision {name}: this tag of '{settings.repo}' holds other files: choose another")


def carry_out(publication: Publication, notify: Notify, progress: Progress | None = None) -> PublishResult:
    """Send, read back, land on main (or open the pull request) and tag; ``progress`` gets (bytes sent, to send).

    Raises:
        UsageError: the token may not do it, or the Hub refuses the files.
        StorageError: the Hub, the network or a conflict; main is as it was; rerun the same command to resume.
    """
    began = time.monotonic()
    settings, remote = publication.settings, publication.remote
    if settings.dry_run or remote is None:
        return _result(publication, None, None, 0, began)
    with tamed_library(remote.hub.token, notify):
        if remote.private is None:
            remote.hub.create(settings.private)
        if publication.finished:
            commit = remote.refs.branches[MAIN]
            _tidy(publication, commit, notify)
            return _result(publication, commit, None, 0, began)
        if settings.create_pr:
            page, sent = _propose(publication, remote, progress)
            return _result(publication, None, page, sent, began)
        commit, sent = _land(publication, remote, progress)
        _tidy(publication, commit, notify)
        return _result(publication, commit, None, sent, began)


def _message(publication: Publication) -> str:
    rows = sum(each.rows for each in publication.files)
    return f"Publish {len(publication.files)} files, {rows} rows ({content_digest(publication.verified.entries)})"


def _send(publication: Publication, hub: Hub, target: str, progress: Progress | None) -> int:
    settings, entries = publication.settings, publication.verified.entries
    return hub.send(settings.folder, entries, publication.card, target, _message(publication), progress)


def _propose(publication: Publication, remote: Remotely, progress: Progress | None) -> tuple[str, int]:
    hub, title = remote.hub, _message(publication)
    number = hub.pull_request(title, "Sent and read back by `harmonygen publish`; merge it to publish.", remote.user)
    sent = _send(publication, hub, f"refs/pr/{number}", progress)
    hub.read_back(publication.settings.folder, publication.verified.entries, publication.card, f"refs/pr/{number}")
    return hub.publish_pull_request(number), sent


def _land(publication: Publication, remote: Remotely, progress: Progress | None) -> tuple[str, int]:
    """Send to the branch, read its head back, then put that on main; return main's head and the bytes sent."""
    hub, card = remote.hub, publication.card
    folder, entries = publication.settings.folder, publication.verified.entries
    hub.start_branch(publication.branch, MAIN)
    sent = _send(publication, hub, publication.branch, progress)
    source = hub.refs().branches[publication.branch]
    hub.read_back(folder, entries, card, source)
    commit = hub.land(folder, entries, card, source, _message(publication))
    if difference(folder, entries, card, hub.tree(commit)):
        raise StorageError(
            f"main of '{publication.settings.repo}' at {commit[:12]} does not hold what was read back from "
            f"'{publication.branch}': look at the commit on the Hub, then repeat the command"
        )
    return commit, sent


def _tidy(publication: Publication, commit: str, notify: Notify) -> None:
    """Tag the commit and drop the working branch, whose files main holds now."""
    remote, name = publication.remote, publication.settings.revision
    assert remote is not None
    if name and name not in remote.refs.tags:
        remote.hub.tag(name, commit)
    try:
        remote.hub.drop_branch(publication.branch)
    except HarmonygenError as error:
        notify(f"everything is published, only its working branch is left: {error}")


def _result(publication: Publication, commit: str | None, page: str | None, sent: int, began: float) -> PublishResult:
    settings, remote = publication.settings, publication.remote
    return PublishResult(
        repo=str(settings.repo),
        url=remote.hub.url if remote else "",
        commit=commit,
        pull_request=page,
        tag=settings.revision if commit else None,
        files=publication.files,
        removed=publication.stale,
        bytes=publication.verified.bytes,
        sent_bytes=sent,
        images=publication.verified.images,
        dry_run=settings.dry_run,
        seconds=time.monotonic() - began,
    )
