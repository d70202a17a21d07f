"""Composites made on the fly from photos and masks: training sample ``i`` is a function of (seed, i) alone.

So the order of the data survives a resume, and is the same for any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from harmonygen.errors import InputError, UsageError
from harmonygen.images import ImageU8, Mask, read_image, resize
from harmonygen.masks import read_mask, resize_mask
from harmonygen.recolor import lut_foreground, random_lut, transfer_foreground
from harmonygen.records import Pair
from harmonygen.seeds import numpy_rng, stable_seed
from harmonygen.training.settings import CompositeSettings, TrainSettings

Batch = dict[str, Tensor]
_MIN_FOREGROUND = 0.01
_CROP_TRIES = 8
_DRAWS = 4
_LUT_SIZE = 17
_METHODS = ("reinhard", "xiao", "fecker", "pitie", "lut")


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo (H, W, 3) uint8 and its mask (H, W) bool, shrunk for training."""

    real_id: str
    image_u8: ImageU8
    mask: Mask


def load_photos(pairs: Sequence[Pair], short_side: int) -> tuple[list[Photo], list[str]]:
    """Decode pairs to short side ``short_side`` in threads; return the photos and the messages of the bad ones."""
    photos: list[Photo] = []
    bad: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        for loaded in pool.map(lambda pair: _load(pair, short_side), pairs):
            if isinstance(loaded, Photo):
                photos.append(loaded)
            else:
                bad.append(loaded)
    if not photos:
        raise UsageError(f"none of {len(pairs)} photos could be read: {'; '.join(bad[:3]) or 'the data set is empty'}")
    return photos, bad


def _load(pair: Pair, short_side: int) -> Photo | str:
    try:
        decoded = read_image(pair.real)
        mask = read_mask(pair.mask, decoded)
    except InputError as error:
        return str(error)
    height, width = decoded.image_u8.shape[:2]
    scale = short_side / min(height, width)
    size = max(short_side, round(height * scale)), max(short_side, round(width * scale))
    return Photo(pair.real_id, resize(decoded.image_u8, *size), resize_mask(mask, *size))


def hold_out(photos: Sequence[Photo], fraction: float) -> tuple[list[Photo], list[Photo]]:
    """Split photos into training and validation by a hash of the photo's id, the same in every run."""
    held = [stable_seed("hold out", photo.real_id) % 10_000 < fraction * 10_000 for photo in photos]
    training = [photo for photo, out in zip(photos, held, strict=True) if not out]
    validation = [photo for photo, out in zip(photos, held, strict=True) if out]
    if not training or not validation:  # a handful of photos: one of them is held out, with all its masks
        one = min({photo.real_id for photo in photos}, key=lambda real_id: stable_seed("hold out", real_id))
        training = [photo for photo in photos if photo.real_id != one] or list(photos)
        validation = [photo for photo in photos if photo.real_id == one]
    return training, validation


class OnTheFlyComposites(Dataset[Batch]):
    """Endless samples ``real composite`` (3, R, R) in [-1, 1] and ``mask`` (1, R, R) of 0 and 1."""

    def __init__(self, photos: Sequence[Photo], settings: TrainSettings, name: str, augment: bool = True) -> None:
        self.photos, self.settings, self.name, self.augment = photos, settings, name, augment

    def __getitem__(self, index: int) -> Batch:
        """Return sample ``index``, the same whenever it is asked for."""
        rng = numpy_rng("composite", self.settings.seed, self.name, index)
        photo, reference = (self.photos[int(rng.integers(len(self.photos)))] for _ in range(2))
        real, mask = crop(photo, self.settings.resolution, rng, self.augment)
        if self.augment and self.settings.random_flip and rng.random() < 0.5:
            real, mask = real[:, ::-1], mask[:, ::-1]
        composite = make_composite(real, mask, reference, self.settings.composites, rng)
        return {
            "real": to_pm1(real),
            "composite": to_pm1(composite),
            "mask": torch.from_numpy(mask[None].astype(np.float32)),
        }


def make_composite(
    real: ImageU8, mask: Mask, reference: Photo, settings: CompositeSettings, rng: np.random.Generator
) -> ImageU8:
    """Make one composite by a method drawn by weight; a change too weak or too strong is drawn again."""
    weights = np.array([getattr(settings, name) for name in _METHODS], dtype=float)
    composite = real
    for _ in range(_DRAWS):
        method = _METHODS[int(rng.choice(len(_METHODS), p=weights / weights.sum()))]
        composite = _recolour(real, mask, reference, method, settings, rng)
        change = float(((composite[mask].astype(np.float32) - real[mask]) ** 2).mean())
        if settings.min_fmse <= change <= settings.max_fmse:
            break
    return composite


def _recolour(
    real: ImageU8, mask: Mask, reference: Photo, method: str, settings: CompositeSettings, rng: np.random.Generator
) -> ImageU8:
    if method == "lut":
        return lut_foreground(real, mask, random_lut(rng, size=_LUT_SIZE, strength=settings.lut_strength))
    moved = transfer_foreground(real, mask, reference.image_u8, reference.mask, method, rng)
    strength = np.float32(rng.uniform(settings.min_strength, 1))
    return np.rint(real + strength * (moved.astype(np.float32) - real)).astype(np.uint8)


def crop(photo: Photo, side: int, rng: np.random.Generator, augment: bool) -> tuple[ImageU8, Mask]:
    """Cut a random (or, without ``augment``, the most central) square that has foreground and background."""
    height, width = photo.mask.shape
    best: tuple[ImageU8, Mask] | None = None
    for _ in range(_CROP_TRIES if augment else 1):
        top = int(rng.integers(height - side + 1)) if augment else (height - side) // 2
        left = int(rng.integers(width - side + 1)) if augment else (width - side) // 2
        mask = photo.mask[top : top + side, left : left + side]
        best = photo.image_u8[top : top + side, left : left + side], mask
        if _MIN_FOREGROUND < mask.mean() < 1 - _MIN_FOREGROUND:
            return best
    return _around_foreground(photo, side)


def _around_foreground(photo: Photo, side: int) -> tuple[ImageU8, Mask]:
    rows, columns = np.nonzero(photo.mask)
    height, width = photo.mask.shape
    top = int(np.clip(int(np.median(rows)) - side // 2, 0, height - side))
    left = int(np.clip(int(np.median(columns)) - side // 2, 0, width - side))
    return photo.image_u8[top : top + side, left : left + side], photo.mask[top : top + side, left : left + side]


def to_pm1(image_u8: ImageU8) -> Tensor:
    """Turn (H, W, 3) uint8 into (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image_u8.transpose(2, 0, 1))).float() / 127.5 - 1


class IndexRange(Sampler[int]):
    """Sample indices ``start`` to ``stop``: a resumed run starts where the data had got to."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.stop))

    def __len__(self) -> int:
        return self.stop - self.start
