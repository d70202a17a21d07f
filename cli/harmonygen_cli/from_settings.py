"""Make a verb's command from its settings: each field is an option that has the field's help and default.

A verb is a function that takes what was :class:`Typed`, and only what is no setting beside it:

    @command(AugmentSettings)
    def augment(typed: Typed[AugmentSettings], dry_run: DryRun = False) -> None:
        settings = typed.settings()

Nested settings and tables are left to ``key=value`` overrides, unless ``nested`` names fields that are options too.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Generic, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.models import ArgumentInfo

from harmonygen.settings import Settings, SettingsT, resolve
from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Overrides, Quiet, Recipe

_PLAIN = {str: "TEXT", int: "N", float: "X", Path: "PATH", bool: None}
"""What an option can hold, and what stands for it in the help."""
_NO_VALUE = re.compile(r"-|[a-z_][\w.]*=")


@dataclass
class Typed(Generic[SettingsT]):
    """What was typed: the recipe, the options by their fields, the overrides; and what prints the answer."""

    kind: type[SettingsT]
    recipe: str | None
    options: dict[str, Any]
    overrides: Sequence[str]
    reporter: Reporter

    def settings(self, **more: Any) -> SettingsT:
        """Return the settings; ``more`` counts like options that were typed."""
        return resolve(self.kind, self.recipe, {**self.options, **more}, self.overrides)


@dataclass(frozen=True)
class SettingOption:
    """The option of one field; ``inside`` is the field whose nested settings hold it, if any do.

    ``alone`` is the value that it has when it is typed without one, empty if it needs one.
    """

    name: str
    about: FieldInfo
    inside: str
    default: str
    spellings: Sequence[str]
    commas: bool
    alone: str = ""

    def parameter(self) -> inspect.Parameter:
        """Return the parameter that typer makes the option of.

        Choices and paths are text here: the settings check them, as they check a recipe's, and a path may be a URL.
        """
        kind = _element(self.about.annotation)
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        metavar = f"[{'|'.join(map(str, choices))}]" if choices else _PLAIN[kind]
        read: Any = str if choices or kind is Path or self.commas else kind
        read = list[read] if self.many() or self.commas else read
        option = typer.Option(*self.spellings, help=self.help(), metavar=f"{metavar},..." if self.commas else metavar)
        return _parameter(self.name, Annotated[read | None, option], None)

    def help(self) -> str:
        """Return the field's help with its default."""
        several = " Repeat the option for several." if self.many() else ""
        alone = f" Without a value: {self.alone}." if self.alone else ""
        return f"{self.about.description}{several}{alone} [default: {self.default}]"

    def many(self) -> bool:
        """Return whether the option is typed once for each value."""
        return get_origin(self.about.annotation) is tuple and not self.commas

    def value(self, typed: Any) -> Any:
        """Return what was typed as the field takes it; ``none`` is an empty list, and a repeated list goes on."""
        return (
            [part for each in typed for part in each.split(",") if part not in ("", "none")] if self.commas else typed
        )


