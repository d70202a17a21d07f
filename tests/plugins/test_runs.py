"""Plug-ins through whole runs: seeds, workers, resume, provenance, and what is refused."""

from __future__ import annotations

import importlib
import json
import sys

import pytest

from harmonygen.errors import PluginError, TooManyBadInputsError, UsageError
from harmonygen.evaluation.evaluate import evaluate
from harmonygen.evaluation.settings import EvaluateSettings
from harmonygen.harmonization.harmonize import harmonize
from harmonygen.harmonization.settings import HarmonizeSettings
from harmonygen.runs.read import Run
from harmonygen.settings import resolve
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.synthesize import synthesize

MODULE = """
import os
from dataclasses import dataclass
import numpy as np

@dataclass
class Warm:
    strength: float = 0.5
    def __call__(self, photo, candidates):
        for candidate in candidates:
            light = 1 + self.strength * np.random.default_rng(candidate.seed).uniform(-1, 1, 3)
            yield np.clip(photo.image_u8 * light, 0, 255).astype(np.uint8)

def same(photo, candidates):
    for candidate in candidates:
        yield 255 - photo.image_u8

def fails_once(photo, candidates):
    if photo.pair.real_id == "p3":
        raise ValueError("no foreground. Please look")
    yield from Warm()(photo, candidates)

def flat(photo, candidates):
    yield from [photo.image_u8[0]] * len(candidates)

def bright(composites, mask):
    return [float(composite[mask].mean() / 255) for composite in composites]

def half(photo, seed, draws):
    return photo.image_u8 // 2
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "run_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "run_module.py"
    sys.modules.pop("run_module", None)
    importlib.invalidate_caches()


@pytest.fixture
def warm(settings_of):
    return lambda **changes: settings_of(
        **{"generator": "run_module:Warm", "generator_settings": {"strength": 0.6}, **changes}
    )


def test_a_run_of_a_plug_in_is_like_any_other(warm, rows_of, tree):
    settings = warm(classifier="run_module:bright")
    result = synthesize(settings)
    assert (result.summary["kept"], result.summary["selected"], result.summary["quarantined"]) == (24, 6, 0)
    rows = rows_of(settings.out)
    assert len({row["pixels"] for row in rows}) == 24
    assert {row["generator"] for row in rows} == {"run_module:Warm"}
    assert {row["model_digest"] for row in rows} == {
        json.loads((settings.out / "plan.json").read_text())["model_digest"]
    }
    before = tree(settings.out)
    assert synthesize(settings).shards_run == 0
    assert tree(settings.out) == before


def test_workers_find_the_plug_in_and_make_the_same_pixels(warm, rows_of, tmp_path):
    here, there = warm(), warm(out=tmp_path / "two", workers=2)
    synthesize(here)
    synthesize(there)
    assert rows_of(here.out) == rows_of(there.out)


def test_what_was_made_is_kept_and_the_rest_is_made_the_same(warm, rows_of):
    settings = warm()
    synthesize(settings)
    whole = rows_of(settings.out)
    for name in ("candidates", "pairs"):
        sorted((settings.out / name).glob("*.parquet"))[1].unlink()
    (settings.out / "summary.json").unlink()
    assert synthesize(settings).shards_run == 1
    assert rows_of(settings.out) == whole


def test_a_plug_in_that_changed_is_not_resumed(warm, module):
    settings = warm()
    synthesize(settings)
    with pytest.raises(UsageError, match="model_digest changed"):
        synthesize(warm(generator_settings={"strength": 0.7}))
    module.write_text(MODULE.replace("uniform(-1, 1, 3)", "uniform(-1, 0, 3)"))
    sys.modules.pop("run_module")
    with pytest.raises(UsageError, match="model_digest changed"):
        synthesize(settings)


def test_candidates_that_are_equal_are_reported_as_duplicates(settings_of):
    summary = synthesize(settings_of(generator="run_module:same", gates={"max_fmse": 1e6, "max_clipped": 1})).summary
    assert summary["dropped"]["gate:duplicate"] == 18


def test_a_photo_that_a_plug_in_fails_on_is_quarantined(settings_of):
    settings = settings_of(generator="run_module:fails_once", max_bad_fraction=0.5)
    assert synthesize(settings).summary["quarantined"] == 1
    (row,) = Run.open(settings.out).quarantine()
    assert row.message == (f"generator 'run_module:fails_once' failed on '{row.id}' (ValueError: no foreground)")
    with pytest.raises(TooManyBadInputsError):
        synthesize(settings_of(generator="run_module:fails_once", max_bad_fraction=0, out=settings.out / "more"))


def test_a_plug_in_that_breaks_its_contract_ends_the_run_by_name(settings_of):
    with pytest.raises(PluginError, match=r"generator 'run_module:flat' returned an array \(64, 3\)"):
        synthesize(settings_of(generator="run_module:flat"))


def test_callables_are_handed_over_as_they_are(settings_of, warm, rows_of, tmp_path):
    sys.path.insert(0, str(tmp_path))
    import run_module

    named, given = warm(), settings_of(out=tmp_path / "given")
    synthesize(named)
    synthesize(given, generator=run_module.Warm(0.6), judge={"bright": run_module.bright, "dark": dark})
    assert [row["pixels"] for row in rows_of(given.out)] == [row["pixels"] for row in rows_of(named.out)]
    plan = json.loads((given.out / "plan.json").read_text())
    assert plan["settings"]["generator"] == "python:Warm"
    assert list(plan["judges"]) == ["bright", "dark"]
    assert (
        synthesize(given, generator=run_module.Warm(0.6), judge={"bright": run_module.bright, "dark": dark}).shards_run
        == 0
    )
    with pytest.raises(UsageError, match="model_digest changed"):
        synthesize(given, generator=run_module.Warm(0.5), judge={"bright": run_module.bright, "dark": dark})
    with pytest.raises(UsageError, match="handed over as callables, which workers cannot be sent"):
        synthesize(settings_of(workers=2), generator=run_module.Warm(0.6))


def dark(composites, mask):
    return [1 - float(composite[mask].mean() / 255) for composite in composites]


def test_a_model_that_a_plug_in_does_not_use_is_refused(warm):
    with pytest.raises(UsageError, match="--model theirs does not go with --generator run_module:Warm"):
        synthesize(warm(model="theirs"))


def test_a_harmonizer_harmonizes_and_is_evaluated(finished_run, tmp_path):
    settings = HarmonizeSettings(data=str(finished_run), method="run_module:half", out=tmp_path / "h", limit=2)
    result = harmonize(settings)
    assert (result.made, harmonize(settings).made) == (2, 0)
    assert result.summary["model"]["digest"].startswith("run_module:")
    scored = EvaluateSettings(
        data=str(finished_run), out=tmp_path / "e", limit=2, ssim=False, methods=[{"model": "run_module:half"}]
    )
    assert evaluate(scored).scored == 2
    handed = harmonize(
        settings.model_copy(update={"out": tmp_path / "g"}), harmonizer=lambda photo, seed, draws: photo.low_u8
    )
    assert handed.made == 2


def test_settings_are_checked_before_anything_is_read(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('generator = "run_module:Warm"\n[generator_settings]\nstrenth = 0.5\n')
    with pytest.raises(UsageError, match=r"unknown key 'strenth' \(did you mean 'strength'\?\)"):
        resolve(SynthesizeSettings, str(recipe))
    settled = resolve(SynthesizeSettings, None, {"generator": "run_module:Warm"}, ["generator_settings.strength=0.25"])
    assert settled.generator_settings == {"strength": 0.25}
    with pytest.raises(UsageError, match="generator 'difusion' is not known"):
        resolve(SynthesizeSettings, None, {"generator": "difusion"})
    with pytest.raises(UsageError, match="settings of harmonizer 'run_module:half': unknown key 'x'"):
        resolve(HarmonizeSettings, None, {"method": "run_module:half"}, ["method_settings.x=1"])


def test_plans_of_before_keep_their_digest(settings_of):
    """What came with plug-ins counts only if it is asked for."""
    from harmonygen.settings import asked

    later = {"generator_settings", "judge", "judge_settings", "combine", "min_score"}
    assert not later & set(asked(settings_of()))
    methods = asked(EvaluateSettings(methods=[{"model": "starter"}]))["methods"]
    assert "method_settings" not in methods[0]
    assert methods[0]["model"] == "starter"
