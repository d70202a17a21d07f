"""What `synthesize` costs over its model calls alone.

    python benchmarks/bare_model.py --data photos.csv
    python benchmarks/bare_model.py --data photos.csv --models starter starter-fast --runtimes torch onnx openvino
    python benchmarks/bare_model.py --data photos.csv --size sd15 --resolution 512 --device cuda --dtype bfloat16

Model calls are those of the networks: the encoder and the conditional features once for each photo, the UNet in every
step, the decoder (of the K candidates, and of the photo where the model predicts a residual), and the judge. Bare:
every photo's tensors lie ready, and these calls alone are made. No file is read or written, nothing is resized,
transferred, measured or encoded. `synthesize`: the shards of the same pairs with the same weights, in the same process,
from photo files to Parquet; what a command adds once (weights, plan, summary, report) is in the whole call. The calls
are those `synthesize` makes, so the share says what the rest costs, not how fast the calls are.

Each row is a process of its own. It takes turns, --rounds times: bare calls, `synthesize`, bare calls. Bare seconds are
the means before and after, shares are medians over rounds. `inside` is the share of the shards' own seconds that their
model calls take: on a machine that is not quiet it says more, because both are of the same minutes. Without --steps, a
model is sampled in the steps that it states.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
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

    draw, scorer = context.generator.draw, context.scorer
    model, side = draw.model, scorer.model.spec.input_size
    parameter = next(scorer.model.parameters())
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
            scorer.probabilities(scorer.network(images, inside)).tolist()

    return calls


@contextmanager
def model_seconds() -> Iterator[list[float]]:
    """Collect the seconds of each model call made inside the block, on a CPU, where a call lasts until its end."""
    from harmonygen.models.denoiser import Denoiser
    from harmonygen.models.draw import PictureDecoder
    from harmonygen.models.scorer import ClassifierScorer

    found: list[float] = []

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*inputs: Any, **more: Any) -> Any:
            began = time.perf_counter()
            result = call(*inputs, **more)
            found.append(time.perf_counter() - began)
            return result

        return timed

    def judged(scorer: Any, composites: Any, mask: Any) -> Any:
        network = scorer.network
        scorer.network = watched(network)
        try:
            return judge(scorer, composites, mask)
        finally:
            scorer.network = network

    calls = ((Denoiser, ("condition", "features", "sample")), (PictureDecoder, ("__init__", "__call__")))
    usual = {(owner, name): getattr(owner, name) for owner, names in calls for name in names}
    judge = ClassifierScorer.__call__
    for (owner, name), call in usual.items():
        setattr(owner, name, watched(call))
    ClassifierScorer.__call__ = judged  # type: ignore[method-assign]
    try:
        yield found
    finally:
        for (owner, name), call in usual.items():
            setattr(owner, name, call)
        ClassifierScorer.__call__ = judge  # type: ignore[method-assign]


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
        runtime=options.runtime,
        allow_outside=True,
        **make_weights(folder, options.size, options.model),
    )


def read_options(about: str | None, *more: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line that the benchmarks of `synthesize` share, and keep to its threads."""
    import torch

    parser = argparse.ArgumentParser(
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common(), *more],
        add_help=False,
    )
    parser.set_defaults(steps=None)  # those that the model states
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


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return a row: seconds of bare calls, of the shards, of the whole call and of the calls inside it, by round."""
    from harmonygen.synthesis.synthesize import synthesize

    rounds: dict[str, list[float]] = {"bare": [], "shards": [], "whole": [], "inside": []}
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(options, Path(folder))
        context, calls = warm_calls(settings)
        before = seconds_of(calls, options.device)
        for number in range(options.rounds):
            again = settings.model_copy(update={"out": Path(folder) / f"run-{number}"})
            with model_seconds() as inside:
                rounds["whole"].append(seconds_of(lambda again=again: synthesize(again), options.device))
            rounds["inside"].append(sum(inside))
            rounds["shards"].append(shard_seconds(again.out))
            after = seconds_of(calls, options.device)
            rounds["bare"].append((before + after) / 2)
            before = after
    return {**rounds, "steps": context.generator.draw.sampling.steps or context.generator.draw.model.spec.steps}


def share(row: dict[str, Any], part: str, whole: str) -> float:
    """Return the share of one figure in another, the median over rounds."""
    return median(one / all_of_it for one, all_of_it in zip(row[part], row[whole], strict=True))


def print_row(options: argparse.Namespace, model: str, runtime: str, row: dict[str, Any]) -> None:
    """Print a row of the table."""
    bare, shards, whole = (median(row[name]) for name in ("bare", "shards", "whole"))
    cells = [f"{bare:.1f}", f"{shards:.1f}", f"{whole:.1f}", f"{options.limit * options.k / shards:.2f}"]
    cells += [f"{share(row, 'bare', whole):.2f}" for whole in ("shards", "whole")]
    cells.append(f"{share(row, 'inside', 'shards'):.2f}" if options.device == "cpu" else "-")
    print(f"| {model}, {row['steps']} steps, {runtime} | {' | '.join(cells)} |", flush=True)


def in_own_process(options: argparse.Namespace, model: str, runtime: str) -> dict[str, Any]:
    """Measure a row in a process with ``options.threads`` threads."""
    command = [sys.executable, __file__, *sys.argv[1:], "--row", "--model", model, "--runtime", runtime]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
    return answer


def table_options() -> argparse.ArgumentParser:
    """Return the options that choose the table's rows."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--models", nargs="+", help="checkpoints of --size starter; --model alone")
    made.add_argument("--runtimes", nargs="+", help="of synthesize; --runtime alone")
    made.add_argument("--rounds", type=int, default=1)
    made.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    return made


def main() -> int:
    """Print the table."""
    options = read_options(__doc__, table_options())
    if options.row:
        print(json.dumps(measure(options)))
        return 0
    from harmonygen.models.installed import PACKAGES

    print(
        f"{options.limit} pairs, K = {options.k}, {options.resolution} px square, {options.size}, {options.dtype}, "
        f"{options.device}, {options.threads} threads, one worker, {options.rounds} rounds; "
        f"load {os.getloadavg()[0]:.1f} before\n"
    )
    heads = ("bare calls, s", "shards, s", "whole call, s", "candidates/s", "share of shards", "of the call", "inside")
    print(f"| what | {' | '.join(heads)} |\n|---|{'---:|' * len(heads)}")
    for model in options.models or [options.model]:
        for runtime in options.runtimes or [options.runtime]:
            if runtime in PACKAGES and find_spec(PACKAGES[runtime]) is None:
                print(f"| {model}, {runtime} | left out: {PACKAGES[runtime]} is not installed |", flush=True)
                continue
            print_row(options, model, runtime, in_own_process(options, model, runtime))
    return 0


def shard_seconds(run: Path) -> float:
    """Return the seconds that a run's shards took."""
    import pyarrow.parquet as pq

    from harmonygen.synthesis.shard import SECONDS_KEY

    files = (run / "candidates").glob("part-*.parquet")
    return sum(float(pq.read_metadata(file).metadata[SECONDS_KEY]) for file in files)


if __name__ == "__main__":
    sys.exit(main())
