"""A pair's photo and mask as image cells of a Parquet row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harmonygen.errors import StorageError
from harmonygen.runs.read import PairImages
from harmonygen.storage.parquet_cells import image_cell


def pair_cells(pair_id: str, images: PairImages) -> dict[str, dict[str, Any]]:
    """Return a pair's photo and mask as image cells; a photo that is used as it is on disk is read from there.

    Raises:
        StorageError: the photo is gone.
    """
    real = _file_cell(images.path) if images.real is None else image_cell(images.real, images.path.name)
    return {"real": real, "mask": image_cell(images.mask, f"{pair_id.replace('/', '_')}.png")}


def _file_cell(path: Path) -> dict[str, Any]:
    try:
        return image_cell(path.read_bytes(), path.name)
    except OSError as error:
        raise StorageError(
            f"photo '{path}' cannot be read ({error.strerror or error}): bring it back, then repeat the command"
        ) from error
