"""Out of memory on a batch: it is halved until it fits, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from faults import samples
from faults.alone import alone
from faults.table import Row

FITS = 3  # candidates that the scripted device has memory for
K = 10


def rows(place: Path, quick: bool = False) -> Iterator[Row]:
    """Sample with a model that says torch.OutOfMemoryError for more than a few candidates."""
    found = alone(sample, place)
    fault = f"out of memory with more than {FITS} of {K} candidates"
    if isinstance(found, str):
        yield Row(fault, 1, 0, note=found)
        return
    sizes, made, worst, refusals = found
    note = f"batches {', '.join(map(str, sizes))}; pixels within {worst} of 255 of a run in small batches"
    good = made == K and worst <= 2 and max(sizes[-3:]) <= FITS
    yield Row(fault, refusals, refusals if good else 0, lost=K - made, note=note)


def sample(place: Path) -> tuple[list[int], int, int, int]:
    """Return the batches tried, composites made, the largest difference of a pixel, and how often memory ran out."""
    import torch

    from harmonygen.models.denoiser import Denoiser
    from harmonygen.pictures.photo import Sizing, size_photo
    from harmonygen.pictures.images import Decoded  # isort: skip
    from harmonygen.records import Candidate, FileSource, Pair
    from harmonygen.seeds import candidate_seed
    from harmonygen.synthesis.generators.diffusion import DiffusionGenerator

    model = Denoiser.from_pretrained(samples.inverse(place / "inverse"))
    pair = Pair("p", "p", "0", FileSource(Path("p.png")), FileSource(Path("m.png")))
    picture = samples.picture()
    decoded = Decoded(picture, (samples.WIDTH, samples.HEIGHT), 1)
    photo = size_photo(pair, decoded, samples.ellipse(), Sizing(32, 8, detail="decode"))
    drawn = [Candidate("p", k, candidate_seed(0, "p", k)) for k in range(K)]
    expected = list(DiffusionGenerator(model, batch=2)(photo, drawn))
    sizes: list[int] = []
    plain = model.sample

    def scarce(condition: object, mask: object, seeds: list[int], *how: object, **named: object) -> object:
        sizes.append(len(seeds))
        if len(seeds) > FITS:
            raise torch.OutOfMemoryError("no memory")
        return plain(condition, mask, seeds, *how, **named)

    model.sample = scarce
    torch.cuda.empty_cache = lambda: None
    made = list(DiffusionGenerator(model, batch=16)(photo, drawn))
    worst = int(np.abs(np.stack(made).astype(int) - np.stack(expected)).max())
    return sizes, len(made), worst, sum(size > FITS for size in sizes)
