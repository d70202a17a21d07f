"""The conformance suite: every built-in plug-in passes it, and each fault of one fails the check that is for it."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harmonygen.conformance.check import check_plugin, doors_of, known_plugins
from harmonygen.conformance.seen import run_checks
from harmonygen.conformance.segmenters import SegmenterSuite
from harmonygen.conformance.settings import CheckPluginSettings
from harmonygen.errors import UsageError
from harmonygen.models.denoiser import Denoiser
from harmonygen.models.harmony_vae import HarmonyVAE
from harmonygen.plugins.doors import DOORS
from harmonygen.segmentation.segmented import Segmented
from harmonygen_cli.main import run

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


@pytest.fixture
def harmony_forward(tiny_forward: Path, tmp_path: Path) -> Path:
    """The tiny forward model with a Harmony-VAE."""
    model = Denoiser.from_pretrained(tiny_forward, "forward")
    vae = HarmonyVAE.from_autoencoder(model.vae, direction="forward")
    whole = Denoiser(model.unet, vae, model.scheduler, model.null_embedding, model.spec)
    whole.save_pretrained(tmp_path / "plus", torch.float32)
    return tmp_path / "plus"


@pytest.fixture(scope="session")
def lraspp_weights(tmp_path_factory):
    """Settings of LR-ASPP with random weights: it rates person over all other classes somewhere in most photos."""
    from safetensors.torch import save_file
    from torchvision.models import get_model

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("lraspp") / "lraspp.safetensors"
    save_file(get_model("lraspp_mobilenet_v3_large", weights=None, weights_backbone=None).state_dict(), path)
    return {"weights": str(path)}


@pytest.fixture(scope="session")
def onnx_map(tmp_path_factory):
    """Settings of a network in an ONNX file: the mean of the three planes, as logits."""
    onnx, _ = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    nodes = [helper.make_node("ReduceMean", ["photo"], ["map"], axes=[1], keepdims=1)]
    sides = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n, 64, 64]) for name, n in (("photo", 3), ("map", 1))
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "map", sides[:1], sides[1:]), opset_imports=[helper.make_opsetid("", 13)]
    )
    model.ir_version = 8
    path = tmp_path_factory.mktemp("onnx") / "map.onnx"
    onnx.save(model, path)
    return {"file": str(path)}


TOY = Path(__file__).resolve().parents[1] / "assets" / "toy-sd"
WORDS = {"foreground": "object, bright", "background": "dark, night"}
SHORT = {"iterations": 1, "inversion_steps": 2, "refine_inner": 0, "null_inner": 1}
BUILT_IN = [
    ("generator", "diffusion", "tiny_inverse", {}),
    ("generator", "parametric", "tiny_parametric_inverse", {}),
    ("generator", "color-transfer", None, {}),
    ("generator", "color-jitter", None, {}),
    ("generator", "lut", None, {}),
    ("judge", "classifier", "tiny_classifier", {}),
    ("harmonizer", "parametric", None, {}),
    ("harmonizer", "direct", "tiny_direct", {}),
    ("harmonizer", "diffharmony", "tiny_forward", {}),
    ("harmonizer", "diffharmony++", "harmony_forward", {}),
    ("harmonizer", "zero-shot", TOY, WORDS | SHORT),
    ("segmenter", "selfie", None, {}),
    ("segmenter", "lraspp", None, "lraspp_weights"),
    ("segmenter", "onnx", None, "onnx_map"),
]
BY_WEIGHTS = {("segmenter", "deeplabv3"), ("segmenter", "maskrcnn")}
"""As ``lraspp``, by weights of the user's that are too large to be drawn at random in every test."""


@pytest.mark.parametrize(
    ("kind", "name", "model", "settings"), BUILT_IN, ids=[f"{each[0]}-{each[1]}" for each in BUILT_IN]
)
def test_every_built_in_passes(request, kind, name, model, settings):
    folder = request.getfixturevalue(model) if isinstance(model, str) else model or "starter"
    photos = 1 if name == "zero-shot" else 2  # seconds a picture
    settings = request.getfixturevalue(settings) if isinstance(settings, str) else settings
    found = check(name, kind=kind, model=str(folder), settings=settings, photos=photos)
    assert found.failed == []


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


def test_the_list_above_is_whole():
    assert {(kind, name) for kind, name, *_ in BUILT_IN} | BY_WEIGHTS == {
        (door.kind, name) for door in DOORS for name in door.own
    }  # adapters need a model of the user's: tests/adapters
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
