"""Ways to carry a change of colour to full size, on authentic triplets in iHarmony4 layout.

    python benchmarks/detail_transfer.py DATA [--short 128 256] [--longest 768] [--decoder VAE_FOLDER]

Protocol: each triplet is shrunk to a longest side of 768 px (one that is smaller stays as it is). The composite is seen
at a short side of 128 or 256 px only (antialiased bilinear) and rebuilt at full size; PSNR over the foreground's pixels
and channels (data range 255). A photo that would be enlarged by less than a tenth is left out. With --decoder, what is
seen went through an autoencoder first, as generated pictures do: the change is the difference of two decoded pictures.
Intervals are of 95 %, over photos. DATA is an iHarmony4 tree or a tar file of one.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from authentic_data import Case, cases, dataset

from harmonygen.evaluation import measured
from harmonygen.evaluation.bootstrap import interval
from harmonygen.evaluation.metrics import fpsnr
from harmonygen.pictures.detail import MEASURED, DetailTransfer, Transfer
from harmonygen.pictures.images import ImageU8, Mask, paste, resize
from harmonygen.pictures.masks import resize_mask

Floats = npt.NDArray[np.floating]
Seen = Callable[[Floats, Floats, Mask], Floats]
VARIANTS: dict[str, Transfer | None] = {
    "bicubic enlargement": None,
    "affine field, radius 128": Transfer.affine(128),
    "affine field, radius 4 (old default)": Transfer.affine(4),
    "cubic map alone, ridge 1e-4": Transfer(4096, 1e3, 1e-4),
    "cubic map alone, ridge 1e-5": Transfer(4096, 1e3, 1e-5),
    **{f"cubic 1e-4, radius {radius}, epsilon 1e-3": Transfer(radius, 1e-3, 1e-4) for radius in (128, 32, 16, 4)},
    **{f"cubic 1e-5, radius {radius}, epsilon 1e-4": Transfer(radius, 1e-4, 1e-5) for radius in (128, 32, 16, 8, 4)},
    "cubic 1e-5, radius 3, epsilon 3e-4": Transfer(3, 3e-4, 1e-5),
    f"cubic {MEASURED.cubic_ridge:g}, radius {MEASURED.radius}, epsilon {MEASURED.epsilon:g} (default)": MEASURED,
    "cubic 1e-5, radius 2, epsilon 1e-4": Transfer(2, 1e-4, 1e-5),
}


def as_it_is(composite_low01: Floats, real_low01: Floats, mask: Mask) -> Floats:
    """Return what is seen of a composite (h, w, 3): itself."""
    return composite_low01


def decoder(folder: Path) -> Seen:
    """Return what is seen through an autoencoder: the photo plus the difference of the two decoded pictures."""
    import torch

    from harmonygen.models.harmony_vae import HarmonyVAE, load_autoencoder

    vae = load_autoencoder(folder).eval()

    def tensor(image01: Floats, mask: Mask) -> torch.Tensor:
        sides = [(0, -side % 8) for side in mask.shape]
        padded = np.pad(image01, (*sides, (0, 0)), mode="edge")
        return torch.from_numpy(padded).permute(2, 0, 1)[None].float() * 2 - 1

    @torch.no_grad()
    def seen(composite_low01: Floats, real_low01: Floats, mask: Mask) -> Floats:
        condition, decoded = tensor(real_low01, mask), []
        inside = torch.from_numpy(np.pad(mask, [(0, -side % 8) for side in mask.shape])[None, None]).float()
        features = (vae.features(condition, inside),) if isinstance(vae, HarmonyVAE) else ()
        for image01 in (composite_low01, real_low01):
            latent = vae.encode(tensor(image01, mask)).latent_dist.mode()
            picture = vae.decode(latent, *features)
            picture = picture if isinstance(picture, torch.Tensor) else picture.sample
            decoded.append(picture[0].permute(1, 2, 0).numpy()[: mask.shape[0], : mask.shape[1]] / 2)
        return np.clip(real_low01 + decoded[0] - decoded[1], 0, 1)

    return seen


def rebuild(case: Case, short_side: int, variants: Sequence[Transfer | None], seen: Seen = as_it_is) -> list[ImageU8]:
    """Return a composite as each variant rebuilds it from a short side in pixels; None is bicubic enlargement."""
    height, width = case.mask.shape
    scale = short_side / min(height, width)
    low_u8 = resize(case.composite, round(height * scale), round(width * scale))
    real01 = resize(case.real, *low_u8.shape[:2]).astype(np.float32) / 255
    low01 = seen(low_u8.astype(np.float32) / 255, real01, resize_mask(case.mask, *low_u8.shape[:2]))
    found = []
    for how in variants:
        if how is None:
            enlarged = resize(np.rint(low01 * 255).astype(np.uint8), height, width)
            found.append(paste(enlarged, case.real, case.mask))
        else:
            found.append(DetailTransfer(real01, case.real, case.mask, how)(low01))
    return found


def compare(case: Case, short_side: int, variants: Sequence[Transfer | None], seen: Seen = as_it_is) -> list[float]:
    """Return the foreground PSNR of each variant in dB, data range 255; NaN where hardly anything is enlarged."""
    if min(case.mask.shape) < 1.1 * short_side:
        return [math.nan] * len(variants)
    return [fpsnr(made, case.composite, case.mask) for made in rebuild(case, short_side, variants, seen)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--short", type=int, nargs="+", default=[128, 256], help="short side that is seen, pixels")
    parser.add_argument("--longest", type=int, default=768, help="longest side of the full size, pixels")
    parser.add_argument("--decoder", type=Path, help="folder of the autoencoder that what is seen goes through")
    parser.add_argument("--limit", type=int, help="number of composites, evenly spaced")
    options = parser.parse_args()
    seen = decoder(options.decoder) if options.decoder else as_it_is
    with dataset(options.data) as folder:
        rows = [
            [compare(case, short, list(VARIANTS.values()), seen) for short in options.short]
            for case in cases(folder, options.longest, options.limit)
        ]
    figures = np.array(rows).transpose(1, 2, 0)  # short sides, variants, cases
    counts = [f"{short} px (n = {int(np.isfinite(figures[i, 0]).sum())})" for i, short in enumerate(options.short)]
    print(f"Intervals: {measured.told(figures.shape[2])}\n")
    print(f"| variant, dB | {' | '.join(counts)} |\n|---|{'---|' * len(counts)}")
    for place, name in enumerate(VARIANTS):
        found = [interval(column[place]) for column in figures]
        print(f"| {name} | {' | '.join(f'{one.mean:.2f} [{one.low:.1f}, {one.high:.1f}]' for one in found)} |")


if __name__ == "__main__":
    main()
