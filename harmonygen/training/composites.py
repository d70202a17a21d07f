"""Composites made on the fly from photos and masks: training sample ``i`` is a function of (seed, i) alone.

So the order of the data survives a resume, and is the same for any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from harmonygen.errors import InputError, TooManyBadInputsError
from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.recolor import lut_foreground, random_lut, transfer_foreground
from harmonygen.seeds import numpy_rng
from harmonygen.training.photos import (
    BadSamples,
    PhotosOnDisk,
    TrainingPhoto,
    TrainingSize,
    crop_corner,
    cut,
    hold_out,
    ids_digest,
    load_photos,
)
from harmonygen.training.settings import CompositeSettings, TrainSettings

__all__ = [
    "Batch",
    "IndexRange",
    "OnTheFlyComposites",
    "Samples",
    "TrainingPhoto",
    "hold_out",
    "load_photos",
    "sizing",
    "to_pm1",
]

Batch = dict[str, Tensor]
MOST_BAD_IN_A_ROW = 64
_DRAWS = 4
_LUT_SIZE = 17
_METHODS = ("reinhard", "xiao", "fecker", "pitie", "lut")


class Samples(Protocol):
    """Endless samples ``real composite mask``; sample ``i`` is the same whenever it is asked for."""

    @property
    def digest(self) -> str:
        """Sixteen hex digits over what the samples are drawn from."""

    def __getitem__(self, index: int) -> Batch:
        """Return sample ``index``."""


def sizing(settings: TrainSettings) -> TrainingSize:
    """Return what photos are shrunk to before the crop."""
    square = settings.crop == "square"
    return TrainingSize(settings.resolution if square else round(settings.resolution * settings.crop_scale), square)


class OnTheFlyComposites(Dataset[Batch]):
    """Endless samples ``real composite`` (3, R, R) in [-1, 1] and ``mask`` (1, R, R) of 0 and 1.

    Photos that are decoded when asked for may turn out bad: such a one is recorded in ``bad``, and the next sample
    stands in for every sample that would have drawn it.
    """

    def __init__(
        self,
        photos: Sequence[TrainingPhoto],
        settings: TrainSettings,
        name: str,
        augment: bool = True,
        bad: BadSamples | None = None,
    ) -> None:
        self.photos, self.settings, self.name, self.augment, self.bad = photos, settings, name, augment, bad

    @property
    def digest(self) -> str:
        """Sixteen hex digits over the photos' ids in order."""
        of = self.photos.pairs if isinstance(self.photos, PhotosOnDisk) else self.photos
        return ids_digest(photo.real_id for photo in of)

    def __getitem__(self, index: int) -> Batch:
        """Return sample ``index``, the same whenever it is asked for.

        Raises:
            TooManyBadInputsError: too many photos are bad, in all or in a row.
        """
        for tried in range(MOST_BAD_IN_A_ROW):
            rng = numpy_rng("composite", self.settings.seed, self.name, index + tried)
            drawn = [self._photo(int(rng.integers(len(self.photos)))) for _ in range(2)]
            if drawn[0] is not None and drawn[1] is not None:
                return self._sample(drawn[0], drawn[1], rng)
        raise TooManyBadInputsError(f"{MOST_BAD_IN_A_ROW} samples in a row, from {index} on, drew photos that are bad")

    def _photo(self, number: int) -> TrainingPhoto | None:
        try:
            return self.photos[number]
        except InputError as error:
            if self.bad and isinstance(self.photos, PhotosOnDisk):
                self.bad.record(self.photos.pairs[number].pair_id, error)
            return None

    def _sample(self, photo: TrainingPhoto, reference: TrainingPhoto, rng: np.random.Generator) -> Batch:
        settings = self.settings
        at_random = self.augment and settings.crop == "random"
        corner = crop_corner(photo.mask, settings.resolution, rng, at_random)
        flipped = bool(self.augment and settings.random_flip and rng.random() < 0.5)
        real = cut(photo.image_u8, corner, settings.resolution, flipped)
        mask = cut(photo.mask, corner, settings.resolution, flipped)
        composite = make_composite(real, mask, reference, settings.composites, rng)
        return {
            "real": to_pm1(real),
            "composite": to_pm1(composite),
            "mask": torch.from_numpy(mask[None].astype(np.float32)),
        }


def make_composite(
    real: ImageU8, mask: Mask, reference: TrainingPhoto, settings: CompositeSettings, rng: np.random.Generator
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
    real: ImageU8,
    mask: Mask,
    reference: TrainingPhoto,
    method: str,
    settings: CompositeSettings,
    rng: np.random.Generator,
) -> ImageU8:
    if method == "lut":
        return lut_foreground(real, mask, random_lut(rng, size=_LUT_SIZE, strength=settings.lut_strength))
    moved = transfer_foreground(real, mask, reference.image_u8, reference.mask, method, rng)
    strength = np.float32(rng.uniform(settings.min_strength, 1))
    return np.rint(real + strength * (moved.astype(np.float32) - real)).astype(np.uint8)


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
