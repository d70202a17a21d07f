"""What the papers' tables cost: operations, hours and memory, worked out without a GPU from networks of full size.

    python benchmarks/papers_cost.py                                  # the tables of docs/papers-tables.md, two minutes
    python benchmarks/papers_cost.py --peak 312 --share 0.3 0.5       # another GPU's matrix peak, another share of it

Nothing is computed: torch's fake tensors have shapes alone, so that each step of training and each picture is counted
in seconds, at its real size and batch. The sizes of the trainings are those of the recipes `train/sd15-*`. Hours are
operations over peak and share: loading of photos, validation and the traffic between GPUs are not in them.
"""

from __future__ import annotations

import argparse
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from share_of_peak import counter
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models import resnet50

from harmonygen.models.harmony_vae import HarmonyVAE
from harmonygen.models.importing import SD15_UNET, SD_VAE, count
from harmonygen.models.refiner import RefinementUNet, RefinerSpec
from harmonygen.settings import resolve
from harmonygen.training.settings import TASKS, TrainSettings

TEST = 7404
"""Composites of iHarmony4's test list (REFERENCE section 1)."""
STEPS = 5
CANDIDATES = 10
TABLE2_STEPS, TABLE2_BATCH = 10_000, 64
TERA, EXA, GIGA = 1e12, 1e18, 1e9
_FAKE = FakeTensorMode()  # one: networks are kept, and tensors of two modes do not mix


@dataclass(frozen=True, slots=True)
class Work:
    """A row: what is done, to how many pictures, and what counts the operations for one of them."""

    name: str
    images: int
    operations: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Memory:
    """A training's memory, in bytes: how many parameters are trained, and the most that a step makes beside them.

    ``frozen`` is what lies in memory too. The optimiser's step, after the backward pass, has a second array of the
    gradients' size for a moment.
    """

    name: str
    batch: int
    parameters: int
    step: Callable[[], object]
    frozen: int = 0

    def kept(self) -> int:
        """Weights, AdamW's two moments and the moving average, in float32."""
        return 16 * self.parameters + self.frozen

    def most(self) -> float:
        """Return the most that is alive, with gradients and activations."""
        return self.kept() + max(peak(self.step), 8.0 * self.parameters)


