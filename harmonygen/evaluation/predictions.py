"""Match a folder of predictions to composites, one to one, whatever they are called.

A file belongs to the composite whose name its own name holds between separators: the same stem (in any format), with
something before or behind it (``a0041_1_5_harmonized.png``, ``out-a0041_1_5.jpg``), flat or in folders, with the subset
as a folder or before the name. The longest name counts, so ``p_2.png`` is that of ``p_2`` and not of ``p``. Two files
for one composite, or two composites for one file, are an error that names both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from harmonygen.data.files import walk_images
from harmonygen.errors import InputError, UsageError, listed

_EDGES = re.compile(r"(?<![^\W_])(?=[^\W_])|(?<=[^\W_])(?![^\W_])")
_NAMED = 20  # how many faulty names a message holds


def match_predictions(folder: Path, names: Sequence[str], match: str = "*") -> dict[str, Path]:
    """Return the file of each composite.

    Args:
        folder: where the predictions lie, at any depth.
        names: the composites' unique names, ``<Subset>/<stem>`` or ``<stem>``.
        match: only files whose path below the folder fits this pattern count (``*`` also stands for ``/``).

    Raises:
        UsageError: no folder, or no picture in it that fits the pattern.
        InputError: composites without a file (listed), or ambiguous names (both named).
    """
    if not folder.is_dir():
        raise UsageError(f"predictions '{folder}' is not a folder: check the path")
    known = _by_stem(names)
    subsets = {name.rpartition("/")[0] for name in names} - {""}
    found: dict[str, list[str]] = {}
    doubtful: list[str] = []
    files = 0
    for path in _pictures(folder, match):
        files += 1
        owners = _owners(PurePosixPath(path), known, subsets)
        if len(owners) > 1:
            doubtful.append(f"'{path}' fits {' and '.join(repr(owner) for owner in owners)}")
        elif owners:
            found.setdefault(owners[0], []).append(path)
    if not files:
        raise UsageError(f"'{folder}' holds no picture that fits '{match}': check the folder and the pattern")
    doubtful += [f"{name!r} has {_both(paths)}" for name, paths in found.items() if len(paths) > 1]
    _refuse(folder, doubtful, [name for name in names if name not in found])
    return {name: folder / found[name][0] for name in names}


def _refuse(folder: Path, doubtful: Sequence[str], missing: Sequence[str]) -> None:
    if doubtful:
        raise InputError(
            f"{len(doubtful)} names in '{folder}' are ambiguous: {listed(doubtful, most=_NAMED, between='; ')}: "
            "keep one file a composite, or say which with a pattern (--match '*_harmonized.png')"
        )
    if missing:
        raise InputError(
            f"'{folder}' lacks predictions of {len(missing)} composites: {listed(missing, most=_NAMED)}: add them"
        )


def _both(paths: Sequence[str]) -> str:
    return " and ".join(repr(path) for path in sorted(paths)[:3])


def _pictures(folder: Path, match: str) -> Iterator[str]:
    paths = (f"{inside}{path.name}" for inside, path in walk_images(folder))
    return (path for path in paths if fnmatchcase(path, match))


def _by_stem(names: Sequence[str]) -> dict[str, list[str]]:
    known: dict[str, list[str]] = {}
    for name in names:
        known.setdefault(name.rpartition("/")[2], []).append(name)
    return known


def _owners(path: PurePosixPath, known: Mapping[str, Sequence[str]], subsets: set[str]) -> list[str]:
    """Return the composites that a file's path fits best: one, none, or several where it is ambiguous."""
    longest = _longest(path.stem, known)
    owners = sorted({name for stem in longest for name in known[stem]})
    told = {subset for subset in subsets if subset in path.parts[:-1] or _holds(path.stem, subset)}
    if told:  # the path names a subset: the others are out
        owners = [name for name in owners if name.rpartition("/")[0] in told]
    return owners


def _longest(stem: str, known: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the longest known stems that lie in ``stem`` between separators."""
    if stem in known:
        return [stem]
    edges = [found.start() for found in _EDGES.finditer(stem)]
    spans = ((start, end) for start in edges for end in edges if end > start)
    held = {stem[start:end] for start, end in spans} & known.keys()
    most = max(map(len, held), default=0)
    return sorted(name for name in held if len(name) == most)


def _holds(stem: str, subset: str) -> bool:
    return re.search(rf"(?<![^\W_]){re.escape(subset)}(?![^\W_])", stem) is not None
