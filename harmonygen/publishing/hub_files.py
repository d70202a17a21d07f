"""Compare the files of a dataset with what a revision on the Hub holds, by content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harmonygen.data.manifest import PublishedFile
from harmonygen.publishing.front_matter import Card

GROUP_FILES = 50  # of one commit to the branch
GROUP_BYTES = 5_000_000_000


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in the repository: its size, SHA-256 if it is a large file, and Git's id of its content if not."""

    size: int
    sha256: str | None
    blob_id: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What a revision lacks of the files to be published, and what it has that must go."""

    missing: tuple[PublishedFile, ...]
    stale: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.stale)


def difference(folder: Path, entries: Sequence[PublishedFile], card: Card, tree: Mapping[str, HubFile]) -> Difference:
    """Compare files with a revision's: which are missing or differ, and which others a split of the card would read."""
    names = {each.path for each in entries}
    missing = tuple(each for each in entries if not is_same(folder, each, tree.get(each.path)))
    return Difference(missing, tuple(path for path in sorted(tree) if path not in names and card.homes(path)))


def is_same(folder: Path, entry: PublishedFile, remote: HubFile | None) -> bool:
    """Return whether the repository's file has the content of the entry's."""
    if remote is None or remote.size != entry.bytes:
        return False
    if remote.sha256 is not None:
        return remote.sha256 == entry.sha256
    content = (folder / entry.path).read_bytes()  # a small one: Git holds it itself
    return remote.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def groups(entries: Iterable[PublishedFile]) -> Iterator[tuple[PublishedFile, ...]]:
    """Cut entries into the groups that are committed together, the card in the last."""
    group: list[PublishedFile] = []
    size = 0
    for each in sorted(entries, key=lambda each: (each.path == "README.md", each.path)):
        if group and (len(group) >= GROUP_FILES or size + each.bytes > GROUP_BYTES):
            yield tuple(group)
            group, size = [], 0
        group.append(each)
        size += each.bytes
    if group:
        yield tuple(group)
