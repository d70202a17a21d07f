"""What is checked of a judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from harmonygen.conformance.cases import recoloured
from harmonygen.conformance.seen import SCORE_TOLERANCE, Look, Seen, equal_within
from harmonygen.pictures.images import ImageU8
from harmonygen.pictures.photo import Photo
from harmonygen.plugins.load import Judge


@dataclass
class JudgeSuite:
    """A judge, what loads it once more, and photos whose recoloured composites it scores."""

    judge: Judge
    load: Callable[[], Judge]
    photos: Sequence[Photo]
    small: Photo
    k: int
    seed: int
    composites: list[list[ImageU8]] = field(init=False)
    before: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.composites = [recoloured(photo, self.k, self.seed) for photo in self.photos]
        self.before = self._frozen()

    def checks(self) -> list[tuple[str, Look]]:
        """Return the checks in the order in which they are run."""
        return [
            ("scores: one each, 0 to 1, finite", self._scores),
            ("same pictures, same scores", self._again),
            ("batch size does not matter", self._one_by_one),
            ("order of composites does not matter", self._backwards),
            ("loaded again, the same", self._loaded_again),
            ("the mask is used", self._mask),
            ("the foreground is looked at", self._foreground),
            ("what it is given stays as it was", self._unchanged),
            ("an odd small size", self._odd_size),
            ("composites above their photo", self._above),
            ("speed", self._speed),
        ]

    def _score(self, place: int, composites: Sequence[ImageU8] | None = None) -> np.ndarray:
        scores = self.judge(composites or self.composites[place], self.photos[place].mask)
        return np.array(scores, dtype=np.float64)

    @cached_property
    def scored(self) -> list[np.ndarray]:
        """The scores of every photo's composites, all of one in one call."""
        return [self._score(place) for place in range(len(self.photos))]

    def _scores(self) -> Seen:
        whole = np.concatenate(self.scored)
        if len(whole) != self.k * len(self.photos):
            return Seen(False, f"{len(whole)} scores for {self.k * len(self.photos)} composites")
        inside = bool(((whole >= 0) & (whole <= 1)).all())
        return Seen(inside, f"{whole.min():.3f} to {whole.max():.3f}")

    def _apart(self, one: np.ndarray, tolerance: float) -> Seen:
        return equal_within(float(np.abs(one - self.scored[0]).max()), tolerance, "")

    def _again(self) -> Seen:
        return self._apart(self._score(0), 0)

    def _one_by_one(self) -> Seen:
        alone = [self._score(0, [composite])[0] for composite in self.composites[0]]
        return self._apart(np.array(alone), SCORE_TOLERANCE)

    def _backwards(self) -> Seen:
        return self._apart(self._score(0, self.composites[0][::-1])[::-1], SCORE_TOLERANCE)

    def _loaded_again(self) -> Seen:
        other = self.load()
        if not other.digest or other.digest != self.judge.digest:
            return Seen(False, f"its digest is {other.digest!r}, and was {self.judge.digest!r}")
        return self._apart(np.array(other(self.composites[0], self.photos[0].mask)), 0)

    def _mask(self) -> Seen:
        mask = self.photos[0].mask
        moved = np.roll(mask, (mask.shape[0] // 4, mask.shape[1] // 3), (0, 1))
        change = np.abs(np.array(self.judge(self.composites[0], moved)) - self.scored[0]).max()
        return Seen(bool(change > 0), f"scores change by up to {change:.3f} with another mask")

    def _foreground(self) -> Seen:
        spread = max(float(np.ptp(scores)) for scores in self.scored)
        return Seen(spread > 0, f"scores of {self.k} recoloured foregrounds spread over {spread:.3f}")

    def _unchanged(self) -> Seen:
        same = self._frozen() == self.before
        return Seen(same, "unchanged" if same else "the composites were written to: copy what you change")

    def _odd_size(self) -> Seen:
        (score,) = self.judge([self.small.image_u8], self.small.mask)
        height, width = self.small.mask.shape
        return Seen(bool(0 <= score <= 1), f"{width} x {height} px: {score:.3f}")

    def _above(self) -> Seen:
        photos = [self._score(place, [photo.image_u8])[0] for place, photo in enumerate(self.photos)]
        above = [scores > photo for scores, photo in zip(self.scored, photos, strict=True)]
        return Seen(None, f"{np.concatenate(above).mean():.0%} of {self.k * len(photos)} recoloured composites")

    def _speed(self) -> Seen:
        began = time.perf_counter()
        for place in range(len(self.photos)):
            self._score(place)
        rate = self.k * len(self.photos) / (time.perf_counter() - began)
        return Seen(None, f"{rate:.3g} composites/s")

    def _frozen(self) -> list[bytes]:
        masks = [photo.mask.tobytes() for photo in self.photos]
        return [picture.tobytes() for pictures in self.composites for picture in pictures] + masks
