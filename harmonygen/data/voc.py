"""Read Pascal VOC: ``JPEGImages`` with label images in ``SegmentationClass`` or ``SegmentationObject``.

The label images are masks like any other: which labels are foreground is said by the masks' own rule. The lists in
``ImageSets/Segmentation`` are splits; photos without a label image are skipped.
"""

from __future__ import annotations

from pathlib import Path

from harmonygen.data.files import Inside, passed_over, read_text, subfolders
from harmonygen.data.folders import Found, Group, Side, pair_up, read_side
from harmonygen.data.splits import Split, choose, passed, split_of
from harmonygen.errors import UsageError
from harmonygen.records import PairSet, ReadOptions

PHOTOS, MASKS = "JPEGImages", ("SegmentationClass", "SegmentationObject")
LISTS = Path("ImageSets", "Segmentation")


def matches(path: Path) -> bool:
    """Return whether a folder, or a folder in it, is in the layout of VOC."""
    return bool(_roots(path))


def _roots(path: Path) -> list[Path]:
    """Return the folder itself, else those in it (``VOCdevkit/VOC2012``), that have photos and label images."""
    if not path.is_dir():
        return []
    return [path] if _is_root(path) else [folder for folder in subfolders(path) if _is_root(folder)]


def _is_root(path: Path) -> bool:
    return (path / PHOTOS).is_dir() and any((path / name).is_dir() for name in MASKS)


def read_voc(
    data: Path, subset: str | None = None, reading: ReadOptions | None = None, split: Split = "train"
) -> PairSet:
    """Read the photos of VOC that have a label image, of one split where lists say which.

    Raises:
        UsageError: no such folders, or no pair.
    """
    roots = _roots(data)
    if not roots:
        raise UsageError(f"'{data}' has no {PHOTOS} beside {' or '.join(MASKS)}: name the folder that holds them")
    inside = Inside(data, reading is not None and reading.allow_outside)
    found = Found()
    notes: tuple[str, ...] = ()
    for root in roots:
        name = root.name if root != data else ""
        if subset in (None, name) or split_of(subset):
            notes += _read_root(root, name, inside, found, split)
    if not found.pairs:
        why = f"; {found.bad[0].message}" if found.bad else ""
        raise UsageError(f"no label image in '{data}' belongs to a photo in {PHOTOS}{why}: name them alike")
    return found.pair_set("voc", data, notes)


def _read_root(root: Path, subset: str, inside: Inside, found: Found, split: Split) -> tuple[str, ...]:
    masks = [root / name for name in MASKS if (root / name).is_dir()]
    group = Group(subset, root / PHOTOS, masks[0], sparse=True)
    sides = read_side(group.photos, inside, found), read_side(group.masks, inside, found)
    found.passed += [passed_over(each, "other masks", f"is not read: '{masks[0].name}' is") for each in masks[1:]]
    names, others = _listed(root, split)
    found.passed += [passed(path, split_of(path.name), split_of(names[0].name)) for path in others if names]
    if names:
        found.split = split_of(names[0].name) if others else ""
        wanted = {line.split()[0] for path in names for line in read_text(path).splitlines() if line.strip()}
        sides = _of_names(sides[0], wanted), _of_names(sides[1], wanted)
    pair_up(group, *sides, found)
    return (f"the masks are the label images of '{masks[0].name}': every label but background and void is foreground",)


def _listed(root: Path, split: Split) -> tuple[list[Path], list[Path]]:
    """Return the lists of a split and the others; ``trainval.txt`` repeats both."""
    folder = root / LISTS
    lists = [path for path in sorted(folder.glob("*.txt")) if split_of(path.name)] if folder.is_dir() else []
    return choose(lists, lambda path: split_of(path.name), split, str(folder)) if lists else ([], [])


def _of_names(side: Side, wanted: set[str]) -> Side:
    return Side(side.folder, {key: path for key, path in side.files.items() if key[1] in wanted}, side.unread)
