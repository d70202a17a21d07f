"""The leak guard: no photo of the test split feeds the training split (DESIGN guarantee 7).

By the photo's id, from names alone; and by its pixels, which find the same photo under another name: a perceptual hash
for re-encoded and resized photos, and descriptions of parts for mirrored, cropped, framed and slightly turned ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harmonygen.data.lists import HeldOut
from harmonygen.data.split import Leak, leaks
from harmonygen.errors import UsageError, shown
from harmonygen.pictures.copies import copies, look_at
from harmonygen.records import ImageSource

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LookAlikes:
    """Training photos that are copies of test photos: ``named`` says of which, and as what kind of copy.

    ``compared`` photos were looked at, test photos among them.
    """

    photos: frozenset[str] = frozenset()
    named: tuple[str, ...] = ()
    compared: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return them for ``plan.json``, whence a resumed job takes them."""
        return {"photos": sorted(self.photos), "named": list(self.named), "compared": self.compared}


def look_alikes(train: Mapping[str, ImageSource], test: Mapping[str, ImageSource]) -> LookAlikes:
    """Return the training photos that are copies of test photos (:func:`same_photos`)."""
    found, compared = same_photos(train, test) if test else ([], 0)
    return LookAlikes(frozenset(leak.photo for leak in found), tuple(map(str, found)), compared)


def refuse_test_ids(train: Iterable[str], test: HeldOut) -> None:
    """Refuse photos of the test lists among those that training would use.

    Raises:
        UsageError: naming the photos.
    """
    leaked = set(train) & test.photos
    if leaked:
        named = shown((listed.path.name for listed in test.lists), "lists")
        raise UsageError(
            f"{len(leaked)} photos are in the test list '{named}' and would feed the training split: "
            f"{shown(leaked, 'photos')}: synthesize from the training list (--list-file IHD_train.txt), "
            "correct the list, or skip candidates of test photos (augment --skip-test-photos)"
        )


def told(test: HeldOut, compared: int) -> str:
    """Say in words what the guard compared; ``compared`` photos were hashed."""
    return f"{test.told}; {compared} photos compared by hash and by parts" if compared else test.told


def refuse_other_photos(candidates: Iterable[str], dataset: Iterable[str], run: str) -> None:
    """Refuse candidates of photos that the dataset does not have.

    Raises:
        UsageError: naming the photos.
    """
    foreign = set(candidates) - set(dataset)
    if foreign:
        raise UsageError(
            f"'{run}' has candidates of {len(foreign)} photos that are not in the dataset: {shown(foreign, 'photos')}: "
            "give the --data and --list-file that the candidates were made from"
        )


def refuse_near_duplicates(
    train: Mapping[str, ImageSource], test: Mapping[str, ImageSource], progress: Progress | None = None
) -> int:
    """Refuse training photos that are copies of test photos (:func:`same_photos`); return photos compared.

    Raises:
        UsageError: naming the pairs of photos.
    """
    near, compared = same_photos(train, test, progress)
    if near:
        raise UsageError(
            f"{len(near)} training photos look like test photos (training = test, bits of 64 that differ or kind of "
            f"copy): {shown(map(str, near), 'pairs')}: take them out of the training list, "
            "pass --leak-guard ids if they are different photos, or leave them out (augment --skip-test-photos)"
        )
    return compared


def same_photos(
    photos: Mapping[str, ImageSource], tests: Mapping[str, ImageSource], progress: Progress | None = None
) -> tuple[list[Leak], int]:
    """Return photos that are test photos, by id, by hash (4 bits of 64) or as a copy, and how many were compared.

    Images that cannot be read are left out: their names have been compared already.
    """
    names, sources = [*photos, *tests], [*photos.values(), *tests.values()]
    looks, first = look_at(sources, progress), len(photos)
    hashes = [int(value) if seen else None for value, seen in zip(looks.hashes, looks.readable, strict=True)]
    found = leaks(dict(zip(photos, hashes[:first], strict=True)), dict(zip(tests, hashes[first:], strict=True)))
    known = {(leak.photo, leak.test) for leak in found}
    for copy in copies(looks[:first], looks[first:], sources[:first], sources[first:]):
        pair = names[copy.left], names[first + copy.right]
        found += [Leak(*pair, kind=copy.kind)] if pair not in known else []
    return found, int(looks.readable.sum())
