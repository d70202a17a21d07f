"""The conformance suite: every built-in plug-in passes it, and each fault of one fails the check that is for it."""

from __future__ import annotations

import importlib
import json
import sys
from importlib.metadata import EntryPoint

import pytest

from harmonygen.conformance.check import check_plugin, doors_of, known_plugins
from harmonygen.conformance.settings import CheckPluginSettings
from harmonygen.errors import UsageError
from harmonygen.plugins import doors
from harmonygen.plugins.doors import DOORS, JUDGES
from harmonygen_cli.main import run
from tests.fakes.small_adapters import small_adapters
from tests.fakes.small_own import OWN

MODULE = """
import itertools
from dataclasses import dataclass
import numpy as np

def warm(photo, seed):
    light = 1 + 0.4 * np.random.default_rng(seed).uniform(-1, 1, 3)
    return np.clip(photo.image_u8 * light, 0, 255).astype(np.uint8)

class Kept:
    def __init__(self):
        self.calls = 0
        self.last = None

class Fine(Kept):
    def __call__(self, photo, candidates):
        for each in candidates:
            yield warm(photo, each.seed)

class Unseeded(Kept):
    def __call__(self, photo, candidates):
        for each in candidates:
            yield warm(photo, None)

class Batched(Kept):
    def __call__(self, photo, candidates):
        for each in candidates:
            yield warm(photo, each.seed + len(candidates))

class Placed(Kept):
    def __call__(self, photo, candidates):
        for place, each in enumerate(candidates):
            yield warm(photo, each.seed + place * (len(candidates) > 1))

class Carried(Kept):
    def __call__(self, photo, candidates):
        before, self.last = self.last, photo.pair.real_id
        for each in candidates:
            yield warm(photo, each.seed + (before not in (None, self.last)))

_loads = itertools.count()

class Loaded(Kept):
    def __init__(self):
        self.number = next(_loads)
    def __call__(self, photo, candidates):
        for each in candidates:
            yield warm(photo, each.seed + self.number)

class Equal(Kept):
    def __call__(self, photo, candidates):
        for each in candidates:
            yield warm(photo, 1)

class Still(Kept):
    def __call__(self, photo, candidates):
        for each in candidates:
            yield photo.image_u8

class Large(Kept):
    def __call__(self, photo, candidates):
        for each in candidates:
            yield warm(photo, each.seed) if len(photo.mask) != 67 else None

class Writes(Kept):
    def __call__(self, photo, candidates):
        for each in candidates:
            photo.image_u8[:] = 0
            yield photo.image_u8

class JudgeFine(Kept):
    def __call__(self, composites, mask):
        return [self.score(each, mask) for each in composites]
    def score(self, composite, mask):
        return float(composite[mask].mean() / 255)

class JudgeRandom(JudgeFine):
    def score(self, composite, mask):
        return float(np.random.uniform())

class JudgeBatched(JudgeFine):
    def __call__(self, composites, mask):
        scores = super().__call__(composites, mask)
        return [score / sum(scores) for score in scores]

class JudgePlaced(JudgeFine):
    def __call__(self, composites, mask):
        return [score / (1 + place) for place, score in enumerate(super().__call__(composites, mask))]

class JudgeMaskless(JudgeFine):
    def score(self, composite, mask):
        return float(composite.mean() / 255)

class JudgeBlind(JudgeFine):
    def score(self, composite, mask):
        return float(mask.mean())

class JudgeLoud(JudgeFine):
    def score(self, composite, mask):
        return float(composite[mask].mean())

class JudgeLarge(JudgeFine):
    def score(self, composite, mask):
        return float(composite[mask].mean() / 255) if len(mask) != 67 else float(mask.reshape(9))

class HarmonizerFine(Kept):
    def __call__(self, photo, seed, draws):
        return photo.image_u8 // 2

class HarmonizerRandom(Kept):
    def __call__(self, photo, seed, draws):
        return warm(photo, None)

class HarmonizerCarried(Kept):
    def __call__(self, photo, seed, draws):
        before, self.last = self.last, photo.pair.real_id
        return warm(photo, before not in (None, self.last))

class HarmonizerLarge(Kept):
    def __call__(self, photo, seed, draws):
        return photo.image_u8 // 2 if len(photo.mask) != 67 else photo.image_u8[:5]

class HarmonizerDrawless(Kept):
    def __call__(self, photo, seed, draws):
        return photo.image_u8 // (2 if draws is None else None)

class HarmonizerSmall(Kept):
    resolution, multiple = 64, 8
    def __call__(self, photo, seed, draws):
        return photo.low_u8 // 2

def make(kind: str = "generator"):
    return Fine()
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "checked_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("checked_module", None)
    importlib.invalidate_caches()


def check(plugin, **changes):
    return check_plugin(CheckPluginSettings(plugin=plugin, device="cpu", **{"max_side": 128, "k": 3, **changes}))


def failing(plugin, **changes):
    return {verdict.check for verdict in check(plugin, **changes).failed}


@pytest.mark.parametrize("name", ["Fine", "JudgeFine", "HarmonizerFine", "HarmonizerSmall"])
def test_a_plug_in_that_keeps_its_contract_passes(name):
    found = check(f"checked_module:{name}")
    assert found.failed == []
    assert {verdict.state for verdict in found.verdicts} == {"ok", "figure"}


@pytest.mark.parametrize(
    ("name", "fails"),
    [
        ("Unseeded", "same seed, same pixels"),
        ("Batched", "batch size does not matter"),
        ("Placed", "order of candidates does not matter"),
        ("Carried", "order of photos does not matter"),
        ("Loaded", "loaded again, the same"),
        ("Equal", "K candidates are distinct"),
        ("Equal", "another seed, another picture"),
        ("Still", "foreground changes"),
        ("Large", "an odd small size"),
        ("Writes", "pictures: size, 8 bits, finite"),
        ("JudgeRandom", "same pictures, same scores"),
        ("JudgeBatched", "batch size does not matter"),
        ("JudgePlaced", "order of composites does not matter"),
        ("JudgeMaskless", "the mask is used"),
        ("JudgeBlind", "the foreground is looked at"),
        ("JudgeLoud", "scores: one each, 0 to 1, finite"),
        ("JudgeLarge", "an odd small size"),
        ("HarmonizerRandom", "same seed, same pixels"),
        ("HarmonizerCarried", "order of composites does not matter"),
        ("HarmonizerLarge", "an odd small size"),
        ("HarmonizerDrawless", "takes a number of draws"),
    ],
)
def test_each_fault_fails_the_check_that_is_for_it(name, fails):
    assert fails in failing(f"checked_module:{name}")


def test_after_a_plug_in_that_makes_nothing_the_rest_is_skipped():
    found = check("checked_module:Writes")
    assert [verdict.state for verdict in found.verdicts] == ["failed"] + ["skipped"] * 12
    assert "generator 'checked_module:Writes' failed on" in found.verdicts[0].found


# What comes with harmonygen


@pytest.mark.parametrize("own", OWN, ids=str)
def test_every_built_in_passes(own, tmp_path):
    assert check(own.plugin, kind=own.kind, **own.checked(tmp_path / "model")).failed == []


@pytest.mark.parametrize(
    "adapter",
    [
        pytest.param(each, id=str(each), marks=[pytest.mark.long] if each.is_another else [])
        for each in small_adapters()
    ],
)
def test_every_adapter_passes(adapter, tmp_path, small_megapixel):
    how = adapter.write(tmp_path / "model")
    assert check(adapter.plugin, kind=adapter.kind, settings=how, photos=1, k=2).failed == []


@pytest.mark.parametrize(("kind", "name"), [("generator", "diffusion"), ("judge", "classifier")])
def test_the_starter_passes(kind, name):
    assert check(name, kind=kind, resolution=64, photos=1).failed == []


def test_the_lists_above_are_whole():
    every = {(door.kind, name) for door in DOORS for name in door.built_in}
    assert {(each.kind, each.plugin) for each in OWN} == {(door.kind, name) for door in DOORS for name in door.own}
    assert {(each.kind, each.plugin) for each in (*OWN, *small_adapters())} == every
    assert [(each["kind"], each["name"]) for each in known_plugins() if each["package"] == "harmonygen"] == [
        (door.kind, name) for door in DOORS for name in door.built_in
    ]


# The verb


@pytest.mark.parametrize(
    ("plugin", "kinds"),
    [
        ("parametric", ["generator", "harmonizer"]),
        ("lut", ["generator"]),
        ("checked_module:JudgeFine", ["judge"]),
        ("checked_module:HarmonizerFine", ["harmonizer"]),
    ],
)
def test_a_plug_in_is_checked_at_every_door_that_it_is_at(plugin, kinds):
    assert [door.kind for door in doors_of(plugin, None)] == kinds


def test_what_does_not_show_its_kind_must_be_told():
    with pytest.raises(UsageError, match=r"'checked_module:make' does not show what it is: say --kind"):
        doors_of("checked_module:make", None)
    assert check("checked_module:make", kind="generator").failed == []
    with pytest.raises(UsageError, match=r"'color_jitter' is not known \(did you mean 'color-jitter'\?\)"):
        doors_of("color_jitter", None)


def test_the_verb_prints_a_table_and_ends_with_1_if_a_check_fails(capsys):
    assert run(["check-plugin", "checked_module:Fine", "--max-side", "64", "--json"]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert (told["plugin"], told["failed"], told["passed"]) == ("checked_module:Fine", 0, 12)
    assert {"kind", "check", "state", "found"} == told["checks"][0].keys()
    assert "same seed, same pixels" in printed.err
    assert run(["check-plugin", "checked_module:Equal", "--max-side", "64", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["failed"] == 2
    assert "fails 2 of 13 checks" in printed.err
    assert run(["check-plugin", "--json"]) == 0
    assert {"kind": "generator", "name": "lut"}.items() <= json.loads(capsys.readouterr().out)["plugins"][4].items()
    assert run(["check-plugin", "lutt", "--json"]) == 2


def test_all_that_need_no_model_of_ones_own_are_checked_in_one_table(capsys):
    assert run(["check-plugin", "--all", "--kind", "judge", "--max-side", "64", "--photos", "1", "--json"]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)["plugins"]
    assert [each["name"] for each in told] == list(JUDGES.built_in)
    assert [bool(each["verdicts"]) for each in told] == [True, False, False, False]
    assert "needs settings.model" in told[1]["left_out"]
    assert "9 of 9" in printed.err
    assert run(["check-plugin", "lut", "--all", "--json"]) == 2


def test_a_package_whose_plug_in_cannot_be_built_fails_in_the_table(monkeypatch, capsys):
    point = EntryPoint("broken", "checked_module:Nowhere", JUDGES.group)
    monkeypatch.setattr(doors, "_offered", lambda group: {"broken": [point]} if group == JUDGES.group else {})
    assert run(["check-plugin", "--all", "--kind", "judge", "--max-side", "64", "--photos", "1", "--json"]) == 1
    assert "has no 'Nowhere'" in json.loads(capsys.readouterr().out)["plugins"][-1]["verdicts"][0]["found"]
