"""The leak guard: no photo of the test split feeds the training split (DESIGN guarantee 7).

By the photo's id, from names alone; and by perceptual hash, which finds the same photo under another name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from harmonygen.data.lists import HeldOut
from harmonygen.data.split import leaks
from harmonygen.errors import UsageError, shown
from harmonygen.pictures import phash
from harmonygen.records import ImageSource

Progress = Callable[[int, int], None]


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
            "correct the list, or pass over candidates of test photos (augment --skip-test-photos)"
        )


def told(test: HeldOut, compared: int) -> str:
    """Say in words what the guard compared; ``compared`` photos were hashed."""
    return f"{test.told}; {compared} photos compared by hash" if compared else test.told


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
    """Refuse training photos whose perceptual hash is within 4 bits of a test photo's; return photos compared.

    Images that cannot be read are left out: their names have been compared already.

    Raises:
        UsageError: naming the pairs of photos.
    """
    names = [*train, *test]
    hashes, readable = phash.hash_sources([*train.values(), *test.values()], progress)
    known = {row: int(hashes[row]) for row in range(len(names)) if readable[row]}
    near = leaks(
        {names[row]: value for row, value in known.items() if row < len(train)},
        {names[row]: value for row, value in known.items() if row >= len(train)},
    )
    if near:
        raise UsageError(
            f"{len(near)} training photos look like test photos (training = test, bits of 64 that differ): "
            f"{shown(map(str, near), 'pairs')}: take them out of the training list, "
            "or pass --leak-guard ids if they are different photos"
        )
    return len(known)
