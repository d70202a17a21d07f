"""The photos that plug-ins are checked on, composites of them, and one of an odd small size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from harmonygen.data import PairSet
from harmonygen.errors import UsageError
from harmonygen.pictures.images import Decoded, ImageU8, resize
from harmonygen.pictures.photo import Photo, Sizing, load_photo, shrink_mask, size_photo
from harmonygen.recolor.jitter import jitter_foreground
from harmonygen.records import Candidate, Pair
from harmonygen.seeds import candidate_seed

_SMALL = 67, 101
"""Height and width of the odd small photo: no multiple of anything."""


def chosen_pairs(pairs: PairSet, count: int) -> list[Pair]:
    """Return the first pair of each of the first ``count`` photos.

    Raises:
        UsageError: there is none.
    """
    photos: dict[str, Pair] = {}
    for pair in pairs:
        photos.setdefault(pair.real_id, pair)
    if not photos:
        raise UsageError(f"'{pairs.root}' has no photo with a mask: name others with --data")
    return list(photos.values())[:count]


def sized(pairs: Iterable[Pair], sizing: Sizing) -> list[Photo]:
    """Decode pairs and size them; raises InputError for one that cannot be used."""
    return [load_photo(pair, sizing) for pair in pairs]


def small(photo: Photo, sizing: Sizing) -> Photo:
    """Return a photo at an odd small size."""
    image, mask = resize(photo.image_u8, *_SMALL), shrink_mask(photo.mask, *_SMALL)
    return resized(photo, image, mask, sizing)


def resized(photo: Photo, image_u8: ImageU8, mask: np.ndarray, sizing: Sizing) -> Photo:
    """Return a photo of other pixels under the same pair's ids."""
    height, width = mask.shape
    return size_photo(photo.pair, Decoded(image_u8, (width, height), 1), mask, replace(sizing, max_side=None))


def candidates_of(photo: Photo, k: int, seed: int) -> list[Candidate]:
    """Return candidates 0..k-1 of a photo, as a run with this seed has them."""
    pair_id = photo.pair.pair_id
    return [Candidate(pair_id, index, candidate_seed(seed, pair_id, index)) for index in range(k)]


def recoloured(photo: Photo, k: int, seed: int) -> list[ImageU8]:
    """Return ``k`` composites of a photo: its foreground in jittered colours."""
    drawn = candidates_of(photo, k, seed)
    return [jitter_foreground(photo.image_u8, photo.mask, np.random.default_rng(each.seed)) for each in drawn]


def frozen(photos: Sequence[Photo]) -> list[bytes]:
    """Return what the pixels of photos are, to compare afterwards."""
    names = ("image_u8", "mask", "low_u8", "low_mask")
    return [getattr(photo, name).tobytes() for photo in photos for name in names]
