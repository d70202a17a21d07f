"""Training samples from stored composites: sample ``i`` is a function of (seed, i) alone.

Each epoch is a permutation of its own, so that every composite is met once an epoch and the order survives a resume.
What fits into ``photo_memory_gb`` is decoded and shrunk once: a small set is met a hundred times.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from harmonygen.errors import InputError, TooManyBadInputsError
from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.records import Composite, FileSource
from harmonygen.seeds import numpy_rng
from harmonygen.training.composites import MOST_BAD_IN_A_ROW, Batch, chained_sample, sizing
from harmonygen.training.photos import BadSamples, Sources, crop_corner, cut, ids_digest, read_pixels, shrink_mask
from harmonygen.training.settings import TrainSettings


class EpochOrder:
    """Index ``i`` -> item: epoch ``i // count`` goes through all ``count`` items in an order drawn from its seed."""

    def __init__(self, count: int, *seed: int | str) -> None:
        self.count, self.seed = count, seed
        self._epoch, self._drawn = -1, np.empty(0, dtype=np.int64)

    def __call__(self, index: int) -> int:
        """Return the item of sample ``index``."""
        epoch, place = divmod(index, self.count)
        if epoch != self._epoch:
            self._epoch, self._drawn = epoch, numpy_rng("order", *self.seed, epoch).permutation(self.count)
        return int(self._drawn[place])


Arrays = tuple[npt.NDArray[Any], ...]


class _ArrayCache:
    """Arrays by key, up to this many bytes in all; what came later is made again each time."""

    def __init__(self, most_bytes: float) -> None:
        self._left = most_bytes
        self._arrays: dict[Hashable, Arrays] = {}

    def get(self, key: Hashable, make: Callable[[], Arrays]) -> Arrays:
        """Return what ``make`` made for ``key``."""
        found = self._arrays.get(key)
        if found is not None:
            return found
        made = make()
        size = sum(array.nbytes for array in made)
        if size <= self._left:
            self._left -= size
            self._arrays[key] = made
        return made


def known_by(item: Composite) -> str:
    """Return what checkpoints and quarantine call a composite: its file, its file and row, or its name in a run."""
    source = item.composite
    if isinstance(source, FileSource):
        return "/".join(source.path.parts[-3 if item.subset else -2 :])
    return item.name.replace(source.path.stem, source.path.name, 1)


class StoredComposites(Dataset[Batch]):
    """Endless samples ``real composite`` (3, R, R) in [-1, 1] and ``mask`` (1, R, R) of 0 and 1, decoded on demand.

    A composite that cannot be read is recorded in ``bad``, and the next of the epoch takes its place. Each loader
    worker keeps its part of ``photo_memory_gb``.
    """

    def __init__(
        self,
        composites: Sequence[Composite],
        settings: TrainSettings,
        name: str,
        augment: bool = True,
        bad: BadSamples | None = None,
    ) -> None:
        self.composites, self.settings, self.name, self.augment, self.bad = composites, settings, name, augment, bad
        self.order = EpochOrder(len(composites), settings.seed, name)
        self.sources = Sources(s for item in composites for s in (item.photo, item.mask, item.composite))
        self._known_bad: set[int] = set()
        self._kept = _ArrayCache(settings.photo_memory_gb * 1e9 / max(settings.dataloader_num_workers, 1))

    @property
    def digest(self) -> str:
        """Sixteen hex digits over the composites' ids in order."""
        return ids_digest(map(known_by, self.composites))

    def __getitem__(self, index: int) -> Batch:
        """Return sample ``index``, the same whenever it is asked for.

        Raises:
            TooManyBadInputsError: too many are bad, in all or in a row.
        """
        tried = 0
        while tried < min(MOST_BAD_IN_A_ROW, len(self.composites)):
            item = self.order(index + tried)
            tried += 1
            if item in self._known_bad:
                continue
            try:
                return self._sample(self.composites[item], index)
            except InputError as error:
                self._known_bad.add(item)
                if self.bad:
                    self.bad.record(known_by(self.composites[item]), error)
        raise TooManyBadInputsError(f"{tried} composites in a row could not be read from sample {index} on: mend them")

    def _sample(self, item: Composite, index: int) -> Batch:
        settings, rng = self.settings, numpy_rng("stored", self.settings.seed, self.name, index)
        whole_real, whole_mask, whole_composite = self._shrunk(item)
        corner = crop_corner(whole_mask, settings.resolution, rng, self.augment and settings.crop == "random")
        flipped = bool(self.augment and settings.random_flip and rng.random() < 0.5)
        pictures = (whole_real, whole_composite)
        real, composite = (cut(picture, corner, settings.resolution, flipped) for picture in pictures)
        square = cut(whole_mask, corner, settings.resolution, flipped)
        return chained_sample(real, composite, square, settings, rng)

    def _shrunk(self, item: Composite) -> tuple[ImageU8, Mask, ImageU8]:
        """Return photo, mask and composite at the size that crops are cut from."""
        real, mask, full = self._kept.get((item.photo, item.mask), lambda: self._read_photo(item))
        (made,) = self._kept.get(item.composite, lambda: self._read_composite(item, full))
        return real, mask, made

    def _read_photo(self, item: Composite) -> Arrays:
        decoded, mask = read_pixels(self.sources, item.photo, item.mask)
        size = sizing(self.settings)
        shrunk = shrink_mask(mask, size.of(*mask.shape), str(item.mask))
        return size.resized(decoded.image_u8, *mask.shape), shrunk, np.array(mask.shape)

    def _read_composite(self, item: Composite, full: npt.NDArray[np.int64]) -> Arrays:
        made = self.sources.image(item.composite).image_u8
        height, width = full.tolist()
        if made.shape[:2] != (height, width):
            found = f"{made.shape[1]}x{made.shape[0]}, its photo {width}x{height}"
            raise InputError(f"composite '{item.composite}' is {found}: make it again at the photo's size")
        return (sizing(self.settings).resized(made, height, width),)
