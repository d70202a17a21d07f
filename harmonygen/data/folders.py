"""Read a folder of photos with a folder of masks.

A mask belongs to the photo of the same name (``a.jpg``, ``a.png``) or, where a photo has several, to the photo its
name continues (``a_1.png``, ``a_2.png``). Sub-folders are read too and must be alike on both sides. A root that holds
several such folders is read whole, each folder's name being the subset.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from harmonygen.data.files import bad, has_image, subfolders, walk_images
from harmonygen.data.ids import refuse_unsafe, safe_id
from harmonygen.errors import UsageError
from harmonygen.records import FileSource, Pair, PairSet, Quarantined

PHOTO_FOLDERS = ("images", "photos", "photo", "real", "reals", "real_images")
MASK_FOLDERS = ("masks", "mask", "annotations")
SAME_NAME = "0"  # the mask id of a mask that bears its photo's own name

Key = tuple[str, str]
"""(folder inside the photo or mask folder, with a closing slash; stem)."""


@dataclass(frozen=True, slots=True)
class Group:
    """One folder of photos with its folder of masks; ``subset`` is "" if they lie in the root itself."""

    subset: str
    photos: Path
    masks: Path


def matches(path: Path) -> bool:
    """Tell whether a folder, or a folder in it, has a photo folder beside a mask folder that holds images."""
    return path.is_dir() and any(has_image(group.masks) for group in find_groups(path))


def find_groups(root: Path) -> list[Group]:
    """Find the photo and mask folders of ``root`` itself, else those of the folders in it, sorted by name.

    Raises:
        UsageError: a folder has two photo folders or two mask folders.
    """
    own = _group(root, "")
    if own:
        return [own]
    return [group for folder in subfolders(root) if (group := _group(folder, folder.name))]


def _group(folder: Path, subset: str) -> Group | None:
    photos = [inner for inner in subfolders(folder) if inner.name.lower() in PHOTO_FOLDERS]
    masks = [inner for inner in subfolders(folder) if inner.name.lower() in MASK_FOLDERS]
    if not photos or not masks:
        return None
    for found in (photos, masks):
        if len(found) > 1:
            named = " and ".join(f"'{inner.name}'" for inner in found)
            raise UsageError(f"'{folder}' has {named}, one of them is needed: rename or move the other")
    return Group(subset, photos[0], masks[0])


def read_folders(data: Path, subset: str | None = None) -> PairSet:
    """Read photos with masks; photos without a mask and masks without a photo go to ``PairSet.bad``.

    Raises:
        UsageError: two files share a stem, ids cannot name files, or no pair is found.
    """
    groups = [group for group in find_groups(data) if subset in (None, group.subset)]
    pairs: list[Pair] = []
    faults: list[Quarantined] = []
    for group in groups:
        found, wrong = _read_group(group)
        pairs += found
        faults += wrong
    if not pairs:
        known = ", ".join(f"'{group.subset}'" for group in find_groups(data)) or "no photo and mask folders"
        raise UsageError(
            f"no mask in '{data}' (subset {subset or 'any'}) belongs to a photo; found {known}: "
            "name masks <photo>.png or <photo>_<n>.png"
        )
    return PairSet(tuple(sorted(pairs, key=lambda pair: pair.pair_id)), "folders", data, tuple(faults))


def read_two_folders(photos: Path, masks: Path) -> PairSet:
    """Read a folder of photos (or of composites) with a folder of their masks, wherever they lie.

    Raises:
        UsageError: one is not a folder, two files share a stem, ids cannot name files, or no pair is found.
    """
    for folder in (photos, masks):
        if not folder.is_dir():
            raise UsageError(f"'{folder}' is not a folder: give the folder of the photos and that of their masks")
    pairs, faults = _read_group(Group("", photos, masks))
    if not pairs:
        raise UsageError(
            f"no mask in '{masks}' belongs to a photo in '{photos}': name masks <photo>.png or <photo>_<n>.png"
        )
    return PairSet(tuple(sorted(pairs, key=lambda pair: pair.pair_id)), "folders", photos, tuple(faults))


def _read_group(group: Group) -> tuple[list[Pair], list[Quarantined]]:
    photos, masks = _by_stem(group.photos), _by_stem(group.masks)
    refuse_unsafe((stem for _, stem in {*photos, *masks}), "photo or mask name")
    owned = {key: _owner(key, photos) for key in masks}
    pairs = [_pair(group, key, *owner, photos, masks) for key, owner in owned.items() if owner]
    used = {owner[0] for owner in owned.values() if owner}
    lone_masks = [path for key, path in masks.items() if not owned[key]]
    lone_photos = [path for key, path in photos.items() if key not in used]
    faults = [
        bad(str(path), f"mask '{path}' has no photo of its name in '{group.photos}': add or rename it")
        for path in lone_masks
    ]
    faults += [
        bad(str(path), f"photo '{path}' has no mask <photo>.png or <photo>_<n>.png in '{group.masks}': add one")
        for path in lone_photos
    ]
    return pairs, faults


def _by_stem(folder: Path) -> dict[Key, Path]:
    """Return a folder's images by (inner folder, stem); raise UsageError if two files share one."""
    found: dict[Key, Path] = {}
    clashes = []
    for inside, path in walk_images(folder):
        first = found.setdefault((inside, os.path.splitext(path.name)[0]), path)
        if first is not path:
            clashes.append(f"'{inside}{first.name}' and '{inside}{path.name}'")
    if clashes:
        raise UsageError(
            f"{len(clashes)} name(s) in '{folder}' stand for two files: {'; '.join(clashes[:5])}: keep one of each"
        )
    return found


def _owner(mask: Key, photos: dict[Key, Path]) -> tuple[Key, str] | None:
    """Return the photo a mask belongs to and the mask's id: ``SAME_NAME`` or what follows the last underscore."""
    if mask in photos:
        return mask, SAME_NAME
    inside, stem = mask
    head, _, tail = stem.rpartition("_")
    return ((inside, head), tail) if tail and (inside, head) in photos else None


def _pair(group: Group, mask: Key, photo: Key, mask_id: str, photos: dict[Key, Path], masks: dict[Key, Path]) -> Pair:
    prefix = f"{safe_id(group.subset)}/" if group.subset else ""
    real_id = prefix + safe_id(photo[0].replace("/", "-") + photo[1])
    return Pair(
        pair_id=f"{real_id}_{safe_id(mask_id)}",
        real_id=real_id,
        mask_id=safe_id(mask_id),
        real=FileSource(photos[photo]),
        mask=FileSource(masks[mask]),
        subset=group.subset,
    )
