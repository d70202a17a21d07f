"""Read the iHarmony4 layout: ``<Subset>/{composite_images,masks,real_images}`` with list files (REFERENCE section 1).

A composite ``<id>_<mask>_<variant>.jpg`` belongs to mask ``<id>_<mask>.png`` and photo ``<id>.jpg``; the id may hold
dashes and underscores, since the mask and the variant are the last two fields. Composites of one (photo, mask) are
one pair. Lists alone are enough: no image is opened, and a folder is listed once rather than asked for each file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harmonygen.data.files import Listing, bad, is_image, read_text, subfolders
from harmonygen.data.ids import refuse_unsafe, safe_id
from harmonygen.errors import InputError, UsageError
from harmonygen.records import FileSource, Pair, PairSet, Quarantined

__all__ = [
    "COMPOSITES",
    "MASKS",
    "REALS",
    "CompositeName",
    "default_lists",
    "pairs_from_names",
    "read_iharmony4",
    "read_lines",
    "subset_folders",
]

LIST_SUFFIXES = (".txt", ".jsonl")
Locate = Callable[[str, str, str], Path]
"""(subset, ``masks`` or ``real_images``, stem) -> path of that image."""


def matches(path: Path) -> bool:
    """Tell whether ``path`` is a dataset in this layout, one subset of one, or a list file."""
    if path.is_file():
        return path.name.lower().removesuffix(".gz").endswith(LIST_SUFFIXES)
    return (path / COMPOSITES).is_dir() or any((folder / COMPOSITES).is_dir() for folder in subfolders(path))


def read_iharmony4(data: Path, list_file: str | Path | None = None, subset: str | None = None) -> PairSet:
    """Read a dataset in iHarmony4 layout.

    Args:
        data: the root, one subset's folder (the same as the root with ``subset``), or a list file in the root.
        list_file: a ``txt`` or ``jsonl`` list (``.gz`` too) of composites, relative to the root or to the working
            directory, or absolute; the default is :func:`default_lists`, else every composite on disk.
        subset: read this subset alone.

    Raises:
        UsageError: the list or subset is not there, ids lead out of their folder, or nothing is left to read.
    """
    if data.is_file():
        data, list_file = data.parent, list_file or data.absolute()
    root = Path(os.path.abspath(data))
    if (root / COMPOSITES).is_dir():
        root, subset = root.parent, subset or root.name
    lists = [_find_list(root, data, list_file)] if list_file else default_lists(root, subset)
    if lists:
        names, faults = _parse_lists(lists, root)
    else:
        names, faults = _on_disk(root, subset)
    kept = [name for name in names if subset is None or name.subset == subset]
    where = ", ".join(f"'{path}'" for path in lists) or f"'{root}'"
    _refuse_nothing(kept, names, faults, subset, where)
    return PairSet(tuple(_group(kept, _on_disk_locator(root))), "iharmony4", root, tuple(faults))


def pairs_from_names(lines: Iterable[str], root: Path = Path(), subset: str = "") -> PairSet:
    """Group a list's lines into pairs by their names alone; no file is looked for.

    Masks are taken to be PNG and photos JPEG. 64,255 lines take about a second.

    >>> pairs_from_names(["HFlickr/composite_images/f1_1_1.jpg", "HFlickr/composite_images/f1_1_2.jpg"])[0].pair_id
    'HFlickr/f1_1'
    """
    names, faults = parse_lines(lines, subset)

    def locate(part: str, kind: str, stem: str) -> Path:
        return root / f"{part}/{kind}/{stem}{'.png' if kind == MASKS else '.jpg'}"

    return PairSet(tuple(_group(names, locate)), "iharmony4", root, tuple(faults))


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


def default_lists(root: Path, subset: str | None = None) -> list[Path]:
    """Return the lists read when none is named: the first of these that is there.

    ``IHD_train.txt``; the ``<Subset>_train.txt`` of the wanted subset or of all; ``IHD_test.txt``; else none, which
    stands for every composite on disk.
    """
    whole = root / "IHD_train.txt"
    if whole.is_file():
        return [whole]
    wanted = [subset] if subset else [folder.name for folder in subset_folders(root)]
    parts = [path for name in wanted for path in (_subset_list(root, name),) if path]
    test = root / "IHD_test.txt"
    return parts or ([test] if test.is_file() else [])


def _subset_list(root: Path, subset: str) -> Path | None:
    places = (root / f"{subset}_train.txt", root / subset / f"{subset}_train.txt")
    return next((path for path in places if path.is_file()), None)


def subset_folders(root: Path) -> list[Path]:
    """Return the folders of ``root`` that hold ``composite_images``, sorted."""
    return [folder for folder in subfolders(root) if (folder / COMPOSITES).is_dir()] if root.is_dir() else []


def _find_list(root: Path, data: Path, list_file: str | Path) -> Path:
    places = list(dict.fromkeys([data / list_file, root / list_file, Path(list_file)]))
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(f"'{place}'" for place in places)
    raise UsageError(f"list '{list_file}' is not a file (looked at {looked}): name it relative to the dataset's root")


def _parse_lists(lists: Sequence[Path], root: Path) -> tuple[list[CompositeName], list[Quarantined]]:
    names: list[CompositeName] = []
    faults: list[Quarantined] = []
    for path in lists:
        found, wrong = parse_lines(read_lines(path), _list_subset(path, root))
        names += found
        faults += wrong
    return names, faults


def _list_subset(path: Path, root: Path) -> str:
    """Return the subset of a list's bare names: ``HFlickr`` for ``HFlickr_train.txt`` if there is such a folder."""
    head = path.name.partition(".")[0].rpartition("_")[0]
    known = {folder.name for folder in subset_folders(root)}
    if head in known:
        return head
    return path.parent.name if path.parent.name in known and path.parent.parent == root else ""


