"""What `--help` says of the settings of plug-ins that are named in the same command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

from harmonygen.errors import HarmonygenError
from harmonygen.plugins.doors import GENERATORS, HARMONIZERS, JUDGES, SEGMENTERS, Door
from harmonygen_cli.from_settings import shown_default

_OPTIONS = {
    "--generator": GENERATORS,
    "--method": HARMONIZERS,
    "--judge": JUDGES,
    "--classifier": JUDGES,
    "--segmenter": SEGMENTERS,
}
_KEYS = {
    GENERATORS.kind: "generator_settings",
    HARMONIZERS.kind: "method_settings",
    SEGMENTERS.kind: "segmenter_settings",
}
_HELP = {"--help", "-h"}


def plugin_help(arguments: Sequence[str]) -> str:
    """Return what stands below a verb's help: settings of plug-ins that are not our own, or what is wrong with one."""
    if not _HELP & set(arguments):
        return ""
    parts = [_of_plugin(door, spec) for door, spec in _named(arguments)]
    return "\n\n".join(f"\b\n{part}" for part in parts if part)


def _named(arguments: Sequence[str]) -> Iterator[tuple[Door, str]]:
    """Yield the plug-ins that options name, as ``--generator X`` or ``--generator=X``."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        value = value if equals else next(iter(arguments[place + 1 : place + 2]), "")
        if name in _OPTIONS and value and not value.startswith("-"):
            yield _OPTIONS[name], value


def _of_plugin(door: Door, typed: str) -> str:
    try:
        return "\n".join(_lines(door, typed))
    except HarmonygenError as error:  # help is shown in any case
        return str(error)


def _lines(door: Door, typed: str) -> Iterator[str]:
    from harmonygen.plugins.doors import is_plugin
    from harmonygen.plugins.judges import split_judge
    from harmonygen.plugins.plugin import Plugin

    name, spec = split_judge(typed) if door is JUDGES else ("", typed)
    if spec.partition(":")[0] in door.own or (door is JUDGES and not is_plugin(door, spec)):
        return
    plugin = Plugin.find(door, spec)
    key = f"judge_settings.{name}" if door is JUDGES else _KEYS[door.kind]
    fields = plugin.settings_kind.model_fields
    yield f"Settings of {plugin.told}:" if fields else f"{plugin.told} has no settings."
    for field, about in fields.items():
        default = "required" if about.is_required() else shown_default(about)
        yield f"  {key}.{field}={_shown_type(about.annotation)}  {about.description or ''} [default: {default}]"


def _shown_type(annotation: Any) -> str:
    """Return a setting's type for the help.

    >>> _shown_type(float), _shown_type(Literal["a", "b"]), _shown_type(int | None)
    ('float', '[a|b]', 'int | None')
    """
    if get_origin(annotation) is Literal:
        return f"[{'|'.join(map(str, get_args(annotation)))}]"
    return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
