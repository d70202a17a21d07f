"""A run is read in one place: what is refused, which candidates may be used, and what is read of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harmonygen.augmentation.augment import augment
from harmonygen.augmentation.export import export
from harmonygen.augmentation.settings import AugmentSettings, ExportSettings
from harmonygen.data.composites import composites_of, read_composites
from harmonygen.errors import StorageError, UsageError
from harmonygen.evaluation.cases import read_cases
from harmonygen.records import CellSource
from harmonygen.report.gather import gather
from harmonygen.report.render import figures
from harmonygen.runs.decisions import Decisions
from harmonygen.runs.read import SELECTION, Run, in_file_order, is_run, is_usable, rows_by_pair
from harmonygen.storage.parquet_cells import read_cell
from harmonygen.synthesis import reselect as selection
from harmonygen.synthesis.reselect import reselect
from harmonygen.synthesis.settings import GateSettings
from harmonygen.synthesis.synthesize import synthesize

Key = tuple[str, int]


@pytest.fixture
def run(finished_run, tmp_path) -> Path:
    """A copy of a finished run of six pairs, four candidates each, three shards."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def keys(rows: list[dict]) -> set[Key]:
    return {(row["pair_id"], row["k"]) for row in rows}


def reviewed(folder: Path) -> tuple[set[Key], set[Key], set[Key]]:
    """Gate half the candidates of a run and have it reviewed; return what was rejected, accepted and may be used.

    Of each pair, one candidate that passed is rejected and all that failed are accepted: more than are selected.
    """
    changes = sorted(row["fmse"] for row in Run.open(folder).rows().to_pylist())
    reselect(folder, gates=GateSettings(min_fmse=changes[len(changes) // 2]))
    rows = Run.open(folder).rows().to_pylist()
    accepted = {(row["pair_id"], row["k"]) for row in rows if row["gate"]}
    passed = {row["pair_id"]: (row["pair_id"], row["k"]) for row in rows if not row["gate"]}
    rejected = set(passed.values())
    made = {**dict.fromkeys(accepted, "accept"), **dict.fromkeys(rejected, "reject")}
    reselect(folder, decisions=Decisions("run", Run.open(folder).plan_digest, made))
    assert len(accepted) > len({pair_id for pair_id, _ in accepted})
    return rejected, accepted, keys(rows) - rejected


@pytest.mark.parametrize(
    ("gate", "review", "usable"),
    [
        ("", "", True),
        ("", "accept", True),
        ("", "reject", False),
        ("drift", "", False),
        ("drift", "accept", True),
        ("drift", "reject", False),
    ],
)
def test_a_candidate_may_be_used_if_gates_or_a_reviewer_say_so_and_none_rejects_it(gate, review, usable):
    assert is_usable(gate, review) is usable


def test_a_review_stands_above_the_gates_also_for_what_is_not_selected(run):
    rejected, accepted, usable = reviewed(run)
    opened = Run.open(run)
    assert keys(opened.usable().to_pylist()) == usable
    assert keys([row for row in opened.rows().to_pylist() if row["review"] == "reject"]) == rejected
    unselected = [row for row in opened.usable().to_pylist() if row["gate"] and not row["selected"]]
    assert unselected
    assert keys(unselected) <= accepted


def test_every_reader_of_composites_takes_what_may_be_used(run):
    _, _, usable = reviewed(run)
    names = {f"{pair_id}_hg{k}" for pair_id, k in usable}
    assert {composite.name for composite in composites_of(run)} == names
    assert {composite.name for composite in read_composites(run)} == names
    assert {case.name for case in read_cases(run)} == names


def test_an_export_and_an_augmentation_of_it_take_what_may_be_used(run, tmp_path):
    _, _, usable = reviewed(run)
    export(ExportSettings(run=run, out=tmp_path / "tree"))
    rows = pq.read_table(tmp_path / "tree" / "manifest.parquet").to_pylist()
    assert keys(rows) == usable


def test_augment_mixes_in_what_may_be_used(run, settings_of, tmp_path):
    tree = tmp_path / "tree"
    export(ExportSettings(run=run, out=tree, which="selected"))
    again = settings_of(data=str(tree), out=tmp_path / "again")
    synthesize(again)
    _, _, usable = reviewed(again.out)
    mixed = AugmentSettings(data=str(tree), candidates=again.out, out=tmp_path / "mixed", gamma=4, allow_fewer=True)
    augment(mixed)
    rows = pq.read_table(tmp_path / "mixed" / "manifest.parquet").to_pylist()
    assert keys([row for row in rows if row["source"] == "harmonygen"]) == usable


def test_a_report_counts_as_refused_what_may_not_be_used(run):
    rejected, accepted, usable = reviewed(run)
    tiles = {(row.pair_id, tile.k): tile for row in gather(run).rows for tile in row.tiles}
    assert {key for key, tile in tiles.items() if tile.usable} == usable
    assert not any(row.gates for row in gather(run).rows)  # all that a gate had refused were accepted
    assert ("0", "refused by a gate") in figures(gather(run))
    assert {key for key, tile in tiles.items() if tile.review == "reject"} == rejected
    assert {key for key, tile in tiles.items() if tile.review == "accept"} == accepted


def test_rows_lead_to_their_pictures(run, rows_of):
    opened = Run.open(run)
    assert keys(opened.rows().to_pylist()) == keys(rows_of(run))
    picked = [row for row in opened.rows().to_pylist() if row["k"] in (1, 3)]
    found = list(opened.composites(reversed(picked)))
    assert [row for row, _ in found] == in_file_order(picked) == picked
    stored = {
        (row["pair_id"], row["k"]): row["composite"]["bytes"]
        for part in opened.parts
        for row in pq.read_table(part).to_pylist()
    }
    assert all(encoded == stored[row["pair_id"], row["k"]] for row, encoded in found)
    assert all(read_cell(opened.composite_source(row)) == encoded for row, encoded in found)


def test_composites_are_the_same_after_a_selection_that_joined_the_row_groups(run):
    before = {(row["pair_id"], row["k"]): made for row, made in _all(run)}
    reselect(run, rule="random", seed=3)
    assert {(row["pair_id"], row["k"]): made for row, made in _all(run)} == before


def _all(run: Path):
    opened = Run.open(run)
    return opened.composites(opened.rows().to_pylist())


def test_images_are_those_of_the_wanted_pairs(run, finished_run):
    opened = Run.open(run)
    first, second = (row["pair_id"] for row in opened.pairs(0))
    images = dict(opened.images(0, {second}))
    assert list(images) == [second]
    assert images[second].real is None
    assert images[second].path.parent == finished_run.parent / "six" / "images"
    sources = opened.pair_sources(0)
    assert set(sources) == {first, second}
    assert read_cell(sources[second][1]) == images[second].mask
    assert read_cell(sources[second][0]) == images[second].path.read_bytes()


def test_rows_by_pair_are_in_order_of_k(run):
    table = Run.open(run).rows()
    for places in rows_by_pair(table).values():
        assert table["k"].take(places).to_pylist() == [0, 1, 2, 3]


def test_pandas_has_every_row_with_its_columns(run):
    opened = Run.open(run)
    frame = opened.to_pandas()
    assert len(frame) == opened.rows().num_rows == 24
    assert frame.groupby("pair_id")["selected"].sum().tolist() == [1] * 6
    assert frame["composite"].str.endswith(".png").all()
    assert {"p_composite", "usable", "review", "fg_ratio"} <= set(frame.columns)


def test_reading_a_run_does_not_import_pandas():
    import subprocess
    import sys

    code = "import sys, harmonygen.runs.read; print('pandas' in sys.modules, 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == ["False"] * 2


def test_what_a_run_could_not_use_is_told_also_before_it_is_finished(settings_of, six_photos):
    (six_photos / "images" / "p1.png").write_bytes(b"no picture")
    synthesize(settings_of(max_bad_fraction=1.0))
    out = settings_of().out
    finished = Run.open(out).quarantine()
    assert [row.id for row in finished] == ["p1_0"]
    (out / "quarantine.parquet").unlink()
    assert Run.look(out).quarantine() == finished


# What is refused


@pytest.mark.parametrize("lacking", ["shard", "summary", "pairs"])
def test_a_run_that_is_not_finished_is_refused_by_one_sentence(run, lacking):
    victim = {
        "shard": run / "candidates" / "part-00001-of-00003.parquet",
        "pairs": run / "pairs" / "part-00001-of-00003.parquet",
        "summary": run / "summary.json",
    }[lacking]
    victim.unlink()
    said = "3 of 3 shards are there, summary.json is not" if lacking == "summary" else "2 of 3 shards are there"
    for read in (Run.open, composites_of, read_composites, read_cases, lambda folder: reselect(folder, rule="random")):
        with pytest.raises(UsageError, match=rf"the run '.*run' is not finished \({said}\): repeat its synthesize"):
            read(run)
    assert is_run(run)
    assert len(Run.look(run).parts) == (3 if lacking == "summary" else 2)


def test_a_run_that_has_only_begun_is_known_as_one(run):
    shutil.rmtree(run / "candidates")
    (run / "summary.json").unlink()
    with pytest.raises(UsageError, match=r"is not finished \(0 of 3 shards"):
        read_cases(run)


def test_a_folder_of_another_verb_or_of_none_is_no_run(run, tmp_path):
    export(ExportSettings(run=run, out=tmp_path / "tree"))
    assert not is_run(tmp_path / "tree")
    with pytest.raises(UsageError, match="holds a 'export' plan, a synthesize run is needed"):
        Run.open(tmp_path / "tree")
    assert not is_run(tmp_path)
    with pytest.raises(UsageError, match="is not a run folder"):
        Run.open(tmp_path)
    (tmp_path / "plan.json").write_text("[")
    assert not is_run(tmp_path)


def test_a_shard_that_is_damaged_or_of_another_kind_is_refused(run):
    part = run / "candidates" / "part-00001-of-00003.parquet"
    pq.write_table(pq.read_table(part).drop_columns(["gate"]), part)
    with pytest.raises(UsageError, match="lacks the columns gate"):
        Run.open(run).rows()
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(StorageError, match=r"cannot read .*part-00001-of-00003"):
        Run.open(run)


def test_a_selection_that_was_stopped_half_way_is_refused_and_the_same_command_mends_it(run, monkeypatch):
    rejected = {("p0_0", 0): "reject", ("p5_0", 1): "reject"}
    decisions = Decisions("run", Run.open(run).plan_digest, rejected)
    rewrite, calls = selection._rewrite, []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return rewrite(*arguments)

    monkeypatch.setattr(selection, "_rewrite", stopped)
    with pytest.raises(KeyboardInterrupt):
        reselect(run, decisions=decisions)
    monkeypatch.undo()
    for read in (Run.open, composites_of, read_composites, read_cases):
        with pytest.raises(UsageError, match=r"half done \(2 of 3 shards hold another one than selection\.json\)"):
            read(run)
    reselect(run, decisions=decisions)
    rows = Run.open(run).rows().to_pylist()
    assert keys([row for row in rows if row["review"] == "reject"]) == set(rejected)


def test_a_selection_whose_record_is_lost_is_refused(run):
    reselect(run, rule="random")
    assert Run.open(run).selection["rule"] == "random"
    (run / SELECTION).unlink()
    with pytest.raises(UsageError, match="the selection of the run"):
        Run.open(run)
    reselect(run, rule="random")
    assert json.loads((run / SELECTION).read_text())["rule"] == "random"


def test_a_build_is_read_as_parquet_though_it_has_a_folder_candidates(tmp_path, run):
    build = tmp_path / "build"
    (build / "candidates").mkdir(parents=True)
    (build / "plan.json").write_text(json.dumps({"verb": "build-human-harmony"}))
    opened = Run.open(run)
    (row, encoded), *_ = opened.composites(opened.usable().to_pylist())
    images = dict(opened.images(row["part"]))[row["pair_id"]]
    pq.write_table(pq.read_table(run / "quarantine.parquet"), build / "quarantine.parquet")
    _write_parquet(build / "data", images.path.read_bytes(), images.mask, encoded)
    found = composites_of(build)
    assert not found.bad
    assert [type(composite.composite) for composite in found] == [CellSource]


def _write_parquet(folder: Path, real: bytes, mask: bytes, composite: bytes) -> None:
    import pyarrow as pa

    from harmonygen.storage.parquet_cells import IMAGE, image_cell, image_schema

    folder.mkdir(parents=True)
    row = {"real": real, "mask": mask, "composite": composite}
    cells = {name: image_cell(content, f"{name}.png") for name, content in row.items()}
    table = pa.Table.from_pylist([cells], schema=image_schema(dict.fromkeys(row, IMAGE)))
    pq.write_table(table, folder / "train-00000-of-00001.parquet")
