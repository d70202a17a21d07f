"""Write the iHarmony4 layout, so that any existing harmonization trainer reads the result.

``<Subset>/{composite_images,masks,real_images}`` with a composite ``<id>_<mask>_<variant>``, lists at the root with
one composite path per line, and each subset's list of bare names in its own folder. New composites take the variant
``hg<k>``: without an underscore, because trainers find the photo and the mask by cutting the name at its last two.
"""

from __future__ import annotations

import errno
import json
import os
import posixpath
import re
import shutil
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from harmonygen.errors import StorageError, UsageError
from harmonygen.storage import shards

Link = Literal["hard", "sym", "copy"]

COMPOSITES, MASKS, REALS = "composite_images", "masks", "real_images"

MANIFEST: dict[str, str] = {
    "composite": "string",
    "real": "string",
    "mask": "string",
    "subset": "string",
    "pair_id": "string",
    "source": "string",
    "k": "int32",
    "seed": "int64",
    "p_composite": "float64",
    "model_digest": "string",
    "run": "string",
    "clipped": "float64",
    "fmse": "float64",
    "structure": "float64",
    "drift": "float64",
    "real_id": "string",
    "named_before": "string",
}
"""Columns of ``manifest.parquet``, one row a composite; those from ``k`` to ``drift`` are null for originals.

``pair_id`` and ``real_id`` are the ids in the run or dataset that the tree is made from, and ``named_before`` is the
path of an original composite there: the way back from the tree's names.
"""

WAY_BACK = ("real_id", "named_before")

_IMAGE_SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp"}


def place(source: Path, target: Path, link: Link) -> bool:
    """Bring a file to ``target`` without changing a byte; return False if it was there already.

    Raises:
        StorageError: the file system cannot link (other device, unsupported, too many links), or the disk is full.
    """
    if os.path.lexists(target):
        if _is_placed(source, target, link):
            return False
        target.unlink()
    try:
        if link == "hard":
            os.link(source.resolve() if source.is_symlink() else source, target)
        elif link == "sym":
            target.symlink_to(source.resolve())
        else:
            _copy(source, target)
    except OSError as error:
        raise StorageError(_link_refused(source, target, link, error)) from error
    return True


def _is_placed(source: Path, target: Path, link: Link) -> bool:
    if link == "copy":  # copies are renamed into place, so one under its final name is whole
        return not target.is_symlink() and not source.samefile(target) and _size(target) == _size(source)
    return target.is_symlink() == (link == "sym") and target.exists() and source.samefile(target)


def _size(path: Path) -> int:
    return path.stat().st_size


def _copy(source: Path, target: Path) -> None:
    with shards.whole_file(target) as temporary:
        shutil.copyfile(source, temporary)


def _link_refused(source: Path, target: Path, link: Link, error: OSError) -> str:
    why = error.strerror or str(error)
    if link == "hard" and error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS):
        return (
            f"cannot hard-link '{source}' to '{target}' ({why}): hard links stay on one file system: "
            "put --out on the dataset's disk, or pass --link sym or --link copy"
        )
    return f"cannot {link} '{source}' to '{target}' ({why}): free space or fix permissions, then repeat the command"


def new_variant(originals: Iterable[str]) -> str:
    """Return the prefix of new variants: ``hg``, or a longer one if the dataset's composites use it already.

    ``originals`` are composite paths or names.

    >>> new_variant(["a_1_1.jpg"]), new_variant(["a_1_1.jpg", "a_1_hg03.png"])
    ('hg', 'hga')
    """
    found = (re.search(r"(?:^|[_/])(hg[a-z]?)\d+(?:\.[^./]*)?$", name) for name in originals)
    used = {match[1] for match in found if match}
    prefixes = ["hg", *(f"hg{letter}" for letter in string.ascii_lowercase)]
    for prefix in prefixes:
        if prefix not in used:
            return prefix
    raise UsageError(f"all {len(prefixes)} names of new variants (hg, hga .. hgz) are taken: augment the original data")


def new_composite(mask: str, prefix: str, k: int, suffix: str) -> str:
    """Return the path of candidate ``k`` (0-based) beside the originals of the mask's pair.

    >>> new_composite("HFlickr/masks/f1000_1.png", "hg", 3, ".png")
    'HFlickr/composite_images/f1000_1_hg03.png'
    """
    folder, name = posixpath.split(mask)
    stem = f"{posixpath.splitext(name)[0]}_{prefix}{k:02d}{suffix}"
    return posixpath.join(posixpath.dirname(folder), COMPOSITES, stem)


def image_suffix(encoded: bytes, name: str) -> str:
    """Return the suffix of encoded image bytes; raise StorageError if they are none of PNG, JPEG and WebP."""
    for magic, suffix in _IMAGE_SUFFIXES.items():
        if encoded.startswith(magic):
            return suffix
    raise StorageError(f"'{name}' holds no PNG, JPEG or WebP ({encoded[:8]!r}): run synthesize again for this pair")


def write_lists(root: Path, composites: Sequence[str], split: str) -> None:
    """Write ``IHD_<split>.txt`` and each subset's ``<Subset>/<Subset>_<split>.txt``, in the order given."""
    shards.write_bytes(root / f"IHD_{split}.txt", _lines(composites))
    by_subset: dict[str, list[str]] = {}
    for composite in composites:
        folder, name = posixpath.split(composite)
        by_subset.setdefault(posixpath.dirname(folder), []).append(name)
    for subset, names in by_subset.items():
        shards.write_bytes(root / subset / f"{posixpath.basename(subset) or 'all'}_{split}.txt", _lines(names))


def write_plain_lists(root: Path, composites: Sequence[str], split: str) -> None:
    """Write the spellings of ``IHD_<split>.txt`` that some trainers read: ``<split>.txt`` and ``<split>.jsonl``."""
    shards.write_bytes(root / f"{split}.txt", _lines(composites))
    rows = (json.dumps({"file_name": name, "text": ""}, ensure_ascii=False) for name in composites)
    shards.write_bytes(root / f"{split}.jsonl", _lines(rows))


def summed_up(subsets: Iterable[str]) -> list[str]:
    """Return the names, relative to the root, of the manifest and of the lists that a tree with these subsets has."""
    stems = ["IHD", *(f"{subset}/{subset}" if subset else "all" for subset in sorted(set(subsets)))]
    splits = ("train", "test")
    plain = [f"{split}.{ending}" for split in splits for ending in ("txt", "jsonl")]
    return ["manifest.parquet", *plain, *(f"{stem}_{split}.txt" for stem in stems for split in splits)]


def _lines(names: Iterable[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def write_manifest(root: Path, rows: Sequence[Mapping[str, Any]], digest: str) -> None:
    """Write ``manifest.parquet`` with the columns :data:`MANIFEST`; missing values are null."""
    import pyarrow as pa

    from harmonygen.storage.parquet_cells import image_schema

    table = pa.Table.from_pylist([dict(row) for row in rows], schema=image_schema(MANIFEST))
    shards.write_parquet(root / "manifest.parquet", table, {shards.PLAN_KEY: digest.encode()}, compression="zstd")
