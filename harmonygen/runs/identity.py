"""What a run records about each pair's photo and mask, and whether they are still what its candidates were made from.

A candidate belongs to the pixels of its photo and mask, not to their names. Three questions are asked, each only if
the one before it fails: does the file have the size, time and inode that were recorded; has it the same bytes; does it
decode to the same pixels (at the composite's size)? A photo or mask that is gone is no changed one: whoever reads it
says so. See :mod:`harmonygen.storage.content`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, get_args

import numpy as np
import pyarrow as pa

from harmonygen.errors import InputError, StorageError, UsageError, shown
from harmonygen.pictures.images import ImageU8, Mask, read_bytes, read_image, resize
from harmonygen.pictures.masks import load_mask
from harmonygen.pictures.photo import shrink_mask
from harmonygen.records import CellSource, ImageSource, MaskSource, Pair, SegmentSource
from harmonygen.settings import Enlarge
from harmonygen.storage.content import Content, holds
from harmonygen.storage.parquet_cells import held_by
from harmonygen.storage.shards import open_parquet

CONTENT_COLUMNS = {"real_file": "string", "mask_file": "string"}
DIGEST_COLUMNS = {"real_digest": "string", "mask_digest": "string"}
"""Columns of ``pairs/*.parquet``: contents as JSON, and hashes of the decoded pixels at the composite's size."""

_COLUMNS = ("pair_id", "width", "height", *CONTENT_COLUMNS, *DIGEST_COLUMNS)
_DIGEST_BYTES = 16
_THREADS = 16  # most of the time goes by waiting for the file system
_CHUNK = 256  # pairs a task

Sources = tuple[ImageSource | None, MaskSource | None]
"""Where a pair's photo and mask are now; None is not compared."""


@dataclass(frozen=True, slots=True)
class Noted:
    """What a run records about a pair: the contents of its photo and mask, and hashes of their pixels at ``size``.

    ``size`` is the composite's (height, width). Runs of older versions note no content and no digest.
    """

    pair_id: str
    size: tuple[int, int]
    real: Content | None = None
    mask: Content | None = None
    real_digest: str = ""
    mask_digest: str = ""


def pixels_digest(pixels: ImageU8 | Mask) -> str:
    """Return the BLAKE2b hash of an array's shape and values as 32 hex digits."""
    digest = blake2b(f"{pixels.dtype.str}{pixels.shape}".encode(), digest_size=_DIGEST_BYTES)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def content_columns(real: Content | None, mask: Content | None) -> dict[str, str]:
    """Return the columns :data:`CONTENT_COLUMNS`, empty where nothing is known."""
    return {"real_file": real.to_json() if real else "", "mask_file": mask.to_json() if mask else ""}


def digest_columns(image_u8: ImageU8, mask: Mask) -> dict[str, str]:
    """Return the columns :data:`DIGEST_COLUMNS`."""
    return {"real_digest": pixels_digest(image_u8), "mask_digest": pixels_digest(mask)}


def read_noted(part: Path | BinaryIO) -> list[Noted]:
    """Read what a file of ``pairs/`` (or of prepared photos) records about its pairs.

    Raises:
        StorageError: the file is damaged.
    """
    try:
        file = open_parquet(part)
        present = [name for name in _COLUMNS if name in file.schema_arrow.names]
        table = file.read(columns=present)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read '{part}': {error}: remove it and repeat the command that wrote it") from error
    columns = [table[name].to_pylist() if name in present else [None] * table.num_rows for name in _COLUMNS]
    return [_noted(*row) for row in zip(*columns, strict=True)]


def _noted(
    pair_id: str,
    width: int | None,
    height: int | None,
    real_file: str | None,
    mask_file: str | None,
    real_digest: str | None,
    mask_digest: str | None,
) -> Noted:
    contents = Content.from_json(real_file), Content.from_json(mask_file)
    return Noted(pair_id, (height or 0, width or 0), *contents, real_digest or "", mask_digest or "")


def of_pairs(pairs: Iterable[Pair]) -> dict[str, Sources]:
    """Return the sources of pairs that were read from their data set."""
    return {pair.pair_id: (pair.real, pair.mask) for pair in pairs}


def of_noted(noted: Iterable[Noted]) -> dict[str, Sources]:
    """Return the sources that a run was made from, where they are known: for verbs that are given the run alone."""
    return {row.pair_id: (_source(row.real), _source(row.mask)) for row in noted}


def _source(content: Content | None) -> ImageSource | None:
    return content.source if content else None


def changed(noted: Iterable[Noted], sources: Mapping[str, Sources]) -> dict[str, str]:
    """Return the pairs whose photo or mask is not what the run was made from, by id, and which of the two it is.

    Truncated and unreadable files count as changed; files that are gone do not, nor do pairs that are not in
    ``sources`` or of which nothing is noted.
    """
    asked = [(row, sources[row.pair_id]) for row in noted if row.pair_id in sources]
    chunks = [asked[start : start + _CHUNK] for start in range(0, len(asked), _CHUNK)]
    with ThreadPoolExecutor(_THREADS) as threads:
        found = threads.map(lambda rows: [_what_changed(*row) for row in rows], chunks)
        answers = [what for chunk in found for what in chunk]
    return {row.pair_id: what for (row, _), what in zip(asked, answers, strict=True) if what}


def _what_changed(row: Noted, sources: Sources) -> str:
    """Return ``photo``, ``mask``, ``photo and mask`` or nothing."""
    real, mask = sources
    differs = {
        "photo": real is not None and _differs(real, row.real, lambda: _is_photo(real, row)),
        "mask": mask is not None and _differs(mask, row.mask, lambda: _is_mask(mask, real, row)),
    }
    return " and ".join(name for name, found in differs.items() if found)


def _differs(source: MaskSource, content: Content | None, has_the_pixels: Callable[[], bool]) -> bool:
    """Return whether a source is another than was noted: by its stamp, else by its bytes, else by its pixels."""
    if content is None:
        return False
    try:
        return not holds(source, content, read_bytes) and not has_the_pixels()
    except InputError:
        return not _is_gone(source)


def _is_gone(source: MaskSource) -> bool:
    if isinstance(source, SegmentSource):
        return False
    if not source.path.exists():
        return True
    try:
        return isinstance(source, CellSource) and not held_by(source).exists()
    except InputError:
        return False


def _is_photo(real: ImageSource, row: Noted) -> bool:
    """Return whether a photo has the noted pixels, enlarged in either way that a run may have asked for."""
    image = read_image(real).image_u8
    return any(pixels_digest(resize(image, *row.size, how)) == row.real_digest for how in get_args(Enlarge))


def _is_mask(mask: MaskSource, real: ImageSource | None, row: Noted) -> bool:
    """Return whether a mask has the noted pixels; how it is turned and sized depends on its photo."""
    if real is None:
        return False
    found = load_mask(mask, read_image(real), "nearest")
    return pixels_digest(shrink_mask(found, *row.size)) == row.mask_digest


def unchecked(noted: Iterable[Noted]) -> int:
    """Return how many pairs nothing is recorded about: those of a run that an older version made."""
    return sum(row.real is None for row in noted)


def refuse_changed(noted: Collection[Noted], sources: Mapping[str, Sources], where: str) -> None:
    """Refuse a run whose photos or masks are not what it was made from.

    Pairs that an older version of harmonygen made cannot be checked: one line of the log says so.

    Args:
        noted: what the run records about its pairs.
        sources: where their photos and masks are now.
        where: names the run in the messages, as in ``'outputs/synthesize'``.

    Raises:
        UsageError: naming the first pairs.
    """
    known = [row for row in noted if row.pair_id in sources]
    if unknown := unchecked(known):
        logging.getLogger("harmonygen").warning(
            "%d pairs of %s were made by an older version, which did not record photos and masks: "
            "whether these changed cannot be checked",
            unknown,
            where,
        )
    if found := changed(known, sources):
        raise UsageError(f"{told(found, where)}: bring them back as they were, or start again in another --out")


def told(found: Mapping[str, str], where: str) -> str:
    """Say which pairs changed.

    >>> told({"a_1": "photo", "b_1": "mask"}, "'run'")
    "photos or masks of 2 pairs are not those that 'run' was made from: a_1 (photo), b_1 (mask)"
    """
    names = [f"{pair_id} ({what})" for pair_id, what in found.items()]
    count = f"{len(found)} pair{'s' * (len(found) > 1)}"
    return f"photos or masks of {count} are not those that {where} was made from: {shown(names, 'pairs')}"


def noted_of(parts: Iterable[Path], only: Collection[str] | None = None) -> list[Noted]:
    """Return what files of ``pairs/`` record about their pairs, for all of them or for those in ``only``."""
    return [row for part in parts for row in read_noted(part) if only is None or row.pair_id in only]
