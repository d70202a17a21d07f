"""The loop over stand-ins: what is edited, by which words, what is kept of it, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from harmonygen.errors import InputError
from harmonygen.harmonization.zeroshot.loop import Limits, run

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fakes"))
from fake_editor import WORDS, FakeDescriber, FakeEdited, StepEditor, colour_distance


@pytest.fixture
def photo(make_photo):
    return make_photo(resolution=48)


class Scripted:
    """Paints edit n grey n / 100 inside the mask, and scores it as scripted; ``seen`` has what it was given."""

    def __init__(self, p_composite):
        self.p_composite, self.seen = p_composite, []

    def edit(self, picture01, composite01, mask, description):
        self.seen.append((picture01, composite01, description))
        grey = np.full_like(picture01, len(self.seen) / 100)
        return FakeEdited(np.where(mask[..., None], grey, composite01), {"number": len(self.seen)})

    def score(self, picture01, mask):
        return self.p_composite[len(self.seen)]

    def run(self, photo, seed=0, words=WORDS, **options):
        return run(photo, self.edit, FakeDescriber(words), self.score, seed, **options)


def greys(outcome, photo):
    """The number that each picture after the composite was painted with."""
    return [round(float(picture[photo.low_mask].mean()) * 100) for picture in outcome.pictures01[1:]]


def test_each_edit_is_of_the_last_picture_over_the_untouched_composite(photo):
    script = Scripted([0.9, 0.8, 0.7, 0.6])
    outcome = script.run(photo, limits=Limits(iterations=3))
    composite01 = photo.low_u8 / np.float32(255)
    assert greys(outcome, photo) == [1, 2, 3]
    for number, (picture, composite, description) in enumerate(script.seen):
        assert np.array_equal(picture, outcome.pictures01[number])
        assert np.array_equal(composite, composite01)
        assert description == WORDS[0]
    assert np.array_equal(outcome.picture01, outcome.pictures01[3])
    assert (outcome.trace.best, outcome.trace.p_composite, outcome.trace.best_p_composite) == (3, 0.9, 0.6)


def test_two_falls_edit_the_picture_before_them_with_other_words(photo):
    script = Scripted([0.5, 0.3, 0.4, 0.5, 0.2, 0.3, 0.4])
    outcome = script.run(photo)
    steps = outcome.trace.iterations
    assert [step.verdict.decision for step in steps] == ["continue"] * 2 + ["regenerate"] + ["continue"] * 2 + [
        "conclude"
    ]
    assert [step.started_from for step in steps] == [0, 1, 2, 1, 4, 5]
    assert np.array_equal(script.seen[3][0], outcome.pictures01[1])
    assert [step.alternative for step in steps[:3]] == [0, 0, 0]
    assert steps[3].alternative != 0
    assert {step.alternative for step in steps[3:]} == {steps[3].alternative}
    assert [step.description for step in steps] == [WORDS[step.alternative] for step in steps]
    assert (outcome.trace.best, greys(outcome, photo)[outcome.trace.best - 1]) == (4, 4)


def test_the_other_words_are_drawn_by_the_seed(photo):
    falls = [0.1, 0.2, 0.3, 0.4, 0.5]
    drawn = [Scripted(falls).run(photo, seed=seed).trace.iterations[2].alternative for seed in range(12)]
    assert set(drawn) == {1, 2}
    assert drawn == [Scripted(falls).run(photo, seed=seed).trace.iterations[2].alternative for seed in range(12)]


def test_one_description_ends_with_the_first_two_falls(photo):
    outcome = Scripted([0.1, 0.2, 0.3]).run(photo, words=WORDS[:1])
    assert [step.verdict.decision for step in outcome.trace.iterations] == ["continue", "conclude"]


def test_the_untouched_composite_is_returned_only_where_that_is_allowed(photo):
    falls = [0.1, 0.3, 0.2]
    edited = Scripted(falls).run(photo, limits=Limits(iterations=2))
    assert (edited.trace.best, edited.trace.to_json()["improved"]) == (2, False)
    untouched = Scripted(falls).run(photo, limits=Limits(iterations=2, allow_unchanged=True))
    assert (untouched.trace.best, untouched.trace.best_p_composite) == (0, 0.1)
    assert np.array_equal(untouched.picture01, photo.low_u8 / np.float32(255))


def test_the_trace_goes_through_json_with_everything_in_it(photo):
    told = []
    outcome = Scripted([0.5, 0.2, 0.3, 0.4, 0.1, 0.2, 0.3]).run(photo, seed=7, watch=told.append)
    trace = json.loads(json.dumps(outcome.trace.to_json()))
    assert tuple(told) == outcome.trace.iterations
    assert (trace["best"], trace["best_p_composite"], trace["p_composite"], trace["improved"]) == (4, 0.1, 0.5, True)
    assert (trace["seed"], trace["describer"]) == (7, "fake")
    assert [words["subject"] for words in trace["descriptions"]] == ["girl"] * 3
    third = trace["iterations"][2]
    assert third["prompts"] == ["girl, sunny", "girl, dark, night"]
    assert third["description"] == {"subject": "girl", "foreground": ["sunny"], "background": ["dark", "night"]}
    assert (third["number"], third["started_from"], third["decision"]) == (3, 2, "regenerate")
    assert (third["p_composite"], third["harmony"]) == (0.4, pytest.approx(0.6))
    assert third["figures"] == {"number": 3}
    assert all(step["seconds"] >= 0 for step in trace["iterations"])


def colours(picture01, mask):
    return colour_distance(picture01, mask)


def test_an_editor_that_helps_is_followed_and_one_that_harms_is_left(photo):
    helped = run(photo, StepEditor(0.4), FakeDescriber(), colours, 0, Limits(iterations=6))
    scores = [helped.trace.p_composite, *(step.p_composite for step in helped.trace.iterations)]
    assert scores == sorted(scores, reverse=True)
    assert helped.trace.best == 6
    assert helped.trace.best_p_composite < 0.1 * helped.trace.p_composite
    harmed = run(photo, StepEditor(-0.2), FakeDescriber(), colours, 0)
    assert [step.verdict.decision for step in harmed.trace.iterations] == [
        "continue",
        "regenerate",
        "continue",
        "conclude",
    ]
    assert harmed.trace.best in (1, 3)


def test_the_background_is_the_composites_in_every_picture(photo):
    outcome = run(photo, StepEditor(), FakeDescriber(), colours, 0, Limits(iterations=3))
    for picture in outcome.pictures01:
        assert np.array_equal(picture[~photo.low_mask], outcome.pictures01[0][~photo.low_mask])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda picture: np.full_like(picture, np.nan), "values that are not finite"),
        (lambda picture: picture[:-8], "is needed"),
    ],
)
def test_a_spoilt_edit_is_refused(photo, spoil, message):
    def edit(picture01, composite01, mask, description):
        return FakeEdited(spoil(picture01))

    with pytest.raises(InputError, match=f"edit 1 gave .*{message}"):
        run(photo, edit, FakeDescriber(), colours, 0)


@pytest.mark.parametrize("score", [float("nan"), 1.5, -0.1])
def test_a_score_that_is_no_probability_is_refused(photo, score):
    with pytest.raises(InputError, match="edit 0 was scored"):
        run(photo, StepEditor(), FakeDescriber(), lambda picture01, mask: score, 0)
