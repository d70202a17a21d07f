"""Every number that can be set has an upper limit, and none may be NaN or infinite."""

import pytest

from harmonygen.errors import UsageError
from harmonygen.evaluation.settings import EvaluateSettings
from harmonygen.gain.settings import GainSettings
from harmonygen.harmonization.settings import HarmonizeSettings
from harmonygen.human_harmony.settings import HumanHarmonySettings
from harmonygen.models.device import pick_batch
from harmonygen.models.settings import ImportSettings
from harmonygen.settings import resolve
from harmonygen.synthesis.settings import SelectSettings, SynthesizeSettings
from harmonygen.training.settings import DenoiserTraining

KINDS = [
    DenoiserTraining,
    EvaluateSettings,
    GainSettings,
    HarmonizeSettings,
    HumanHarmonySettings,
    ImportSettings,
    SelectSettings,
    SynthesizeSettings,
]


def limits_of(kind):
    """Return the names of the whole-number fields of settings, and whether each has an upper limit."""
    for name, field in kind.model_fields.items():
        if field.annotation in (int, int | None):
            yield name, any(getattr(each, "le", getattr(each, "lt", None)) is not None for each in field.metadata)


@pytest.mark.parametrize("kind", KINDS)
def test_every_whole_number_has_an_upper_limit(kind):
    found = dict(limits_of(kind))
    assert [name for name, limited in found.items() if not limited] == []
    name = next(iter(found))
    with pytest.raises(UsageError, match=name):
        resolve(kind, options={name: 10**30})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("k", 10**6),
        ("resolution", 10**6),
        ("max_side", 10**9),
        ("shard_size", 10**12),
        ("workers", 10**6),
        ("steps", 10**6),
        ("gates", {"min_fmse": float("inf")}),
        ("gates", {"max_drift": float("nan")}),
    ],
)
def test_absurd_numbers_are_refused_before_anything_starts(name, value):
    with pytest.raises(UsageError, match=name):
        resolve(SynthesizeSettings, options={name: value})


@pytest.mark.parametrize("name", ["0", "-1", "4097", "9" * 5000, "1.5", "٣٣٣٣٣٣"])
def test_absurd_batches_are_refused(name):
    with pytest.raises(UsageError, match="--batch-size"):
        pick_batch(name, "cpu")
