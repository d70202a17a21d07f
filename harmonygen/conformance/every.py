"""`harmonygen check-plugin --all`: the suite of every plug-in that needs no model of the user's, one row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harmonygen.conformance.check import check_plugin
from harmonygen.conformance.seen import PluginCheck
from harmonygen.conformance.settings import CheckPluginSettings
from harmonygen.errors import CheckpointError, InputError, PluginError, UsageError
from harmonygen.plugins.doors import DOORS, Place, find_plugin, plugin_names
from harmonygen.plugins.plugin import Plugin

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CheckedDoor:
    """What came of a plug-in at one door: its checks, or why it was not checked (``left_out``)."""

    kind: str
    name: str
    package: str
    verdicts: tuple[PluginCheck, ...] = ()
    left_out: str = ""

    @property
    def failed(self) -> list[PluginCheck]:
        """The checks that it did not pass."""
        return [verdict for verdict in self.verdicts if verdict.state == "failed"]

    @property
    def checks(self) -> str:
        """How many of its checks it passed, in words."""
        counted = [verdict for verdict in self.verdicts if verdict.state != "figure"]
        passed = sum(verdict.state == "ok" for verdict in counted)
        return f"{passed} of {len(counted)}" if counted else "not checked"

    @property
    def found(self) -> str:
        """What there is to say: why it was not checked, what it fails, or else its speed."""
        failed = [f"{verdict.check}: {verdict.found}" for verdict in self.failed]
        speed = [verdict.found for verdict in self.verdicts if verdict.check == "speed"]
        return self.left_out or "; ".join(failed) or ", ".join(speed)


def check_every(settings: CheckPluginSettings, progress: Progress | None = None) -> list[CheckedDoor]:
    """Check the plug-ins that have a name, at each of their doors; ``settings.kind`` chooses one door.

    Left out is what needs settings (adapters need a model), and what of ours needs weights that are not shipped.

    Raises:
        UsageError: settings for a single plug-in, or the data cannot be used.
        InputError: a photo that cannot be read.
    """
    if settings.plugin or settings.settings or settings.refine or settings.model != "starter":
        raise UsageError("--all checks every plug-in as it is: drop the name, --model, --refine and settings")
    doors = [door for door in DOORS if settings.kind in (None, door.kind)]
    places = [find_plugin(door, name) for door in doors for name in plugin_names(door)]
    checked = []
    for done, place in enumerate(places):
        if progress:
            progress(done, len(places))
        checked.append(_checked(place, settings))
    if progress:
        progress(len(places), len(places))
    return checked


def _checked(place: Place, settings: CheckPluginSettings) -> CheckedDoor:
    kind, named = place.door.kind, (place.door.kind, place.name, place.package or "harmonygen")
    try:
        fields = Plugin(place).settings_kind.model_fields
        if needed := [name for name, field in fields.items() if field.is_required()]:
            return CheckedDoor(*named, left_out=f"needs settings.{', settings.'.join(needed)}")
        one = settings.model_copy(update={"plugin": place.name, "kind": kind})
        return CheckedDoor(*named, check_plugin(one).verdicts)
    except InputError:
        raise
    except (UsageError, PluginError) as error:
        if place.is_own and isinstance(error, UsageError):
            unshipped = isinstance(error, CheckpointError)
            return CheckedDoor(*named, left_out="needs --model" if unshipped else str(error).partition(": ")[0])
        return CheckedDoor(*named, (PluginCheck(kind, "it can be built", "failed", str(error)),))
