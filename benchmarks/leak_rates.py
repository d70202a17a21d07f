"""How well the leak guard finds copies of photos, and how often it takes different photos for one.

    python benchmarks/leak_rates.py --photos FOLDER [FOLDER ...]                 # all photos below the folders
    python benchmarks/leak_rates.py --photos FOLDER --limit 1000 --copies 300
    python benchmarks/leak_rates.py --photos FOLDER --at-scale                   # and the time of 66,000 x 7,404 photos

Copies are written of some of the photos and compared with these; found is a copy whose own photo is named. Pairs of
photos in the folders that are taken for one are printed: they are false alarms, unless the folders hold a photo twice.
"hash" is the 64-bit hash alone, within 4 bits.
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


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="folders of photos")
    parser.add_argument("--limit", type=int, help="photos of each folder, evenly spaced")
    parser.add_argument("--copies", type=int, default=300, help="photos that copies are made of, evenly spaced")
    parser.add_argument("--at-scale", action="store_true", help="time the comparison of 66,000 with 7,404 photos")
    options = parser.parse_args()
    photos: list[FileSource] = []
    for folder in options.photos:
        paths = [path for _, path in walk_images(folder) if "mask" not in path.parent.name.lower()]
        photos += [FileSource(path) for path in paths[:: max(1, len(paths) // (options.limit or len(paths)))]]
    began = time.process_time()
    looks = look_at(photos)
    print(f"{len(photos)} photos, a look at one takes {1e3 * (time.process_time() - began) / len(photos):.1f} ms")
    print_alarms(photos, looks)
    some = np.linspace(0, len(photos) - 1, min(options.copies, len(photos))).round().astype(int).tolist()
    print(f"{len(some)} copies of each kind\n\n| kind of copy | found by hash | found by the guard | mostly called |")
    print("|---|---:|---:|---|", flush=True)
    for kind, (change, quality) in KINDS.items():
        hashed, found, named = rates(photos, some, change, quality)
        print(f"| {kind} | {hashed:.1%} | {found:.1%} | {named} |", flush=True)
    if options.at_scale:
        print(f"\n66,000 photos against 7,404: {at_scale(66_000, 7404):.0f} s of one core for the descriptions")


def print_alarms(photos: Sequence[FileSource], looks: Looks) -> None:
    """Print the pairs of these photos that are taken for one, and what looking through the candidates takes."""
    names = [f"{photo.path.parent.parent.name}/{photo.path.name}" for photo in photos]
    began = time.process_time()
    few = sum(1 for _ in candidates(looks, looks))
    middle = time.process_time()
    found = copies(looks, looks, photos, photos)
    spent = 1e3 * (time.process_time() - middle - (middle - began)) / max(few, 1)
    near = [(i, j, bits) for i, j, bits in near_pairs(looks.hashes, looks.hashes) if i < j]
    print(f"{len(photos) * (len(photos) - 1) // 2} pairs, {few} candidates, {spent:.1f} ms each")
    print(f"taken for one photo: {len(found)} pairs, by the hash {len(near)}")
    for copy in found:
        print(f"    {names[copy.left]} = {names[copy.right]} ({copy.kind}, {copy.alike:.2f})")
    for i, j, bits in near:
        print(f"    {names[i]} = {names[j]} ({bits} bits)")


if __name__ == "__main__":
    main()
