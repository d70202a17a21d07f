"""Prepare segmented photos for synthesis: decode, clean or widen the mask, bound it, drop product photos, hash.

A shard of pairs becomes two Parquet files of the same name: ``dropped/part-…`` (a thumbnail and the reason a photo
was left out) and, renamed last, ``prepared/part-…`` (photo, mask and what is known of it), whose footer carries what
could not be used. The prepared file under its final name is the record that the shard is done.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from harmonygen.errors import InputError
from harmonygen.human_harmony.products import load_product_filter
from harmonygen.human_harmony.settings import HumanHarmonySettings
from harmonygen.human_harmony.subject import Kind
from harmonygen.human_harmony.verdict import ProductFilter
from harmonygen.pictures.images import ImageU8, Mask, encode, read_bytes, read_image
from harmonygen.pictures.mask_cleaning import clean_mask
from harmonygen.pictures.masks import check_mask, fg_ratio, read_mask
from harmonygen.pictures.outline import draw, outline
from harmonygen.pictures.phash import hash_source
from harmonygen.records import FileSource, Pair, PairSet, Quarantined
from harmonygen.runs.identity import (
    CONTENT_COLUMNS,
    DIGEST_COLUMNS,
    content_columns,
    digest_columns,
    noted_of,
    of_pairs,
    refuse_changed,
)
from harmonygen.storage import shards
from harmonygen.storage.content import NotingReader
from harmonygen.storage.parquet_cells import IMAGE, image_cell, image_schema

PREPARED, DROPPED = "prepared", "dropped"
_FOLDERS = (PREPARED, DROPPED)
SUBSETS = {"people": "HumanHarmony", "clothing": "HumanHarmony", "things": "Harmony", "foregrounds": "Harmony"}
"""Subset of photos that have none of their own, by what the foregrounds are: a folder's name in iHarmony4 layout."""
SHARD = 64  # photos: as many are decoded again after a kill
_ROW_GROUP = 16  # masks read together when a pair is decoded
_THUMBNAIL = 160  # pixels, the longest side
_THREADS = 4

Progress = Callable[[int, int], None]
Widen = Callable[[ImageU8, Mask], Mask]
"""(photo, mask) -> mask of the whole person."""

_IDS = {"pair_id": "string", "real_id": "string", "mask_id": "string", "subset": "string"}
PREPARED_COLUMNS = {
    **_IDS,
    "real": IMAGE,
    "mask": IMAGE,
    "width": "int32",
    "height": "int32",
    "fg_ratio": "float64",
    "phash": "string",
    "class_ids": "string",
    "attributes": "string",
    "segments": "int32",
    **CONTENT_COLUMNS,
    **DIGEST_COLUMNS,
}
DROPPED_COLUMNS = {
    "pair_id": "string",
    "real_id": "string",
    "reason": "string",
    "detail": "string",
    "width": "int32",
    "height": "int32",
    "fg_ratio": "float64",
    "image": IMAGE,
    **CONTENT_COLUMNS,
    **DIGEST_COLUMNS,
}


@dataclass(frozen=True)
class PhotoRules:
    """What decides about a photo: the product filter, the widening (None: clothing only) and the settings."""

    settings: HumanHarmonySettings
    product: ProductFilter
    widen: Widen | None = None


@dataclass(frozen=True)
class _PreparedRow:
    row: dict[str, Any]


@dataclass(frozen=True)
class _Left:
    row: dict[str, Any]


_Outcome = _PreparedRow | _Left | Quarantined


def load_rules(settings: HumanHarmonySettings, unmasked: bool = False) -> PhotoRules:
    """Return the rules that settings name; models are loaded here.

    Masks of photos that were ``unmasked`` are people already: nothing is widened, and the heuristic product filter,
    which takes a person before a plain ground for clothing if their skin is in the mask, is not asked.

    Raises:
        UsageError: a filter or model without its file, or a device that is missing.
        CheckpointError: weights of another model.
    """
    from harmonygen.models.device import pick_device

    device = pick_device(settings.device)
    name, listed, weights = settings.product_filter, settings.product_list, settings.product_weights
    name = "none" if unmasked and name in ("heuristic", "witness") else name
    product = load_product_filter(name, listed, weights, device=device, rule=settings.product_rule)
    if settings.person == "none" or unmasked:
        return PhotoRules(settings, product)
    from harmonygen.human_harmony.person import widen_to_people
    from harmonygen.segmentation.segmenters import load_segmenter

    given: dict[str, Any] = {"weights": settings.person_weights} if settings.person_weights else {}
    segment = load_segmenter(settings.person, given, device)
    return PhotoRules(settings, product, lambda image_u8, mask: widen_to_people(image_u8, mask, segment))


