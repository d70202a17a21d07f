"""How well the leak guard finds copies of photos, and how often it takes different photos for one.

    python benchmarks/leak_rates.py --photos FOLDER [FOLDER ...]                 # all photos below the folders
    python benchmarks/leak_rates.py --photos FOLDER --limit 1000 --copies 300
    python benchmarks/leak_rates.py --photos FOLDER --at-scale                   # and the time for iHarmony4's photos

Copies are written of some of the photos and compared with these; found is a copy whose own photo is named. "hash" is
the 64-bit hash alone, within 4 bits. Pairs of photos in the folders that are taken for one are false alarms, unless the
folders hold a photo twice: those that are no re-encoding are named, and --sheet lays them side by side to be looked at.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from harmonygen.augmentation.leak_guard import same_photos
from harmonygen.data.files import walk_images
from harmonygen.data.split import near_duplicate_groups
from harmonygen.pictures.copies import WINDOWS, Looks, candidates, copies, look_at
from harmonygen.pictures.phash import near_pairs
from harmonygen.records import FileSource

Picture = Image.Image
Change = Callable[[Picture, np.random.Generator], Picture]
_MIRROR = Image.Transpose.FLIP_LEFT_RIGHT


def cropped(share: float) -> Change:
    """Return a change that cuts a share of the sides off at each of the four edges."""

    def change(photo: Picture, rng: np.random.Generator) -> Picture:
        wide, high = round(share * photo.width), round(share * photo.height)
        return photo.crop((wide, high, photo.width - wide, photo.height - high))

    return change


def cropped_anywhere(share: float) -> Change:
    """Return a change that cuts a share of both sides off, from whichever edges chance says."""

    def change(photo: Picture, rng: np.random.Generator) -> Picture:
        wide, high = round((1 - share) * photo.width), round((1 - share) * photo.height)
        left, top = int(rng.integers(photo.width - wide + 1)), int(rng.integers(photo.height - high + 1))
        return photo.crop((left, top, left + wide, top + high))

    return change


def framed(share: float, colour: str) -> Change:
    """Return a change that puts a frame of a share of the sides around a photo."""

    def change(photo: Picture, rng: np.random.Generator) -> Picture:
        wide, high = round(share * photo.width), round(share * photo.height)
        frame = Image.new("RGB", (photo.width + 2 * wide, photo.height + 2 * high), colour)
        frame.paste(photo, (wide, high))
        return frame

    return change


def turned(degrees: float) -> Change:
    """Return a change that turns a photo about its middle; its corners become black."""
    return lambda photo, rng: photo.rotate(degrees, Image.Resampling.BICUBIC)


def one_after_another(*changes: Change) -> Change:
    """Return the changes as one."""

    def change(photo: Picture, rng: np.random.Generator) -> Picture:
        for each in changes:
            photo = each(photo, rng)
        return photo

    return change


def mirrored(photo: Picture, rng: np.random.Generator) -> Picture:
    """Mirror left and right."""
    return photo.transpose(_MIRROR)


def half(photo: Picture, rng: np.random.Generator) -> Picture:
    """Halve both sides."""
    return photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.BILINEAR)


def unchanged(photo: Picture, rng: np.random.Generator) -> Picture:
    """Leave it: the file is what changes."""
    return photo


KINDS: dict[str, tuple[Change, int]] = {
    "JPEG, quality 50": (unchanged, 50),
    "half the size": (half, 90),
    "mirrored": (mirrored, 90),
    **{f"{share} % cut off at each edge": (cropped(share / 100), 90) for share in (2, 5, 10)},
    **{f"{share} % of the sides cut off, anywhere": (cropped_anywhere(share / 100), 90) for share in (10, 15, 20)},
    "a white frame of 5 %": (framed(0.05, "white"), 90),
    "a black frame of 10 %": (framed(0.1, "black"), 90),
    **{f"turned by {degrees} degrees": (turned(degrees), 90) for degrees in (2, 5)},
    "mirrored, 5 % cut off, JPEG 50": (one_after_another(mirrored, cropped(0.05)), 50),
}
"""Kinds of copies: the change, and the JPEG quality that it is stored with."""
SCALE = 34_679, 4_317
"""Photos of iHarmony4's training list (64,255 composites, foregrounds under half of the image) and its test list."""


def write_copies(photos: Sequence[FileSource], change: Change, quality: int, folder: Path) -> list[FileSource]:
    """Write a changed copy of each photo as a JPEG file."""
    rng, found = np.random.default_rng(0), []
    for place, photo in enumerate(photos):
        path = folder / f"{place}.jpg"
        with Image.open(photo.path) as opened:
            change(opened.convert("RGB"), rng).save(path, "JPEG", quality=quality)
        found.append(FileSource(path))
    return found


def rates(photos: Sequence[FileSource], some: Sequence[int], change: Change, quality: int) -> tuple[float, float, str]:
    """Return the shares of copies that the hash and the guard find, and what the guard calls most of them."""
    with tempfile.TemporaryDirectory() as folder:
        made = write_copies([photos[place] for place in some], change, quality, Path(folder))
        found, _ = same_photos(
            {f"copy {place}": made[row] for row, place in enumerate(some)},
            {f"photo {place}": photos[place] for place in some},
        )
    right = [leak for leak in found if leak.photo.split()[1] == leak.test.split()[1]]
    named = [leak.kind if leak.bits is None else "hash" for leak in right]
    by_hash = len({leak.photo for leak in right if leak.bits is not None})
    every = len({leak.photo for leak in right})
    return by_hash / len(some), every / len(some), max(set(named), key=named.count) if named else ""


