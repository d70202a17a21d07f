"""Figures of autoencoders and harmonizers on held-out photos, each with n and a 95 % interval over photos.

    python benchmarks/harmonizer_figures.py decoder photos256 split.csv PLAIN_VAE HARMONY_VAE --direction inverse
    python benchmarks/harmonizer_figures.py harmonize photos256 split.csv [--method diffharmony++ --draws 4]

decoder: PSNR inside the mask (8-bit, 0..255) of the target decoded from its own latent, by the plain autoencoder and
by the Harmony-VAE. harmonize: composites by colour transfer and LUT made on the fly at 256 px, one per photo of split
`study`; foreground MSE (8-bit squared, mean over photos) before and after. Stored composites: `harmonygen evaluate`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from harmonygen.evaluation import measured
from harmonygen.evaluation.bootstrap import Interval, interval, paired


def told(found: Interval) -> str:
    """Return a mean with its 95 % interval, as text."""
    return f"{found.mean:.4g} [{found.low:.4g}, {found.high:.4g}]"


def triplets(data: str, split_file: Path, resolution: int, limit: int) -> Iterator[dict[str, npt.NDArray[np.uint8]]]:
    """Yield ``real composite`` (R, R, 3) uint8 and ``mask`` (R, R) bool of split `study`, one per photo."""
    from harmonygen.data import read_pairs
    from harmonygen.records import ReadOptions
    from harmonygen.training.composites import OnTheFlyComposites
    from harmonygen.training.data_sets import select_split
    from harmonygen.training.photos import load_photos
    from harmonygen.training.settings import ClassifierTraining

    pairs = select_split(read_pairs(data, reading=ReadOptions(allow_outside=True)), split_file, "study")
    pairs = pairs[:: max(1, len(pairs) // limit)][:limit]
    settings = ClassifierTraining(resolution=resolution, random_flip=False)
    photos = load_photos(pairs, resolution)[0]
    made = OnTheFlyComposites(photos, settings, "figures", augment=False)
    for index in range(len(photos)):
        sample = made[index]
        pictures = {
            name: np.rint((sample[name].permute(1, 2, 0).numpy() + 1) * 127.5).astype(np.uint8)
            for name in ("real", "composite")
        }
        yield {**pictures, "mask": sample["mask"][0].numpy() > 0}


def decoder(options: argparse.Namespace) -> None:
    """Print the PSNR inside the mask of both decoders."""
    import torch

    from harmonygen.models.harmony_vae import load_autoencoder
    from harmonygen.training.harmony_vae import foreground_psnr

    plain, harmony = (load_autoencoder(Path(name)).eval() for name in (options.plain, options.harmony))
    source, goal = ("real", "composite") if options.direction == "inverse" else ("composite", "real")
    rows = []
    with torch.no_grad():
        for made in triplets(options.data, options.split_file, options.resolution, options.limit):
            condition, target = (
                torch.from_numpy(made[name]).permute(2, 0, 1)[None].float() / 127.5 - 1 for name in (source, goal)
            )
            mask = torch.from_numpy(made["mask"])[None, None].float()
            latent = harmony.encode(target).latent_dist.mode()
            decoded = [
                plain.decode(plain.encode(target).latent_dist.mode()).sample,
                harmony.decode(latent, harmony.features(condition, mask)),
            ]
            rows.append([float(foreground_psnr(image.clamp(-1, 1), target, mask)) for image in decoded])
    figures = np.array(rows)
    print(f"{options.direction}, {options.resolution} px, n = {len(rows)} photos; dB [95 % interval]")
    print(f"Intervals: {measured.told(len(rows))}\n")
    print("| decoder | PSNR inside the mask |\n|---|---|")
    for name, column in zip(("plain", "Harmony-VAE"), figures.T, strict=True):
        print(f"| {name} | {told(interval(column))} |")
    print(f"| difference | {told(paired(figures[:, 1], figures[:, 0]).difference)} |")


def harmonize(options: argparse.Namespace) -> None:
    """Print foreground MSE before and after, over composites of held-out photos made on the fly."""
    from harmonygen.api import Harmonizer
    from harmonygen.metrics import fmse

    model = Harmonizer.from_pretrained(
        options.model, method=options.method, sampler=options.sampler, steps=options.steps, device="cpu"
    )
    rows = []
    for made in triplets(options.data, options.split_file, 256, options.limit):
        composite = Image.fromarray(made["composite"])
        output = np.asarray(model(composite, made["mask"], 0, options.draws, options.resolution))
        rows.append([fmse(image, made["real"], made["mask"]) for image in (made["composite"], output)])
    before, after = np.array(rows, dtype=np.float64).T
    change = paired(after, before, higher_is_better=False)
    how = f"{options.method}, steps {options.steps}, draws {options.draws}"
    how += f", worked at {options.resolution} px" if options.resolution else ""
    print(f"{how}, 256 px, background composite's, n = {len(rows)} photos")
    print(f"Intervals: {measured.told(len(rows))}\n")
    print("| figure | value [95 % interval] |\n|---|---|")
    print(f"| fMSE of the composite | {told(interval(before))} |\n| fMSE of the harmonized | {told(interval(after))} |")
    print(f"| change of fMSE | {told(change.difference)} |\n| photos improved | {change.wins:.1%} |")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    for run in (decoder, harmonize):
        kind = kinds.add_parser(run.__name__)
        kind.set_defaults(run=run)
        kind.add_argument("data")
        kind.add_argument("split_file", type=Path)
        kind.add_argument("--limit", type=int, default=200, help="photos, evenly spaced over the split")
        if run is decoder:
            kind.add_argument("plain")
            kind.add_argument("harmony")
            kind.add_argument("--direction", choices=("inverse", "forward"), default="inverse")
            kind.add_argument("--resolution", type=int, default=128)
        else:
            kind.add_argument("--model", default="starter")
            kind.add_argument("--method", default="diffharmony++")
            kind.add_argument("--sampler", help="what the checkpoint states, if not given")
            kind.add_argument("--steps", type=int)
            kind.add_argument("--draws", type=int, default=1)
            kind.add_argument("--resolution", type=int, help="short side the model works at; its own if not given")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
