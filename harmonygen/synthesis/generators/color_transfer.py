"""Candidates by iHarmony4's classical colour transfer between foregrounds of the same data set."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice

import numpy as np

from harmonygen.errors import InputError, UsageError
from harmonygen.pictures.images import ImageU8, Mask, read_image
from harmonygen.pictures.masks import read_mask
from harmonygen.pictures.photo import Photo
from harmonygen.recipes import nearest
from harmonygen.recolor import METHODS, transfer_foreground
from harmonygen.records import Candidate, Pair
from harmonygen.seeds import numpy_rng
from harmonygen.synthesis.settings import CandidateSettings

_CACHED_REFERENCES = 64
_REFERENCE_SIDE = 512


class ColorTransferGenerator:
    """A method and a reference photo drawn for each candidate; no two of a pair draw the same, while any are left.

    Once a pair has used every (method, reference), further candidates blend a drawn one with the photo at a random
    strength, so that a tiny data set still gives distinct candidates. References that cannot be read are skipped.
    """

    name = "color-transfer"
    resolution, multiple = 256, 1

    def __init__(
        self,
        pairs: Sequence[Pair],
        methods: Sequence[str] = tuple(METHODS),
        seed: int = 0,
        same_subset: bool = False,
    ) -> None:
        for method in methods:
            if method not in METHODS:
                raise UsageError(
                    f"colour transfer method {method!r} is not known{nearest(method, METHODS)}: "
                    f"choose {', '.join(METHODS)}"
                )
        self.masks_of = Counter(pair.real_id for pair in pairs)
        if len(self.masks_of) < 2:
            raise UsageError(
                "color-transfer needs at least 2 photos, one to take colours from: add photos, or use --generator lut"
            )
        self.pairs, self.methods, self.seed = sorted(pairs, key=lambda pair: pair.pair_id), tuple(methods), seed
        self.readable: dict[int, bool] = {}
        self.same_subset = same_subset
        self.pools: dict[str, list[int]] = defaultdict(list)
        for index, pair in enumerate(self.pairs):
            self.pools[self._pool_name(pair)].append(index)
        self.digest = f"color-transfer:{','.join(self.methods)}{':subset' if same_subset else ''}"
        self._reference = lru_cache(maxsize=_CACHED_REFERENCES)(self._read_reference)

    def __call__(self, photo: Photo, candidates: Sequence[Candidate]) -> Iterator[ImageU8]:
        """Yield one composite per candidate."""
        for candidate in candidates:
            rng = np.random.default_rng(candidate.seed)
            method, (reference, mask), strength = self._draw(photo.pair, candidate.k, rng)
            moved = transfer_foreground(photo.image_u8, photo.mask, reference, mask, method, rng)
            if strength < 1:
                mixed = photo.image_u8 + strength * (moved.astype(np.float32) - photo.image_u8)
                moved = np.rint(mixed).astype(np.uint8)
            yield moved

    def _pool_name(self, pair: Pair) -> str:
        """Return the name of the photos that a pair takes its references from."""
        return pair.subset if self.same_subset else ""

    def _draw(self, pair: Pair, k: int, rng: np.random.Generator) -> tuple[str, tuple[ImageU8, Mask], float]:
        """Return the method, the reference and the strength of candidate ``k``: the k-th of the pair's own shuffle."""
        taken = list(islice(filter(self._is_readable, self._shuffle(pair)), k + 1))
        if not taken:
            others = len(self.pools[self._pool_name(pair)]) - self.masks_of[pair.real_id]
            raise InputError(
                f"no readable reference photo for '{pair.pair_id}' among {others}: mend them or add photos"
            )
        strength = 1.0 if k < len(taken) else float(rng.uniform(0.4, 0.95))
        index, method = divmod(taken[k % len(taken)], len(self.methods))
        reference = self._reference(index)
        if reference is None:
            raise InputError(f"reference photo '{self.pairs[index].real}' cannot be read any more: mend it or drop it")
        return self.methods[method], reference, strength

    def _is_readable(self, choice: int) -> bool:
        """Return whether a choice's reference can be used; asked of the file once."""
        index = choice // len(self.methods)
        if index not in self.readable:
            self.readable[index] = self._reference(index) is not None
        return self.readable[index]

    def _shuffle(self, pair: Pair) -> Iterator[int]:
        """Yield every (reference, method) of other photos once, in an order of the pair's own."""
        pool = self.pools[self._pool_name(pair)]
        combinations = len(pool) * len(self.methods)
        eligible = combinations - self.masks_of[pair.real_id] * len(self.methods)
        rng, seen = numpy_rng("references", self.seed, pair.pair_id), set[int]()
        while len(seen) < eligible:
            place, method = divmod(int(rng.integers(combinations)), len(self.methods))
            choice = pool[place] * len(self.methods) + method
            if choice not in seen and self.pairs[choice // len(self.methods)].real_id != pair.real_id:
                seen.add(choice)
                yield choice

    def _read_reference(self, index: int) -> tuple[ImageU8, Mask] | None:
        """Read a reference at a short side of at most 512 px; None if it cannot be used."""
        try:
            decoded = read_image(self.pairs[index].real)
            mask = read_mask(self.pairs[index].mask, decoded)
        except InputError:
            return None
        step = max(1, min(mask.shape) // _REFERENCE_SIDE)
        image, mask = decoded.image_u8[::step, ::step], mask[::step, ::step]
        return (image, mask) if mask.any() else None


def make_color_transfer(run: CandidateSettings, pairs: Sequence[Pair]) -> ColorTransferGenerator:
    """Build the generator that a run's settings describe."""
    return ColorTransferGenerator(pairs, run.methods, run.seed, run.references == "subset")
