"""The pictures of a run's pairs, decoded pair by pair to be measured; what cannot be measured is left out."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from harmonygen.augmentation.export import bytes_of
from harmonygen.errors import InputError
from harmonygen.pictures.images import ImageU8, Mask, decode
from harmonygen.pictures.masks import to_mask
from harmonygen.review.columns import Columns
from harmonygen.runs.identity import pixels_digest, read_noted
from harmonygen.runs.read import PairImages, Run

_T = TypeVar("_T")


@dataclass(frozen=True)
class EncodedPair:
    """A pair's number and its pictures as they are stored; ``rows`` are those of its candidates, in order."""

    pair: int
    images: PairImages
    real_digest: str
    rows: Mapping[int, bytes]


@dataclass(frozen=True)
class DecodedPair:
    """A pair's photo (H, W, 3) uint8, its mask (H, W) bool, and its candidates (H, W, 3) uint8 by row."""

    pair: int
    real_u8: ImageU8
    mask: Mask
    composites: Mapping[int, ImageU8]


def decoded(encoded: EncodedPair) -> DecodedPair:
    """Decode a pair.

    Raises:
        InputError: a picture is gone or damaged, or the photo is not the one that the candidates were made from.
    """
    name = str(encoded.images.path)
    try:
        real_u8 = decode(bytes_of(encoded.images), name, as_stored=True).image_u8
    except OSError as error:
        raise InputError(f"photo '{name}' cannot be read: {error.strerror or error}") from error
    if encoded.real_digest and pixels_digest(real_u8) != encoded.real_digest:
        raise InputError(f"photo '{name}' is not the one that its candidates were made from")
    mask = to_mask(Image.open(io.BytesIO(encoded.images.mask)))
    made = {row: decode(each, f"candidate {row}", as_stored=True).image_u8 for row, each in encoded.rows.items()}
    if any(each.shape != real_u8.shape for each in made.values()) or mask.shape != real_u8.shape[:2]:
        raise InputError(f"photo '{name}' has another size than its candidates or its mask")
    return DecodedPair(encoded.pair, real_u8, mask, made)


def encoded_pairs(run: Run, columns: Columns, pairs: range) -> Iterator[EncodedPair]:
    """Yield the pairs of a range, which covers whole files of the run; a few are in memory at a time.

    Raises:
        StorageError: a file of the run cannot be read.
    """
    parts = columns.part[pairs.start : pairs.stop]
    for part in range(int(parts[0]), int(parts[-1]) + 1) if len(parts) else ():
        own = [pairs.start + int(place) for place in np.flatnonzero(parts == part)]
        ids = {columns.pair_ids[pair] for pair in own}
        digests = {noted.pair_id: noted.real_digest for noted in read_noted(run.pair_file(part))}
        images, held = run.images(part, ids), dict[str, PairImages]()
        rows = [row for pair in own for row in columns.rows_of(pair)]
        picked = [{"part": part, "row": int(columns.place[row]), "of": row} for row in rows]
        stored = sorted(picked, key=lambda each: each["row"])
        for pair, group in groupby(run.composites(stored), key=lambda made: int(columns.pair[made[0]["of"]])):
            name = columns.pair_ids[pair]
            while name not in held:
                found, pictures = next(images)
                held[found] = pictures
            yield EncodedPair(pair, held.pop(name), digests.get(name, ""), _by_row(group))


def _by_row(group: Iterator[tuple[Mapping[str, Any], bytes]]) -> dict[int, bytes]:
    return dict(sorted((int(row["of"]), encoded) for row, encoded in group))


def in_threads(encoded: Iterator[EncodedPair], act: Callable[[EncodedPair], _T]) -> Iterator[tuple[int, _T | None]]:
    """Yield each pair's number and what ``act`` makes of it, in order; None where it raises InputError."""
    count = os.cpu_count() or 1
    ahead: deque[tuple[int, Future[_T]]] = deque()
    with ThreadPoolExecutor(count) as threads:
        for each in encoded:
            ahead.append((each.pair, threads.submit(act, each)))
            if len(ahead) > 2 * count:
                yield _finished(ahead.popleft())
        while ahead:
            yield _finished(ahead.popleft())


def _finished(ahead: tuple[int, Future[Any]]) -> tuple[int, Any]:
    pair, future = ahead
    try:
        return pair, future.result()
    except InputError:
        return pair, None