def prepare_photos(
    pairs: Sequence[Pair], load: Callable[[], PhotoRules], work: Path, digest: str, progress: Progress | None = None
) -> list[Quarantined]:
    """Prepare the pairs whose shards are not done yet in ``work``; return what could not be used, of all shards.

    ``load`` is called once, if there is anything to do.

    Raises:
        StorageError: the folder cannot be written; rerun the same call to resume.
    """
    cut = shards.cut(len(pairs), SHARD)
    for folder in _FOLDERS:
        shards.make_folder(work / folder)
    bad: list[Quarantined] = []
    rules: PhotoRules | None = None
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as threads:
        for shard in cut:
            kept = work / PREPARED / shard.filename
            if not is_done(work, shard, digest):
                rules = rules or load()
                _prepare_shard(pairs[shard.start : shard.stop], rules, kept, digest, threads)
            bad += shards.unpack_quarantine(kept)
            if progress is not None:
                progress(shard.stop, len(pairs))
    return bad


def in_subset(pairs: PairSet, work: Path, kind: Kind) -> PairSet:
    """Name the subset of pairs that have none: that of photos which are prepared already, or by what is shown."""
    begun = (pq.read_table(path, columns=["subset"])["subset"].to_pylist() for path in files(work))
    held = {subset for subsets in begun for subset in subsets} & set(SUBSETS.values())
    name = next(iter(held), SUBSETS[kind])
    return replace(pairs, pairs=tuple(replace(pair, subset=pair.subset or name) for pair in pairs))


def refuse_changed_photos(pairs: Sequence[Pair], work: Path, digest: str) -> None:
    """Refuse to continue from shards that were prepared of other photos or masks than there are now; writes nothing.

    Raises:
        UsageError: naming the first pairs.
    """
    cut = shards.cut(len(pairs), SHARD)
    done = [work / folder / shard.filename for shard in cut if is_done(work, shard, digest) for folder in _FOLDERS]
    refuse_changed(noted_of(done), of_pairs(pairs), f"'{work.parent}'")


def is_done(work: Path, shard: shards.Shard, digest: str) -> bool:
    """Return whether both files of a shard are whole and belong to the build."""
    return all(shards.is_whole(work / folder / shard.filename, digest) for folder in _FOLDERS)


def files(work: Path, folder: str = PREPARED) -> list[Path]:
    """Return the files of ``prepared`` or ``dropped``, in the order of the photos."""
    return shards.shard_files(work / folder)


def _prepare_shard(
    pairs: Sequence[Pair], rules: PhotoRules, kept: Path, digest: str, threads: ThreadPoolExecutor
) -> None:
    outcomes = list(_in_threads(pairs, rules, threads))
    left = [outcome.row for outcome in outcomes if isinstance(outcome, _Left)]
    rows = [outcome.row for outcome in outcomes if isinstance(outcome, _PreparedRow)]
    bad = [outcome for outcome in outcomes if isinstance(outcome, Quarantined)]
    mark = {shards.PLAN_KEY: digest.encode()}
    dropped = kept.parent.parent / DROPPED / kept.name
    shards.write_parquet(dropped, pa.Table.from_pylist(left, schema=image_schema(DROPPED_COLUMNS)), mark)
    table = pa.Table.from_pylist(rows, schema=image_schema(PREPARED_COLUMNS))
    marked = {**mark, shards.QUARANTINE_KEY: shards.pack_quarantine(bad)}
    shards.write_parquet(kept, table, marked, row_group_size=_ROW_GROUP)


