"""Read a folder of photos that have no masks: what `masks` starts from."""

from __future__ import annotations

from pathlib import Path

from harmonygen.data.files import Inside, cannot_read, is_image, subfolders, walk_images
from harmonygen.data.folders import Found, find_groups, read_side, side_of, without_masks
from harmonygen.data.ids import check_pairs, safe_id
from harmonygen.data.links import check_data
from harmonygen.errors import UsageError
from harmonygen.records import FileSource, Pair, PairSet


def read_photos(photos: Path, limit: int | None = None, anywhere: bool = False) -> PairSet:
    """Read photos at any depth as pairs without a mask (:attr:`Pair.borrows`), sorted by id.

    ``Pair.extra`` has ``inside``: the photo's path below the folder. Files that are called the mask of a photo beside
    them are skipped.

    Args:
        photos: a folder, or one photo.
        limit: keep the first ``limit`` photos.
        anywhere: whether links may lead out of the folder.

    Raises:
        UsageError: there is no photo, the folder has masks already, two files share a stem, or ids are refused.
        StorageError: the folder cannot be listed.
    """
    if not photos.exists():
        raise UsageError(f"'{photos}' is not there: give a folder of photos")
    try:
        check_data(photos, anywhere)
        if photos.is_file():
            return _one(photos)
        return _of_folder(_inner(photos), limit, anywhere)
    except OSError as error:
        raise cannot_read(photos, error) from error


def has_photos_alone(data: Path) -> bool:
    """Return whether a path is a photo or a folder that holds photos and no masks, at any depth."""
    if data.is_file():
        return is_image(data.name)
    return data.is_dir() and not find_groups(data) and next(walk_images(data), None) is not None


def _one(photo: Path) -> PairSet:
    if not is_image(photo.name):
        raise UsageError(f"'{photo}' is not a picture by its suffix: give a photo, or a folder of photos")
    return PairSet((_pair("", photo),), "photos", photo.parent)


def _inner(folder: Path) -> Path:
    """Return the folder of photos that a folder without photos of its own holds beside nothing else (``images/``)."""
    groups = [group for group in find_groups(folder) if not group.beside]
    if groups:
        raise UsageError(
            f"'{folder}' has masks already ('{groups[0].masks.name}'): use it as --data as it is, or give "
            f"'{groups[0].photos}' to make masks anew"
        )
    inner = subfolders(folder)
    alone = len(inner) == 1 and side_of(inner[0].name.lower()) == "photos"
    return inner[0] if alone and not any(is_image(path.name) for path in folder.iterdir()) else folder


def _of_folder(folder: Path, limit: int | None, anywhere: bool) -> PairSet:
    found = Found()
    side = without_masks(read_side(folder, Inside(folder, anywhere), found), found)
    found.pairs = [_pair(within, path) for (within, _), path in side.files.items()]
    if not found.pairs:
        why = f"; the first of {len(found.bad)} bad names: {found.bad[0].message}" if found.bad else ""
        why += (
            f"; the first of {len(found.passed)} files passed over: {found.passed[0].message}" if found.passed else ""
        )
        raise UsageError(f"no photo in '{folder}'{why}: give a folder of photos")
    whole = found.pair_set("photos", folder)
    check_pairs(whole.pairs)
    return PairSet(whole.pairs[:limit], "photos", folder, whole.bad, passed_over=whole.passed_over)


def _pair(within: str, path: Path) -> Pair:
    name = safe_id(within.replace("/", "-") + path.stem)
    source = FileSource(path)
    return Pair(name, name, "", source, source, extra={"inside": f"{within}{path.name}"})
