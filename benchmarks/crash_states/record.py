"""Record what a process does to a folder: every entry that appears, moves or goes, every write, every sync.

Python's own calls that change a folder, and `os.fsync`, are wrapped: the folder is looked at before and after each, and
the two looks are compared by inode. Arrow, safetensors and torch write from C++, where no call can be wrapped; what
they did is seen at the next look, and every opening of a file below the folder is a look too. So the operations are
exact, but several writes of one file between two looks are recorded as one (`states.py` loses half of it).
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from crash_states.disk import ROOT, Disk, Enter, Node, Operation, Sync, Write

CALLS = ("rename", "replace", "link", "symlink", "unlink", "remove", "mkdir", "rmdir", "ftruncate", "truncate")
Seen = dict[tuple[int, str], os.DirEntry[str]]


class Recorder:
    """Records the operations below ``place`` from :meth:`start` to the end of this process."""

    def __init__(self, place: Path) -> None:
        self.place = os.path.abspath(place)
        self.operations: list[Operation] = []
        self.nodes: dict[int, Node] = {ROOT: Node("folder")}
        self.disk = Disk(self.nodes)
        self._node_of = {os.stat(place).st_ino: ROOT}
        self._lock, self._looking = threading.RLock(), False
        self._link_source = ""

    def start(self) -> None:
        """Start to record; it cannot be undone in this process."""
        for name in CALLS:
            setattr(os, name, self._around(getattr(os, name)))
        for name in ("fsync", "fdatasync"):
            setattr(os, name, self._synced(getattr(os, name)))
        sys.addaudithook(self._hear)

    def _around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **options: Any) -> Any:
            with self._lock:
                self.look()
                self._link_source = os.path.realpath(args[0]) if call.__name__ == "link" else ""
                try:
                    return call(*args, **options)
                finally:
                    self.look()

        return watched

    def _synced(self, call: Callable[[int], None]) -> Callable[[int], None]:
        def watched(descriptor: int) -> None:
            with self._lock:
                self.look()
                call(descriptor)
                node = self._node_of.get(os.fstat(descriptor).st_ino)
                if node is not None:
                    self.operations.append(Sync(node))

        return watched

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event != "open" or self._looking or not isinstance(args[0], (str, bytes, os.PathLike)):
            return
        if os.path.abspath(os.fsdecode(args[0])).startswith(self.place + os.sep):
            with self._lock:
                self.look()

    def look(self) -> None:
        """Compare the folder with the model, and record what is new as operations."""
        with self._lock:
            if self._looking:
                return
            self._looking = True
            try:
                self._compare_contents()
                while self._compare_entries():  # a new folder's own entries are seen at the next comparison
                    pass
            finally:
                self._looking = False

    def _record(self, operation: Operation) -> None:
        self.operations.append(operation)
        self.disk.apply([operation])

    def _compare_entries(self) -> bool:
        """Record entries that went, came or moved; tell whether there were any."""
        seen: Seen = {(folder, entry.name): entry for folder, entry in self._scan()}
        known = {(f, name): node for f, entries in self.disk.folders.items() for name, node in entries.items()}
        reachable = {ROOT, *(node for _, node in self.disk.walk())}
        came = {key: each for key, each in seen.items() if self._node_of.get(each.inode()) != known.get(key, -1)}
        gone = {key: node for key, node in known.items() if key not in seen and key[0] in reachable}
        for (folder, name), entry in came.items():
            node = self._node_of.get(entry.inode())
            moved = next((key for key, old in gone.items() if old == node), None)
            if moved is not None:
                del gone[moved]
                self._record(Enter("rename", ((*moved, None), (folder, name, node))))
                self._forget(known.get((folder, name)))
            else:
                self._came(folder, entry, node)
        for (folder, name), node in gone.items():
            self._record(Enter("rmdir" if self.nodes[node].kind == "folder" else "unlink", ((folder, name, None),)))
            self._forget(node)
        return bool(came)

    def _came(self, folder: int, entry: os.DirEntry[str], node: int | None) -> None:
        """Record a new entry: of a node that is known (a hard link), or of a new node with its content."""
        if node is not None:
            self._record(Enter("link", ((folder, entry.name, node),)))
            return
        node, what = len(self.nodes), self._new_node(entry)
        self.nodes[node], self._node_of[entry.inode()] = what, node
        name = {"folder": "mkdir", "file": "create"}.get(what.kind, what.kind)
        self._record(Enter(name, ((folder, entry.name, node),)))
        if what.kind == "file":
            self._wrote(node, Path(entry.path).read_bytes())

    def _new_node(self, entry: os.DirEntry[str]) -> Node:
        if entry.is_symlink():
            return Node("symlink", os.readlink(entry.path))
        if entry.is_dir():
            return Node("folder")
        linked = self._link_source and entry.stat().st_nlink > 1
        return Node("link", self._link_source) if linked else Node("file")

    def _compare_contents(self) -> None:
        """Record what was written into files that were known."""
        for _, entry in list(self._scan()):
            node = self._node_of.get(entry.inode())
            if node is not None and self.nodes[node].kind == "file":
                with suppress(FileNotFoundError):
                    self._wrote(node, Path(entry.path).read_bytes())

    def _wrote(self, node: int, content: bytes) -> None:
        """Record a file's new content; one that does not go on from the old was cut to nothing first."""
        before = self.disk.contents.get(node, b"")
        if content == before:
            return
        if content and before and not content.startswith(before):
            self._record(Write(node, b""))
        self._record(Write(node, content))

    def _forget(self, node: int | None) -> None:
        """Forget the inode of a node that no entry names any more: the next file may get the same number."""
        if node is not None and all(node not in entries.values() for entries in self.disk.folders.values()):
            self._node_of = {inode: each for inode, each in self._node_of.items() if each != node}

    def _scan(self) -> Iterator[tuple[int, os.DirEntry[str]]]:
        """Yield (folder node, entry) of everything below folders that are known."""
        waiting = [(ROOT, self.place)]
        while waiting:
            folder, path = waiting.pop(0)
            with suppress(FileNotFoundError):
                for entry in sorted(os.scandir(path), key=lambda each: each.name):
                    yield folder, entry
                    node = self._node_of.get(entry.inode())
                    if node is not None and stat.S_ISDIR(entry.stat(follow_symlinks=False).st_mode):
                        waiting.append((node, entry.path))
