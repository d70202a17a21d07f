"""Generators: a sized photo and its candidates in, one composite each out.

A generator yields composites (H, W, 3) uint8 of the photo's output size, in the order of the candidates; composite
``k`` depends on its candidate alone. Background pixels are the photo's own, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from harmonygen.pictures.images import ImageU8
from harmonygen.pictures.photo import Photo
from harmonygen.records import Candidate


class Generator(Protocol):
    """What synthesis needs of a generator."""

    name: str
    digest: str
    resolution: int
    multiple: int

    def __call__(self, photo: Photo, candidates: Sequence[Candidate]) -> Iterator[ImageU8]:
        """Yield one composite per candidate."""
