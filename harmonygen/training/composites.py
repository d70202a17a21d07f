"""Composites made on the fly from photos and masks: training sample ``i`` is a function of (seed, i) alone.

So the order of the data survives a resume, and is the same for any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from harmonygen.errors import InputError, TooManyBadInputsError
from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.pictures.masks import resize_mask
from harmonygen.recolor import grade_foreground
from harmonygen.recolor.foreground import lightness_gap
from harmonygen.recolor.foreground_terms import change_numbers
from harmonygen.records import Pair
from harmonygen.seeds import numpy_rng
from harmonygen.training.chain import draw_chain
from harmonygen.training.changes import drawn_fmse, make_composite
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
from harmonygen.training.settings import TrainSettings

__all__ = [
    "Batch",
    "IndexRange",
    "OnTheFlyComposites",
    "Samples",
    "TrainingPhoto",
    "chained_sample",
    "hold_out",
    "load_photos",
    "make_composite",
    "sizing",
    "to_pm1",
]

Batch = dict[str, Tensor]
MOST_BAD_IN_A_ROW = 64
_LIGHT_DRAWS = 16  # photos drawn for one sample: after that, the last is taken whatever its light
_MASK_DRAWS = 8
_BORROWED = (0.02, 0.8)  # share of a photo that a borrowed mask may cover


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
    side = settings.resolution if square else round(settings.resolution * settings.crop_scale)
    return TrainingSize(side, square, settings.enlarge)


class OnTheFlyComposites(Dataset[Batch]):
    """Endless samples ``real composite`` (3, R, R) in [-1, 1] and ``mask`` (1, R, R) of 0 and 1.

    Photos that are decoded when asked for may turn out bad: such a one is recorded in ``bad``, and the next sample
    replaces every sample that would have drawn it.
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
        self.with_masks = sum(not photo.borrows for photo in self._described())  # they come first

    def _described(self) -> Sequence[Pair] | Sequence[TrainingPhoto]:
        """Return what is known of the photos without decoding them."""
        return self.photos.pairs if isinstance(self.photos, PhotosOnDisk) else self.photos

    @property
    def digest(self) -> str:
        """Sixteen hex digits over the photos' ids in order."""
        return ids_digest(photo.real_id for photo in self._described())

    def __getitem__(self, index: int) -> Batch:
        """Return sample ``index``, the same whenever it is asked for.

        Raises:
            TooManyBadInputsError: too many photos are bad, in all or in a row.
        """
        return self.named(index)[1]

    def named(self, index: int) -> tuple[str, Batch]:
        """Return the photo's id and sample ``index``.

        Raises:
            TooManyBadInputsError: too many photos are bad, in all or in a row.
        """
        for tried in range(MOST_BAD_IN_A_ROW):
            rng = numpy_rng("composite", self.settings.seed, self.name, index + tried)
            drawn = self._drawn(rng)
            if drawn is not None:
                return drawn[0], self._sample(*drawn[1:], rng)
        raise TooManyBadInputsError(f"the photos of {MOST_BAD_IN_A_ROW} samples in a row, from {index} on, are all bad")

    def _drawn(self, rng: np.random.Generator) -> tuple[str, ImageU8, Mask, TrainingPhoto] | None:
        """Draw a photo's id, a square of it, its mask and a reference until the light will do; None if one is bad."""
        for _ in range(_LIGHT_DRAWS):
            photo, reference = (self._photo(int(rng.integers(len(self.photos)))) for _ in range(2))
            if photo is None or reference is None:
                return None
            masked = self._with_mask(photo, rng)
            if masked is None:
                return None
            found = (masked.real_id, *self._square(masked, rng), reference)
            if self._in_a_usual_light(found[1], found[2], rng):
                break
        return found

    def _photo(self, number: int) -> TrainingPhoto | None:
        try:
            return self.photos[number]
        except InputError as error:
            if self.bad and isinstance(self.photos, PhotosOnDisk):
                self.bad.record(self.photos.pairs[number].pair_id, error)
            return None

    def _with_mask(self, photo: TrainingPhoto, rng: np.random.Generator) -> TrainingPhoto | None:
        """Give a photo another's mask, if it has none or by chance; nothing if none is found that fits."""
        if not (photo.borrows or _by_chance(self.settings.composites.borrowed_masks, rng)):
            return photo
        for _ in range(_MASK_DRAWS):
            donor = self._photo(int(rng.integers(self.with_masks)))
            if donor is None:
                return None
            mask = resize_mask(donor.mask, *photo.mask.shape)
            if _BORROWED[0] < mask.mean() < _BORROWED[1]:
                return replace(photo, mask=mask)
        return None if photo.borrows else photo

    def _square(self, photo: TrainingPhoto, rng: np.random.Generator) -> tuple[ImageU8, Mask]:
        settings = self.settings
        at_random = self.augment and settings.crop == "random"
        corner = crop_corner(photo.mask, settings.resolution, rng, at_random)
        flipped = bool(self.augment and settings.random_flip and rng.random() < 0.5)
        side = settings.resolution
        return cut(photo.image_u8, corner, side, flipped), cut(photo.mask, corner, side, flipped)

    def _in_a_usual_light(self, real: ImageU8, mask: Mask, rng: np.random.Generator) -> bool:
        """Accept a square by chance, the less likely the more its foreground is lighter or darker than the rest."""
        sigma = self.settings.composites.lightness_sigma
        return not sigma or bool(rng.random() < np.exp(-(lightness_gap(real, mask) ** 2) / (2 * sigma**2)))

    def _sample(self, real: ImageU8, mask: Mask, reference: TrainingPhoto, rng: np.random.Generator) -> Batch:
        how = self.settings.composites
        both = _by_chance(how.grade_both, rng)
        alone = not both and _by_chance(how.grade_real, rng)
        shown = grade_foreground(real, np.ones_like(mask), rng, drawn_fmse(how, rng)) if both or alone else real
        changed = ~mask if _by_chance(how.change_background, rng) and not mask.all() else mask
        composite = make_composite(real if alone else shown, changed, reference, how, rng)
        return chained_sample(shown, composite, mask, self.settings, rng)


def _by_chance(share: float, rng: np.random.Generator) -> bool:
    """Return True in ``share`` of the calls; a share of 0 draws nothing."""
    return bool(share and rng.random() < share)


def chained_sample(
    real: ImageU8, composite: ImageU8, mask: Mask, settings: TrainSettings, rng: np.random.Generator
) -> Batch:
    """Return one sample as tensors, its pictures through one random chain; ``change`` is measured before that.

    ``change`` (60,) are the numbers of :mod:`harmonygen.recolor.foreground_terms`, for a model that asks for them.
    """
    chain = draw_chain(rng, settings.chain, *mask.shape)
    made = sample(chain(real), chain(composite), mask)
    if settings.measures_change:
        made["change"] = torch.from_numpy(change_numbers(real, composite, mask)).float()
    return made


def sample(real: ImageU8, composite: ImageU8, mask: Mask) -> Batch:
    """Return one sample as tensors."""
    tensor = torch.from_numpy(mask[None].astype(np.float32))
    return {"real": to_pm1(real), "composite": to_pm1(composite), "mask": tensor}


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
