"""Candidates by colour jitter of the foreground: the plain augmentation, as a control for learnt candidates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from harmonygen.pictures.images import ImageU8
from harmonygen.pictures.photo import Photo
from harmonygen.recolor.jitter import BRIGHTNESS, CONTRAST, HUE, SATURATION, jitter_foreground
from harmonygen.records import Candidate


class ColorJitterGenerator:
    """Each candidate is a jitter drawn from its seed."""

    name = "color-jitter"
    resolution, multiple = 256, 1
    digest = f"color-jitter:{BRIGHTNESS},{CONTRAST},{SATURATION},{HUE}"

    def __call__(self, photo: Photo, candidates: Sequence[Candidate]) -> Iterator[ImageU8]:
        """Yield one composite per candidate."""
        for candidate in candidates:
            yield jitter_foreground(photo.image_u8, photo.mask, np.random.default_rng(candidate.seed))
