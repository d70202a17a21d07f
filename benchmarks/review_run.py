"""A large run folder for the review's benchmark, made by `synthesize`'s own shard function from what costs little.

python benchmarks/review_run.py FOLDER [--pairs 30000] [--k 10]

Pixels are tiny, rows are not: photos of 36 x 24 pixels, their foreground multiplied by random gains, scores drawn at
random. Shards have the usual 16 pairs. What is there is not made again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from harmonygen.pictures import images
from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.pictures.photo import Photo, Sizing
from harmonygen.records import Candidate, FileSource, Pair
from harmonygen.runs.counts import count_scores
from harmonygen.runs.read import Run
from harmonygen.seeds import numpy_rng
from harmonygen.storage import shards
from harmonygen.synthesis.plan import Plan, make_plan, run_columns
from harmonygen.synthesis.run_folder import is_done
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.shard import ShardContext, run_shard

WIDTH, HEIGHT, PHOTOS = 36, 24, 60
SOURCES = ("astronaut", "coffee", "chelsea", "rocket")


class Gains:
    """A generator: the foreground times random gains of its three channels."""

    device, digest = "cpu", "gains"
    resolution, multiple = HEIGHT, 4

    def __call__(self, photo: Photo, candidates: Sequence[Candidate]) -> Iterator[ImageU8]:
        """Yield the composites of one photo."""
        for candidate in candidates:
            gains = np.random.default_rng(candidate.seed).normal(1, 0.2, 3)
            changed = np.clip(photo.image_u8 * gains, 0, 255).astype(np.uint8)
            yield images.paste(changed, photo.image_u8, photo.mask)


class Drawn:
    """A judge: a score in [0, 1] drawn from the composite's values."""

    digest = "drawn"

    def __call__(self, composites: Sequence[ImageU8], mask: Mask) -> list[float]:
        """Return a score for each composite."""
        return [float(numpy_rng("score", int(each.astype(np.int64).sum())).beta(4, 2)) for each in composites]


def photo_files(folder: Path) -> list[tuple[Path, Path]]:
    """Write a few small photos with elliptic masks, and return their paths."""
    shards.make_folder(folder)
    found = []
    for number in range(PHOTOS):
        rng = np.random.default_rng(number)
        source = np.asarray(Image.fromarray(getattr(data, SOURCES[number % len(SOURCES)])()).resize((160, 120)))
        top, left = int(rng.integers(120 - HEIGHT)), int(rng.integers(160 - WIDTH))
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        mask = ((y - HEIGHT / 2) / rng.uniform(4, 10)) ** 2 + ((x - WIDTH / 2) / rng.uniform(5, 16)) ** 2 < 1
        photo, outline = folder / f"{number:03d}.png", folder / f"{number:03d}_mask.png"
        if not outline.is_file():
            images.save(source[top : top + HEIGHT, left : left + WIDTH], photo)
            images.save(mask, outline)
        found.append((photo, outline))
    return found


def planned(folder: Path, pairs: int, k: int, stem: str = "photo-") -> tuple[ShardContext, Plan]:
    """Return the plan of the run, and what its shards need; ids are ``stem`` and a number."""
    files = [tuple(map(FileSource, both)) for both in photo_files(folder.absolute().with_name(folder.name + "-photos"))]
    subsets = ("HCOCO", "HFlickr", "HAdobe5k", "Hday2night")
    made = [
        Pair(f"{stem}{number:05d}", f"{stem}{number:05d}", "1", *files[number % PHOTOS], subset=subsets[number % 4])
        for number in range(pairs)
    ]
    return planned_of(folder, made, k)


def planned_of(folder: Path, made: Sequence[Pair], k: int) -> tuple[ShardContext, Plan]:
    """Return the plan of a run of these pairs, and what its shards need."""
    settings = SynthesizeSettings(out=folder, k=k, generator="lut")
    plan = make_plan(settings, made, "folders", folder, Gains.digest, Drawn.digest)
    columns = run_columns(settings, Gains.digest, plan.params_digest)
    sizing = Sizing(Gains.resolution, Gains.multiple)
    return ShardContext(settings, plan.digest, columns, sizing, made, Gains(), Drawn()), plan


def _share(job: tuple[Path, int, int, str, int, int]) -> None:
    folder, pairs, k, stem, index, count = job
    context, plan = planned(folder, pairs, k, stem)
    for shard in plan.shards[index::count]:
        if not is_done(folder, shard, plan.digest):
            run_shard(context, shard, folder)


def make_run(folder: Path, pairs: int, k: int, processes: int = 2, stem: str = "photo-") -> Path:
    """Write the run, or what is missing of it; one that is summed up is left as it is."""
    if (folder / "summary.json").is_file():
        return folder
    _, plan = planned(folder, pairs, k, stem)
    begin_run(folder, plan)
    jobs = [(folder, pairs, k, stem, index, processes) for index in range(processes)]
    if processes == 1:
        _share(jobs[0])
    else:
        with get_context("spawn").Pool(processes) as pool:
            pool.map(_share, jobs)
    return sum_up_run(folder)


def make_run_of(folder: Path, made: Sequence[Pair], k: int) -> Path:
    """Write a run of these pairs in this process."""
    context, plan = planned_of(folder, made, k)
    begin_run(folder, plan)
    for shard in plan.shards:
        run_shard(context, shard, folder)
    return sum_up_run(folder)


def begin_run(folder: Path, plan: Plan) -> None:
    """Make a run's folders, and write its plan."""
    for name in ("candidates", "pairs"):
        shards.make_folder(folder / name)
    shards.write_json(folder / "plan.json", plan.job.to_json())


def sum_up_run(folder: Path) -> Path:
    """Write a run's summary, and return its folder."""
    counts = count_scores(list(Run.look(folder).scores()))
    shards.write_json(folder / "summary.json", {"generator": "gains", **counts})
    return folder


def main() -> None:
    """Make the run that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=30_000)
    parser.add_argument("--k", type=int, default=10)
    options = parser.parse_args()
    print(make_run(options.folder, options.pairs, options.k))


if __name__ == "__main__":
    main()
