"""The number of steps that is left to the checkpoint: a plan holds the number, as plans of before do."""

from __future__ import annotations

import json
import shutil

import pytest

from harmonygen.gain.settings import GainSettings
from harmonygen.gain.study import _settled
from harmonygen.models.checkpoints import locate, shipped_folder
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.stated import with_stated_steps


@pytest.fixture
def one_step(tiny_inverse, tmp_path):
    """The tiny inverse model, stating one step."""
    folder = tmp_path / "one-step"
    shutil.copytree(tiny_inverse, folder)
    spec = json.loads((folder / "harmonygen.json").read_text())
    (folder / "harmonygen.json").write_text(json.dumps({**spec, "steps": 1}))
    return folder


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 5),
        ({"steps": 3}, 3),
        ({"generator": "color-transfer"}, 5),
        ({"model": "not-there"}, 5),
    ],
)
def test_what_is_not_given_is_what_runs_of_before_had(changes, steps):
    assert with_stated_steps(SynthesizeSettings(**changes)).steps == steps


def test_what_is_not_given_is_the_checkpoints(one_step, tiny_inverse):
    assert with_stated_steps(SynthesizeSettings(model=str(one_step))).steps == 1
    assert with_stated_steps(SynthesizeSettings(model=str(one_step), steps=4)).steps == 4
    assert with_stated_steps(SynthesizeSettings(model=str(tiny_inverse))).steps == 5
    assert with_stated_steps(SynthesizeSettings(model=str(one_step), generator="lut")).steps == 5


def test_a_study_of_before_stays_as_it_is(one_step):
    settled = _settled(GainSettings())
    assert (settled.candidates.steps, settled.originals.steps) == (5, 5)
    assert _settled(GainSettings(candidates={"model": str(one_step)})).candidates.steps == 1


def test_a_word_after_starter_names_a_shipped_folder_and_nothing_else(tmp_path, monkeypatch):
    assert shipped_folder("starter", "parametric") == locate("starter", "parametric")
    assert shipped_folder("starter-inverse", "parametric") == locate("starter", "parametric-inverse")
    assert shipped_folder("starter-mine", "inverse") is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "starter-mine").mkdir()
    assert locate("starter-mine", "inverse").resolve() == tmp_path / "starter-mine"
