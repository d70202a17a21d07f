"""What is checked of a harmonizer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from harmonygen.conformance.cases import frozen
from harmonygen.conformance.seen import Look, Seen, equal_within, levels
from harmonygen.harmonization.load import HarmonizationMethod
from harmonygen.pictures.images import ImageU8
from harmonygen.pictures.photo import Photo


@dataclass
class HarmonizerSuite:
    """A harmonizer, what loads it once more, and composites that it is checked on, with their photos' pixels."""

    harmonizer: HarmonizationMethod
    load: Callable[[], HarmonizationMethod]
    composites: Sequence[Photo]
    reals: Sequence[ImageU8]
    small: Photo
    seed: int
    before: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.before = frozen(self.composites)

    def checks(self) -> list[tuple[str, Look]]:
        """Return the checks in the order in which they are run."""
        return [
            ("pictures: size, 8 bits, finite", self._pictures),
            ("same seed, same pixels", self._again),
            ("order of composites does not matter", self._backwards),
            ("loaded again, the same", self._loaded_again),
            ("background is the composite's", self._background),
            ("what it is given stays as it was", self._unchanged),
            ("an odd small size", self._odd_size),
            ("takes a number of draws", self._draws),
            ("another seed", self._another_seed),
            ("foreground nearer to the photo's", self._nearer),
            ("speed", self._speed),
        ]

    @cached_property
    def made(self) -> list[ImageU8]:
        """The harmonized pictures."""
        return [self.harmonizer(photo, self.seed, None) for photo in self.composites]

    def _pictures(self) -> Seen:
        for photo, picture in zip(self.composites, self.made, strict=True):
            if picture.shape != photo.image_u8.shape or picture.dtype != np.uint8:
                return Seen(False, f"an array {picture.shape} of {picture.dtype} for {photo.image_u8.shape}")
        return Seen(True, f"{len(self.made)} pictures")

    def _again(self) -> Seen:
        return equal_within(levels([self.harmonizer(self.composites[0], self.seed, None)], self.made[:1]), 0)

    def _backwards(self) -> Seen:
        if len(self.composites) < 2:
            return Seen(None, "needs two photos")
        turned = [self.harmonizer(photo, self.seed, None) for photo in self.composites[::-1]]
        return equal_within(levels(turned[::-1], self.made), 0)

    def _loaded_again(self) -> Seen:
        other = self.load()
        if not other.digest or other.digest != self.harmonizer.digest:
            return Seen(False, f"its digest is {other.digest!r}, and was {self.harmonizer.digest!r}")
        return equal_within(levels([other(self.composites[0], self.seed, None)], self.made[:1]), 0)

    def _background(self) -> Seen:
        both = list(zip(self.composites, self.made, strict=True))
        apart = max(levels([made[~photo.mask]], [photo.image_u8[~photo.mask]]) for photo, made in both)
        return equal_within(apart, 0)

    def _unchanged(self) -> Seen:
        same = frozen(self.composites) == self.before
        return Seen(same, "unchanged" if same else "the composite's arrays were written to: copy what you change")

    def _odd_size(self) -> Seen:
        picture = self.harmonizer(self.small, self.seed, None)
        height, width = self.small.mask.shape
        return Seen(picture.shape == self.small.image_u8.shape, f"{width} x {height} px")

    def _draws(self) -> Seen:
        one, two = (self.harmonizer(self.composites[0], self.seed, draws) for draws in (1, 2))
        return Seen(one.shape == two.shape, "the mean of two is another" if levels([one], [two]) else "one answer")

    def _another_seed(self) -> Seen:
        other = self.harmonizer(self.composites[0], self.seed + 1, None)
        return Seen(None, "another picture" if levels([other], self.made[:1]) else "the same picture: nothing is drawn")

    def _nearer(self) -> Seen:
        cases = list(zip(self.composites, self.made, self.reals, strict=True))
        before = np.mean([_error(photo.image_u8, real, photo.mask) for photo, _, real in cases])
        after = np.mean([_error(made, real, photo.mask) for photo, made, real in cases])
        return Seen(None, f"fMSE {after:.0f}, of the recoloured composites {before:.0f}")

    def _speed(self) -> Seen:
        began = time.perf_counter()
        for photo in self.composites:
            self.harmonizer(photo, self.seed, None)
        seconds = (time.perf_counter() - began) / len(self.composites)
        height, width = self.composites[0].mask.shape
        return Seen(None, f"{seconds:.3g} s per picture at {width} x {height} px")


def _error(picture: ImageU8, real: ImageU8, mask: np.ndarray) -> float:
    return float(np.square(picture[mask].astype(np.float64) - real[mask]).mean())
