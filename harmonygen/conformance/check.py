"""`harmonygen check-plugin`: find a plug-in's doors, build it, and run each door's suite."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harmonygen.conformance.cases import chosen_pairs, recoloured, resized, sized, small
from harmonygen.conformance.generators import GeneratorSuite
from harmonygen.conformance.harmonizers import HarmonizerSuite
from harmonygen.conformance.judges import JudgeSuite
from harmonygen.conformance.seen import PluginCheck, run_checks
from harmonygen.conformance.segmenters import SegmenterSuite
from harmonygen.conformance.settings import CheckPluginSettings
from harmonygen.data import PairSet, read_pairs
from harmonygen.errors import UsageError
from harmonygen.harmonization.harmonize import load, sizing_of
from harmonygen.harmonization.settings import HarmonizeSettings
from harmonygen.models.device import Device
from harmonygen.pictures.photo import Sizing
from harmonygen.plugins.doors import (
    DOORS,
    GENERATORS,
    HARMONIZERS,
    JUDGES,
    SEGMENTERS,
    Door,
    find_plugin,
    is_plugin,
    plugin_names,
)
from harmonygen.plugins.load import load_judge
from harmonygen.plugins.plugin import Plugin
from harmonygen.recipes import nearest
from harmonygen.segmentation.segmenters import load_segmenter, spelled
from harmonygen.synthesis import load as synthesis
from harmonygen.synthesis.settings import SynthesizeSettings

Progress = Callable[[int, int], None]
_ZERO_SHOT = "zero-shot"
_KINDS = "generator, judge, harmonizer or segmenter"


@dataclass(frozen=True)
class CheckedPlugin:
    """What the suites found of a plug-in."""

    plugin: str
    verdicts: tuple[PluginCheck, ...]

    @property
    def failed(self) -> list[PluginCheck]:
        """The checks that it did not pass."""
        return [verdict for verdict in self.verdicts if verdict.state == "failed"]


def check_plugin(settings: CheckPluginSettings, progress: Progress | None = None) -> CheckedPlugin:
    """Run the suites of every door that a plug-in is at.

    Raises:
        UsageError: it is not known, cannot be imported, or its settings or the data cannot be used.
        PluginError: it cannot be built.
        InputError: a photo that cannot be read.
    """
    spec = settings.plugin or ""
    doors = doors_of(spec, settings.kind)
    pairs = read_pairs(settings.data, reading=settings.reading())
    verdicts: list[PluginCheck] = []
    for done, door in enumerate(doors):
        if progress:
            progress(done, len(doors))
        verdicts += run_checks(door.kind, _SUITES[door.kind](settings, spec, pairs))
    if progress:
        progress(len(doors), len(doors))
    return CheckedPlugin(spec, tuple(verdicts))


def known_plugins() -> list[dict[str, str]]:
    """Return every plug-in that has a name: its kind, where it is, and what package offers it; nothing is imported."""
    places = [find_plugin(door, name) for door in DOORS for name in plugin_names(door)]
    return [
        {"kind": place.door.kind, "name": place.name, "target": place.target, "package": place.package or "harmonygen"}
        for place in places
    ]


def doors_of(spec: str, kind: str | None) -> list[Door]:
    """Return the doors that a plug-in is at: all that know its name, or the one that its parameters show.

    An ONNX file that is named alone is a segmenter.

    Raises:
        UsageError: no door knows it, or several doors could be meant.
    """
    if kind:
        return [door for door in DOORS if door.kind == kind]
    if spelled(spec) != spec:
        return [SEGMENTERS]
    name = spec.partition(":")[0]
    named = [door for door in DOORS if name in plugin_names(door)]
    if named:
        return named
    if not is_plugin(GENERATORS, spec):
        known = list(dict.fromkeys(name for door in DOORS for name in plugin_names(door)))
        raise UsageError(
            f"plug-in '{spec}' is not known{nearest(name, known)}: run harmonygen check-plugin without a name to list "
            "all, or name your own as module:attribute (docs/plugins/README.md)"
        )
    shown = [door for door in DOORS if _is_called(Plugin.find(door, spec).target, door)]
    if len(shown) != 1:
        raise UsageError(f"'{spec}' does not show what it is: say --kind {_KINDS}")
    return shown


def _is_called(target: Any, door: Door) -> bool:
    """Return whether a function, or what a class makes, has the parameters of a door's call."""
    called = target.__call__ if isinstance(target, type) else target
    try:
        names = [name for name in inspect.signature(called).parameters if name != "self"]
    except (TypeError, ValueError):
        return False
    return tuple(names[:2]) == door.calls[:2]


