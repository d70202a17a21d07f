"""The doors: how a plug-in is found, what its settings are, what it is handed."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from harmonygen.errors import PluginError, UsageError
from harmonygen.plugins import doors
from harmonygen.plugins.doors import DOORS, GENERATORS, HARMONIZERS, JUDGES, find_plugin, is_plugin, plugin_names
from harmonygen.plugins.plugin import Plugin
from harmonygen.settings import Settings

MODULE = """
from __future__ import annotations
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal
from harmonygen.models.device import Device
from harmonygen.settings import Settings, setting

@dataclass
class Warm:
    strength: Annotated[float, "How far."] = 0.4
    hues: tuple[int, ...] = field(default_factory=lambda: (1, 2))
    def __call__(self, photo, candidates):
        yield from ()

def make(model: Path, steps: Annotated[int, setting(..., "Steps.", ge=1, le=9)] = 4, *, device: Device, pairs):
    def generate(photo, candidates):
        return device, pairs, model, steps
    return generate

class Own(Settings):
    mode: Literal["a", "b"] = setting("a", "Mode.")

@dataclass(frozen=True)
class Plain:
    depth: int = 3

def with_own(settings: Own, device: Device):
    return lambda *call: settings

def with_plain(settings: Plain):
    return lambda *call: settings

def generate(photo, candidates):
    yield from ()

class Holder:
    make = staticmethod(with_own)

def breaks():
    raise RuntimeError("no weights. Please look elsewhere")

def nothing():
    return 3

number = 3

class Strange: ...

def untyped(what: Strange = None): ...

def unknown(what: NotImported = None): ...
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "door_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "door_module"
    sys.modules.pop("door_module", None)


@pytest.fixture
def offered(monkeypatch):
    """Entry points as installed packages would offer them."""

    def offer(*points):
        monkeypatch.setattr(doors, "entry_points", lambda group: [point for point in points if point.group == group])
        doors._offered.cache_clear()

    yield offer
    doors._offered.cache_clear()


def test_every_built_in_is_there():
    for door in DOORS:
        for name in door.built_in:
            assert callable(Plugin.find(door, name).target)
        assert door.own <= set(door.built_in)


def test_a_name_is_found_among_entry_points(module, offered):
    offered(EntryPoint("warm", f"{module}:Warm", GENERATORS.group), EntryPoint("cold", f"{module}:x", JUDGES.group))
    assert find_plugin(GENERATORS, "warm").target == "door_module:Warm"
    assert find_plugin(GENERATORS, "warm:0.3").argument == "0.3"
    assert plugin_names(GENERATORS)[-1] == "warm"
    assert not is_plugin(GENERATORS, "cold")
    with pytest.raises(
        UsageError, match=r"generator 'worm' is not known \(did you mean 'warm'\?\): choose diffusion, "
    ):
        find_plugin(GENERATORS, "worm")


def test_a_name_of_two_packages_is_refused_and_one_that_is_listed_twice_is_not(module, offered):
    same = EntryPoint("warm", f"{module}:Warm", GENERATORS.group)
    offered(same, same)
    assert find_plugin(GENERATORS, "warm").name == "warm"
    offered(same, EntryPoint("warm", "other:Warm", GENERATORS.group))
    with pytest.raises(UsageError, match=r"several packages .* module:attribute \(door_module:Warm or other:Warm\)"):
        find_plugin(GENERATORS, "warm")


def test_entry_points_are_read_only_for_names_that_are_not_ours(monkeypatch):
    monkeypatch.setattr(doors, "entry_points", lambda group: 1 / 0)
    doors._offered.cache_clear()
    assert find_plugin(HARMONIZERS, "direct").name == "direct"
    with pytest.raises(ZeroDivisionError):
        find_plugin(HARMONIZERS, "mine:make")
    doors._offered.cache_clear()


