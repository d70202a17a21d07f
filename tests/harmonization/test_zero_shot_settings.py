"""What may be set together for zero-shot harmonization, and who then finds the words."""

from pathlib import Path

import pytest

from harmonygen.errors import UsageError
from harmonygen.harmonization.settings import HarmonizeSettings
from harmonygen.settings import resolve


def zero_shot(**values):
    return resolve(HarmonizeSettings, options={"zero_shot": values}).zero_shot


@pytest.mark.parametrize(
    ("values", "describer"),
    [
        ({}, "rules"),
        ({"foreground": "girl, sunny", "background": "night"}, "hand"),
        ({"captions": "words.csv"}, "hand"),
        ({"describer_model": "a-folder"}, "model"),
        ({"describer": "model", "describer_model": "a-folder"}, "model"),
        ({"describer": "hand", "captions": "words.csv"}, "hand"),
    ],
)
def test_the_describer_is_the_one_that_the_words_need(values, describer):
    settled = zero_shot(**values)
    assert settled.describer == describer
    assert type(settled).model_validate_json(settled.model_dump_json()) == settled


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"foreground": "girl"}, "--foreground and --background go together: give both"),
        ({"background": "night"}, "--foreground and --background go together: give both"),
        ({"foreground": "girl", "background": "night", "captions": "x"}, "two ways to give words"),
        ({"describer": "rules", "captions": "x"}, "--describer rules finds its own words"),
        ({"describer": "hand"}, "--describer hand needs words"),
        ({"describer": "model"}, "--describer model needs a model"),
        ({"describer": "rules", "describer_model": "x"}, "--describer-model goes with --describer model"),
        ({"hed_weights": "x"}, "hed_weights go with edges = hed"),
        ({"iterations": 0}, "zero_shot.iterations: .*found 0"),
        ({"edges": "canny"}, "zero_shot.edges: .*found 'canny'"),
        ({"iteratoins": 3}, r"unknown key 'zero_shot.iteratoins' \(did you mean 'iterations'\?\)"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(values, told):
    with pytest.raises(UsageError, match=told):
        zero_shot(**values)


def test_an_override_reaches_in():
    settled = resolve(
        HarmonizeSettings, options={"zero_shot": {"captions": Path("w.csv")}}, overrides=["zero_shot.guidance=5"]
    )
    assert (settled.zero_shot.guidance, settled.zero_shot.captions) == (5.0, Path("w.csv"))
