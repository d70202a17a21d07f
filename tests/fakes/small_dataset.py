"""A small built dataset, as build-human-harmony and augment leave it: Parquet, card with a picture, manifest."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from harmonygen.data import manifest
from harmonygen.data.write_parquet import ShardedParquetWriter, card_metadata, write_readme
from harmonygen.storage.parquet_cells import image_cell, image_schema

SCHEMA = image_schema(
    {"real": "image", "mask": "image", "composite": "image", "pair_id": "string", "p_composite": "float64"}
)


def png(seed: int, side: int = 48) -> bytes:
    """A PNG of noise: it does not shrink."""
    return _encoded(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def _encoded(pixels: np.ndarray) -> bytes:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG", compress_level=0)  # a mask of two values does not shrink either
    return held.getvalue()


def row(index: int) -> dict:
    """One row with three images of 7 kB."""
    real, drawn, changed = (np.asarray(Image.open(io.BytesIO(png(3 * index + n)))) for n in range(3))
    mask = drawn.mean(axis=2, keepdims=True) >= 127.5
    drawn = np.repeat(mask.astype(np.uint8) * 255, 3, axis=2)
    pictures = {"real": real, "mask": drawn, "composite": np.where(mask, changed, real)}
    images = {name: image_cell(_encoded(picture), f"{index}.png") for name, picture in pictures.items()}
    return {**images, "pair_id": f"photo{index}/0", "p_composite": index / 100}


def build(folder: Path, rows: dict[str, int] | None = None, shift: int = 0) -> Path:
    """Write ``rows`` a split (train 12, test 3), four a file, with card, picture and manifest."""
    splits = {}
    for split, count in (rows or {"train": 12, "test": 3}).items():
        with ShardedParquetWriter(folder, split, SCHEMA, "d", row_group_bytes=50_000, file_bytes=80_000) as writer:
            for index in range(count):
                writer.write(row(index + shift))
        splits[split] = writer.close()
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / "examples.png").write_bytes(png(99 + shift))
    write_readme(folder, card_metadata(SCHEMA, splits), "# A small dataset\n\n![examples](assets/examples.png)\n")
    (folder / "plan.json").write_text("{}")
    seal(folder)
    return folder


def seal(folder: Path) -> None:
    """Write the manifest of what is there."""
    parts = [(path, path.name.partition("-")[0]) for path in sorted((folder / "data").glob("*.parquet"))]
    entries = [manifest.entry(folder, path, "default", split) for path, split in parts]
    others = [folder / "README.md", *sorted((folder / "assets").iterdir())]
    manifest.write_manifest(folder, entries + [manifest.entry(folder, path) for path in others])
