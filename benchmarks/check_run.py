"""Check a finished run's guarantees on its pixels: distinct candidates, untouched background, sizes, decoding.

python benchmarks/check_run.py RUN
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image


def check(run: Path) -> None:
    """Print what was found; every count after 'bad' should be 0."""
    from datasets import load_dataset

    pairs = rows = equal = sizes = 0
    drift = 0
    for path in sorted((run / "candidates").glob("*.parquet")):
        photos = {row["pair_id"]: row for row in pq.read_table(run / "pairs" / path.name).to_pylist()}
        seen: dict[str, set[bytes]] = {}
        for row in pq.ParquetFile(path).iter_batches(batch_size=1):
            candidate = row.to_pylist()[0]
            photo = photos[candidate["pair_id"]]
            cell = photo["real"]
            real = Image.open(io.BytesIO(cell["bytes"]) if cell["bytes"] else cell["path"]).convert("RGB")
            mask = np.asarray(Image.open(io.BytesIO(photo["mask"]["bytes"])).convert("L")) > 127
            image = np.asarray(Image.open(io.BytesIO(candidate["composite"]["bytes"])))
            if image.shape[:2] != (real.height, real.width):
                sizes += 1
                continue
            drift = max(drift, int(np.abs(image.astype(int) - np.asarray(real))[~mask].max(initial=0)))
            equal += image.tobytes() in seen.setdefault(candidate["pair_id"], set())
            seen[candidate["pair_id"]].add(image.tobytes())
            rows += 1
        pairs += len(seen)
    with tempfile.TemporaryDirectory() as cache:
        files = [str(path) for path in sorted((run / "candidates").glob("*.parquet"))]
        decoded = sum(
            row["composite"].size[0] > 0
            for row in load_dataset("parquet", data_files=files, split="train", cache_dir=cache)
        )
    print(f"{pairs} pairs, {rows} candidates, {decoded} decoded by load_dataset")
    print(f"bad: equal pixels {equal}, wrong size {sizes}; largest background difference {drift}")


if __name__ == "__main__":
    check(Path(sys.argv[1]))
