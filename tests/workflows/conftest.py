"""Small runs of synthesize, and what is in a run folder."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from harmonygen.settings import SynthesizeSettings

SOURCES = ("astronaut", "coffee", "chelsea", "rocket")


@pytest.fixture
def six_photos(tmp_path: Path) -> Path:
    """Six small real photos with masks, in the `folders` layout."""
    root = tmp_path / "six"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for index in range(6):
        image = Image.fromarray(getattr(data, SOURCES[index % 4])()).resize((64, 48))
        image.rotate(180 * (index // 4)).save(root / "images" / f"p{index}.png")
        mask = Image.new("L", (64, 48))
        mask.paste(255, (10 + 2 * index, 8, 40, 40))
        mask.save(root / "masks" / f"p{index}.png")
    return root


@pytest.fixture
def settings_of(six_photos: Path, tiny_classifier: Path, tmp_path: Path) -> Callable[..., SynthesizeSettings]:
    """Settings of a small LUT run over six photos, three a shard's two; keywords change them."""

    def make(**changes: Any) -> SynthesizeSettings:
        values = {
            "data": str(six_photos),
            "out": tmp_path / "run",
            "generator": "lut",
            "classifier": str(tiny_classifier),
            "k": 4,
            "shard_size": 2,
            "device": "cpu",
        }
        return SynthesizeSettings(**{**values, **changes})

    return make


@pytest.fixture
def rows_of() -> Callable[[Path], list[dict[str, Any]]]:
    """Every candidate row of a run, in the order of its files, ``pixels`` decoded."""

    def read(out: Path) -> list[dict[str, Any]]:
        rows = [
            row for path in sorted((out / "candidates").glob("*.parquet")) for row in pq.read_table(path).to_pylist()
        ]
        for row in rows:
            row["pixels"] = np.asarray(Image.open(io.BytesIO(row.pop("composite")["bytes"]))).tobytes()
        return rows

    return read


@pytest.fixture
def tree() -> Callable[[Path], dict[str, tuple[int, bytes]]]:
    """Every file below a folder with its mtime and content."""

    def read(out: Path) -> dict[str, tuple[int, bytes]]:
        files = (path for path in sorted(out.rglob("*")) if path.is_file())
        return {str(path.relative_to(out)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    return read
