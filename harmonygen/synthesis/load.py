"""Build what a shard needs from settings: device, weights, generator and scorer. Imported only when work starts."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from harmonygen.models.device import keep_memory
from harmonygen.settings import SynthesizeSettings
from harmonygen.errors import UsageError
from harmonygen.models.score import ClassifierScorer
from harmonygen.pictures.photo import Sizing
from harmonygen.records import Pair
from harmonygen.synthesis.generators import Generator
from harmonygen.synthesis.generators.color_jitter import ColorJitterGenerator
from harmonygen.synthesis.generators.color_transfer import ColorTransferGenerator
from harmonygen.synthesis.generators.lut import LutGenerator

_AUTO_BATCH = {"cpu": 16, "cuda": 64, "mps": 16}
_DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "float16": torch.float16,
    "fp16": torch.float16,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
}


def pick_device(name: str) -> str:
    """Return the device for ``auto`` (CUDA, Apple, CPU in this order), or check the one that is named.

    Raises:
        UsageError: it is not there.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    kind = name.partition(":")[0]
    if kind not in _AUTO_BATCH or (kind == "cuda" and not cuda) or (kind == "mps" and not mps):
        raise UsageError(f"--device {name} is not available here: use auto, or see 'harmonygen doctor'")
    return name


def pick_dtype(name: str, device: str) -> torch.dtype:
    """Return the dtype for ``auto`` (bfloat16 on CUDA that has it, float16 on older, float32 elsewhere) or by name."""
    if name != "auto":
        if name not in _DTYPES:
            raise UsageError(f"--dtype {name} is not known: choose auto, {', '.join(_DTYPES)}")
        return _DTYPES[name]
    if not device.startswith("cuda"):
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def pick_batch(name: str, device: str) -> int:
    """Return the number of candidates denoised together: a number, or ``auto`` by device."""
    if name == "auto":
        return _AUTO_BATCH[device.partition(":")[0]]
    if not name.isdecimal() or int(name) < 1:
        raise UsageError(f"--batch-size is {name!r}: write auto or a whole number from 1")
    return int(name)


def load_generator(settings: SynthesizeSettings, pairs: Sequence[Pair], device: str) -> Generator:
    """Build the generator that the settings name."""
    if settings.generator == "color-transfer":
        return ColorTransferGenerator(pairs, settings.methods, settings.seed, settings.references == "subset")
    if settings.generator == "color-jitter":
        return ColorJitterGenerator()
    if settings.generator == "lut":
        return LutGenerator(settings.cube)
    from harmonygen.synthesis.generators.diffusion import DiffusionGenerator  # diffusers takes seconds to import

    keep_memory()
    dtype, batch = pick_dtype(settings.dtype, device), pick_batch(settings.batch_size, device)
    generator = DiffusionGenerator.from_pretrained(
        settings.model, device, dtype, settings.steps, batch, settings.detail, settings.decoded
    )
    if settings.compile:
        generator.draw.model.compile()
    return generator


def load_scorer(settings: SynthesizeSettings, device: str) -> ClassifierScorer:
    """Load the classifier that the settings name."""
    return ClassifierScorer.from_pretrained(settings.classifier, device, pick_dtype(settings.dtype, device))


def sizing_of(settings: SynthesizeSettings, generator: Generator) -> Sizing:
    """Return how photos are sized: by the settings, else by what the generator was trained at."""
    return Sizing(
        resolution=settings.resolution or generator.resolution,
        multiple=generator.multiple,
        fit=settings.fit,
        detail=settings.detail,
        max_side=settings.max_side,
        mask_resize=settings.mask_resize,
        max_pixels=settings.max_pixels,
    )
