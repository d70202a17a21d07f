"""What is checked of a generator."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from harmonygen.conformance.cases import candidates_of, frozen
from harmonygen.conformance.seen import TOLERANCE, Look, Seen, equal_within, levels
from harmonygen.pictures.images import ImageU8
from harmonygen.pictures.photo import Photo
from harmonygen.records import Candidate
from harmonygen.synthesis.generators import Generator


@dataclass
class GeneratorSuite:
    """A generator, what loads it once more, and the photos that it is checked on."""

    generator: Generator
    load: Callable[[], Generator]
    photos: Sequence[Photo]
    small: Photo
    k: int
    seed: int
    before: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.before = frozen(self.photos)

    def checks(self) -> list[tuple[str, Look]]:
        """Return the checks in the order in which they are run."""
        return [
            ("pictures: size, 8 bits, finite", self._pictures),
            ("same seed, same pixels", self._again),
            ("batch size does not matter", self._one_by_one),
            ("order of candidates does not matter", self._backwards),
            ("order of photos does not matter", self._other_photos_first),
            ("loaded again, the same", self._loaded_again),
            ("another seed, another picture", self._another_seed),
            ("K candidates are distinct", self._distinct),
            ("background is the photo's", self._background),
            ("foreground changes", self._foreground),
            ("what it is given stays as it was", self._unchanged),
            ("an odd small size", self._odd_size),
            ("speed", self._speed),
        ]

    def _make(self, photo: Photo, candidates: Sequence[Candidate] | None = None) -> list[ImageU8]:
        return list(self.generator(photo, candidates or candidates_of(photo, self.k, self.seed)))

    @cached_property
    def made(self) -> list[list[ImageU8]]:
        """The candidates of every photo, all of one in one call."""
        return [self._make(photo) for photo in self.photos]

    def _pictures(self) -> Seen:
        for photo, pictures in zip(self.photos, self.made, strict=True):
            for picture in pictures:
                if picture.shape != photo.image_u8.shape or picture.dtype != np.uint8:
                    return Seen(False, f"an array {picture.shape} of {picture.dtype} for {photo.image_u8.shape}")
            if len(pictures) != self.k:
                return Seen(False, f"{len(pictures)} pictures for {self.k} candidates")
        return Seen(True, f"{self.k * len(self.photos)} pictures of {len(self.photos)} photos")

    def _again(self) -> Seen:
        return equal_within(levels(self._make(self.photos[0]), self.made[0]), 0)

    def _one_by_one(self) -> Seen:
        alone = [self._make(self.photos[0], [each])[0] for each in candidates_of(self.photos[0], self.k, self.seed)]
        return equal_within(levels(alone, self.made[0]), TOLERANCE)

    def _backwards(self) -> Seen:
        turned = self._make(self.photos[0], candidates_of(self.photos[0], self.k, self.seed)[::-1])
        return equal_within(levels(turned[::-1], self.made[0]), TOLERANCE)

    def _other_photos_first(self) -> Seen:
        if len(self.photos) < 2:
            return Seen(None, "needs two photos")
        backwards = [self._make(photo) for photo in self.photos[::-1]]
        return equal_within(max(map(levels, backwards[::-1], self.made)), 0)

    def _loaded_again(self) -> Seen:
        other = self.load()
        if not other.digest or other.digest != self.generator.digest:
            return Seen(False, f"its digest is {other.digest!r}, and was {self.generator.digest!r}")
        photo = self.photos[0]
        return equal_within(levels(list(other(photo, candidates_of(photo, self.k, self.seed))), self.made[0]), 0)

    def _another_seed(self) -> Seen:
        photo = self.photos[0]
        other = self._make(photo, candidates_of(photo, self.k, self.seed + 1))
        differ = sum(not np.array_equal(*both) for both in zip(other, self.made[0], strict=True))
        return Seen(differ > 0, f"{differ} of {self.k} differ")

    def _distinct(self) -> Seen:
        counts = [len({picture.tobytes() for picture in pictures}) for pictures in self.made]
        return Seen(min(counts) == self.k, f"{min(counts)} of {self.k}")

    def _background(self) -> Seen:
        pairs = [(photo, picture) for photo, made in zip(self.photos, self.made, strict=True) for picture in made]
        apart = max(levels([picture[~photo.mask]], [photo.image_u8[~photo.mask]]) for photo, picture in pairs)
        return equal_within(apart, 0)

    def _foreground(self) -> Seen:
        pairs = [(photo, picture) for photo, made in zip(self.photos, self.made, strict=True) for picture in made]
        errors = [np.square(_foreground_change(photo, picture)).mean() for photo, picture in pairs]
        return Seen(min(errors) > 0, f"fMSE {min(errors):.0f} to {max(errors):.0f}")

    def _unchanged(self) -> Seen:
        same = frozen(self.photos) == self.before
        return Seen(same, "unchanged" if same else "the photo's arrays were written to: copy what you change")

    def _odd_size(self) -> Seen:
        (picture,) = self._make(self.small, candidates_of(self.small, 1, self.seed))
        height, width = self.small.mask.shape
        return Seen(picture.shape == self.small.image_u8.shape, f"{width} x {height} px")

    def _speed(self) -> Seen:
        began = time.perf_counter()
        for photo in self.photos:
            self._make(photo)
        rate = self.k * len(self.photos) / (time.perf_counter() - began)
        height, width = self.photos[0].mask.shape
        return Seen(None, f"{rate:.3g} candidates/s at {width} x {height} px")


def _foreground_change(photo: Photo, picture: ImageU8) -> np.ndarray:
    change: np.ndarray = picture[photo.mask].astype(np.float64) - photo.image_u8[photo.mask]
    return change