class PeakMemory(TorchDispatchMode):
    """Follows the bytes of the tensors that are made inside it and still alive; ``most`` is their largest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call an operation of torch and note what it returns."""
        made = func(*args, **(kwargs or {}))
        for value in _pytree.tree_leaves(made):
            if isinstance(value, Tensor):
                self._note(value.untyped_storage())
        return made

    def _note(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()
        if key not in self._alive:
            self._alive.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Make fake tensors, and norms in float32 under autocast: so it is on a GPU, but not on a CPU."""
    usual = {name: getattr(functional, name) for name in ("group_norm", "layer_norm")}

    def whole(name: str) -> Callable[..., Tensor]:
        norm = usual[name]
        return lambda x, *more, **named: norm(x.float() if torch.is_autocast_enabled("cpu") else x, *more, **named)

    with _FAKE:
        for name in usual:
            setattr(functional, name, whole(name))
        try:
            yield
        finally:
            for name, norm in usual.items():
                setattr(functional, name, norm)


def counted(work: Callable[[], object]) -> float:
    """Return the operations of a call."""
    with counter() as found:
        work()
    return float(found.get_total_flops())


def peak(work: Callable[[], object]) -> float:
    """Return the most bytes that a call has alive at a time, beside what was there before."""
    with PeakMemory() as found:
        work()
    return float(found.most)


def half() -> Any:
    """Return bf16 autocast, as the recipes have it."""
    return torch.autocast("cpu", dtype=torch.bfloat16)


# Networks and what is done with them; all of it among fake tensors


@cache
def recipe(name: str) -> TrainSettings:
    """Return a recipe's settings."""
    task = {"sd15-forward": "forward", "sd15-refiner": "refiner", "resnet50-probe": "classifier"}
    return resolve(TASKS[task.get(name, "harmony-vae")], f"train/{name}")


def samples(name: str) -> int:
    """Return how many samples a recipe's training sees, on one GPU or several."""
    settings = recipe(name)
    return settings.max_train_steps * settings.train_batch_size * settings.gradient_accumulation_steps


FULL, HALF = torch.float32, torch.bfloat16


def built(make: Callable[[], Any], dtype: torch.dtype) -> Any:
    """Build a network with parameters of a type."""
    torch.set_default_dtype(dtype)
    try:
        return make()
    finally:
        torch.set_default_dtype(FULL)


@cache
def unet(dtype: torch.dtype) -> Any:
    """Return Stable Diffusion 1.5's inpainting UNet."""
    return built(lambda: UNet2DConditionModel.from_config(SD15_UNET), dtype)


@cache
def vae(dtype: torch.dtype) -> Any:
    """Return the plain autoencoder, frozen."""
    return built(lambda: AutoencoderKL(**SD_VAE), dtype).requires_grad_(False)


@cache
def harmony_vae(dtype: torch.dtype) -> Any:
    """Return the Harmony-VAE with the parts that train."""
    return built(lambda: HarmonyVAE(**SD_VAE), dtype).freeze()


@cache
def refiner(dtype: torch.dtype) -> Any:
    """Return the refinement UNet of the recipe."""
    settings: Any = recipe("sd15-refiner")
    names = set(RefinerSpec.model_fields) & set(type(settings).model_fields) - {"resolution"}
    spec = RefinerSpec(kind="refiner", **{name: getattr(settings, name) for name in names})
    return built(lambda: RefinementUNet(spec), dtype)


def pictures(batch: int, side: int, channels: int = 3, dtype: torch.dtype = FULL) -> Tensor:
    """Return a batch of pictures."""
    return torch.zeros(batch, channels, side, side, dtype=dtype)


def denoise(batch: int, side: int, dtype: torch.dtype = FULL) -> Tensor:
    """Call the UNet once."""
    prompt, steps = torch.zeros(batch, 77, 768, dtype=dtype), torch.zeros(batch, dtype=torch.long)
    predicted: Tensor = unet(dtype)(pictures(batch, side // 8, 9, dtype), steps, prompt).sample
    return predicted


@torch.no_grad()
def harmonize(side: int, plus_plus: bool = False, refine: bool = False, batch: int = 1, draws: int = 1) -> None:
    """Run a forward model on composites, or an inverse one on photos: encode once, draw and decode ``draws`` times."""
    image, mask = pictures(batch, side, dtype=HALF), pictures(batch, side, 1, HALF)
    vae(HALF).encode(image)
    features = harmony_vae(HALF).features(image, mask) if plus_plus else None
    for _ in range(draws):
        for _ in range(STEPS):
            denoise(batch, side, HALF)
        latents = pictures(batch, side // 8, 4, HALF)
        harmony_vae(HALF).decode(latents, features) if features else vae(HALF).decode(latents)
    if refine:
        small = pictures(batch, 256, dtype=HALF)
        refiner(HALF)(small, pictures(batch, 256, 1, HALF), small)


def denoiser_step(batch: int, checkpointing: bool = True) -> None:
    """Take one step of `train/sd15-forward` (the inverse's is the same) without the optimiser."""
    side = recipe("sd15-forward").resolution
    (unet(FULL).enable_gradient_checkpointing if checkpointing else unet(FULL).disable_gradient_checkpointing)()
    unet(FULL).train().zero_grad()
    with torch.no_grad(), half():
        for _ in range(2):
            vae(FULL).encode(pictures(batch, side))
    with half():
        predicted = denoise(batch, side)
    (predicted.float() ** 2).mean().backward()


def harmony_vae_step(batch: int) -> None:
    """Take one step of `train/sd15-harmony-vae-forward` without the optimiser."""
    side, model = recipe("sd15-harmony-vae-forward").resolution, harmony_vae(FULL)
    model.zero_grad()
    image, noise = pictures(batch, side), pictures(batch, side // 8, 4)
    with half():
        with torch.no_grad():
            latents = model.encode(image).latent_dist.mean
        decoded = model(latents, image, pictures(batch, side, 1), noise)
    decoded.float().abs().mean().backward()


def refiner_step(batch: int) -> None:
    """Take one step of `train/sd15-refiner` without the optimiser; stage 1 runs first."""
    settings: Any = recipe("sd15-refiner")
    harmonize(settings.resolution, batch=batch)
    refiner(FULL).zero_grad()
    side = settings.refiner_resolution
    with half():
        refined = refiner(FULL)(pictures(batch, side), pictures(batch, side, 1), pictures(batch, side))
    (refined.float() ** 2).mean().backward()


@torch.no_grad()
def probe_step() -> None:
    """Classify a photo and its composite, as `train/resnet50-probe` does; its trunk has no backward pass."""
    with half():
        resnet50()(pictures(2, recipe("resnet50-probe").resolution))


def works() -> list[Work]:
    """Return the rows of the table of hours."""
    table4 = [(side, plus, fine) for side in (512, 1024) for plus in (False, True) for fine in (False, True)]
    vae_recipe = "sd15-harmony-vae-forward"
    return [
        Work(
            "train one denoiser (forward or inverse)",
            samples("sd15-forward"),
            lambda: counted(lambda: denoiser_step(1)),
        ),
        Work("train one Harmony-VAE", samples(vae_recipe), lambda: counted(lambda: harmony_vae_step(1))),
        Work("train the refiner", samples("sd15-refiner"), lambda: counted(lambda: refiner_step(1))),
        Work("train the classifier", samples("resnet50-probe"), lambda: counted(probe_step)),
        Work("Tables 1 and 3: DiffHarmony++ at 1024 px, each", TEST, lambda: counted(lambda: harmonize(1024, True))),
        Work("Table 4: eight models", TEST, lambda: sum(counted(lambda t=t: harmonize(*t)) for t in table4)),
        Work(
            "Table 5: four models at 512 px",
            TEST,
            lambda: counted(lambda: harmonize(512)) + 3 * counted(lambda: harmonize(512, True)),
        ),
        Work("randomness: five seeds at 512 px", 5 * TEST, lambda: counted(lambda: harmonize(512))),
        Work("Table 2: two trainings", 2 * TABLE2_STEPS * TABLE2_BATCH, lambda: counted(lambda: denoiser_step(1))),
        Work(
            "candidates at 1024 px, K = 10, 1,000 pairs",
            1000,
            lambda: counted(lambda: harmonize(1024, draws=CANDIDATES)),
        ),
    ]


def memories() -> list[Memory]:
    """Return the rows of the table of memory."""
    denoiser, plain = count(unet(FULL)), 4 * count(vae(FULL))
    trained = [parameter for parameter in harmony_vae(FULL).parameters() if parameter.requires_grad]
    decoder = sum(parameter.numel() for parameter in trained)
    encoder = 4 * (count(harmony_vae(FULL)) - decoder)
    stage1 = 2 * (count(unet(FULL)) + count(vae(FULL)))
    return [
        Memory("denoiser", 16, denoiser, lambda: denoiser_step(16), plain),
        Memory("denoiser", 8, denoiser, lambda: denoiser_step(8), plain),
        Memory("denoiser, gradient_checkpointing=false", 16, denoiser, lambda: denoiser_step(16, False), plain),
        Memory("Harmony-VAE", 16, decoder, lambda: harmony_vae_step(16), encoder),
        Memory("refiner", 32, count(refiner(FULL)), lambda: refiner_step(32), stage1),
        Memory("refiner", 8, count(refiner(FULL)), lambda: refiner_step(8), stage1),
    ]


def hours(images: int, operations: float, peak_flops: float, share: float, gpus: int) -> float:
    """Return hours for so many images at a share of the peak.

    >>> hours(3600, 2e12, 10e12, 0.5, 2)
    0.2
    """
    return images * operations / (peak_flops * share * gpus) / 3600


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak", type=float, default=790.0, help="TFLOP/s of a large bf16 matrix product on your GPU")
    parser.add_argument(
        "--share", type=float, nargs=2, default=[0.16, 0.31], help="least and most of it that is reached"
    )
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    heads = "".join(f" hours, {gpus} GPU{'s' * (gpus > 1)} |" for gpus in options.gpus)
    print(f"peak {options.peak:g} TFLOP/s, {options.share[0]:.0%} to {options.share[1]:.0%} of it\n")
    print(f"| work | images | TFLOP an image | EFLOP |{heads}\n|---|---:|---:|---:|{'---:|' * len(options.gpus)}")
    with as_on_a_gpu():
        for work in works():
            each = work.operations()
            cells = [
                " to ".join(
                    f"{hours(work.images, each, options.peak * TERA, share, gpus):.2g}" for share in options.share[::-1]
                )
                for gpus in options.gpus
            ]
            total = work.images * each / EXA
            print(
                f"| {work.name} | {work.images:,} | {each / TERA:.3f} | {total:.3g} | {' | '.join(cells)} |", flush=True
            )
        print("\n| training | batch | parameters | kept, GB | with a step, GB |\n|---|---:|---:|---:|---:|")
        for row in memories():
            millions, whole = row.parameters / 1e6, row.most() / GIGA
            print(
                f"| {row.name} | {row.batch} | {millions:.0f} M | {row.kept() / GIGA:.1f} | {whole:.1f} |", flush=True
            )


if __name__ == "__main__":
    main()