def test_parameters_are_settings_with_types_defaults_and_help(module):
    plugin = Plugin.find(GENERATORS, f"{module}:Warm")
    assert plugin.settings({}).model_dump() == {"strength": 0.4, "hues": (1, 2)}
    assert plugin.settings_kind.model_fields["strength"].description == "How far."
    made = plugin.make(plugin.settings({"strength": "0.5"}))
    assert (made.strength, made.hues) == (0.5, (1, 2))


def test_what_is_handed_over_is_no_setting(module, tmp_path):
    plugin = Plugin.find(GENERATORS, f"{module}:make")
    assert list(plugin.settings_kind.model_fields) == ["model", "steps"]
    settings = plugin.settings({"model": tmp_path, "steps": 5})
    assert plugin.make(settings, device="a device", pairs=[1], run=None)(0, 0) == ("a device", [1], tmp_path, 5)
    with pytest.raises(UsageError, match="asks for pairs, which a generator does not get here"):
        plugin.make(settings, device="a device")


@pytest.mark.parametrize(
    ("attribute", "given", "told"),
    [
        ("make", {}, "settings of generator 'door_module:make': model: Field required"),
        ("make", {"model": "a", "steps": 10}, "steps: .*less than or equal to 9, found 10"),
        ("make", {"model": "a", "stpes": 1}, r"unknown key 'stpes' \(did you mean 'steps'\?\)"),
        ("with_own", {"mode": "c"}, "mode: Input should be 'a' or 'b', found 'c'"),
        ("Warm", {"strength": float("nan")}, "strength: .*finite"),
        ("generate", {"x": 1}, "unknown key 'x'"),
        ("untyped", {}, "cannot be read from a recipe .*use str, int"),
        ("unknown", {}, "types in the signature of generator 'door_module:unknown' are not known"),
    ],
)
def test_wrong_settings_are_refused_by_name(module, attribute, given, told):
    with pytest.raises(UsageError, match=told):
        Plugin.find(GENERATORS, f"{module}:{attribute}").settings(given)


@pytest.mark.parametrize(
    ("attribute", "field"), [("with_own", "mode"), ("with_plain", "depth"), ("Holder.make", "mode")]
)
def test_a_parameter_called_settings_gets_them_all(module, attribute, field):
    plugin = Plugin.find(GENERATORS, f"{module}:{attribute}")
    assert list(plugin.settings_kind.model_fields) == [field]
    assert issubclass(plugin.settings_kind, Settings)
    settings = plugin.settings({})
    assert getattr(plugin.make(settings, device=None)(), field) == getattr(settings, field)


def test_a_function_of_the_doors_parameters_is_the_plug_in_itself(module):
    plugin = Plugin.find(GENERATORS, f"{module}:generate")
    assert plugin.make(plugin.settings({})) is plugin.target
    assert not Plugin.find(HARMONIZERS, f"{module}:generate").is_itself


@pytest.mark.parametrize(
    ("spec", "kind", "told"),
    [
        ("no_such_module:make", UsageError, "cannot be imported.*No module named 'no_such_module'"),
        ("door_module:wram", UsageError, "'door_module' has no 'wram'"),
        ("door_module:number", UsageError, "is a int, which cannot be called"),
        ("door_module:breaks", PluginError, r"cannot be built \(RuntimeError: no weights\)"),
        ("door_module:nothing", PluginError, r"gives a int: it must return a callable \(photo, candidates\)"),
        ("lut:3", UsageError, "has no settings: drop ':3'"),
    ],
)
def test_what_cannot_be_loaded_is_named(module, spec, kind, told):
    def load():
        plugin = Plugin.find(GENERATORS, spec)
        return plugin.make(plugin.settings({}), device=None, run=None, pairs=())

    with pytest.raises(kind, match=told):
        load()


def test_what_follows_the_name_is_the_first_setting(module, offered):
    offered(EntryPoint("warm", f"{module}:Warm", GENERATORS.group))
    assert Plugin.find(GENERATORS, "warm:0.25").settings({}).strength == 0.25
