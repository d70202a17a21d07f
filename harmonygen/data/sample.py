"""The built-in sample: photos inside the scikit-image wheel with hand-made masks that ship with harmonygen.

It is also written out on demand, in iHarmony4 layout and as an iMaterialist folder, so that every verb runs with no
argument. Ids are the same in all three: ``Sample/astronaut_head`` is mask ``head`` of photo ``astronaut``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from harmonygen.data.coco import load_instances, pair_instances
from harmonygen.data.pairset import PairSet
from harmonygen.errors import StorageError, UsageError
from harmonygen.records import Pair

SampleLayout = Literal["iharmony4", "imaterialist"]
Split = Literal["train", "test", "all"]

SUBSET = "Sample"
TEST_PHOTOS = frozenset({f"{SUBSET}/rocket"})
STAMP = ".harmonygen-sample.json"
_FORMAT = 1  # raise it when the written files change


def instances_path() -> Path:
    """Return the path of the sample's COCO instances file."""
    return Path(str(files("harmonygen") / "assets" / "sample" / "instances.json"))


def photo_folder() -> Path:
    """Return scikit-image's data folder, without importing scikit-image.

    Raises:
        StorageError: scikit-image is not installed.
    """
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise StorageError("the sample's photos are in scikit-image, which is not installed: pip install scikit-image")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def read_sample(split: Split = "train") -> PairSet:
    """Read the sample's pairs: of the training photos, as the iHarmony4 layout's default list is, or of others.

    >>> len({pair.real_id for pair in read_sample()}), len({pair.real_id for pair in read_sample("test")})
    (3, 1)
    """
    found, faults = pair_instances(load_instances(instances_path()), photo_folder())
    pairs = [pair for pair in map(_in_subset, found) if split == "all" or _split(pair) == split]
    return PairSet(tuple(pairs), "sample", photo_folder(), tuple(faults))


def cache_folder() -> Path:
    """Return where the sample is laid out: ``$HARMONYGEN_CACHE``, else ``harmonygen`` in the user's cache folder."""
    named = os.environ.get("HARMONYGEN_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "harmonygen"


def read_written_sample() -> PairSet:
    """Read the training pairs of the sample as it is laid out in the cache, in iHarmony4 layout.

    So candidates of ``sample`` have the very photos that ``augment`` mixes them into.

    Raises:
        StorageError: the cache cannot be written.
    """
    from harmonygen.data.iharmony4 import read_iharmony4

    return replace(read_iharmony4(cached_sample(cache_folder())), layout="sample")


def _in_subset(pair: Pair) -> Pair:
    return replace(pair, pair_id=f"{SUBSET}/{pair.pair_id}", real_id=f"{SUBSET}/{pair.real_id}", subset=SUBSET)


def _split(pair: Pair) -> Split:
    return "test" if pair.real_id in TEST_PHOTOS else "train"


@lru_cache(maxsize=1)
def sample_version() -> str:
    """Return 12 hex digits that change with the masks, the photos' package or the way the sample is written."""
    parts = [instances_path().read_bytes(), version("scikit-image").encode(), str(_FORMAT).encode()]
    return hashlib.blake2b(b"\0".join(parts), digest_size=6).hexdigest()


def cached_sample(cache: str | Path, layout: SampleLayout = "iharmony4") -> Path:
    """Return the sample written out under ``cache``, in a folder named by its version; written once.

    Raises:
        UsageError: an unknown layout.
        StorageError: the folder cannot be written.
    """
    return write_sample(Path(cache) / f"sample-{layout}-{sample_version()}", layout)


def write_sample(folder: str | Path, layout: SampleLayout = "iharmony4") -> Path:
    """Write the sample to ``folder``, whole or not at all; a folder that already holds this version is left as it is.

    Args:
        folder: a new or empty folder.
        layout: ``iharmony4`` (subset ``Sample``, two composites a pair, train and test lists disjoint by photo) or
            ``imaterialist`` (``train.csv``, ``label_descriptions.json``, ``train/<ImageId>.jpg``).

    Raises:
        UsageError: an unknown layout, or a folder that holds something else.
        StorageError: the folder cannot be written.
    """
    if layout not in get_args(SampleLayout):
        raise UsageError(f"sample layout '{layout}' is not known: use one of {', '.join(get_args(SampleLayout))}")
    final, stamp = Path(folder), {"layout": layout, "version": sample_version()}
    if (final / STAMP).is_file():
        if json.loads((final / STAMP).read_text(encoding="utf-8")) == stamp:
            return final
        raise UsageError(f"'{final}' holds another version of the sample: delete it or choose another folder")
    if final.exists() and (not final.is_dir() or any(final.iterdir())):
        raise UsageError(f"'{final}' holds something else: choose a new or empty folder for the sample")
    _write_whole(final, layout, json.dumps(stamp))
    return final


def _write_whole(final: Path, layout: SampleLayout, stamp: str) -> None:
    """Write beside ``final``, then rename; another process that was quicker wins."""
    from harmonygen.data.sample_writer import write_iharmony4, write_imaterialist
    from harmonygen.storage.shards import storage_errors

    write = {"iharmony4": write_iharmony4, "imaterialist": write_imaterialist}[layout]
    with storage_errors(f"the sample in '{final}'"):
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{final.name}.", dir=final.parent) as inside:
            temporary = Path(inside) / final.name
            temporary.mkdir()
            write(temporary)
            (temporary / STAMP).write_text(stamp, encoding="utf-8")
            try:
                temporary.replace(final)
            except OSError:  # not empty any more
                if not (final / STAMP).is_file():
                    raise
                shutil.rmtree(temporary)
