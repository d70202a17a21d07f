from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygen.augmentation.settings import AugmentSettings
from harmonygen.errors import UsageError
from harmonygen.gain.settings import GainSettings
from harmonygen.settings import resolve
from harmonygen.synthesis.settings import GateSettings, SynthesizeSettings


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('k = 4\nsteps = 7\nmodel = "theirs"\n[gates]\nmin_fmse = 30\nmax_fmse = 900\n')
    return str(path)


K = st.one_of(st.none(), st.integers(1, 99))


@given(in_recipe=K, typed=K, override=K)
def test_overrides_beat_options_beat_the_recipe_beat_the_defaults(tmp_path_factory, in_recipe, typed, override):
    path = tmp_path_factory.mktemp("recipe") / "r.toml"
    path.write_text("" if in_recipe is None else f"k = {in_recipe}\n")
    words = [] if override is None else [f"k={override}"]
    settled = resolve(SynthesizeSettings, str(path), {"k": typed, "seed": None}, words)
    given_last = next((value for value in (override, typed, in_recipe) if value is not None), 10)
    assert (settled.k, settled.seed) == (given_last, 0)


def test_a_table_is_overridden_key_by_key(recipe):
    settled = resolve(SynthesizeSettings, recipe, {"steps": 9}, ["gates.max-fmse=500"])
    assert (settled.k, settled.steps, settled.model) == (4, 9, "theirs")
    assert (settled.gates.min_fmse, settled.gates.max_fmse) == (30, 500)
    assert settled.gates.min_structure == GateSettings().min_structure


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("stpes=3", r"unknown key 'stpes' \(did you mean 'steps'\?\)"),
        ("max-bad-fractoin=0.1", r"unknown key 'max_bad_fractoin' \(did you mean 'max_bad_fraction'\?\)"),
        ("gates.min_fsme=3", r"unknown key 'gates.min_fsme' \(did you mean 'min_fmse'\?\)"),
        ("zzzzzz=1", r"unknown key 'zzzzzz'$"),
        ("k=0", "k: .*greater than or equal to 1, found 0"),
        ("k=many", "k: .*valid integer.*found 'many'"),
        ("fit=round", "fit: .*'native' or 'square', found 'round'"),
        ("fit=squares", r"found 'squares' \(did you mean 'square'\?\)"),
        ("gates.max_clipped=2", "gates.max_clipped: .*less than or equal to 1"),
        ("gates=3", "gates: .*found 3"),
        ("steps", "'steps' is not an override: write key=value"),
        ("=3", "'=3' is not an override"),
    ],
)
def test_what_cannot_be_set_is_refused_with_the_nearest_name(word, told):
    with pytest.raises(UsageError, match=told):
        resolve(SynthesizeSettings, overrides=[word])


def test_all_faults_are_told_at_once(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('k = 0\nstpes = 3\nfit = "round"\n[gates]\nmin_fsme = 1\nmax_clipped = -1\n')
    with pytest.raises(UsageError) as caught:
        resolve(SynthesizeSettings, str(path), {"shard_size": 0}, ["limmit=3"])
    told = str(caught.value)
    assert told.startswith(f"recipe {str(path)!r}: ")
    for fault in ("k: ", "'stpes'", "fit: ", "'gates.min_fsme'", "gates.max_clipped: ", "shard_size: ", "'limmit'"):
        assert fault in told
    assert told.count("; ") == 6


def test_settings_are_frozen_and_go_through_json_unchanged():
    settled = resolve(SynthesizeSettings, options={"out": Path("a/b"), "cube": [Path("x.cube")]})
    assert SynthesizeSettings.model_validate_json(settled.model_dump_json()) == settled
    with pytest.raises(ValueError, match="frozen"):
        settled.k = 3


def test_values_are_toml_and_else_text():
    settled = resolve(AugmentSettings, overrides=["gamma=1e-1", "per_subset=false", "subset=HFlickr", "data=a=b"])
    assert (settled.gamma, settled.per_subset, settled.subset, settled.data) == (0.1, False, "HFlickr", "a=b")


def test_one_gate_given_for_a_studys_own_composites_leaves_the_others():
    gates = resolve(GainSettings, overrides=["originals.gates.max_fmse=2000"]).originals.gates
    assert (gates.min_fmse, gates.max_fmse) == (50.0, 2000.0)
