"""Build what a shard needs from settings: device, weights, generator and scorer. Imported only when work starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from harmonygen.errors import UsageError
from harmonygen.models.device import Device
from harmonygen.pictures.photo import Sizing
from harmonygen.plugins.doors import GENERATORS
from harmonygen.plugins.guard import GuardedGenerator
from harmonygen.plugins.load import Judge, guard_object, load_plugin
from harmonygen.records import Pair
from harmonygen.synthesis.generators import Generator
from harmonygen.synthesis.panel import JudgeCallables, load_panel
from harmonygen.synthesis.settings import CandidateSettings, SynthesizeSettings

_COMPILED_CELLS = 8


def load_generator(
    settings: CandidateSettings, pairs: Sequence[Pair], device: str, given: Callable[..., Any] | None = None
) -> Generator:
    """Build the generator that the settings name, on ``device``; one that is ``given`` in Python takes its place.

    Raises:
        UsageError: it is not known, its settings are wrong, or the device, the runtime or the weights are missing.
        PluginError: a plug-in that cannot be built.
    """
    if settings.compile and settings.runtime != "torch":
        raise UsageError(
            f"--compile is torch's own compiler, not one of --runtime {settings.runtime}: drop one of them"
        )
    one_size = settings.fit == "square"
    where = Device.pick(device, settings.dtype, settings.batch_size, settings.runtime, one_size)
    handed = {"device": where, "pairs": pairs, "run": settings}
    guard = partial(GuardedGenerator, detail=settings.detail)
    if given is not None:
        return guard_object(GENERATORS, given, where, guard)
    if settings.generator not in GENERATORS.own and settings.model != "starter":
        raise UsageError(
            f"--model {settings.model} does not go with --generator {settings.generator}, which has settings of its "
            "own: write generator_settings.NAME=value"
        )
    made: Generator = load_plugin(GENERATORS, settings.generator, settings.generator_settings, handed, guard)
    return made


def load_scorer(settings: CandidateSettings, device: str, given: JudgeCallables | None = None) -> Judge:
    """Load the judges that the settings name; those that are ``given`` in Python take their place."""
    return load_panel(settings, Device.pick(device, settings.dtype, settings.batch_size, settings.runtime), given)


def sizing_of(settings: SynthesizeSettings, generator: Generator) -> Sizing:
    """Return how photos are sized: by the settings, else by what the generator was trained at."""
    resolution, multiple = settings.resolution or generator.resolution, generator.multiple
    if settings.compile:  # fewer sizes: each is compiled for
        multiple *= max(1, min(_COMPILED_CELLS, resolution // multiple))
    return Sizing(
        resolution=resolution,
        multiple=multiple,
        fit=settings.fit,
        detail=settings.detail,
        max_side=settings.max_side,
        mask_resize=settings.mask_resize,
        max_pixels=settings.max_pixels,
        enlarge=settings.enlarge,
    )
