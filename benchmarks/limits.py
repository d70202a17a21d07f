"""How many candidates a second a GPU could make at most, and how many it makes: REFERENCE section 12.

    python benchmarks/limits.py              # operations and limits of Stable Diffusion 1.5's size, anywhere
    python benchmarks/limits.py --measure    # and candidates/s beside them, on a GPU of some 20 GB
    python benchmarks/limits.py --measure --widths 0.1 --sizes 128 --k 4     # tries the script on a CPU

Operations are counted from networks of full size without computing anything (torch's fake tensors; a multiply-add is
two), for one picture. The limit is --peak over what a candidate takes when K share their photo: its encoding and
conditional features once, and for each candidate the UNet in every step and one decoding, by the full decoder or by the
light one of the recipe `train/sd15-light-decoder`. Without --peak, --measure
takes the best of some large matrix products in bf16; else it is 790 TFLOP/s, measured on an H200. Measured: one photo
to K pictures, channels last, bf16, random weights. With --widths all is counted and measured at reduced widths.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from full_size import LIGHT_BLOCKS, LIGHT_WIDTHS, build, candidates, matrix_peak, timed
from papers_cost import _FAKE, HALF, TERA, built, counted, unet

from harmonygen.models.denoiser import Denoiser, DenoiserSpec, NoiseNet, new_scheduler
from harmonygen.models.harmony_vae import HarmonyVAE
from harmonygen.models.importing import SD_VAE

H200 = 790 * TERA
WAYS = ((5, False), (5, True), (1, False), (1, True))
"""Steps, and whether the decoder is light."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Operations for one picture: the UNet in one step, the decoder, the encoder, the conditional features."""

    step: float
    decode: float
    encode: float
    features: float

    def of_candidate(self, steps: int, k: int) -> float:
        """Return the operations of one of K candidates."""
        return steps * self.step + self.decode + (self.encode + self.features) / k


def parts(model: Denoiser, side: int) -> Parts:
    """Count the parts at ``side`` pixels."""
    dtype = model.unet.dtype
    image, mask = torch.zeros(1, 3, side, side, dtype=dtype), torch.ones(1, 1, side, side, dtype=dtype)
    cells = torch.zeros(1, 9, side // model.factor, side // model.factor, dtype=dtype)
    features, net = model.features(image, mask), NoiseNet(model.unet, model.null_embedding)
    works: tuple[Callable[[], object], ...] = (
        lambda: net(cells, torch.tensor(1.0)),
        lambda: model.decode(cells[:, :4].float(), features),
        lambda: model.encode(image),
        lambda: model.features(image, mask),
    )
    return Parts(*(counted(work) for work in works))


@torch.no_grad()
def counts(widths: float, sides: Sequence[int]) -> dict[tuple[int, bool], Parts]:
    """Count the parts by size, and by whether the decoder is light; at full widths nothing is computed."""
    found, scheduler = {}, new_scheduler("epsilon")
    for light in (False, True):
        if widths != 1:
            model = build(widths, True, "cpu", torch.float32, light)
            found |= {(side, light): parts(model, side) for side in sides}
            continue
        with _FAKE:
            more = {"light_widths": LIGHT_WIDTHS, "light_blocks": LIGHT_BLOCKS} if light else {}
            vae = built(lambda more=more: HarmonyVAE(**SD_VAE, **more), HALF)
            prompt = torch.zeros(1, 77, 768, dtype=HALF)
            model = Denoiser(unet(HALF), vae, scheduler, prompt, DenoiserSpec())
            found |= {(side, light): parts(model, side) for side in sides}
    return found


def measured(widths: float, side: int, k: int, dtype: torch.dtype, device: str) -> Iterator[float]:
    """Yield the candidates a second of each of the :data:`WAYS`."""
    models: dict[bool, Denoiser] = {}
    for steps, light in WAYS:
        if light not in models:
            models[light] = build(widths, True, device, dtype, light)
        yield k / timed(partial(candidates, models[light], side, k, steps), device, 2)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak", type=float, help="TFLOP/s")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--widths", type=float, default=1.0, help="multiplies every width")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--k", type=int, default=10)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    found = options.peak * TERA if options.peak else matrix_peak(device, dtype) if options.measure else H200
    print(f"Widths x {options.widths:g}, K = {options.k}; peak {found / TERA:.3g} TFLOP/s\n")
    print("| pixels | decoder | UNet, a step | decode | encode | features |\n|---:|---|---:|---:|---:|---:|")
    counted_parts = counts(options.widths, options.sizes)
    for (side, light), each in sorted(counted_parts.items()):
        cells = (each.step, each.decode, each.encode, each.features)
        print(f"| {side} | {name_of(light)} | {' | '.join(f'{cell / TERA:.3f}' for cell in cells)} |")
    print(
        "\n| pixels | steps, decoder | limit, candidates/s | measured | share of the limit |\n|---:|---|---:|---:|---:|"
    )
    for side in options.sizes:
        rates = (
            list(measured(options.widths, side, options.k, dtype, device)) if options.measure else [None] * len(WAYS)
        )
        for (steps, light), rate in zip(WAYS, rates, strict=True):
            limit = found / counted_parts[side, light].of_candidate(steps, options.k)
            told = f"{rate:.2f} | {rate / limit:.0%}" if rate is not None else "not run | "
            print(f"| {side} | {steps}, {name_of(light)} | {limit:.0f} | {told} |", flush=True)


def name_of(light: bool) -> str:
    """Return what a decoder is called."""
    return "light" if light else "full"


if __name__ == "__main__":
    main()
