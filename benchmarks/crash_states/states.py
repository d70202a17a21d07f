"""What a disk may hold after a crash: every prefix of a record, less what was not synced.

The model is that of ALICE (Pillai et al., OSDI 2014) and CrashMonkey (Mohan et al., OSDI 2018), made smaller:

- A crash happens between two operations. Without a power cut everything before it is there.
- A file's content is durable up to its last fsync; what was written since may be missing (the content of that fsync, or
  an empty file), half there, or zeros of the right length.
- An entry (create, mkdir, rename, link, symlink, unlink, rmdir) is durable once a folder that it changes is synced
  afterwards. Syncing a file does not make its name durable. A rename is atomic: both entries or none.
- At each prefix every item that is not durable is lost alone, and all of them together; other combinations are not
  tried. Equal disks are tried once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from crash_states.disk import ROOT, Disk, Enter, Node, Operation, Sync, Write

ALL = "all that was not synced"


@dataclass(frozen=True)
class State:
    """A disk after a crash: ``prefix`` operations were done, and of these ``lost`` says what is not there."""

    prefix: int
    after: str
    lost: str
    disk: Disk

    @property
    def said(self) -> str:
        """The state in words."""
        return f"crash after {self.prefix} ({self.after}), lost: {self.lost}"


def states(operations: Sequence[Operation], nodes: Mapping[int, Node]) -> Iterator[State]:
    """Yield every state that differs from those before it, by prefix."""
    seen: set[bytes] = set()
    for prefix in range(len(operations) + 1):
        for lost, kept in survivals(operations[:prefix]):
            disk = Disk(nodes).apply(kept)
            if (mark := disk.fingerprint()) not in seen:
                seen.add(mark)
                yield State(prefix, told(operations, prefix - 1), lost, disk)


def survivals(done: Sequence[Operation]) -> Iterator[tuple[str, list[Operation]]]:
    """Yield (what is lost, the operations that survive) for a crash after ``done``."""
    yield "nothing", list(done)
    entries, written = unsynced_entries(done), unsynced_contents(done)
    for at in entries:
        yield told(done, at), [*done[:at], *done[at + 1 :]]
    for node, since in written.items():
        for how, content in damaged(done, node, since).items():
            yield f"the content of {name_of(done, node)} ({how})", _with_content(done, node, content)
    if len(entries) + len(written) > 1:
        kept: list[Operation] = [each for at, each in enumerate(done) if at not in entries]
        for node, since in written.items():
            kept = _with_content(kept, node, damaged(done, node, since)["missing"])
        yield ALL, kept


def unsynced_entries(done: Sequence[Operation]) -> list[int]:
    """Return the places of entry operations that no later sync of one of their folders made durable."""
    synced: set[int] = set()
    found = []
    for at in range(len(done) - 1, -1, -1):
        operation = done[at]
        if isinstance(operation, Sync):
            synced.add(operation.node)
        elif isinstance(operation, Enter) and not synced & {folder for folder, _, _ in operation.entries}:
            found.append(at)
    return found[::-1]


def unsynced_contents(done: Sequence[Operation]) -> dict[int, int]:
    """Return the files that were written since their last sync, with the place of that sync (-1: never)."""
    synced: dict[int, int] = {}
    written: dict[int, int] = {}
    for at, operation in enumerate(done):
        if isinstance(operation, Sync):
            synced[operation.node] = at
            written.pop(operation.node, None)
        elif isinstance(operation, Write):
            written[operation.node] = synced.get(operation.node, -1)
    return written


def damaged(done: Sequence[Operation], node: int, since: int) -> dict[str, bytes]:
    """Return the contents that a file may have that was last synced at ``since``."""
    contents = [b"", *(each.content for each in done[: since + 1] if isinstance(each, Write) and each.node == node)]
    durable, whole = contents[-1], Disk({}).apply(done).contents[node]
    added = len(whole) - len(durable) if whole.startswith(durable) else len(whole)
    first = whole[: len(whole) - added]
    return {
        "missing": durable,
        "half": first + whole[len(first) :][: added // 2],
        "zeros": first + bytes(added),
    }


def _with_content(done: Sequence[Operation], node: int, content: bytes) -> list[Operation]:
    return [*(each for each in done if not (isinstance(each, Write) and each.node == node)), Write(node, content)]


def told(operations: Sequence[Operation], at: int) -> str:
    """Say what an operation did, by the names that its files had then."""
    if at < 0:
        return "nothing"
    operation = operations[at]
    if isinstance(operation, Enter):
        names = [f"{name_of(operations[:at], folder)}/{name}" for folder, name, _ in operation.entries]
        return f"{operation.what} {' -> '.join(names)}"
    return f"{type(operation).__name__.lower()} {name_of(operations[: at + 1], operation.node)}"


def name_of(done: Sequence[Operation], node: int) -> str:
    """Return the newest path of a node."""
    for operation in reversed(done):
        for folder, name, named in operation.entries if isinstance(operation, Enter) else ():
            if named == node:
                return f"{name_of(done, folder)}/{name}"
    return "" if node == ROOT else f"node {node}"
