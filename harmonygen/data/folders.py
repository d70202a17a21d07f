"""Read a folder of photos with a folder of masks, or one folder in which masks lie beside their photos.

Names say which mask belongs to which photo (:mod:`harmonygen.data.mask_names`). Sub-folders are read too and must be
alike on both sides. A root that holds several such folders is read whole, each folder's name being the subset; where
the folders are splits, one split is read (:mod:`harmonygen.data.splits`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harmonygen.data.files import (
    FolderWalk,
    Inside,
    bad,
    entries,
    escaped,
    has_image,
    is_image,
    nfc,
    passed_over,
    subfolders,
)
from harmonygen.data.ids import fault, safe_id
from harmonygen.data.mask_names import Key, Owner, Photos
from harmonygen.data.splits import Split, choose, note, passed, split_of_folder
from harmonygen.errors import UsageError
from harmonygen.records import FileSource, Pair, PairSet, PassedOver, Quarantined, ReadOptions

PHOTO_FOLDERS = ("images", "photos", "photo", "real", "reals", "real_images")
MASK_FOLDERS = ("masks", "mask", "annotations")
OTHER_PHOTO_FOLDERS = ("image", "img", "imgs", "rgb", "jpegimages")
OTHER_MASK_FOLDERS = ("labels", "label", "gt", "groundtruth", "ground_truth", "seg", "segmentation", "matte", "alpha")
"""Names that count where there is no folder of the names above."""
_SPLIT_FIRST = re.compile(r"(?P<split>[^\W_]+)[-_ ]+(?P<role>.+)")
_SPLIT_LAST = re.compile(r"(?P<role>.+)[-_ ]+(?P<split>[^\W_]+)")


@dataclass(frozen=True, slots=True)
class Group:
    """One folder of photos with its folder of masks; ``subset`` is "" if they lie in the root itself.

    ``split`` is the split that its name has. Where ``photos`` and ``masks`` are one folder, masks lie beside photos.
    ``sparse`` says that most photos have no mask, as in VOC: they are skipped.
    """

    subset: str
    photos: Path
    masks: Path
    split: Split = ""
    sparse: bool = False

    @property
    def beside(self) -> bool:
        """Whether the masks lie beside the photos."""
        return self.photos == self.masks


@dataclass(slots=True)
class Found:
    """What one reading of folders comes to; ``split`` is the split that is read, if there are several."""

    pairs: list[Pair] = field(default_factory=list)
    bad: list[Quarantined] = field(default_factory=list)
    passed: list[PassedOver] = field(default_factory=list)
    split: Split = ""

    def pair_set(self, layout: str, root: Path, notes: tuple[str, ...] = ()) -> PairSet:
        """Return the pairs, sorted by id, with what is to be said of the rest."""
        pairs = tuple(sorted(self.pairs, key=lambda pair: pair.pair_id))
        rows = tuple(self.passed)
        notes = note([row for row in rows if row.reason == "split"], self.split) + notes
        return PairSet(pairs, layout, root, tuple(self.bad), passed_over=rows, notes=notes, split=self.split)


def matches(path: Path) -> bool:
    """Return whether a folder, or a folder in it, has a photo folder beside a mask folder that holds images."""
    return path.is_dir() and any(not group.beside and has_image(group.masks) for group in find_groups(path))


def masks_lie_beside(path: Path) -> bool:
    """Return whether a folder, or a folder in it, has photos with masks beside them that say so by their names."""
    return any(group.beside for group in find_groups(path))


def find_groups(root: Path) -> list[Group]:
    """Find the photo and mask folders of ``root`` itself, else those of the folders in it, sorted by name.

    Raises:
        UsageError: a folder has two photo folders or two mask folders.
    """
    if not root.is_dir():
        return []
    inner = subfolders(root)
    own = _group(root, inner, "") or _split_groups(inner)
    if own:
        return own
    found = [group for folder in inner for group in _group(folder, subfolders(folder), folder.name)]
    return (
        found
        or ([Group("", root, root)] if _masks_beside(root) else [])
        or [
            Group(folder.name, folder, folder, split_of_folder(folder.name))
            for folder in inner
            if _masks_beside(folder)
        ]
    )


def _group(folder: Path, inner: Sequence[Path], subset: str) -> list[Group]:
    """Return the one group that a folder is, if it has both folders."""
    photos = _called(inner, PHOTO_FOLDERS, folder) or _called(inner, OTHER_PHOTO_FOLDERS, folder)
    masks = _called(inner, MASK_FOLDERS, folder) or _called(inner, OTHER_MASK_FOLDERS, folder)
    return [Group(subset, photos, masks, split_of_folder(subset))] if photos and masks else []


def _called(inner: Sequence[Path], names: Sequence[str], folder: Path) -> Path | None:
    found = [each for each in inner if each.name.lower() in names]
    if len(found) > 1:
        named = " and ".join(f"'{each.name}'" for each in found)
        raise UsageError(f"'{folder}' has {named}, one of them is needed: rename or move the other")
    return found[0] if found else None


def _split_groups(inner: Sequence[Path]) -> list[Group]:
    """Return the groups of folders called ``train_images``, ``train_masks``, ``images_val`` ..."""
    sides: dict[str, dict[str, Path]] = {}
    for folder in inner:
        for pattern in (_SPLIT_FIRST, _SPLIT_LAST):
            found = pattern.fullmatch(folder.name)
            if found and split_of_folder(found["split"]):
                side = side_of(found["role"].lower())
                if side:
                    sides.setdefault(found["split"], {}).setdefault(side, folder)
    return [
        Group(name, each["photos"], each["masks"], split_of_folder(name))
        for name, each in sides.items()
        if len(each) == 2
    ]


def side_of(role: str) -> str:
    """Return whether a folder of this name holds photos or masks; "" if neither."""
    if role in PHOTO_FOLDERS + OTHER_PHOTO_FOLDERS:
        return "photos"
    return "masks" if role in MASK_FOLDERS + OTHER_MASK_FOLDERS else ""


def _masks_beside(folder: Path) -> bool:
    """Return whether a folder has an image that is called the mask of another one in it."""
    keys = [("", nfc(os.path.splitext(entry.name)[0])) for entry in entries(folder) if is_image(entry.name)]
    photos = Photos(keys)
    return any(photos.owner_beside(key) for key in keys)


def read_folders(
    data: Path, subset: str | None = None, reading: ReadOptions | None = None, split: Split = "train"
) -> PairSet:
    """Read photos with masks; photos without a mask and masks without a photo go to ``PairSet.bad``.

    Args:
        data: the folder.
        subset: read this subset alone; it may be a split.
        reading: whether links may lead out of ``data``.
        split: which split is read where there are several and ``subset`` names none.

    Raises:
        UsageError: two files share a stem, or no pair is found.
    """
    named = split_of_folder(subset or "")
    groups, others = _chosen(find_groups(data), subset, named, split, data)
    inside = Inside(data, reading is not None and reading.allow_outside)
    read: Split = groups[0].split if groups and others else ""
    found = Found(passed=[passed(data / group.subset, group.split, read) for group in others], split=read)
    for group in groups:
        _read_group(group, inside, inside, found, named or split)
    if not found.pairs:
        raise UsageError(_no_pair(data, subset, found))
    return found.pair_set("folders", data)


def _chosen(
    groups: list[Group], subset: str | None, named: Split, split: Split, data: Path
) -> tuple[list[Group], list[Group]]:
    """Return the groups that are read, and those of other splits."""
    if subset is not None and any(group.subset == subset for group in groups):
        return [group for group in groups if group.subset == subset], []
    if any(group.split for group in groups):
        return choose(groups, lambda group: group.split, named or split, str(data))
    return (groups, []) if subset is None or named else ([], [])


def _no_pair(data: Path, subset: str | None, found: Found) -> str:
    known = ", ".join(f"'{escaped(group.subset)}'" for group in find_groups(data) if group.subset) or look(data)
    why = f"; {found.bad[0].message}" if found.bad else ""
    why += f"; {len(found.passed)} files passed over: {found.passed[0].message}" if found.passed else ""
    return (
        f"no mask in '{data}' (subset {subset or 'any'}) belongs to a photo; found {known}{why}: "
        "name masks <photo>.png or <photo>_<n>.png"
    )


def look(data: Path) -> str:
    """Say what of the layout a folder has and what it lacks; it is not in it."""
    inner = subfolders(data) if data.is_dir() else []
    photos = [each.name for each in inner if side_of(each.name.lower()) == "photos"]
    masks = [each.name for each in inner if side_of(each.name.lower()) == "masks"]
    if photos and masks:
        return f"no image in '{masks[0]}'"
    if photos:
        return f"photos in '{photos[0]}' but no folder of masks ({', '.join(MASK_FOLDERS)})"
    if masks:
        return f"masks in '{masks[0]}' but no folder of photos ({', '.join(PHOTO_FOLDERS)})"
    return "no photo and mask folders"


def read_two_folders(photos: Path, masks: Path, reading: ReadOptions | None = None) -> PairSet:
    """Read a folder of photos (or of composites) with a folder of their masks, wherever they lie.

    Raises:
        UsageError: one is not a folder, two files share a stem, or no pair is found.
    """
    for folder in (photos, masks):
        if not folder.is_dir():
            raise UsageError(f"'{folder}' is not a folder: give the folder of the photos and that of their masks")
    anywhere = reading is not None and reading.allow_outside
    found = Found()
    _read_group(Group("", photos, masks), Inside(photos, anywhere), Inside(masks, anywhere), found, "")
    if not found.pairs:
        why = f"; {found.bad[0].message}" if found.bad else ""
        raise UsageError(
            f"no mask in '{masks}' belongs to a photo in '{photos}'{why}: name masks <photo>.png or <photo>_<n>.png"
        )
    return found.pair_set("folders", photos)


@dataclass(frozen=True, slots=True)
class Side:
    """The photos or the masks of a group by key; ``unread`` are the pictures of other kinds, by stem."""

    folder: Path
    files: dict[Key, Path]
    unread: dict[str, str]


def _read_group(group: Group, photos_in: Inside, masks_in: Inside, found: Found, split: Split) -> None:
    """Pair the photos and masks of a group and add them to ``found``."""
    photos = read_side(group.photos, photos_in, found)
    if group.beside:
        masks, photos = _parted(photos)
    else:
        masks = read_side(group.masks, masks_in, found)
        photos = without_masks(photos, found)
    photos, masks = _one_split(group, photos, masks, found, split)
    pair_up(group, photos, masks, found)


def read_side(folder: Path, inside: Inside, found: Found) -> Side:
    """List one side of a group; names that cannot be ids are quarantined.

    Raises:
        UsageError: two files share a stem.
    """
    walk = FolderWalk(folder, inside)
    files: dict[Key, Path] = {}
    clashes: list[str] = []
    for within, path in walk:
        key = (nfc(within), nfc(os.path.splitext(path.name)[0]))
        why = fault(key[1]) or fault(key[0].replace("/", "-").strip("-") or "x")
        if why:
            found.bad.append(bad(str(path), f"the name of '{path}' {why}: rename it"))
        elif files.setdefault(key, path) is not path:
            clashes.append(f"'{within}{files[key].name}' and '{within}{path.name}'")
    if clashes:
        raise UsageError(
            f"{len(clashes)} name(s) in '{folder}' stand for two files: {'; '.join(clashes[:5])}: keep one of each, or "
            "move the masks to a folder masks/ beside a folder images/"
        )
    found.passed += walk.passed
    unread = (Path(row.name) for row in walk.passed if row.reason == "suffix")
    return Side(folder, files, {nfc(path.stem): path.name for path in unread})


def _parted(both: Side) -> tuple[Side, Side]:
    """Return the masks and the photos of a folder that holds both."""
    photos = Photos(both.files)
    masks = {key: path for key, path in both.files.items() if photos.owner_beside(key)}
    rest = {key: path for key, path in both.files.items() if key not in masks}
    return Side(both.folder, masks, both.unread), Side(both.folder, rest, both.unread)


def without_masks(side: Side, found: Found) -> Side:
    """Pass over files among the photos that are called the masks of others there."""
    masks, photos = _parted(side)
    for (within, stem), path in masks.files.items():
        found.passed.append(
            passed_over(
                path,
                "mask among photos",
                f"is called a mask of a photo beside it ('{within}{stem}'): the masks are read from their own folder",
            )
        )
    return photos


def _one_split(group: Group, photos: Side, masks: Side, found: Found, split: Split) -> tuple[Side, Side]:
    """Keep one split where the folders inside the photo folder are splits (``images/train``, ``images/val``)."""
    tops = sorted({key[0].partition("/")[0] for key in (*photos.files, *masks.files)})
    if group.split or not split or not tops or not all(split_of_folder(top) for top in tops):
        return photos, masks
    kept, others = choose(tops, split_of_folder, split, str(group.photos))
    found.split = split_of_folder(kept[0])
    found.passed += [passed(group.photos / top, split_of_folder(top), found.split) for top in others]
    return _of_tops(photos, kept), _of_tops(masks, kept)


def _of_tops(side: Side, tops: Sequence[str]) -> Side:
    files = {key: path for key, path in side.files.items() if key[0].partition("/")[0] in tops}
    return Side(side.folder, files, side.unread)


def pair_up(group: Group, photos: Side, masks: Side, found: Found) -> None:
    """Add a pair for each mask that belongs to one photo; say of the other files why they make none."""
    known = Photos(photos.files)
    owners = {key: known.owner_beside(key) if group.beside else known.owner(key) for key in masks.files}
    for key, owner in owners.items():
        if owner and len(owner.photos) == 1:
            found.pairs.append(_pair(group, key, owner, photos, masks))
        else:
            found.bad.append(_lone_mask(masks.files[key], key[1], owner, photos))
    used = {photo for owner in owners.values() if owner for photo in owner.photos}
    for key, path in photos.files.items():
        if key not in used and group.sparse:
            found.passed.append(passed_over(path, "no mask", f"has no mask in '{escaped(group.masks)}'"))
        elif key not in used:
            found.bad.append(bad(str(path), _lone_photo(path, key[1], group, masks)))


def _lone_mask(path: Path, stem: str, owner: Owner | None, photos: Side) -> Quarantined:
    if owner:
        fit = " and ".join(f"'{within}{name}'" for within, name in owner.photos)
        return bad(str(path), f"mask '{path}' may be of the photos {fit}: name it as its photo is named")
    there = next((name for name in _stems(stem) if name in photos.unread), None)
    if there is not None:
        beside = f"'{photos.unread[there]}' lies there, a kind that is not read: save it as PNG or JPEG"
        return bad(str(path), f"mask '{path}' has no photo of its name that is read in '{photos.folder}'; {beside}")
    return bad(str(path), f"mask '{path}' has no photo of its name in '{photos.folder}': add or rename it")


def _lone_photo(path: Path, stem: str, group: Group, masks: Side) -> str:
    if stem in masks.unread:
        there = f"'{masks.unread[stem]}' lies there, a kind that is not read: save it as PNG"
        return f"photo '{path}' has no mask of its name that is read in '{group.masks}'; {there}"
    return f"photo '{path}' has no mask <photo>.png or <photo>_<n>.png in '{group.masks}': add one"


def _stems(stem: str) -> Iterable[str]:
    yield stem
    yield stem.rpartition("_")[0]


def _pair(group: Group, mask: Key, owner: Owner, photos: Side, masks: Side) -> Pair:
    (photo,) = owner.photos
    prefix = f"{safe_id(group.subset)}/" if group.subset else ""
    real_id = prefix + safe_id(photo[0].replace("/", "-") + photo[1])
    return Pair(
        pair_id=f"{real_id}_{safe_id(owner.mask_id)}",
        real_id=real_id,
        mask_id=safe_id(owner.mask_id),
        real=FileSource(photos.files[photo]),
        mask=FileSource(masks.files[mask]),
        subset=group.subset,
    )