def _in_threads(pairs: Sequence[Pair], rules: PhotoRules, threads: ThreadPoolExecutor) -> Iterator[_Outcome]:
    """Prepare photos in threads, in order: as many photos are in memory as there are threads."""
    return threads.map(lambda pair: _prepare_or_quarantine(pair, rules), pairs)


def _prepare_or_quarantine(pair: Pair, rules: PhotoRules) -> _Outcome:
    try:
        return prepare_photo(pair, rules)
    except InputError as error:
        return Quarantined(pair.pair_id, "prepare", type(error).__name__, str(error))


def prepare_photo(pair: Pair, rules: PhotoRules) -> _PreparedRow | _Left:
    """Decode one pair and decide about it: the mask's bounds first, then the product filter, which sees the clothes.

    Raises:
        InputError: the photo or its mask cannot be used.
    """
    settings, read = rules.settings, NotingReader(read_bytes)
    decoded = read_image(pair.real, settings.max_pixels, read)
    mask = read_mask(pair.mask, decoded, settings.mask_resize, settings.max_pixels, read)
    noted = {
        **content_columns(read.content_of(pair.real), read.content_of(pair.mask)),
        **digest_columns(decoded.image_u8, mask),
    }
    clothes = clean_mask(mask) if settings.clean else mask
    whole = rules.widen(decoded.image_u8, clothes) if rules.widen is not None else clothes
    ratio = fg_ratio(whole)
    if not settings.min_fg <= ratio <= settings.max_fg:
        name, limit = ("min-fg", settings.min_fg) if ratio < settings.min_fg else ("max-fg", settings.max_fg)
        detail = f"the foreground is {ratio:.4f} of the photo, --{name} is {limit:g}"
        return _Left({**_left_row(pair, decoded.image_u8, whole, name, detail), **noted})
    verdict = rules.product(decoded.image_u8, clothes, pair.real_id)
    if not verdict.keep:
        return _Left({**_left_row(pair, decoded.image_u8, whole, verdict.reason, verdict.detail), **noted})
    return _PreparedRow({**_kept_row(pair, check_mask(whole, str(pair.mask)), ratio), **noted})


def _kept_row(pair: Pair, mask: Mask, ratio: float) -> dict[str, Any]:
    return {
        "pair_id": pair.pair_id,
        "real_id": pair.real_id,
        "mask_id": pair.mask_id,
        "subset": pair.subset,
        "real": _real_cell(pair),
        "mask": image_cell(encode(mask.astype(np.uint8) * 255), f"{pair.pair_id.replace('/', '_')}.png"),
        "width": mask.shape[1],
        "height": mask.shape[0],
        "fg_ratio": ratio,
        "phash": f"{hash_source(pair.real):016x}",
        "class_ids": pair.extra.get("class_ids", ""),
        "attributes": pair.extra.get("attributes", "[]"),
        "segments": int(pair.extra.get("segments", "1")),
    }


def _real_cell(pair: Pair) -> dict[str, Any]:
    """Return the photo's cell: a plain file is pointed to, never copied."""
    if isinstance(pair.real, FileSource):
        return {"bytes": None, "path": str(pair.real.path.absolute())}
    return image_cell(read_bytes(pair.real), pair.real_id.rpartition("/")[2])


def _left_row(pair: Pair, image_u8: ImageU8, mask: Mask, reason: str, detail: str) -> dict[str, Any]:
    thumbnail = image_cell(_thumbnail(image_u8, mask), f"{pair.pair_id.replace('/', '_')}.webp")
    row = {"pair_id": pair.pair_id, "real_id": pair.real_id, "reason": reason, "detail": detail}
    size = {"width": mask.shape[1], "height": mask.shape[0]}
    return {**row, **size, "fg_ratio": fg_ratio(mask), "image": thumbnail}


def _thumbnail(image_u8: ImageU8, mask: Mask) -> bytes:
    """Return a small WebP of a photo with its mask's outline."""
    small = Image.fromarray(image_u8)
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    coverage = Image.fromarray(mask.astype(np.uint8) * 255).resize(small.size, Image.Resampling.BOX)
    buffer = io.BytesIO()
    draw(small, outline(coverage)).save(buffer, "WEBP", quality=75)
    return buffer.getvalue()
