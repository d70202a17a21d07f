"""`harmonygen why` tells what the run's files hold; `--recreate` is equal where nothing changed, and says where not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harmonygen.errors import UsageError
from harmonygen.pictures import images
from harmonygen.review.recreate import recreate
from harmonygen.review.session import Session
from harmonygen.review.why import explain
from harmonygen.runs.decisions import Decisions
from harmonygen.runs.read import Run
from harmonygen.synthesis import reselect as module
from harmonygen.synthesis.reselect import reselect
from harmonygen.synthesis.settings import GateSettings
from harmonygen.synthesis.synthesize import synthesize
from harmonygen_cli.main import run as command


@pytest.fixture
def small(settings_of, monkeypatch) -> Path:
    """A finished run of six pairs, four candidates each, three shards, its photos beside it."""
    monkeypatch.setattr(module, "_sum_up", lambda *_: None)
    synthesize(settings_of())
    return settings_of().out


def test_everything_that_is_told_is_what_the_run_holds(small: Path, capsys):
    reselect(small, gates=GateSettings(min_fmse=300, min_p_composite=0.2))
    run = Run.open(small)
    rows = run.rows().to_pylist()
    pair_id = rows[5]["pair_id"]
    session = Session(small)
    session.load()
    session.say("ana", [5], {"decision": "accept"})
    session.say("ana", [5], {"comment": "too blue"})
    origin = explain(small, pair_id)
    for each in origin.candidates:
        row = next(row for row in rows if (row["pair_id"], row["k"]) == (pair_id, each["k"]))
        names = ("seed", "p_composite", "gate", "reason", "selected", "fmse", "structure", "clipped", "drift")
        assert {name: each[name] for name in names} == {name: row[name] for name in names}
        failed = [reading.gate for reading in origin.readings(each["k"]) if not reading.kept]
        assert (row["gate"] in failed) if row["gate"] else not failed
        assert {r.gate: r.limit for r in origin.readings(each["k"])}["fmse-low"] == 300
    assert origin.pair["source"].endswith(".png")
    assert origin.made_by["model_digest"] == rows[0]["model_digest"]
    assert origin.selection["rule"] == "max-composite"
    k = rows[5]["k"]
    assert command(["why", str(small), pair_id, str(k), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    (made,) = said["candidates"]
    assert (made["k"], made["review"]["ana"]["decision"], made["review"]["ana"]["comment"]) == (k, "accept", "too blue")
    assert made["decision"] == ""
    assert command(["select", str(small), "--quiet"]) == 0
    assert explain(small, pair_id).agreed == {k: "accept"}


def test_ids_that_are_not_there_are_told(small: Path):
    pair_id = Run.open(small).rows()["pair_id"][0].as_py()
    with pytest.raises(UsageError, match=f"did you mean '{pair_id}'"):
        explain(small, pair_id + "x")
    with pytest.raises(UsageError, match="no candidate 9: it has 0, 1, 2, 3"):
        explain(small, pair_id, 9)
    with pytest.raises(UsageError, match="not a run folder"):
        explain(small / "nowhere", pair_id)


def test_all_candidates_are_made_again_bit_for_bit(small: Path, capsys):
    run = Run.open(small)
    wanted: dict[str, list[int]] = {}
    for row in run.rows().to_pylist():
        wanted.setdefault(row["pair_id"], []).append(row["k"])
    again = list(recreate(run, wanted, "cpu"))
    assert len(again) == 24
    assert all(each.equal for each in again)
    pair_id = next(iter(wanted))
    assert command(["why", str(small), pair_id, "2", "--recreate", "--device", "cpu", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["recreated"]
    assert one == {"pair_id": pair_id, "k": 2, "pixels": 0, "most": 0, "equal": True}


def test_a_stored_candidate_that_differs_in_one_value_is_seen(small: Path):
    path = Run.open(small).parts[0]
    table = pq.read_table(path)
    cells = table["composite"].to_pylist()
    pixels = images.decode_plainly(cells[1]["bytes"], "x").copy()
    pixels[3, 4, 1] ^= 4
    cells[1] = {"bytes": images.encode(pixels), "path": cells[1]["path"]}
    index = table.schema.get_field_index("composite")
    pq.write_table(
        table.set_column(index, table.schema.field(index), pa.array(cells, table.schema.field(index).type)), path
    )
    run = Run.open(small)
    key = run.rows()["pair_id"][1].as_py(), run.rows()["k"][1].as_py()
    (one,) = recreate(run, {key[0]: [key[1]]}, "cpu")
    assert (one.equal, one.pixels, one.most) == (False, 1, 4)


def test_changed_photos_other_data_and_lost_pictures_are_refused(
    small: Path, settings_of, six_photos: Path, tmp_path: Path
):
    run = Run.open(small)
    pair_id = run.rows()["pair_id"][0].as_py()
    with pytest.raises(UsageError, match="keeps no picture"):
        list(recreate(run, {pair_id: [7]}, "cpu"))
    kept = shutil.copytree(six_photos, tmp_path / "kept")
    photo = sorted(path for path in six_photos.rglob("*.png") if "mask" not in str(path))[0]
    images.save(255 - np.asarray(images.decode_plainly(photo.read_bytes(), "x")), photo)
    with pytest.raises(UsageError, match="are not those that"):
        list(recreate(run, {each["pair_id"]: [0] for each in run.rows().to_pylist()}, "cpu"))
    shutil.rmtree(six_photos)
    with pytest.raises(UsageError, match="--recreate needs the data"):
        list(recreate(run, {pair_id: [0]}, "cpu"))
    shutil.copytree(kept, six_photos)
    assert [each.equal for each in recreate(run, {pair_id: [0]}, "cpu")] == [True]


def test_a_review_of_decisions_given_as_a_file_is_told_too(small: Path):
    run = Run.open(small)
    key = run.rows()["pair_id"][0].as_py(), 0
    reselect(small, decisions=Decisions(small.name, run.plan_digest, {key: "reject"}))
    assert explain(small, key[0]).agreed == {0: "reject"}
    assert explain(small, key[0]).candidate(0)["reason"] == "review:rejected"
