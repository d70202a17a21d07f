"""The conformance suite: every built-in plug-in passes it, and each fault of one fails the check that is for it."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from harmonygen.conformance.check import check_plugin, doors_of, known_plugins
from harmonygen.conformance.seen import run_checks
from harmonygen.conformance.segmenters import SegmenterSuite
from harmonygen.conformance.settings import CheckPluginSettings
from harmonygen.errors import UsageError
from harmonygen.plugins import doors
from harmonygen.plugins.doors import DOORS, JUDGES
from harmonygen.segmentation.segmented import Segmented
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

class SegmenterFine(Kept):
    def __call__(self, image):
        return image[..., 2] / 255

class SegmenterLayers(Kept):
    def __call__(self, image):
        return np.stack([image[..., 0] > 99, image[..., 2] > 99])

class SegmenterRandom(Kept):
    def __call__(self, image):
        return np.random.default_rng().uniform(size=image.shape[:2])

class SegmenterCarried(Kept):
    def __call__(self, image):
        before, self.last = self.last, image.sum()
        return image[..., 0 if before in (None, self.last) else 2] / 255

class SegmenterLoaded(Loaded):
    def __call__(self, image):
        return image[..., self.number % 2] / 255

class SegmenterBlind(Kept):
    def __call__(self, image):
        return np.indices(image.shape[:2])[0] < 40

class SegmenterWhole(Kept):
    def __call__(self, image):
        return np.ones(image.shape[:2])

class SegmenterLoud(Kept):
    def __call__(self, image):
        return image[..., 0] / 100

class SegmenterSmallInt(Kept):
    def __call__(self, image):
        return (image[..., 0] > 99).astype(np.uint8)

class SegmenterNaN(Kept):
    def __call__(self, image):
        return np.where(image[..., 0] > 99, np.nan, 0)

class SegmenterFlat(Kept):
    def __call__(self, image):
        red = image[..., 0].astype(float)
        with np.errstate(invalid="ignore"):
            return (red - red.min()) / (red.max() - red.min())

class SegmenterLarge(Kept):
    def __call__(self, image):
        return image[..., 2] / 255 if len(image) != 67 else image[..., 2].astype(int)

class SegmenterWrites(Kept):
    def __call__(self, image):
        image[:] = 0
        return image[..., 0] / 255

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


NAMES_OF_FINE = ["Fine", "JudgeFine", "HarmonizerFine", "HarmonizerSmall", "SegmenterFine", "SegmenterLayers"]


def check(plugin, **changes):
    return check_plugin(CheckPluginSettings(plugin=plugin, device="cpu", **{"max_side": 128, "k": 3, **changes}))


def failing(plugin, **changes):
    return {verdict.check for verdict in check(plugin, **changes).failed}


@pytest.mark.parametrize("name", NAMES_OF_FINE)
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
        ("SegmenterRandom", "same photo, same mask"),
        ("SegmenterCarried", "order of photos does not matter"),
        ("SegmenterLoaded", "loaded again, the same"),
        ("SegmenterBlind", "the photo is looked at"),
        ("SegmenterWhole", "masks: foreground and background"),
        ("SegmenterLoud", "maps: (N, h, w), 0 to 1, finite"),
        ("SegmenterSmallInt", "maps: (N, h, w), 0 to 1, finite"),
        ("SegmenterNaN", "maps: (N, h, w), 0 to 1, finite"),
        ("SegmenterFlat", "a photo of one grey"),
        ("SegmenterLarge", "an odd small size"),
        ("SegmenterWrites", "maps: (N, h, w), 0 to 1, finite"),
    ],
)
def test_each_fault_fails_the_check_that_is_for_it(name, fails):
    assert fails in failing(f"checked_module:{name}")


def test_after_a_plug_in_that_makes_nothing_the_rest_is_skipped():
    found = check("checked_module:Writes")
    assert [verdict.state for verdict in found.verdicts] == ["failed"] + ["skipped"] * 12
    assert "generator 'checked_module:Writes' failed on" in found.verdicts[0].found


# What comes with harmonygen


BY_WEIGHTS = {("segmenter", "deeplabv3"), ("segmenter", "maskrcnn")}
"""As ``lraspp``, by weights of the user's that are too large to be drawn at random in every test."""


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
@dataclass
class Unguarded:
    """A segmenter without the guard of others' plug-ins, as our own are: what the guard refuses can come from it."""

    layers: np.ndarray
    writes: bool = False
    digest: str = "x"

    def __call__(self, image_u8):
        image_u8[0, 0, 0] ^= self.writes
        return Segmented(self.layers, True)


@pytest.mark.parametrize(
    ("segmenter", "fails"),
    [
        (Unguarded(np.full((1, 4, 4), 2, np.float32)), "maps: (N, h, w), 0 to 1, finite"),
        (Unguarded(np.zeros((4, 4), np.float32)), "maps: (N, h, w), 0 to 1, finite"),
        (Unguarded(np.zeros((1, 4, 4))), "maps: (N, h, w), 0 to 1, finite"),
        (Unguarded(np.zeros((1, 4, 4), np.float32), writes=True), "what it is given stays as it was"),
    ],
)
def test_faults_of_a_segmenter_of_our_own_are_found(make_photo, segmenter, fails):
    photo = make_photo()
    photo = replace(photo, image_u8=photo.image_u8.copy())
    suite = SegmenterSuite(segmenter, lambda: segmenter, [photo], make_photo(height=67, width=101))
    assert fails in {verdict.check for verdict in run_checks("segmenter", suite.checks()) if verdict.state == "failed"}


def test_where_a_segmenter_finds_nothing_there_is_no_verdict_on_its_masks(photo_folder):
    for path in photo_folder.glob("*/astronaut.png"):
        path.unlink()
    found = {verdict.check: verdict for verdict in check("selfie", data=str(photo_folder)).verdicts}
    assert found["masks: foreground and background"].state == "figure"
    assert "--data" in found["the photo is looked at"].found


@pytest.mark.parametrize(("kind", "name"), [("generator", "diffusion"), ("judge", "classifier")])
def test_the_starter_passes(kind, name):
    assert check(name, kind=kind, resolution=64, photos=1).failed == []


def test_the_lists_above_are_whole():
    every = {(door.kind, name) for door in DOORS for name in door.built_in}
    assert {(each.kind, each.plugin) for each in OWN} | BY_WEIGHTS == {
        (door.kind, name) for door in DOORS for name in door.own
    }
    assert {(each.kind, each.plugin) for each in (*OWN, *small_adapters())} | BY_WEIGHTS == every
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
        ("checked_module:SegmenterFine", ["segmenter"]),
        ("networks/isnet.onnx", ["segmenter"]),
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
