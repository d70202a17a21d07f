"""What is checked of a segmenter.

It is handed one photo at a time, so there is no batch that could matter; the order of photos could.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from harmonygen.conformance.cases import frozen
from harmonygen.conformance.seen import Look, Seen, equal_within
from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.pictures.photo import Photo
from harmonygen.segmentation.segmented import Segmented
from harmonygen.segmentation.segmenters import NamedSegmenter

_NOTHING = "nothing was found in these photos: name photos that it is made for with --data"
_PLAIN = 128
"""Grey level of the photo in which there is nothing to find."""


@dataclass
class SegmenterSuite:
    """A segmenter, what loads it once more, and the photos that it is checked on."""

    segmenter: NamedSegmenter
    load: Callable[[], NamedSegmenter]
    photos: Sequence[Photo]
    small: Photo
    before: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.before = frozen(self.photos)

    def checks(self) -> list[tuple[str, Look]]:
        """Return the checks in the order in which they are run."""
        return [
            ("maps: (N, h, w), 0 to 1, finite", self._maps),
            ("masks: foreground and background", self._masks),
            ("same photo, same mask", self._again),
            ("order of photos does not matter", self._backwards),
            ("loaded again, the same", self._loaded_again),
            ("the photo is looked at", self._looked_at),
            ("what it is given stays as it was", self._unchanged),
            ("an odd small size", self._odd_size),
            ("a photo of one grey", self._plain),
            ("overlap with the photos' own masks", self._overlap),
            ("speed", self._speed),
        ]

    @cached_property
    def found(self) -> list[Segmented]:
        """What is found in each photo."""
        return [self.segmenter(photo.image_u8) for photo in self.photos]

    @cached_property
    def masks(self) -> list[Mask]:
        """The mask of each photo, empty where nothing is found."""
        return [_mask(found, photo.image_u8) for found, photo in zip(self.found, self.photos, strict=True)]

    def _maps(self) -> Seen:
        for found in self.found:
            if fault := _fault(found):
                return Seen(False, fault)
        counts = [found.count if found.told_apart else len(found.layers) for found in self.found]
        what = "told apart" if any(found.told_apart for found in self.found) else "one map for all"
        return Seen(True, f"{sum(counts)} in {len(self.found)} photos, {what}")

    def _masks(self) -> Seen:
        shares = [float(mask.mean()) for mask in self.masks]
        if not any(shares):
            return Seen(None, _NOTHING)
        return Seen(
            any(0 < share < 1 for share in shares), f"{', '.join(f'{share:.0%}' for share in shares)} of a photo"
        )

    def _again(self) -> Seen:
        return _equal([_mask(self.segmenter(self.photos[0].image_u8), self.photos[0].image_u8)], self.masks[:1])

    def _backwards(self) -> Seen:
        if len(self.photos) < 2:
            return Seen(None, "needs two photos")
        turned = [_mask(self.segmenter(photo.image_u8), photo.image_u8) for photo in self.photos[::-1]]
        return _equal(turned[::-1], self.masks)

    def _loaded_again(self) -> Seen:
        other = self.load()
        if not other.digest or other.digest != self.segmenter.digest:
            return Seen(False, f"its digest is {other.digest!r}, and was {self.segmenter.digest!r}")
        return _equal([_mask(other(self.photos[0].image_u8), self.photos[0].image_u8)], self.masks[:1])

    def _looked_at(self) -> Seen:
        """Turn each photo upside down: what gives it the same mask did not look at it."""
        if not any(mask.any() for mask in self.masks):
            return Seen(None, _NOTHING)
        for photo, mask in zip(self.photos, self.masks, strict=True):
            image = np.ascontiguousarray(photo.image_u8[::-1])
            if not np.array_equal(_mask(self.segmenter(image), image), mask):
                return Seen(True, "another mask for the photo upside down")
        return Seen(False, "each photo has the same mask upside down")

    def _unchanged(self) -> Seen:
        same = frozen(self.photos) == self.before
        return Seen(same, "unchanged" if same else "the photo was written to: copy what you change")

    def _odd_size(self) -> Seen:
        mask = _mask(self.segmenter(self.small.image_u8), self.small.image_u8)
        height, width = self.small.mask.shape
        return Seen(mask.shape == (height, width), f"{width} x {height} px")

    def _plain(self) -> Seen:
        image = np.full_like(self.small.image_u8, _PLAIN)
        found = self.segmenter(image)
        fault = _fault(found)
        return Seen(not fault, fault or f"{_mask(found, image).mean():.0%} of it is foreground")

    def _overlap(self) -> Seen:
        pairs = [(mask, photo.mask) for mask, photo in zip(self.masks, self.photos, strict=True)]
        shares = [(mask & own).sum() / max(1, (mask | own).sum()) for mask, own in pairs]
        return Seen(None, f"intersection over union: {', '.join(f'{share:.2f}' for share in shares)}")

    def _speed(self) -> Seen:
        began = time.perf_counter()
        for photo in self.photos:
            self.segmenter(photo.image_u8)
        seconds = (time.perf_counter() - began) / len(self.photos)
        height, width = self.photos[0].mask.shape
        return Seen(None, f"{seconds:.3g} s per photo at {width} x {height} px")


def _mask(found: Segmented, image_u8: ImageU8) -> Mask:
    """Return all that was found in a photo as one mask (H, W): no rule of `masks` hides a difference."""
    return np.asarray(found.masks(image_u8.shape[0], image_u8.shape[1]).any(axis=0))


def _fault(found: Segmented) -> str:
    """Return what is wrong with the maps of a photo, or nothing."""
    layers = found.layers
    if layers.ndim != 3 or layers.dtype != np.float32:
        return f"an array {layers.shape} of {layers.dtype}: (N, h, w) of float32 is needed"
    inside = np.isfinite(layers).all() and (not layers.size or (layers.min() >= 0 and layers.max() <= 1))
    return "" if inside else f"values from {layers.min():g} to {layers.max():g}: [0, 1] is needed"


def _equal(one: Sequence[Mask], other: Sequence[Mask]) -> Seen:
    return equal_within(sum(int((a != b).sum()) for a, b in zip(one, other, strict=True)), 0, "pixels")
