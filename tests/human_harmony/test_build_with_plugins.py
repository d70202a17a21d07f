"""A build by plug-ins: the card names them, and no path of the machine."""

from __future__ import annotations

import pytest

from harmonygen.human_harmony.card import made_by
from harmonygen.human_harmony.settings import HumanHarmonySettings

DIGESTS = {"model_digest": "d1", "classifier_digest": "d2"}
JUDGES = ("strict=classifier:/home/me/judge-a", "mine.judges:Cast")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "Scored by the classifier starter (weights d2); selected by the rule max-composite."),
        ({"classifier": "/home/me/judge-a"}, "Scored by the classifier judge-a (weights d2)"),
        ({"judge": JUDGES[1:]}, "Scored by the judge judges (mine.judges:Cast) (weights d2)"),
        (
            {"judge": JUDGES, "combine": "veto"},
            "Scored by the judges strict (classifier:judge-a), judges (mine.judges:Cast), combined by veto with the "
            "least score 0.5 (weights d2)",
        ),
        ({"generator": "lut:/home/me/a.cube"}, "by lut:a.cube (d1), seed 0"),
    ],
)
def test_the_card_names_what_made_and_judged(settings, told):
    lines = made_by(HumanHarmonySettings(**settings), DIGESTS, {})
    assert told in "\n".join(lines)
    assert "/home/me" not in "\n".join(lines)
