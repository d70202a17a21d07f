"""Where an inverse model loses the change it was trained on: decoder, sampler, or denoiser.

    python benchmarks/inverse_stages.py PHOTOS --split-file CSV [--split study] [--model starter] [--count 200]

Composites are made of held-out photos as the recipe says. Each column measures the same photos' changes at the model's
resolution: the composites themselves, the composites through the autoencoder (the true change of the latent, decoded),
and what the model draws from noise in a few and in many steps. What the second column lacks the decoder lost, what only
the last have in common the denoiser lost, and what differs between them the sampler.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from authentic import print_table, summary_column
from authentic_data import Case, made_cases

from harmonygen.evaluation.changes import Change, measure_change, summarise_changes
from harmonygen.models.checkpoints import locate
from harmonygen.models.denoiser import Denoiser
from harmonygen.models.device import Sampling
from harmonygen.models.draw import PictureDecoder, PictureSampler, to_pm1
from harmonygen.pictures.images import ImageU8, paste, to_u8

Stage = Callable[[Case, int], ImageU8]


def through_the_autoencoder(model: Denoiser, case: Case, seed: int) -> ImageU8:
    """Return the composite as the decoder gives it from the true change of the latent."""
    del seed
    real, composite = to_pm1(case.real), to_pm1(case.composite)
    mask = torch.from_numpy(case.mask[None, None].astype(np.float32))
    condition, goal = model.encode(real), model.encode(composite)
    cells = model.latent_mask(mask)
    latents = condition + (goal - condition) * cells if model.spec.target == "residual" else goal
    picture = PictureDecoder(model, real, condition, model.features(real, mask), None)(latents)[0]
    return to_u8(picture.permute(1, 2, 0).numpy() / 2 + 0.5)


def stages(model: Denoiser) -> Iterator[tuple[str, Stage]]:
    """Yield each stage by name: it makes a picture (H, W, 3) of a case and a seed."""
    yield "the composites", lambda case, seed: case.composite
    yield "through the autoencoder", lambda case, seed: through_the_autoencoder(model, case, seed)
    for steps in (model.spec.steps, 10 * model.spec.steps):
        sampler = PictureSampler(model, Sampling(steps))
        yield f"drawn in {steps} steps", lambda case, seed, of=sampler: to_u8(next(of(case.real, case.mask, [seed])))


def measured(stage: Stage, data: list[Case]) -> list[Change]:
    """Return the change that a stage makes of each case, in the mask."""
    pictures = (paste(stage(case, seed), case.real, case.mask) for seed, case in enumerate(data))
    return [measure_change(picture, case.real, case.mask) for picture, case in zip(pictures, data, strict=True)]


def main() -> None:
    """Parse the command line, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--split-file", type=Path, required=True)
    parser.add_argument("--split", default="study")
    parser.add_argument("--recipe", default="starter/inverse")
    parser.add_argument("--model", default="starter", help="checkpoint folder, or starter")
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    model = Denoiser.from_pretrained(locate(options.model, "inverse"))
    side = model.spec.resolution
    data = list(made_cases(options.recipe, options.photos, options.split_file, options.split, options.count, side))
    data = [case for case in data if case.mask.any()]
    columns = {
        name: summary_column(summarise_changes(measured(stage, data), [case.photo for case in data]))
        for name, stage in stages(model)
    }
    rows = ([figure, *(column[figure] for column in columns.values())] for figure in next(iter(columns.values())))
    print_table((f"median of {len(data)}", *columns), rows)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
