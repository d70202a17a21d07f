"""Detail transfer against bicubic enlargement, on authentic triplets in iHarmony4 layout.

Protocol: each composite is reduced to a short side of 256 px (antialiased bilinear) and rebuilt at full size, once by
bicubic enlargement and once by detail transfer from the real photo; PSNR over the foreground's pixels and channels
(data range 255) against the full-size composite.

    python benchmarks/detail_transfer.py FOLDER [SHORT_SIDE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from harmonygen.pictures.detail import DetailTransfer
from harmonygen.pictures.images import ImageU8, Mask, paste, resize
from harmonygen.pictures.masks import to_mask


def fg_psnr(image_u8: ImageU8, goal_u8: ImageU8, mask: Mask) -> float:
    """PSNR in dB over the foreground, data range 255."""
    error = image_u8[mask].astype(np.float64) - goal_u8[mask]
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def compare(composite: Path, short_side: int) -> tuple[float, float]:
    """Return (bicubic, transfer) foreground PSNR of one composite of an iHarmony4 tree."""
    root, (real_id, mask_id, _) = composite.parents[1], composite.stem.rsplit("_", 2)
    goal = np.asarray(Image.open(composite).convert("RGB"))
    real = np.asarray(Image.open(root / "real_images" / f"{real_id}.jpg").convert("RGB"))
    mask = to_mask(Image.open(root / "masks" / f"{real_id}_{mask_id}.png"))
    height, width = mask.shape
    scale = short_side / min(height, width)
    low = resize(goal, round(height * scale), round(width * scale))
    real_low = resize(real, *low.shape[:2])
    transfer = DetailTransfer(real_low.astype(np.float32) / 255, real, mask)
    bicubic = paste(np.asarray(Image.fromarray(low).resize((width, height), Image.Resampling.BICUBIC)), real, mask)
    return fg_psnr(bicubic, goal, mask), fg_psnr(transfer(low.astype(np.float32) / 255), goal, mask)


def main(folder: Path, short_side: int) -> None:
    """Print the table."""
    rows = [(path.stem, *compare(path, short_side)) for path in sorted(folder.glob("*/composite_images/*.jpg"))]
    print(f"| composite ({short_side} px -> full size) | bicubic dB | transfer dB | gain dB |\n|---|---|---|---|")
    for name, bicubic, transfer in rows:
        print(f"| {name} | {bicubic:.2f} | {transfer:.2f} | {transfer - bicubic:+.2f} |")
    bicubic, transfer = np.mean([row[1] for row in rows]), np.mean([row[2] for row in rows])
    print(f"| mean of {len(rows)} | {bicubic:.2f} | {transfer:.2f} | {transfer - bicubic:+.2f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 256)