class Command(Generic[SettingsT]):
    """A verb's function as typer takes it: its parameters are the options of settings, and the function's own."""

    def __init__(
        self,
        function: Callable[..., None],
        kind: type[SettingsT],
        options: Sequence[SettingOption],
        own: Sequence[inspect.Parameter],
    ) -> None:
        self.function, self.kind, self.options = function, kind, options
        self.own = {each.name: _parameter(each.name, each.annotation, each.default) for each in own}
        functools.update_wrapper(self, function)
        self.__annotations__: dict[str, Any] = {}
        self.__signature__ = inspect.Signature(list(self._parameters()))

    def _parameters(self) -> Iterator[inspect.Parameter]:
        arguments = [name for name, parameter in self.own.items() if _is_argument(parameter)]
        yield from (self.own[name] for name in arguments)
        if "overrides" not in self.own:
            yield _parameter("overrides", Overrides, None)
        yield _parameter("recipe", Recipe, None)
        yield from (parameter for name, parameter in self.own.items() if name not in arguments)
        yield from (option.parameter() for option in self.options)
        yield _parameter("json_output", Json, False)
        yield _parameter("quiet", Quiet, False)

    def filled(self, arguments: Sequence[str]) -> list[str]:
        """Return what was typed, with a value for each option that may be typed without one.

        If another option or a ``key=value`` word follows, that is not its value.
        """
        alone = {spelling: option.alone for option in self.options if option.alone for spelling in option.spellings}
        behind = [*arguments[1:], "--"]
        return [
            f"{word}={alone[word]}" if word in alone and _NO_VALUE.match(following) else word
            for word, following in zip(arguments, behind, strict=True)
        ]

    def __call__(self, **given: Any) -> None:
        """Do what the command line says."""
        own = {name: given.pop(name) for name in self.own}
        reporter = Reporter(given["json_output"], given["quiet"])
        overrides = given.get("overrides") or ()
        self.function(Typed(self.kind, given["recipe"], self._typed(given), overrides, reporter), **own)

    def _typed(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that were typed, nested as their settings are."""
        typed: dict[str, Any] = {}
        for option in self.options:
            if given[option.name] not in (None, []):
                place = typed.setdefault(option.inside, {}) if option.inside else typed
                place[option.name] = option.value(given[option.name])
        return typed


def command(
    kind: type[SettingsT],
    *,
    spellings: Mapping[str, Sequence[str]] | None = None,
    commas: Sequence[str] = (),
    nested: Mapping[str, Sequence[str]] | None = None,
    without: Sequence[str] = (),
    alone: Mapping[str, str] | None = None,
    variants: Mapping[str, type[Settings]] | None = None,
) -> Callable[[Callable[..., None]], Command[SettingsT]]:
    """Make a function a verb's command.

    Args:
        kind: the settings; their fields become options, except those that the function itself takes.
        spellings: options that are not called by their field.
        commas: lists that are typed at once, with commas; other lists are typed by repeating the option.
        nested: fields of nested settings that are options too, by the field that holds these settings.
        without: fields that are no options.
        alone: values of options that are typed without one, by field.
        variants: settings that may take the place of ``kind``; defaults of theirs that differ are shown by name.
    """
    spelled = spellings or {}

    def decorate(function: Callable[..., None]) -> Command[SettingsT]:
        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        taken = {*without, *(parameter.name for parameter in own)}
        options = [
            SettingOption(
                name,
                about,
                inside,
                default + _differing(name, default, variants or {}),
                spelled.get(name) or _spelled(name, about),
                name in commas,
                (alone or {}).get(name, ""),
            )
            for name, about, inside, default in _fields(kind, nested or {})
            if name not in taken
        ]
        return Command(function, kind, options, own)

    return decorate


def shown_default(field: FieldInfo) -> str:
    """Return a field's default as it is typed, or the field's words for it.

    >>> shown_default(FieldInfo(default=10000.0)), shown_default(FieldInfo(default=True))
    ('10000', 'on')
    """
    words, default = field.json_schema_extra, field.get_default()
    if isinstance(words, dict):
        return str(words["unset"])
    if isinstance(default, bool):
        return "on" if default else "off"
    values = default if isinstance(default, tuple) else (default,) if default is not None else ()
    return ",".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values) or "none"


def _differing(name: str, default: str, variants: Mapping[str, type[Settings]]) -> str:
    others = {variant: shown_default(kind.model_fields[name]) for variant, kind in variants.items()}
    return "".join(f"; {variant}: {other}" for variant, other in others.items() if other != default)


def _fields(kind: type[Settings], nested: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, FieldInfo, str, str]]:
    """Yield fields that can be options: name, field, what it is nested in, default. A class's own fields come first.

    Words for the default of nested settings as a whole stand for the default of each of their fields.
    """
    names = dict.fromkeys(name for base in kind.__mro__ for name in inspect.get_annotations(base))
    for name, field in ((name, kind.model_fields[name]) for name in names if name in kind.model_fields):
        element = _element(field.annotation)
        for inner in nested.get(name, ()):
            held = element.model_fields[inner]
            yield inner, held, name, shown_default(field if field.json_schema_extra else held)
        if element in _PLAIN or get_origin(element) is Literal:
            yield name, field, "", shown_default(field)


def _element(annotation: Any) -> Any:
    """Return what one value of a field is: ``int`` of ``int | None`` and of ``tuple[int, ...]``."""
    while get_args(annotation) and get_origin(annotation) not in (Literal, dict):
        annotation = next(part for part in get_args(annotation) if part is not NoneType)
    return annotation


def _spelled(name: str, about: FieldInfo) -> tuple[str]:
    """Return an option's spelling; a switch that is on by default can be turned off."""
    option = name.replace("_", "-")
    return (f"--{option}/--no-{option}" if about.default is True else f"--{option}",)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _is_argument(parameter: inspect.Parameter) -> bool:
    return any(isinstance(note, ArgumentInfo) for note in getattr(parameter.annotation, "__metadata__", ()))
