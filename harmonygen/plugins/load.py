"""Load what stands behind a door: a name, ``module:attribute`` or a callable in, a guarded callable out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from harmonygen.errors import CheckpointError
from harmonygen.models.device import Device
from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.plugins.digest import object_digest, plugin_digest
from harmonygen.plugins.doors import JUDGES, Door, plugin_names
from harmonygen.plugins.guard import Guarded, GuardedJudge
from harmonygen.plugins.judges import plugin_spec
from harmonygen.plugins.plugin import Plugin
from harmonygen.recipes import nearest


class Judge(Protocol):
    """A scorer with a digest: composites (H, W, 3) uint8 and their mask (H, W) bool -> P(composite) of each."""

    digest: str

    def __call__(self, composites: Sequence[ImageU8], mask: Mask) -> list[float]:
        """Return P(composite) of each composite, in [0, 1]."""


GuardedT = TypeVar("GuardedT", bound=Guarded)


def load_plugin(
    door: Door,
    spec: str,
    given: Mapping[str, Any],
    handed: Mapping[str, Any],
    guard: Callable[..., GuardedT],
) -> Any:
    """Return the plug-in behind a spec, built with the settings ``given`` and kept to the guarantees by ``guard``.

    ``handed`` is what it gets if it asks for it, by the names in :data:`harmonygen.plugins.plugin.HANDED`; ``device``
    is always there.

    Those of our own that keep them by themselves come as they are.

    Raises:
        UsageError: it is not known or cannot be imported, or its settings are wrong.
        PluginError: it cannot be built.
    """
    plugin = Plugin.find(door, spec)
    settings = plugin.settings(given)
    made = plugin.make(settings, **handed)
    if plugin.place.is_own:
        return made
    digest = plugin_digest(plugin.place, made, settings)
    return guard(made, plugin.place.name, plugin.told, digest, handed["device"].name)


def load_judge(spec: str, given: Mapping[str, Any], device: Device) -> Judge:
    """Return the judge that a plug-in's spec or a classifier's folder (``starter``: the shipped one) stands for.

    Raises:
        UsageError: wrong settings, or a plug-in that cannot be imported.
        CheckpointError: neither the name of a judge nor a classifier's folder.
        PluginError: it cannot be built.
    """
    if plugin_spec(spec) != spec and spec != "starter" and not Path(spec).is_dir():
        raise CheckpointError(
            f"judge '{spec}' is not a folder and not the name of a judge{nearest(spec, plugin_names(JUDGES))}: give "
            f"'starter', a classifier's folder, module:attribute or one of {', '.join(plugin_names(JUDGES))}"
        )
    judge: Judge = load_plugin(JUDGES, plugin_spec(spec), given, {"device": device}, GuardedJudge)
    return judge


def guard_object(door: Door, made: Any, device: Device, guard: Callable[..., GuardedT]) -> GuardedT:
    """Return a callable that was passed in Python, kept to the guarantees.

    Raises:
        UsageError: what it is made from cannot be seen, and it states no digest.
    """
    name = object_name(made)
    return guard(made, name, f"{door.kind} '{name}'", object_digest(made, name), device.name)


def object_name(made: Any) -> str:
    """Return what a callable that was passed is called: its own ``name``, or that of its function or class."""
    named = getattr(made, "name", None) or getattr(made, "__name__", None)
    return str(named) if named else type(made).__name__
