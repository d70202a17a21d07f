"""benchmarks/bare_model.py: its bare calls are those that `synthesize` makes, and its share is theirs of the shards."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from pathlib import Path

import pytest

from harmonygen.models.denoiser import Denoiser
from harmonygen.models.draw import PictureDecoder
from harmonygen.models.scorer import ClassifierScorer
from harmonygen.models.window_decoder import WindowDecoder
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.synthesize import synthesize

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
bench = importlib.import_module("bare_model")
sys.path.pop(0)


@pytest.fixture
def seen(monkeypatch) -> Counter[tuple[object, ...]]:
    """How often each network was called with inputs of each shape, in the models that are loaded now."""
    found: Counter[tuple[object, ...]] = Counter()

    def watch(owner: type, name: str, label: str) -> None:
        usual = getattr(owner, name)

        def noted(self, *inputs, **more):
            found[label, *(tuple(each.shape) for each in inputs if hasattr(each, "shape"))] += 1
            return usual(self, *inputs, **more)

        monkeypatch.setattr(owner, name, noted)

    from diffusers import AutoencoderKL, UNet2DConditionModel

    from harmonygen.models.classifier import HarmonyResNet

    watch(UNet2DConditionModel, "forward", "unet")
    watch(AutoencoderKL, "encode", "encoder")
    watch(WindowDecoder, "__call__", "decoder")
    watch(HarmonyResNet, "forward", "judge")
    return found


def test_the_bare_calls_are_those_of_synthesize(photo_folder, tiny_inverse, tiny_classifier, tmp_path, seen):
    settings = SynthesizeSettings(
        data=str(photo_folder), model=str(tiny_inverse), classifier=str(tiny_classifier), k=3, steps=2, resolution=64,
        fit="square", out=tmp_path / "run", allow_outside=True,
    )  # fmt: skip
    _, calls = bench.warm_calls(settings)
    seen.clear()
    calls()
    bare = dict(seen)
    assert {label for label, *_ in bare} == {"unet", "encoder", "decoder", "judge"}
    assert sum(times for (label, *_), times in bare.items() if label == "unet") == 3 * 2  # photos, steps
    seen.clear()
    synthesize(settings)
    assert dict(seen) == bare


def test_the_calls_inside_are_timed_and_put_back(photo_folder, tiny_inverse, tiny_classifier, tmp_path, monkeypatch):
    settings = SynthesizeSettings(
        data=str(photo_folder), model=str(tiny_inverse), classifier=str(tiny_classifier), k=2, resolution=64,
        out=tmp_path / "run", allow_outside=True,
    )  # fmt: skip
    usual = Denoiser.sample, ClassifierScorer.__call__, PictureDecoder.__init__
    with bench.model_seconds() as found:
        synthesize(settings)
    assert len(found) == 3 * 6  # photos; condition, features, sample, decoder of the photo, of candidates, judge
    assert 0 < sum(found) <= bench.shard_seconds(settings.out)
    assert usual == (Denoiser.sample, ClassifierScorer.__call__, PictureDecoder.__init__)


def test_a_share_is_the_median_over_rounds():
    row = {"bare": [8.0, 9.0, 5.0], "shards": [10.0, 10.0, 10.0]}
    assert bench.share(row, "bare", "shards") == 0.8
