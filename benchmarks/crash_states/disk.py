"""A model of a folder on a disk: nodes, the entries that name them, and the operations that change both.

Nodes are numbers, as inodes are, so that an operation keeps its meaning when an earlier one is lost: a file that was
written and then renamed still has its content if only its first name is lost. Node 0 is the folder itself.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = 0


@dataclass(frozen=True)
class Enter:
    """Set folder entries in one atomic step: (folder node, name, node or None). A rename sets two, others set one."""

    what: str
    entries: tuple[tuple[int, str, int | None], ...]


@dataclass(frozen=True)
class Write:
    """Give a file node its content; what a program adds in several calls between two looks is one write."""

    node: int
    content: bytes


@dataclass(frozen=True)
class Sync:
    """Make a file's content, or a folder's entries, durable."""

    node: int


Operation = Enter | Write | Sync


@dataclass(frozen=True)
class Node:
    """What a node is: ``folder``, ``file``, ``symlink`` (to ``target``) or ``link`` (a hard link to ``target``)."""

    kind: str
    target: str = ""


@dataclass
class Disk:
    """Folders' entries and files' contents at one moment."""

    nodes: Mapping[int, Node]
    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    contents: dict[int, bytes] = field(default_factory=dict)

    def apply(self, operations: Iterable[Operation]) -> Disk:
        """Apply operations in order and return this disk."""
        for operation in operations:
            if isinstance(operation, Enter):
                for folder, name, node in operation.entries:
                    self._set(folder, name, node)
            elif isinstance(operation, Write):
                self.contents[operation.node] = operation.content
        return self

    def _set(self, folder: int, name: str, node: int | None) -> None:
        entries = self.folders.setdefault(folder, {})
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node

    def walk(self, folder: int = ROOT, before: str = "") -> Iterator[tuple[str, int]]:
        """Yield (path, node) of everything that a name leads to, folders before what is in them."""
        for name, node in sorted(self.folders.get(folder, {}).items()):
            yield before + name, node
            if self.nodes[node].kind == "folder":
                yield from self.walk(node, f"{before}{name}/")

    def fingerprint(self) -> bytes:
        """Return a digest that two disks share if and only if they are rebuilt alike."""
        digest = hashlib.sha256()
        for path, node in self.walk():
            content = hashlib.sha256(self.contents.get(node, b"")).hexdigest()
            digest.update(f"{path}\0{self.nodes[node]}\0{content}\0".encode())
        return digest.digest()

    def rebuild(self, place: Path) -> None:
        """Write the disk into the empty folder ``place``."""
        for path, node in self.walk():
            target, what = place / path, self.nodes[node]
            if what.kind == "folder":
                target.mkdir()
            elif what.kind == "symlink":
                target.symlink_to(what.target)
            elif what.kind == "link":
                os.link(what.target, target)
            else:
                target.write_bytes(self.contents.get(node, b""))
