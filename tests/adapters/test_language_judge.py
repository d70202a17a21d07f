"""An image-text-to-text model as a judge, on a tiny random Llava of the real classes."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("transformers")

from harmonygen.adapters.calibrate import calibrate, fit_calibration
from harmonygen.adapters.language_judge import LanguageJudge, make_language_judge
from harmonygen.errors import CheckpointError, UsageError
from harmonygen.models.device import Device
from harmonygen.models.picture_chat import PictureChat
from harmonygen.synthesis.synthesize import synthesize
from tests.fakes.small_adapters import write_judge

CPU = Device.pick("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_judge(tmp_path_factory.mktemp("judge"))


def test_scores_are_of_each_picture_alone(folder, make_photo):
    judge = make_language_judge(str(folder), device=CPU)
    photo = make_photo(resolution=32, multiple=8)
    composites = [photo.image_u8, photo.image_u8 // 2, 255 - photo.image_u8]
    scores = judge(composites, photo.mask)
    assert all(0 <= score <= 1 for score in scores)
    assert len(set(scores)) == 3
    assert judge(composites[::-1], photo.mask) == scores[::-1]
    assert judge(composites[:1], ~photo.mask) != scores[:1]


def test_a_token_that_begins_both_answers_counts_for_neither():
    """Tokenizers of bytes begin " yes" and " no" with the space alone."""

    class Bytes:
        unk_token_id = None

        def encode(self, text, add_special_tokens):
            return list(text.encode())

    judge = LanguageJudge(PictureChat(SimpleNamespace(tokenizer=Bytes()), None, "digest"), "", (1, 0))
    assert (judge._yes, judge._no) == (sorted(b"yY"), sorted(b"nN"))


def test_a_calibration_moves_the_probabilities_and_not_their_order(folder, make_photo, tmp_path):
    photo = make_photo(resolution=32, multiple=8)
    composites = [photo.image_u8, photo.image_u8 // 2, 255 - photo.image_u8]
    plain = make_language_judge(str(folder), device=CPU)(composites, photo.mask)
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"scale": 0.5, "offset": 1.0}))
    moved = make_language_judge(str(folder), calibration=file, device=CPU)(composites, photo.mask)
    assert np.argsort(plain).tolist() == np.argsort(moved).tolist()
    assert moved != plain


def test_a_calibration_is_fitted_on_pairs(folder, finished_run):
    found = calibrate(make_language_judge(str(folder), device=CPU), str(finished_run), limit=6)
    assert found["composites"] == found["reals"] == 6
    assert 0 <= found["auc"] <= 1


def test_a_fit_knows_probabilities_that_were_drawn():
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 3, 4000)
    composite = rng.uniform(size=4000) < 1 / (1 + np.exp(-(0.7 * margins - 0.5)))
    found = fit_calibration(margins[composite].tolist(), margins[~composite].tolist())
    assert (found["scale"], found["offset"]) == pytest.approx((0.7, -0.5), abs=0.1)


def test_a_run_is_judged_by_it(folder, settings_of):
    result = synthesize(settings_of(classifier=f"language-model:{folder}", k=2, limit=2))
    assert result.summary["kept"] == 4


def test_what_cannot_judge_is_refused(folder, tmp_path):
    with pytest.raises(CheckpointError, match="does not know the word 'yes'"):
        make_language_judge(str(write_judge(tmp_path / "silent", ("good", "bad"))), device=CPU)
    with pytest.raises(CheckpointError, match="image-text-to-text"):
        make_language_judge(str(tmp_path), device=CPU)
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(UsageError, match="is not a calibration"):
        make_language_judge(str(folder), calibration=tmp_path / "c.json", device=CPU)
    with pytest.raises(UsageError, match="two composites"):
        fit_calibration([1.0], [1.0, 2.0])
