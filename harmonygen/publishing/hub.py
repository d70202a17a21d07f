"""One dataset repository on the Hub: send files to a branch or pull request, read them back, land them on main.

Large files go up one by one and count as sent once the Hub has them; a commit to the branch follows each group. What
lands on main is one commit that refers to the files already there, with main's head as its parent: all or nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq

from harmonygen.data.manifest import PublishedFile
from harmonygen.errors import StorageError, UsageError, listed
from harmonygen.publishing.front_matter import Card
from harmonygen.publishing.hub_calls import Caller, Token
from harmonygen.publishing.hub_files import Difference, HubFile, difference, groups

Progress = Callable[[int, int], None]

KIND = "dataset"
MAIN = "main"
_FOOTERS = 4  # Parquet files whose footer is read back
_BLOCK = 1 << 16  # bytes asked for at a time when a footer is read


@dataclass(frozen=True, slots=True)
class Refs:
    """Commits by branch and by tag."""

    branches: Mapping[str, str]
    tags: Mapping[str, str]


class Hub:
    """A dataset repository, reached with a token.

    Args:
        repo: ``user/name``.
        token: never shown.
        notify: gets a line for each wait and each message of the library.
        sleep: waits between attempts (``time.sleep`` if None).
    """

    def __init__(
        self, repo: str, token: Token, notify: Callable[[str], None], sleep: Callable[[float], None] | None = None
    ) -> None:
        from huggingface_hub import HfApi

        self.repo, self.token = repo, token
        self._api: Any = HfApi(token=token.value, library_name="harmonygen")
        self._call = Caller(token, repo, notify, sleep)
        _refuse_plain_http(self._api.endpoint)
        self._where: dict[str, Any] = {"repo_id": repo, "repo_type": KIND}

    @property
    def url(self) -> str:
        """The repository's page."""
        return f"{self._api.endpoint}/datasets/{self.repo}"

    def user(self) -> str:
        """Return whose token it is.

        Raises:
            UsageError: it is not valid, or may only read.
        """
        told = self._call("asking whose token it is", self._api.whoami)
        role = ((told.get("auth") or {}).get("accessToken") or {}).get("role")
        if role == "read":
            raise UsageError(f"the token of '{told['name']}' may only read: make one with the role 'write'")
        return str(told["name"])

    def is_private(self) -> bool | None:
        """Return whether the repository is private; None if it is missing."""
        from huggingface_hub.errors import RepositoryNotFoundError

        def ask() -> bool | None:
            try:
                return bool(self._api.dataset_info(self.repo).private)
            except RepositoryNotFoundError:
                return None

        return self._call(f"looking for '{self.repo}'", ask)

    def create(self, private: bool) -> None:
        """Create the repository; an existing one stays as it is."""
        self._call(
            f"creating '{self.repo}'",
            lambda: self._api.create_repo(**self._where, private=private or None, exist_ok=True),
        )

    def refs(self) -> Refs:
        """Return the repository's branches and tags."""
        told = self._call("reading the branches", lambda: self._api.list_repo_refs(**self._where))
        return Refs(
            {ref.name: ref.target_commit for ref in told.branches}, {ref.name: ref.target_commit for ref in told.tags}
        )

    def tree(self, revision: str) -> dict[str, HubFile]:
        """Return the files of a revision by path."""
        from huggingface_hub.hf_api import RepoFile

        def read() -> dict[str, HubFile]:
            listed = self._api.list_repo_tree(**self._where, revision=revision, recursive=True)
            files = (each for each in listed if isinstance(each, RepoFile))
            return {f.path: HubFile(f.size, f.lfs.sha256 if f.lfs else None, f.blob_id) for f in files}

        return self._call(f"reading the files of '{revision}'", read)

    def start_branch(self, branch: str, commit: str) -> None:
        """Create a branch at a commit; an existing one stays as it is."""
        self._call(
            f"creating the branch '{branch}'",
            lambda: self._api.create_branch(**self._where, branch=branch, revision=commit, exist_ok=True),
        )

    def drop_branch(self, branch: str) -> None:
        """Delete a branch, unless it is gone already."""

        def drop() -> None:
            if branch in self.refs().branches:
                self._api.delete_branch(**self._where, branch=branch)

        self._call(f"deleting the branch '{branch}'", drop)

    def send(
        self,
        folder: Path,
        entries: Sequence[PublishedFile],
        card: Card,
        target: str,
        message: str,
        progress: Progress | None = None,
    ) -> int:
        """Send what ``target`` (a branch, or ``refs/pr/N``) lacks; return the bytes of the files sent.

        The files that a split of the card would read though they are not published are removed there.
        """
        lacking = difference(folder, entries, card, self.tree(target)).missing
        done, total = 0, sum(each.bytes for each in lacking)
        for group in [*groups(lacking), ()]:
            additions = {}
            for each in group:
                additions[each.path] = self._upload(folder, each, target)
                done += each.bytes
                if progress is not None:
                    progress(done, total)
            self._commit_group(lambda: difference(folder, entries, card, self.tree(target)), additions, target, message)
        return total

    def _upload(self, folder: Path, entry: PublishedFile, target: str) -> Any:
        """Bring a large file's content to the Hub's store, unless it is there; a small one goes with the commit."""
        from huggingface_hub import CommitOperationAdd

        def upload() -> Any:
            addition = CommitOperationAdd(entry.path, folder / entry.path)
            self._api.preupload_lfs_files(
                additions=[addition], revision=target, num_threads=1, free_memory=False, **self._where
            )
            return addition

        return self._call(f"sending '{entry.path}'", upload)

    def _commit_group(
        self, lacking: Callable[[], Difference], additions: Mapping[str, Any], target: str, message: str
    ) -> None:
        """Commit what is lacking of a group's files, asked at each attempt; without files, remove what is stale."""
        from huggingface_hub import CommitOperationDelete

        def commit() -> None:
            now = lacking()
            operations = [additions[each.path] for each in now.missing if each.path in additions]
            if not additions:
                operations = [CommitOperationDelete(path) for path in now.stale]
            if operations:
                self._api.create_commit(
                    operations=operations, commit_message=message, revision=target, num_threads=1, **self._where
                )

        self._call(f"committing to '{target}'", commit)

    def read_back(self, folder: Path, entries: Sequence[PublishedFile], card: Card, revision: str) -> None:
        """Compare a revision with the folder: the tree, the card as it is downloaded, some Parquet footers.

        Raises:
            StorageError: they differ.
        """
        lacking = difference(folder, entries, card, self.tree(revision))
        wrong = [each.path for each in lacking.missing] + list(lacking.stale)
        if not wrong and self._readme(revision) != (folder / "README.md").read_bytes():
            wrong = ["README.md"]
        wrong = wrong or [
            each.path for each in _footer_sample(entries) if not self._same_footer(folder, each, revision)
        ]
        if wrong:
            raise StorageError(
                f"'{revision}' of '{self.repo}' does not hold what was sent ({len(wrong)} files differ: "
                f"{listed(wrong)}): main was not touched; repeat the command, which sends them again"
            )

    def _readme(self, revision: str) -> bytes:
        def fetch() -> bytes:
            with tempfile.TemporaryDirectory() as place:
                path = self._api.hf_hub_download(
                    filename="README.md", revision=revision, local_dir=place, **self._where
                )
                return Path(path).read_bytes()

        return self._call(f"reading the card of '{revision}' back", fetch)

    def _same_footer(self, folder: Path, entry: PublishedFile, revision: str) -> bool:
        """Return whether a Parquet file's footer, read from the Hub, is that of the file here."""
        from huggingface_hub import HfFileSystem

        def read() -> Any:
            hub = HfFileSystem(endpoint=self._api.endpoint, token=self._api.token, skip_instance_cache=True)
            address = f"datasets/{self.repo}/{entry.path}"
            with hub.open(address, "rb", revision=revision, block_size=_BLOCK) as opened:
                return pq.read_metadata(opened)

        return bool(self._call(f"reading '{entry.path}' back", read).equals(pq.read_metadata(folder / entry.path)))

    def land(self, folder: Path, entries: Sequence[PublishedFile], card: Card, source: str, message: str) -> str:
        """Put the files of the commit ``source`` on main by one commit, all or nothing, and return main's head.

        The commit refers to large files by their SHA-256, so nothing is sent again; its parent is the head that was
        looked at, so what somebody else commits meanwhile is seen before, never overwritten.
        """
        from huggingface_hub import CommitOperationCopy, CommitOperationDelete

        def commit() -> str:
            head = self.refs().branches[MAIN]
            lacking = difference(folder, entries, card, self.tree(head))
            if not lacking:
                return head
            copies = [CommitOperationCopy(each.path, each.path, src_revision=source) for each in lacking.missing]
            deletions = [CommitOperationDelete(path) for path in lacking.stale]
            done = self._api.create_commit(
                operations=[*copies, *deletions],
                commit_message=message,
                revision=MAIN,
                parent_commit=head,
                **self._where,
            )
            return str(done.oid)

        return self._call("committing to 'main'", commit)

    def tag(self, name: str, commit: str) -> None:
        """Tag a commit."""

        def tag() -> None:
            if self.refs().tags.get(name) != commit:
                self._api.create_tag(**self._where, tag=name, revision=commit)

        self._call(f"tagging '{name}'", tag)

    def pull_request(self, title: str, description: str, author: str) -> int:
        """Return the number of the author's open pull request of this title; open a draft if there is none."""

        def find_or_open() -> int:
            found = self._api.get_repo_discussions(author=author, discussion_type="pull_request", **self._where)
            numbers = [each.num for each in found if each.title == title and each.status in ("draft", "open")]
            if numbers:
                return int(min(numbers))
            return int(self._api.create_pull_request(title=title, description=description, **self._where).num)

        return self._call("opening a pull request", find_or_open)

    def publish_pull_request(self, number: int) -> str:
        """Make a draft ready for review and return its page."""

        def publish() -> None:
            if self._api.get_discussion_details(discussion_num=number, **self._where).status == "draft":
                self._api.change_discussion_status(discussion_num=number, new_status="open", **self._where)

        self._call(f"opening pull request {number} for review", publish)
        return f"{self.url}/discussions/{number}"


def _footer_sample(entries: Iterable[PublishedFile]) -> list[PublishedFile]:
    """Return the first Parquet file of each split, a few."""
    first = {(each.config, each.split): each for each in reversed(list(entries)) if each.path.endswith(".parquet")}
    return list(first.values())[:_FOOTERS]


def _refuse_plain_http(endpoint: str) -> None:
    address = urlsplit(endpoint)
    if address.scheme == "http" and address.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise UsageError(f"HF_ENDPOINT is '{endpoint}': the token would travel readable; write https://")
