"""What `synthesize` costs over its model calls alone.

    python benchmarks/bare_model.py --data photos.csv
    python benchmarks/bare_model.py --data photos.csv --size sd15 --resolution 512 --device cuda --dtype bfloat16

Bare: every photo's tensors lie ready; encode once, features once, K candidates denoised together and decoded, then K
composites scored. No file is read or written, nothing is resized, transferred, measured or encoded. `synthesize`: the
shards of the same pairs with the same weights, in the same process after it, from photo files to Parquet; what a
command adds once (weights, plan, summary, report) is in the last row. The calls are those `synthesize` makes, so the
share says what the rest costs, not how fast the calls are.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from plain_procedure import make_weights
from plain_procedure import parser as common


def seconds_of(work: Callable[[], object], device: str) -> float:
    """Return the wall seconds of some work."""
    began = time.perf_counter()
    work()
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
    return time.perf_counter() - began


def bare_calls(context: Any, photos: Sequence[Any], k: int) -> Callable[[], None]:
    """Return a function that makes the model calls of all photos, whose inputs are ready."""
    import torch

    from harmonygen.models.draw import PictureDecoder, to_pm1
    from harmonygen.models.window_decoder import window_around

    draw, classifier = context.generator.draw, context.scorer.model
    model, side = draw.model, classifier.spec.input_size
    parameter = next(classifier.parameters())
    images = torch.rand(k, 3, side, side).to(parameter.device, parameter.dtype)
    inside = torch.ones(k, 1, side, side).to(parameter.device, parameter.dtype)
    ready = [
        (to_pm1(photo.low_u8).to(model.device), torch.from_numpy(photo.low_mask[None, None]).float().to(model.device))
        for photo in photos
    ]
    windows = [window_around(model.vae, photo.low_mask) for photo in photos]

    @torch.no_grad()
    def calls() -> None:
        for (image, mask), window in zip(ready, windows, strict=True):
            condition = model.encode(image)
            pictures = PictureDecoder(model, image, condition, model.features(image, mask), window)
            cells = model.latent_mask(mask)
            for start in range(0, k, draw.batch):
                seeds = range(start, min(k, start + draw.batch))
                pictures(model.sample(condition, cells, seeds, draw.sampling)).cpu()
            classifier.p_composite(images, inside).tolist()

    return calls


def settings_of(options: argparse.Namespace, folder: Path) -> Any:
    """Return the run's settings; its weights and its output lie in ``folder``."""
    from harmonygen.synthesis.settings import SynthesizeSettings

    return SynthesizeSettings(
        data=options.data,
        limit=options.limit,
        k=options.k,
        out=folder / "run",
        resolution=options.resolution,
        fit="square",
        steps=options.steps,
        device=options.device,
        dtype=options.dtype,
        **make_weights(folder, options.size),
    )


def read_options(about: str | None) -> argparse.Namespace:
    """Read the command line that the benchmarks of `synthesize` share, and keep to its threads."""
    import torch

    parser = argparse.ArgumentParser(
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common()],
        add_help=False,
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return options


def warm_calls(settings: Any) -> tuple[Any, Callable[[], None]]:
    """Return the run's context, and its bare model calls, warmed up."""
    from harmonygen.data import read_pairs
    from harmonygen.pictures.photo import load_photo
    from harmonygen.records import ReadOptions
    from harmonygen.synthesis.synthesize import prepare

    pairs = read_pairs(settings.data, limit=settings.limit, reading=ReadOptions(allow_outside=True))
    context, _ = prepare(settings, pairs)
    photos = [load_photo(pair, context.sizing) for pair in pairs]
    bare_calls(context, photos[:2], settings.k)()
    return context, bare_calls(context, photos, settings.k)


def main() -> int:
    """Print the table."""
    options = read_options(__doc__)
    from harmonygen.synthesis.synthesize import synthesize

    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(options, Path(folder))
        _, calls = warm_calls(settings)
        bare = seconds_of(calls, options.device)
        whole = seconds_of(lambda: synthesize(settings), options.device)
        shards = shard_seconds(settings.out)
        again = seconds_of(calls, options.device)
    made = options.limit * options.k
    mean = (bare + again) / 2
    print(
        f"{options.limit} pairs, K = {options.k}, {options.resolution} px square, {options.size}, {options.dtype}, "
        f"{options.device}, {options.threads} threads, one worker\n"
    )
    print("| what | seconds | candidates/s | bare calls' share |\n|---|---:|---:|---:|")
    print(f"| bare model calls (before {bare:.1f}, after {again:.1f}) | {mean:.1f} | {made / mean:.2f} | 1.00 |")
    print(f"| synthesize, its shards | {shards:.1f} | {made / shards:.2f} | {mean / shards:.2f} |")
    print(f"| synthesize, the whole call | {whole:.1f} | {made / whole:.2f} | {mean / whole:.2f} |")
    return 0


def shard_seconds(run: Path) -> float:
    """Return the seconds that a run's shards took."""
    import pyarrow.parquet as pq

    from harmonygen.synthesis.shard import SECONDS_KEY

    files = (run / "candidates").glob("part-*.parquet")
    return sum(float(pq.read_metadata(file).metadata[SECONDS_KEY]) for file in files)


if __name__ == "__main__":
    sys.exit(main())