def _on_disk(root: Path, subset: str | None) -> tuple[list[CompositeName], list[Quarantined]]:
    lines = [
        f"{folder.name}/{COMPOSITES}/{name}"
        for folder in subset_folders(root)
        if subset in (None, folder.name)
        for name in sorted(os.listdir(folder / COMPOSITES))
        if is_image(name)
    ]
    return parse_lines(lines, "")


def _refuse_nothing(
    kept: Sequence[CompositeName],
    names: Sequence[CompositeName],
    faults: Sequence[Quarantined],
    subset: str | None,
    where: str,
) -> None:
    if kept:
        return
    if names:
        found = ", ".join(sorted({name.subset or "(no subset)" for name in names}))
        raise UsageError(f"subset '{subset}' is not in {where}, which has {found}: choose one of these")
    first = f"; the first of {len(faults)} bad lines: {faults[0].message}" if faults else ""
    raise UsageError(f"no composite is named in {where}{first}: give a list of <Subset>/{COMPOSITES}/<name> paths")


def _on_disk_locator(root: Path) -> Locate:
    listings: dict[tuple[str, str], Listing] = {}

    def locate(subset: str, kind: str, stem: str) -> Path:
        listing = listings.get((subset, kind))
        if listing is None:
            preferred = (".png", ".jpg", ".jpeg") if kind == MASKS else (".jpg", ".jpeg", ".png")
            listing = listings[subset, kind] = Listing(root / subset / kind, preferred)
        return listing.path(stem)

    return locate


def _group(names: Iterable[CompositeName], locate: Locate) -> list[Pair]:
    groups: dict[tuple[str, str, str], list[CompositeName]] = {}
    for name in names:
        groups.setdefault((name.subset, name.real, name.mask), []).append(name)
    refuse_unsafe(sorted({subset for subset, _, _ in groups if subset}), "subset")
    refuse_unsafe(sorted({real for _, real, _ in groups}), "photo id")
    refuse_unsafe(sorted({mask for _, _, mask in groups}), "mask id")
    return sorted((_pair(group, locate) for group in groups.values()), key=lambda pair: pair.pair_id)


def _pair(group: Sequence[CompositeName], locate: Locate) -> Pair:
    first = group[0]
    return Pair(
        pair_id=first.pair_id,
        real_id=first.real_id,
        mask_id=safe_id(first.mask),
        real=FileSource(locate(first.subset, REALS, first.real)),
        mask=FileSource(locate(first.subset, MASKS, first.mask_stem)),
        subset=first.subset,
        originals=tuple(sorted({name.composite_name for name in group})),
    )


COMPOSITES, MASKS, REALS = "composite_images", "masks", "real_images"


_NAME = re.compile(r"(?P<real>.+)_(?P<mask>[^_/]+)_(?P<variant>[^_/]+)(?P<suffix>\.[A-Za-z0-9]+)")


