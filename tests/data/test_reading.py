"""How data are read: options declared once, which every verb that reads photos with masks passes on."""

from typing import get_args

import pytest

from harmonygen.data import LAYOUTS, SAMPLE
from harmonygen.evaluation.settings import EvaluateSettings
from harmonygen.gain.settings import GainSettings
from harmonygen.harmonization.settings import HarmonizeSettings
from harmonygen.human_harmony.settings import HumanHarmonySettings
from harmonygen.records import ReadOptions
from harmonygen.settings import Layout, ReadSettings, asked
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.training.settings import TrainSettings

VERBS = [EvaluateSettings, GainSettings, HarmonizeSettings, HumanHarmonySettings, SynthesizeSettings, TrainSettings]


def test_the_layouts_that_can_be_named_are_those_that_are_read():
    assert set(get_args(Layout)) == set(LAYOUTS) - {SAMPLE}


@pytest.mark.parametrize("kind", VERBS)
def test_every_verb_that_reads_masks_has_every_option_of_reading(kind):
    assert set(ReadOptions.__dataclass_fields__) <= set(kind.model_fields)
    assert kind(layout="coco").reading() == ReadOptions(layout="coco")


def test_options_of_reading_leave_the_plans_of_before_as_they_were():
    assert asked(ReadSettings()) == {}
    assert not set(asked(SynthesizeSettings())) & set(ReadOptions.__dataclass_fields__)
