"""A plug-in: import it, read its settings from its own signature, and build it.

What is named is called with keyword arguments. A parameter called ``settings`` gets a dataclass (or a
:class:`harmonygen.settings.Settings`) of the type that it is annotated with; without one, every parameter is a setting
itself. Parameters of the names in :data:`HANDED` are not settings: they are passed. A plain function whose first
parameters are those of the door's call is the plug-in itself.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints

from pydantic import Field, ValidationError, create_model
from pydantic.errors import PydanticUserError

from harmonygen.errors import HarmonygenError, PluginError, UsageError, told
from harmonygen.plugins.doors import Door, Place, find_plugin
from harmonygen.settings import Settings, told_faults

HANDED = ("device", "pairs", "run")
"""What a plug-in is handed if it has parameters of these names.

``device``: a :class:`harmonygen.models.device.Device`. ``pairs``: all pairs of the run (generators). ``run``: the
settings of the verb that loads it.
"""


class Plugin:
    """What a spec stands for, imported; its settings are known, and it can be built."""

    def __init__(self, place: Place) -> None:
        """Import what ``place`` names.

        Raises:
            UsageError: the module or the attribute is missing, or is nothing that can be called.
        """
        self.place, self.target = place, _imported(place)

    @classmethod
    def find(cls, door: Door, spec: str) -> Plugin:
        """Find and import a plug-in; raises UsageError as :func:`find_plugin` and :class:`Plugin` do."""
        return cls(find_plugin(door, spec))

    @property
    def told(self) -> str:
        """What messages call it."""
        return self.place.told

    @cached_property
    def is_itself(self) -> bool:
        """Whether the target is the callable of the door, and nothing that makes one."""
        first = tuple(self._parameters)[:2]
        return inspect.isfunction(self.target) and first == self.place.door.calls[:2]

    @cached_property
    def settings_kind(self) -> type[Settings]:
        """The class of the plug-in's settings: its fields have types, defaults and help.

        Raises:
            UsageError: a type that settings cannot have.
        """
        if self.is_itself:
            return _class_of(self.place, {})
        if "settings" in self._parameters:
            kind = self._hints.get("settings")
            if isinstance(kind, type) and issubclass(kind, Settings):
                return kind
            return _class_of(self.place, _of_dataclass(kind, self.told))
        return _class_of(self.place, {name: self._field(name) for name in self._parameters if name not in HANDED})

    def settings(self, given: Mapping[str, Any]) -> Settings:
        """Return the plug-in's settings from what was given, by name.

        Raises:
            UsageError: unknown keys (with the nearest known name), values out of range, or settings that are missing.
        """
        kind = self.settings_kind
        try:
            return kind.model_validate({**self._argument(), **given})
        except ValidationError as error:
            raise UsageError(f"settings of {self.told}: {told_faults(kind, error)}") from error

    def make(self, settings: Settings, **handed: Any) -> Callable[..., Any]:
        """Build the plug-in and return its callable.

        Raises:
            UsageError: it needs what this door does not hand over.
            PluginError: it fails while it is built, or what comes is nothing that can be called.
        """
        if self.is_itself:
            return cast(Callable[..., Any], self.target)
        wanted = [name for name in HANDED if name in self._parameters]
        if missing := [name for name in wanted if name not in handed]:
            raise UsageError(
                f"{self.told} asks for {', '.join(missing)}, which a {self.place.door.kind} does not get here"
            )
        arguments = {name: handed[name] for name in wanted} | self._arguments(settings)
        try:
            made = self.target(**arguments)
        except (HarmonygenError, OSError, MemoryError):
            raise
        except Exception as error:
            raise PluginError(
                f"{self.told} cannot be built ({type(error).__name__}: {told(error)}): mend it"
            ) from error
        if not callable(made):
            raise PluginError(
                f"{self.told} gives a {type(made).__name__}: it must return a callable "
                f"({', '.join(self.place.door.calls)})"
            )
        return cast(Callable[..., Any], made)

    def _arguments(self, settings: Settings) -> dict[str, Any]:
        values = {name: getattr(settings, name) for name in type(settings).model_fields}
        if "settings" not in self._parameters:
            return values
        kind = self._hints.get("settings")
        return {"settings": settings if isinstance(settings, kind) else kind(**values)} if kind else {}

    def _argument(self) -> dict[str, Any]:
        """Return what ``name:argument`` gives to the first setting."""
        if self.place.argument is None:
            return {}
        names = list(self.settings_kind.model_fields)
        if not names:
            raise UsageError(f"{self.told} has no settings: drop ':{self.place.argument}'")
        return {names[0]: self.place.argument}

    @cached_property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        try:
            found = inspect.signature(self.target).parameters
        except (TypeError, ValueError):
            return {}
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return {name: parameter for name, parameter in found.items() if parameter.kind in named}

    @cached_property
    def _hints(self) -> dict[str, Any]:
        of = self.target
        if isinstance(of, type) and not dataclasses.is_dataclass(of):
            of = vars(of).get("__init__", of)
        try:
            return get_type_hints(of, include_extras=True)
        except (NameError, TypeError, AttributeError) as error:
            raise UsageError(
                f"types in the signature of {self.told} are not known ({told(error)}): import them"
            ) from error

    def _field(self, name: str) -> tuple[Any, Any]:
        """Return the type and the default of a parameter that is a setting."""
        if dataclasses.is_dataclass(self.target):
            return _of_dataclass(self.target, self.told)[name]
        default = self._parameters[name].default
        return _helped(self._hints.get(name, Any)), ... if default is inspect.Parameter.empty else default


def _imported(place: Place) -> Any:
    module, _, attribute = place.target.partition(":")
    if place.is_named_directly and os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # a module beside the user's data; last, so that it hides nothing
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{place.told} cannot be imported ({told(error)}): install its package, or run in the folder of its module"
        ) from error
    except Exception as error:
        raise PluginError(f"module '{module}' of {place.told} fails ({type(error).__name__}: {told(error)})") from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise UsageError(f"{place.told}: '{module}' has no '{attribute}': correct the name after the colon")
        found = getattr(found, name)
    if not callable(found):
        raise UsageError(
            f"{place.told} is a {type(found).__name__}, which cannot be called: name a function or a class"
        )
    return found


def _of_dataclass(kind: Any, who: str) -> dict[str, tuple[Any, Any]]:
    """Return type and default of a dataclass's fields that its constructor takes, without what is passed."""
    if not dataclasses.is_dataclass(kind):
        raise UsageError(f"the parameter 'settings' of {who} needs a dataclass as its type, found {kind!r}")
    hints = get_type_hints(kind, include_extras=True)
    found: dict[str, tuple[Any, Any]] = {}
    for field in dataclasses.fields(kind):
        if not field.init or field.name in HANDED:
            continue
        default: Any = ... if field.default is dataclasses.MISSING else field.default
        if field.default_factory is not dataclasses.MISSING:
            default = Field(default_factory=field.default_factory)
        found[field.name] = _helped(hints[field.name]), default
    return found


def _helped(annotation: Any) -> Any:
    """Return a type whose help is known: a text in ``Annotated[float, "How strong."]`` is the setting's help."""
    if get_origin(annotation) is not Annotated:
        return annotation
    texts = [note for note in get_args(annotation)[1:] if isinstance(note, str)]
    return Annotated[annotation, Field(description=texts[0])] if texts else annotation


def _class_of(place: Place, fields: Mapping[str, tuple[Any, Any]]) -> type[Settings]:
    """Return a settings class with these fields."""
    definitions: dict[str, Any] = dict(fields)
    try:
        kind = create_model(f"SettingsOf_{place.name}", __base__=Settings, **definitions)
        kind.model_rebuild(force=True)
    except (PydanticUserError, TypeError, NameError, ValueError) as error:
        raise UsageError(
            f"settings of {place.told} have a type that cannot be read from a recipe ({told(error)}): "
            "use str, int, float, bool, Path, Literal or tuples of them"
        ) from error
    return kind
