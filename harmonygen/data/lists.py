"""Find and read the lists of a dataset: the one place that knows how training and test data are marked by names.

A list is called ``IHD_<role>``, ``<Subset>_<role>`` or ``<role>``, in any case; the role is ``train`` or ``test``. It
ends with ``.txt`` or ``.jsonl``, or with ``.gz`` after either, and lies at the root or in a subset's folder. Several
spellings of one list are one list if they name the same composites.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from harmonygen.data.composite_names import COMPOSITES, CompositeName, parse_lines
from harmonygen.data.files import bad, entries, is_file, read_text, subfolders
from harmonygen.errors import UsageError, shown
from harmonygen.records import Quarantined

Role = Literal["train", "test"]

ENDINGS = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz")
"""What the name of a list ends with, the preferred spelling first."""
WHOLE = ("ihd", "")
"""What the name of a list of all subsets has before ``_train`` or ``_test``, the preferred spelling first."""
_NAME = re.compile(r"(?:(?P<head>.+)_)?(?P<role>train|test)\.(?:txt|jsonl)(?:\.gz)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ListFile:
    """A list of composites.

    ``subset`` is the subset of its bare names. ``scope`` is the subset that it lists: "" for the whole dataset, None
    for a list of another name, which guards read and readers do not.
    """

    path: Path
    subset: str = ""
    scope: str | None = ""


def is_list(path: Path) -> bool:
    """Return whether a file is a list: any name with one of :data:`ENDINGS`."""
    return path.name.lower().endswith(ENDINGS)


def subset_folders(root: Path) -> list[Path]:
    """Return the folders of ``root`` that hold ``composite_images``, sorted."""
    return [folder for folder in subfolders(root) if (folder / COMPOSITES).is_dir()] if root.is_dir() else []


def place_of(data: Path) -> tuple[Path, str | None]:
    """Return the root of a dataset, and the subset if ``data`` is one subset's folder; a list file lies in either."""
    folder = Path(os.path.abspath(data.parent if data.is_file() else data))
    return (folder.parent, folder.name) if (folder / COMPOSITES).is_dir() else (folder, None)


def find_lists(root: Path, role: Role) -> list[ListFile]:
    """Return every list of a role at a root and in its subsets' folders, preferred spellings first."""
    if not root.is_dir():
        return []
    subsets = [folder.name for folder in subset_folders(root)]
    paths = [
        folder / entry.name
        for folder in (root, *(root / name for name in subsets))
        for entry in entries(folder)
        if _role(entry.name) == role and is_file(entry)
    ]
    return [_list_at(path, root, subsets) for path in sorted(paths, key=lambda path: _preference(path, root))]


def _role(name: str) -> str:
    found = _NAME.fullmatch(name)
    return found["role"].lower() if found else ""


def _preference(path: Path, root: Path) -> tuple[bool, bool, int, str]:
    """Order lists: at the root before in a subset's folder, with a head before without, then by ending and name."""
    ending = next(index for index, ending in reversed([*enumerate(ENDINGS)]) if path.name.lower().endswith(ending))
    return path.parent != root, _head(path) == "", ending, str(path)


def _head(path: Path) -> str:
    """Return what stands before ``_train`` or the like in a list's name, in lower case."""
    return path.name.partition(".")[0].rpartition("_")[0].casefold()


def list_at(path: Path, root: Path) -> ListFile:
    """Return the list that a file is, wherever it lies; its subset is known by its name or its folder."""
    return _list_at(Path(os.path.abspath(path)), root, [folder.name for folder in subset_folders(root)])


def _list_at(path: Path, root: Path, subsets: Sequence[str]) -> ListFile:
    head, named = _head(path), {name.casefold(): name for name in subsets}
    inside = path.parent.name if path.parent.parent == root and path.parent.name in subsets else ""
    if head in WHOLE:
        scope: str | None = inside
    else:
        scope = named.get(head) if inside in ("", named.get(head)) else None
    only = subsets[0] if len(subsets) == 1 else ""
    return ListFile(path, named.get(head) or inside or only, scope)


def read_lines(path: Path) -> list[str]:
    """Read the composite paths of a ``txt`` list, or of a ``jsonl`` list with the key ``file_name``; ``.gz`` too.

    Raises:
        UsageError: a line of JSON without a text ``file_name``.
    """
    lines = (line.strip() for line in read_text(path).split("\n"))
    return [
        _file_name(line, number, path) if line.startswith("{") else line for number, line in enumerate(lines, 1) if line
    ]


def _file_name(line: str, number: int, path: Path) -> str:
    try:
        name = json.loads(line)["file_name"]
    except (ValueError, KeyError, RecursionError):
        name = None
    if not isinstance(name, str):
        raise UsageError(f"line {number} of '{path}' has no text 'file_name': write {{\"file_name\": ...}} on each")
    return name