def at_scale(train: int, test: int) -> float:
    """Return the seconds that comparing the descriptions of so many photos takes; they are random ones."""
    rng = np.random.default_rng(0)

    def looks(count: int) -> Looks:
        windows = rng.normal(size=(count, len(WINDOWS), 63)).astype(np.float32)
        windows /= np.linalg.norm(windows, axis=2, keepdims=True)
        return replace(Looks.of(count), windows=windows)

    some, tests = looks(min(train, 4096)), looks(test)
    began = time.process_time()
    sum(1 for _ in candidates(some, tests))
    return (time.process_time() - began) * train / len(some.hashes)


def print_scale(a_look: float, share: float, a_candidate: float) -> None:
    """Print the seconds that iHarmony4 would take: a look at each photo, all descriptions, a share of candidates."""
    train, test = SCALE
    few = share * train * test
    print(
        f"\n{train:,} training photos against {test:,}, seconds of one core: {a_look * (train + test):.0f} for looks, "
        f"{at_scale(train, test):.0f} for descriptions, {few * a_candidate:.0f} for {few:,.0f} candidates"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="folders of photos")
    parser.add_argument("--limit", type=int, help="photos of each folder, evenly spaced")
    parser.add_argument("--copies", type=int, default=300, help="photos that copies are made of, evenly spaced")
    parser.add_argument("--at-scale", action="store_true", help="seconds that iHarmony4 would take")
    parser.add_argument("--sheet", type=Path, help="file for a picture of the pairs that are named")
    options = parser.parse_args()
    photos: list[FileSource] = []
    for folder in options.photos:
        paths = [path for _, path in walk_images(folder) if "mask" not in path.parent.name.lower()]
        photos += [FileSource(path) for path in paths[:: max(1, len(paths) // (options.limit or len(paths)))]]
    began = time.process_time()
    looks = look_at(photos)
    a_look = (time.process_time() - began) / len(photos)
    print(f"{len(photos)} photos, a look at one takes {1e3 * a_look:.1f} ms")
    share, a_candidate = print_alarms(photos, looks, options.sheet)
    some = np.linspace(0, len(photos) - 1, min(options.copies, len(photos))).round().astype(int).tolist()
    print(f"{len(some)} copies of each kind\n\n| kind of copy | found by hash | found by the guard | mostly called |")
    print("|---|---:|---:|---|", flush=True)
    for kind, (change, quality) in KINDS.items():
        hashed, found, named = rates(photos, some, change, quality)
        print(f"| {kind} | {hashed:.1%} | {found:.1%} | {named} |", flush=True)
    if options.at_scale:
        print_scale(a_look, share, a_candidate)


def print_alarms(photos: Sequence[FileSource], looks: Looks, sheet: Path | None) -> tuple[float, float]:
    """Print the pairs of these photos that are taken for one; return the share of candidates, and seconds of each.

    These two are of the photos that are left as different, as the photos of a training and a test set mostly are.
    """
    found = copies(looks, looks, photos, photos)
    near = {(i, j): bits for i, j, bits in near_pairs(looks.hashes, looks.hashes) if i < j}
    groups = near_duplicate_groups(looks.hashes, linked=[(copy.left, copy.right) for copy in found])
    first = np.unique(groups, return_index=True)[1]
    print(f"taken for one photo: {len(found)} pairs, by the hash {len(near)}; left as different: {len(first)} photos")
    named = [(copy.left, copy.right, f"{copy.kind}, {copy.alike:.2f}") for copy in found]
    named = [pair for pair in named if near.get(pair[:2]) != 0]
    by_hash = near.keys() - {(copy.left, copy.right) for copy in found}
    named += [(*pair, f"{near[pair]} bits") for pair in sorted(by_hash)]
    for i, j, why in named:
        print(f"    {photos[i].path} = {photos[j].path} ({why})")
    if sheet is not None:
        side_by_side([(photos[i], photos[j]) for i, j, _ in named], sheet)
    return looked_at([photos[place] for place in first], looks[first])


def looked_at(photos: Sequence[FileSource], looks: Looks) -> tuple[float, float]:
    """Return the share of pairs of different photos that are candidates, and the seconds that each takes."""
    began = time.process_time()
    few, pairs = sum(1 for _ in candidates(looks, looks)), len(photos) * (len(photos) - 1) // 2
    middle = time.process_time()
    copies(looks, looks, photos, photos)
    spent = (time.process_time() - middle - (middle - began)) / max(few, 1)
    print(f"{pairs} pairs of different photos, {few} candidates, {1e3 * spent:.1f} ms each")
    return few / max(pairs, 1), spent


def side_by_side(pairs: Sequence[tuple[FileSource, FileSource]], path: Path, side: int = 150, across: int = 5) -> None:
    """Write a picture of pairs of photos, in rows of five pairs."""
    sheet = Image.new("RGB", (across * (2 * side + 20), -(-len(pairs) // across) * (side + 10)), "white")
    for place, pair in enumerate(pairs):
        for right, photo in enumerate(pair):
            small = Image.open(photo.path).convert("RGB").resize((side, side))
            sheet.paste(small, (place % across * (2 * side + 20) + right * side, place // across * (side + 10)))
    sheet.save(path)


if __name__ == "__main__":
    main()