_LEADS_OUT = re.compile(r"[\\\0]|^/|^[A-Za-z]:|(?:^|/)\.\.(?:/|$)")


@dataclass(frozen=True, slots=True)
class CompositeName:
    """A composite's path taken apart: ``<subset>/composite_images/<real>_<mask>_<variant><suffix>``.

    >>> name = CompositeName.parse("Hday2night/composite_images/d1048-20120628-200951_1_3.jpg")
    >>> name.real, name.mask, name.variant, name.mask_name
    ('d1048-20120628-200951', '1', '3', 'Hday2night/masks/d1048-20120628-200951_1.png')
    """

    subset: str
    real: str
    mask: str
    variant: str
    suffix: str = ".jpg"

    @classmethod
    def parse(cls, line: str, subset: str = "") -> CompositeName:
        """Take apart a list's line: ``<Subset>/composite_images/<name>``, or less of it with ``subset`` given.

        Raises:
            InputError: the name is not ``<id>_<mask>_<variant>.<suffix>`` or lies in another folder.
            UsageError: the path leads out of its folder.
        """
        _refuse_paths([line])
        return cls._split(line, subset)

    @classmethod
    def _split(cls, line: str, subset: str) -> CompositeName:
        folder, _, name = line.rpartition("/")
        found = _NAME.fullmatch(name)
        if found is None:
            raise InputError(f"'{line}' is not a composite: <id>_<mask>_<variant>.jpg is needed: rename or drop it")
        return cls(_subset_of(folder, subset, line), found["real"], found["mask"], found["variant"], found["suffix"])

    @property
    def composite_name(self) -> str:
        """The composite's path relative to the dataset's root."""
        return f"{self._in(COMPOSITES)}{self.real}_{self.mask}_{self.variant}{self.suffix}"

    @property
    def mask_name(self) -> str:
        """The mask's path relative to the root, in the usual format."""
        return f"{self._in(MASKS)}{self.mask_stem}.png"

    @property
    def real_name(self) -> str:
        """The photo's path relative to the root, in the usual format."""
        return f"{self._in(REALS)}{self.real}.jpg"

    @property
    def mask_stem(self) -> str:
        """The mask's file name without its suffix."""
        return f"{self.real}_{self.mask}"

    @property
    def pair_id(self) -> str:
        """``<Subset>/<id>_<mask>``, cleaned as file names are."""
        return f"{self.real_id}_{safe_id(self.mask)}"

    @property
    def real_id(self) -> str:
        """``<Subset>/<id>``, cleaned as file names are."""
        return f"{self._prefix}{safe_id(self.real)}"

    @property
    def _prefix(self) -> str:
        return f"{self.subset}/" if self.subset else ""

    def _in(self, folder: str) -> str:
        return f"{self._prefix}{folder}/"


def _subset_of(folder: str, subset: str, line: str) -> str:
    if folder in ("", COMPOSITES):
        return subset
    found, _, last = folder.rpartition("/")
    if last != COMPOSITES or "/" in found:
        raise InputError(
            f"'{line}' is not <Subset>/{COMPOSITES}/<name>: write paths relative to the dataset's root, or drop it"
        )
    return found


def _refuse_paths(lines: Iterable[str]) -> None:
    faulty = [line for line in lines if _LEADS_OUT.search(line) or _is_deep(line)]
    if faulty:
        named = ", ".join(repr(line[:120]) for line in faulty[:5])
        raise UsageError(
            f"{len(faulty)} path(s) leave their folder, or have an id with '/', '\\', '..' or NUL: {named}: "
            f"write <Subset>/{COMPOSITES}/<id>_<mask>_<variant>.jpg"
        )


def _is_deep(line: str) -> bool:
    """Tell whether a name has folders of its own, which is an id with a slash."""
    return "/" in line.partition(f"{COMPOSITES}/")[2]


def parse_lines(lines: Iterable[str], subset: str = "") -> tuple[list[CompositeName], list[Quarantined]]:
    """Parse a list's lines; those that name no composite come back as quarantine rows.

    Raises:
        UsageError: paths lead out of their folder; the first are named.
    """
    lines = list(lines)
    _refuse_paths(lines)
    names, faults = [], []
    for line in lines:
        try:
            names.append(CompositeName._split(line, subset))
        except InputError as error:
            faults.append(bad(line, str(error)))
    return names, faults