def read_lists(lists: Iterable[ListFile]) -> tuple[list[CompositeName], list[Quarantined]]:
    """Return the composites that lists name, in their order, and the lines that name none.

    Raises:
        UsageError: a list is not text, or paths lead out of their folder.
    """
    names: list[CompositeName] = []
    faults: list[Quarantined] = []
    for listed in lists:
        found, wrong = parse_lines(read_lines(listed.path), listed.subset)
        names += found
        faults += wrong
    return names, faults


def default_lists(root: Path, role: Role = "train", subset: str | None = None) -> list[ListFile]:
    """Return the lists that are read when none is named; none stands for every composite on disk.

    Those of the role (:func:`lists_to_read`); else, for ``train``, the test list of the whole dataset.

    Raises:
        UsageError: spellings of one list name different composites, or test lists are wanted and there are training
            lists alone.
    """
    found = lists_to_read(root, role, subset)
    if found or role == "train":
        return found or [listed for listed in lists_to_read(root, "test", subset) if listed.scope == ""]
    if lists_to_read(root, "train", subset):
        raise UsageError(f"'{root}' has training lists but no IHD_test.txt or <Subset>_test.txt: name the list to read")
    return []


def lists_to_read(root: Path, role: Role, subset: str | None = None) -> list[ListFile]:
    """Return the lists of a role that are read: that of the whole dataset, else those of a subset or of all.

    Of several spellings of one list the first is returned; lists of other names are not read.

    Raises:
        UsageError: spellings of one list name different composites.
    """
    by_scope: dict[str, list[ListFile]] = {}
    for listed in find_lists(root, role):
        if listed.scope is not None:
            by_scope.setdefault(listed.scope, []).append(listed)
    scopes = [""] if "" in by_scope else [subset] if subset else sorted(by_scope)
    return [_agreed(by_scope[scope]) for scope in scopes if scope in by_scope]


def _agreed(spellings: Sequence[ListFile]) -> ListFile:
    """Return the first of several spellings of one list; raise UsageError if they name different composites."""
    first, *others = spellings
    own = _composites(first) if others else frozenset()
    for other in others:
        found = _composites(other)
        if found != own:
            raise UsageError(
                f"'{first.path}' and '{other.path}' are two spellings of one list and name different composites "
                f"({len(own - found)} only in the first, {len(found - own)} only in the second): remove one, or "
                "name the list to read"
            )
    return first


def _composites(listed: ListFile) -> frozenset[str]:
    return frozenset(name.composite_name for name in read_lists([listed])[0])


@dataclass(frozen=True)
class HeldOut:
    """What a dataset's test lists name, for guards: the union of all of them, whatever their names begin with.

    ``names`` has every composite; a bare name whose subset is unknown stands there once for each subset. ``bad`` are
    lines, or lists of another name, that could not be read.
    """

    root: Path
    lists: tuple[ListFile, ...]
    names: tuple[CompositeName, ...]
    bad: tuple[Quarantined, ...] = ()

    @cached_property
    def photos(self) -> frozenset[str]:
        """The ids of the test photos."""
        return frozenset(name.real_id for name in self.names)

    @property
    def told(self) -> str:
        """Say in words what the photos of a dataset are compared with."""
        if not self.lists:
            names = "IHD_test, <Subset>_test or test; .txt or .jsonl, .gz too"
            return f"no test list in '{self.root}' ({names}): nothing was compared"
        unread = f"; {len(self.bad)} lines or lists that name no composite were not" if self.bad else ""
        lists = shown((listed.path.name for listed in self.lists), "lists")
        return f"compared by id with {len(self.photos)} photos of {lists}{unread}"


def held_out(root: Path, lists: Sequence[ListFile] | None = None) -> HeldOut:
    """Return what the test lists of a root name: all that are found there, or ``lists`` alone.

    Raises:
        UsageError: one of the dataset's own lists cannot be read, or has paths that lead out of their folder.
    """
    subsets = [folder.name for folder in subset_folders(root)]
    lists = find_lists(root, "test") if lists is None else lists
    names: dict[CompositeName, None] = {}
    faults: list[Quarantined] = []
    for listed in lists:
        try:
            lines = read_lines(listed.path)
            found = [parse_lines(lines, subset) for subset in ([listed.subset] if listed.subset else subsets or [""])]
        except UsageError as error:
            if listed.scope is not None:
                raise
            faults.append(bad(str(listed.path), str(error)))
            continue
        names.update(dict.fromkeys(name for part, _ in found for name in part))
        faults += found[0][1]
    return HeldOut(root, tuple(lists), tuple(names), tuple(faults))
