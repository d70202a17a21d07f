"""Build what a shard needs from settings: device, weights, generator and scorer. Imported only when work starts."""

from __future__ import annotations

from collections.abc import Sequence

from harmonygen.errors import UsageError
from harmonygen.models.device import Device, Sampling, keep_memory, pick_device
from harmonygen.models.scorer import ClassifierScorer
from harmonygen.pictures.photo import Sizing
from harmonygen.records import Pair
from harmonygen.synthesis.generators import Generator
from harmonygen.synthesis.generators.color_jitter import ColorJitterGenerator
from harmonygen.synthesis.generators.color_transfer import ColorTransferGenerator
from harmonygen.synthesis.generators.lut import LutGenerator
from harmonygen.synthesis.settings import SynthesizeSettings


def load_generator(settings: SynthesizeSettings, pairs: Sequence[Pair], device: str) -> Generator:
    """Build the generator that the settings name.

    Raises:
        UsageError: a checkpoint, device, dtype or runtime that is not there or does not fit.
    """
    if settings.compile and settings.runtime != "torch":
        raise UsageError(
            f"--compile is torch's own compiler, not one of --runtime {settings.runtime}: drop one of them"
        )
    if settings.generator == "color-transfer":
        return ColorTransferGenerator(pairs, settings.methods, settings.seed, settings.references == "subset")
    if settings.generator == "color-jitter":
        return ColorJitterGenerator()
    if settings.generator == "lut":
        return LutGenerator(settings.cube)
    if settings.generator == "parametric":
        from harmonygen.synthesis.generators.parametric import ParametricGenerator

        return ParametricGenerator.from_pretrained(settings.model, pick_device(device))
    from harmonygen.synthesis.generators.diffusion import DiffusionGenerator  # diffusers takes seconds to import

    keep_memory()
    one_size = settings.fit == "square"
    where = Device.pick(device, settings.dtype, settings.batch_size, settings.runtime, one_size)
    generator = DiffusionGenerator.from_pretrained(
        settings.model, where, Sampling(settings.steps, posterior=settings.posterior), settings.detail, settings.decoded
    )
    if settings.compile:
        generator.draw.model.compile()
    return generator


def load_scorer(settings: SynthesizeSettings, device: str) -> ClassifierScorer:
    """Load the classifier that the settings name."""
    return open_scorer(settings.classifier, Device.pick(device, settings.dtype, runtime=settings.runtime))


def open_scorer(name: str, where: Device) -> ClassifierScorer:
    """Load a classifier and, if there is a runtime, have that compute it."""
    scorer = ClassifierScorer.from_pretrained(name, where.name, where.dtype)
    if where.runtime:
        from harmonygen.models.agreement import run_scorer

        run_scorer(scorer, where.runtime)
    return scorer


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
        enlarge=settings.enlarge,
    )
