"""Which of a photo's candidates is preferred to which: by a review, else by the score."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harmonygen.augmentation.preferences import export_preferences
from harmonygen.augmentation.settings import ExportSettings
from harmonygen.errors import StorageError, UsageError
from harmonygen.runs.preferences import preferences
from harmonygen.runs.read import Run, is_usable
from harmonygen.trainers.export import export_for


def row(k, p, review="", gate="", pair_id="a"):
    return {
        "pair_id": pair_id,
        "k": k,
        "p_composite": p,
        "review": review,
        "gate": gate,
        "usable": is_usable(gate, review),
    }


def found(*rows, min_margin=0.01):
    return [(each.preferred["k"], each.rejected["k"], each.by) for each in preferences(rows, min_margin)]


def test_the_best_score_is_preferred_to_the_worst_that_may_be_used():
    assert found(row(0, 0.5), row(1, 0.9), row(2, 0.3), row(3, 0.1, gate="fmse-low")) == [(1, 2, "score")]


def test_a_reviewer_stands_above_scores_gates_and_margins():
    rows = [row(0, 0.2, "accept", gate="clipped"), row(1, 0.9, "reject"), row(2, 0.95), row(3, 0.1)]
    assert found(*rows, min_margin=0.9) == [(0, 1, "review")]


def test_where_one_side_was_decided_the_score_chooses_the_other():
    assert found(row(0, 0.2), row(1, 0.9), row(2, 0.5, "reject")) == [(1, 2, "review and score")]
    assert found(row(0, 0.6, "accept"), row(1, 0.9), row(2, 0.5)) == [(0, 2, "review and score")]
    assert found(row(0, 0.5, "accept"), row(1, 0.9)) == []  # the other one scores higher


def test_near_ties_single_candidates_and_scores_that_are_none_make_no_pair():
    assert found(row(0, 0.5), row(1, 0.505)) == []
    assert found(row(0, 0.5), row(1, 0.505), min_margin=0) == [(1, 0, "score")]
    assert found(row(0, 0.5)) == []
    assert found(row(0, 0.5), row(1, float("nan")), row(2, 0.8)) == [(2, 0, "score")]
    assert found(row(0, 0.5, "accept"), row(1, 0.9, "accept")) == []


def test_photos_come_in_their_order_one_row_each():
    rows = [row(k, k / 4, pair_id=pair) for pair in "ba" for k in range(4)]
    assert [each.preferred["pair_id"] for each in preferences(rows)] == ["b", "a"]


def pixels(cell):
    return np.asarray(Image.open(io.BytesIO(cell["bytes"])))


def test_an_export_is_a_dataset_whose_pictures_are_the_run_s(finished_run, tmp_path, tree):
    from datasets import load_dataset

    settings = ExportSettings(run=finished_run, out=tmp_path / "p", preferences=True, min_margin=0)
    result = export_preferences(settings)
    rows = pq.read_table(*(tmp_path / "p" / "data").iterdir()).to_pylist()
    assert (result.rows, result.by) == (len(rows), {"score": len(rows)})
    candidates = {(each["pair_id"], each["k"]): each for each in Run.open(finished_run).rows().to_pylist()}
    bytes_of = dict(_encoded(finished_run))
    for each in rows:
        best, worst = (candidates[each["pair_id"], each[f"k_{side}"]] for side in ("preferred", "rejected"))
        assert each["margin"] == best["p_composite"] - worst["p_composite"] >= 0
        own = [one["p_composite"] for one in candidates.values() if one["pair_id"] == each["pair_id"] and one["usable"]]
        assert (each["p_preferred"], each["p_rejected"]) == (max(own), min(own))
        for side in ("preferred", "rejected"):
            assert each[side]["bytes"] == bytes_of[each["pair_id"], each[f"k_{side}"]]
        real, mask, preferred = (pixels(each[name]) for name in ("real", "mask", "preferred"))
        assert (real[mask == 0] == preferred[mask == 0]).all()
        assert (real[mask > 0] != preferred[mask > 0]).any()
    loaded = load_dataset(str(tmp_path / "p"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded[0]["preferred"].size == (rows[0]["width"], rows[0]["height"])
    before = tree(tmp_path / "p")
    assert export_preferences(settings).finished_before
    assert tree(tmp_path / "p") == before


def _encoded(run):
    opened = Run.open(run)
    for each, encoded in opened.composites(opened.rows().to_pylist()):
        yield (each["pair_id"], each["k"]), encoded


def test_a_stopped_export_goes_on_where_it_was(finished_run, tmp_path, monkeypatch):
    from harmonygen.augmentation import preferences as module

    settings = ExportSettings(run=finished_run, out=tmp_path / "p", preferences=True, min_margin=0)
    whole = export_preferences(settings.model_copy(update={"out": tmp_path / "whole"}))
    with monkeypatch.context() as patched:
        patched.setattr(module, "write_readme", _full)
        with pytest.raises(StorageError):
            export_preferences(settings)
    assert export_preferences(settings).rows == whole.rows
    one, other = (pq.read_table(*(tmp_path / name / "data").iterdir()).to_pylist() for name in ("p", "whole"))
    assert one == other


def _full(*_given):
    raise StorageError("the disk is full")


def test_a_margin_that_no_photo_has_is_refused_with_what_to_do(finished_run, tmp_path):
    with pytest.raises(UsageError, match="lower --min-margin"):
        export_preferences(ExportSettings(run=finished_run, out=tmp_path / "p", preferences=True, min_margin=1))


def test_simpletuner_gets_the_preferred_as_target_and_the_rejected_as_reference(finished_run, tmp_path):
    settings = ExportSettings(
        run=finished_run, out=tmp_path / "p", preferences=True, min_margin=0, trainer="simpletuner"
    )
    result = export_for(settings)
    manifest = pq.read_table(tmp_path / "p" / "manifest.parquet").to_pylist()
    bytes_of = dict(_encoded(finished_run))
    kept = {each.rejected["pair_id"]: each for each in preferences(Run.open(finished_run).rows().to_pylist(), 0)}
    assert {each["pair_id"] for each in manifest} == set(kept)
    for each in manifest:
        pair = kept[each["pair_id"]]
        assert (tmp_path / "p" / each["target"]).read_bytes() == bytes_of[each["pair_id"], pair.preferred["k"]]
        assert (tmp_path / "p" / each["source"]).read_bytes() == bytes_of[each["pair_id"], pair.rejected["k"]]
    config = json.loads((tmp_path / "p" / "config-dpo.json").read_text())
    assert config["distillation_method"] == "flow_dpo"
    assert not (tmp_path / "p" / "config.json").exists()
    assert "config-dpo" in result.command
    backends = json.loads((tmp_path / "p" / "multidatabackend-dpo.json").read_text())
    assert "does not fit" in backends[0]["instance_prompt"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_margin": 0.5}, "belongs to --preferences"),
        ({"preferences": True, "which": "selected"}, "drop --which"),
        ({"preferences": True, "trainer": "webdataset"}, "learns from no preferences"),
        ({"preferences": True, "trainer": "simpletuner", "direction": "inverse"}, "drop --direction"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ExportSettings(**given)
