"""Read the iHarmony4 layout: ``<Subset>/{composite_images,masks,real_images}`` with list files (REFERENCE section 1).

A composite ``<id>_<mask>_<variant>.jpg`` belongs to mask ``<id>_<mask>.png`` and photo ``<id>.jpg``; the id may hold
dashes and underscores, since the mask and the variant are the last two fields. Composites of one (photo, mask) are
one pair. Lists alone are enough: no image is opened, and a folder is listed once rather than asked for each file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from harmonygen.data.composite_names import COMPOSITES, MASKS, REALS, CompositeName, parse_lines
from harmonygen.data.files import Listing, bad, is_image, not_read, passed_over, subfolders
from harmonygen.data.ids import fault, refuse_unsafe, safe_id
from harmonygen.data.lists import (
    ListFile,
    Role,
    default_lists,
    find_lists,
    is_list,
    list_at,
    place_of,
    read_lists,
    subset_folders,
)
from harmonygen.errors import UsageError
from harmonygen.records import FileSource, Pair, PairSet, PassedOver, Quarantined

Locate = Callable[[str, str, str], Path]
"""(subset, ``masks`` or ``real_images``, stem) -> path of that image."""


def matches(path: Path) -> bool:
    """Return whether ``path`` is a dataset in this layout, one subset of one, or a list file."""
    if path.is_file():
        return is_list(path)
    return (path / COMPOSITES).is_dir() or any((folder / COMPOSITES).is_dir() for folder in subfolders(path))


def read_iharmony4(
    data: Path, list_file: str | Path | None = None, subset: str | None = None, role: Role = "train"
) -> PairSet:
    """Read a dataset in iHarmony4 layout.

    Args:
        data: the root, one subset's folder (the same as the root with ``subset``), or a list file in the root.
        list_file: a ``txt`` or ``jsonl`` list (``.gz`` too) of composites, relative to the root or to the working
            directory, or absolute; the default is :func:`harmonygen.data.lists.default_lists`, else every composite
            on disk.
        subset: read this subset alone.
        role: which lists are read where none is named.

    Raises:
        UsageError: the list or subset is missing, ids lead out of their folder, or nothing is left to read.
    """
    root, own = place_of(data)
    subset = subset or own
    if data.is_file():
        data, list_file = data.parent, list_file or data.absolute()
    lists = [list_at(_find_list(root, data, list_file), root)] if list_file else default_lists(root, role, subset)
    names, faults, rows = (*read_lists(lists), ()) if lists else _on_disk(root, subset)
    kept = [name for name in names if subset is None or name.subset == subset]
    paths = tuple(listed.path for listed in lists)
    _refuse_nothing(kept, names, faults, subset, ", ".join(f"'{path}'" for path in paths) or f"'{root}'")
    notes: tuple[str, ...] = ()
    if lists and not list_file:
        alone = _not_listed(root, names, subset)
        rows, notes = (*_other_lists(root, lists, role), *alone), _notes(root, paths, role, alone)
    return PairSet(pairs_on_disk(kept, root), "iharmony4", root, tuple(faults), (), paths, rows, notes)


def _other_lists(root: Path, lists: Sequence[ListFile], role: Role) -> tuple[PassedOver, ...]:
    """Return the lists of the other role, which are not read."""
    other: Role = "test" if role == "train" else "train"
    read = {listed.path for listed in lists}
    found = (listed.path for listed in find_lists(root, other))
    return tuple(
        passed_over(path, "split", f"is a {other} list: what it names alone is not read; name it to read it")
        for path in found
        if path not in read
    )


def _not_listed(root: Path, names: Iterable[CompositeName], subset: str | None) -> tuple[PassedOver, ...]:
    """Return the subsets on disk of which no list names a composite."""
    listed = {name.subset for name in names}
    return tuple(
        passed_over(folder, "no list", "has composites that no list names: write a list of them, or name the subset")
        for folder in subset_folders(root)
        if folder.name not in listed and subset in (None, folder.name)
    )


def _notes(root: Path, lists: Sequence[Path], role: Role, alone: Sequence[PassedOver]) -> tuple[str, ...]:
    """Say which subsets no list names, and that test lists are read where there is no other."""
    said = []
    tested = {listed.path for listed in find_lists(root, "test")}
    if role == "train" and tested.issuperset(lists):
        said.append(f"there is no training list: the test list {', '.join(path.name for path in lists)} is read")
    if alone:
        named = ", ".join(f"'{Path(row.name).name}'" for row in alone)
        read = ", ".join(f"'{path.name}'" for path in lists)
        said.append(f"the composites of {named} are in no list that is read ({read}): they are left out")
    return tuple(said)


def pairs_on_disk(names: Iterable[CompositeName], root: Path) -> tuple[Pair, ...]:
    """Group composites into the pairs that they belong to, with the files of each photo and mask."""
    return tuple(_group(names, _on_disk_locator(root)))


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


def _find_list(root: Path, data: Path, list_file: str | Path) -> Path:
    places = list(dict.fromkeys([data / list_file, root / list_file, Path(list_file)]))
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(f"'{place}'" for place in places)
    raise UsageError(f"list '{list_file}' is not a file (looked at {looked}): name it relative to the dataset's root")


def _on_disk(root: Path, subset: str | None) -> tuple[list[CompositeName], list[Quarantined], tuple[PassedOver, ...]]:
    """Return the composites on disk, those that cannot be read, and the files among them that are no images."""
    lines: list[str] = []
    faults: list[Quarantined] = []
    others: list[PassedOver] = []
    for folder in subset_folders(root):
        for name in sorted(os.listdir(folder / COMPOSITES)) if subset in (None, folder.name) else ():
            if not is_image(name):
                others.append(not_read(folder / COMPOSITES / name))
            elif why := fault(name):
                path = str(folder / COMPOSITES / name)
                faults.append(bad(path, f"the name of '{path}' {why}: rename it"))
            else:
                lines.append(f"{folder.name}/{COMPOSITES}/{name}")
    names, wrong = parse_lines(lines, "")
    return names, faults + wrong, tuple(others)


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
        real=FileSource(locate(first.subset, REALS, first.real), as_stored=True),
        mask=FileSource(locate(first.subset, MASKS, first.mask_stem)),
        subset=first.subset,
        originals=tuple(sorted({name.composite_name for name in group})),
    )
