"""All that is to be known of a GPU at Stable Diffusion 1.5's size, as one command of less than ten minutes.

    python benchmarks/gpu_session.py                                                        # on a GPU of some 40 GB
    python benchmarks/gpu_session.py --widths 0.1 --sizes 64 --k 3 --compiler eager         # dry, on a CPU

It builds nothing, reads nothing and needs no network: weights are random, bf16 on a GPU. Parts, in the order of their
worth: the machine and its matrix peak; operations and limits (REFERENCE section 12); candidates/s beside the limits; a
step of the UNet by memory layout, compiled, and replayed as a CUDA graph; batches of the UNet and of the decoders
apart; what is compiled for several sizes. A part that fails says so and the next one runs; none is begun after
--minutes, so that with the last one it ends within ten.

The packages that it imports beside torch are printed by `--needs`: what the machine lacks travels as wheels.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import packages_distributions
from typing import Any

import torch
from full_size import build, candidates, matrix_peak, memory, synchronize, timed
from limits import WAYS, Parts, counts, name_of
from papers_cost import TERA
from torch import nn

from harmonygen.models.compiled import Replayed
from harmonygen.models.denoiser import Denoiser, NoiseNet
from harmonygen.models.device import Sampling
from harmonygen.models.runtime import Network

_REPEATS = 3
_NARROW = 0.1
DENOISED_TOGETHER = (1, 4, 10, 40)
DECODED_TOGETHER = (1, 2, 5, 10)


class Session:
    """What all parts share: options, device, and what was found so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.began = options, time.monotonic()
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.dtype = torch.bfloat16 if self.device == "cuda" else torch.float32
        self.peak = 0.0
        self.counted: dict[tuple[int, bool], Parts] = {}
        self.built: dict[bool, Denoiser] = {}

    def minutes(self) -> float:
        """Return the minutes that the session has lasted."""
        return (time.monotonic() - self.began) / 60

    def model(self, light: bool = False) -> Denoiser:
        """Return the model, channels last; it is built once, which takes some seconds on a CPU."""
        if light not in self.built:
            self.built[light] = build(self.options.widths, True, self.device, self.dtype, light)
        return self.built[light]

    def seconds(self, work: Callable[[], object]) -> float:
        """Return seconds a call."""
        return timed(work, self.device, _REPEATS)

    def first(self, work: Callable[[], object]) -> float:
        """Return the seconds of one call."""
        began = time.perf_counter()
        work()
        synchronize(self.device)
        return time.perf_counter() - began

    def cells(self, model: Denoiser, side: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return an input of the UNet for pictures of ``side`` pixels, and a timestep."""
        latents = torch.randn(batch, 9, side // model.factor, side // model.factor, device=self.device)
        return latents, torch.tensor(500.0, device=self.device)


def machine(session: Session) -> None:
    """Print the machine, and measure its matrix peak."""
    session.peak = matrix_peak(session.device, session.dtype)
    name = torch.cuda.get_device_name() if session.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}; torch {torch.__version__}, CUDA {torch.version.cuda}; {str(session.dtype).removeprefix('torch.')}")
    print(f"matrix peak measured: {session.peak / TERA:.3g} TFLOP/s; widths x {session.options.widths:g}")


def operations(session: Session) -> None:
    """Print TFLOP of a picture by part, counted."""
    session.counted = counts(session.options.widths, session.options.sizes)
    print("| pixels | decoder | UNet, a step | decode | encode | features |\n|---:|---|---:|---:|---:|---:|")
    for (side, light), each in sorted(session.counted.items()):
        cells = (each.step, each.decode, each.encode, each.features)
        print(f"| {side} | {name_of(light)} | {' | '.join(f'{cell / TERA:.4f}' for cell in cells)} |")


def rates(session: Session) -> None:
    """Print candidates/s beside the limits, as shipped: channels last, not compiled, decoded one at a time."""
    print("| pixels | steps, decoder | limit, candidates/s | measured | share of the limit | memory |")
    print(f"|---:|---|{'---:|' * 4}")
    k, models = session.options.k, {light: session.model(light) for light in (False, True)}
    for side in session.options.sizes:
        for steps, light in WAYS:
            limit = session.peak / session.counted[side, light].of_candidate(steps, k)
            memory(session.device)
            rate = k / session.seconds(partial(candidates, models[light], side, k, steps))
            told = f"{limit:.3g} | {rate:.3g} | {rate / limit:.0%} | {memory(session.device)}"
            print(f"| {side} | {steps}, {name_of(light)} | {told} |", flush=True)


def layouts(session: Session) -> None:
    """Print a step of the UNet for K candidates: contiguous, channels last, compiled, and each replayed as a graph."""
    print("| pixels | one step of K | first call, s | ms | times | share of peak |\n|---:|---|---:|---:|---:|---:|")
    model, usual = copy.deepcopy(session.model()), dict[int, float]()
    for name, net in ways(model, session.options.compiler):
        for side in session.options.sizes:
            given = session.cells(model, side, session.options.k)
            first, seconds = session.first(partial(net, *given)), session.seconds(partial(net, *given))
            share = session.counted[side, False].step * session.options.k / seconds / session.peak
            cells = [f"{first:.1f}", f"{1000 * seconds:.2f}", f"{usual.setdefault(side, seconds) / seconds:.2f}"]
            held = isinstance(net, Replayed) and net.held[tuple(each.shape for each in given)] is net.net
            print(f"| {side} | {name}{' (not held)' * held} | {' | '.join(cells)} | {share:.0%} |", flush=True)


def ways(model: Denoiser, compiler: str) -> Iterator[tuple[str, Network]]:
    """Yield ways to compute a UNet; each changes the model, so it is used before the next is asked for."""
    net = NoiseNet(model.unet, model.null_embedding)
    nn.Module.to(model.unet, memory_format=torch.contiguous_format)
    yield "contiguous", net
    nn.Module.to(model.unet, memory_format=torch.channels_last)
    yield "channels last, as shipped", net
    yield "channels last, CUDA graph", Replayed(net)
    model.compile(compiler, graphs=False)
    yield f"compiled by {compiler}", net
    yield f"compiled by {compiler}, CUDA graph", Replayed(net)


def batches(session: Session) -> None:
    """Print the UNet and the decoders apart, by how many candidates they see at once."""
    print("| pixels | what | at once | ms for each | memory |\n|---:|---|---:|---:|---:|")
    models = {light: session.model(light) for light in (False, True)}
    for side in session.options.sizes:
        net = NoiseNet(models[False].unet, models[False].null_embedding)
        for batch in DENOISED_TOGETHER:
            row(session, side, "UNet, a step", batch, partial(net, *session.cells(models[False], side, batch)))
        for light, model in models.items():
            image, mask = torch.zeros(1, 3, side, side), torch.ones(1, 1, side, side)
            features = model.features(image, mask)
            for batch in DECODED_TOGETHER:
                latents = session.cells(model, side, batch)[0][:, :4]
                row(session, side, f"{name_of(light)} decoder", batch, partial(model.decode, latents, features))


def row(session: Session, side: int, name: str, batch: int, work: Callable[[], object]) -> None:
    """Time a batch and print its row; one that does not fit is said."""
    memory(session.device)
    try:
        told = f"{1000 * session.seconds(work) / batch:.2f} | {memory(session.device)}"
    except torch.OutOfMemoryError:
        told = "no memory for it | -"
    print(f"| {side} | {name} | {batch} | {told} |", flush=True)


def buckets(session: Session) -> None:
    """Print what is compiled for photos of several sizes and counts of draws: once for each size."""
    model, made = build(_NARROW, True, session.device, session.dtype), list[object]()  # widths decide nothing here

    def backend(graph: Any, inputs: object) -> Any:
        made.append(inputs)
        return graph.forward

    model.compile(backend, graphs=False)
    print("| latent cells | draws | graphs compiled so far |\n|---|---:|---:|")
    side, k = min(session.options.sizes) // model.factor, session.options.k
    for height, width in ((side, side), (side, side + 8), (side, side)):
        for draws in (k, 1):
            condition, mask = torch.zeros(1, 4, height, width), torch.ones(1, 1, height, width)
            model.sample(condition.to(session.device), mask.to(session.device), range(draws), Sampling(2))
            print(f"| {height} x {width} | {draws} | {len(made)} |", flush=True)


PARTS = {part.__name__: part for part in (machine, operations, rates, layouts, batches, buckets)}


def needs() -> list[str]:
    """Return the distributions of what is imported now."""
    named = packages_distributions()
    tops = {name.partition(".")[0] for name in sys.modules}
    return sorted({each for top in tops for each in named.get(top, ())})


def run(session: Session, names: Sequence[str]) -> int:
    """Run parts one after the other; return how many failed."""
    failed = 0
    for name in names:
        if session.minutes() > session.options.minutes:
            print(f"\n## {name}: not begun, {session.minutes():.1f} minutes are over", flush=True)
            continue
        print(f"\n## {name}, after {session.minutes():.1f} minutes\n", flush=True)
        try:
            with torch.no_grad():
                PARTS[name](session)
        except Exception:  # what one part meets is told, and the others are worth having
            traceback.print_exc(file=sys.stdout)
            failed += 1
        if session.device == "cuda":
            torch.cuda.empty_cache()
    print(f"\n{session.minutes():.1f} minutes, {failed} parts failed", flush=True)
    return failed


def main() -> int:
    """Run the session; exit code 1 if a part failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=float, default=1.0, help="multiplies every width")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=7.0, help="no part is begun after that")
    parser.add_argument("--compiler", default="inductor", help="torch's backend; eager compiles nothing")
    parser.add_argument("--only", nargs="+", choices=[*PARTS][2:], default=[*PARTS][2:], help="parts beside the first")
    parser.add_argument("--needs", action="store_true", help="print the packages that are imported, and end")
    options = parser.parse_args()
    if options.needs:
        print("\n".join(needs()))
        return 0
    return int(run(Session(options), ["machine", "operations", *options.only]) > 0)


if __name__ == "__main__":
    sys.exit(main())