def _of_generator(settings: CheckPluginSettings, spec: str, pairs: PairSet) -> Sequence[Any]:
    run = SynthesizeSettings(
        **_shared(settings), generator=spec, generator_settings=settings.settings, k=settings.k, model=settings.model
    )
    device = Device.pick(settings.device).name
    generator = synthesis.load_generator(run, pairs, device)
    sizing = synthesis.sizing_of(run, generator)
    photos = sized(chosen_pairs(pairs, settings.photos), sizing)

    def again() -> Any:
        return synthesis.load_generator(run, pairs, device)

    return GeneratorSuite(generator, again, photos, small(photos[0], sizing), settings.k, settings.seed).checks()


def _of_judge(settings: CheckPluginSettings, spec: str, pairs: PairSet) -> Sequence[Any]:
    device = Device.pick(settings.device, settings.dtype, settings.batch_size)
    named = f"{spec}:{settings.model}" if spec == "classifier" and settings.model != "starter" else spec
    sizing = Sizing(settings.resolution or settings.max_side, 1, max_side=settings.max_side)
    photos = sized(chosen_pairs(pairs, settings.photos), sizing)

    def again() -> Any:
        return load_judge(named, settings.settings, device)

    return JudgeSuite(again(), again, photos, small(photos[0], sizing), settings.k, settings.seed).checks()


def _of_harmonizer(settings: CheckPluginSettings, spec: str, pairs: PairSet) -> Sequence[Any]:
    own: Mapping[str, Any] = {"zero_shot" if spec == _ZERO_SHOT else "method_settings": settings.settings}
    refine = str(settings.refine) if settings.refine else None
    run = HarmonizeSettings(**_shared(settings), **own, method=spec, model=settings.model, refine=refine)
    chosen = chosen_pairs(pairs, settings.photos)
    harmonizer = load(run, chosen)
    sizing = sizing_of(run, harmonizer)
    photos = sized(chosen, sizing)
    composites = [resized(each, recoloured(each, 1, settings.seed)[0], each.mask, sizing) for each in photos]

    def again() -> Any:
        return load(run, chosen)

    reals = [photo.image_u8 for photo in photos]
    return HarmonizerSuite(harmonizer, again, composites, reals, small(composites[0], sizing), settings.seed).checks()


def _of_segmenter(settings: CheckPluginSettings, spec: str, pairs: PairSet) -> Sequence[Any]:
    sizing = Sizing(settings.resolution or settings.max_side, 1, max_side=settings.max_side)
    photos = sized(chosen_pairs(pairs, settings.photos), sizing)

    def again() -> Any:
        return load_segmenter(spec, settings.settings, settings.device)

    return SegmenterSuite(again(), again, photos, small(photos[0], sizing)).checks()


def _shared(settings: CheckPluginSettings) -> dict[str, Any]:
    """Return the settings that a verb's own have under the same name."""
    names = ("max_side", "resolution", "seed", "device", "dtype", "batch_size")
    return {name: getattr(settings, name) for name in names}


_SUITES: Mapping[str, Callable[[CheckPluginSettings, str, PairSet], Sequence[Any]]] = {
    GENERATORS.kind: _of_generator,
    JUDGES.kind: _of_judge,
    HARMONIZERS.kind: _of_harmonizer,
    SEGMENTERS.kind: _of_segmenter,
}
