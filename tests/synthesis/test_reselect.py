"""`harmonygen select` and `harmonygen score`: another choice among a finished run's candidates."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harmonygen.augmentation.export import export
from harmonygen.augmentation.settings import ExportSettings
from harmonygen.errors import StorageError, UsageError
from harmonygen.runs.decisions import Decisions, to_rows
from harmonygen.runs.read import Run
from harmonygen.storage.shards import locked
from harmonygen.synthesis import reselect as module
from harmonygen.synthesis.reselect import reselect
from harmonygen.synthesis.settings import GateSettings
from harmonygen.synthesis.synthesize import synthesize

UNTOUCHED = ("pair_id", "k", "seed", "pixels", "width", "height", "fg_ratio", "clipped", "fmse", "structure", "drift")


@pytest.fixture
def run(settings_of) -> Path:
    """A finished run of six pairs, four candidates each, three shards."""
    synthesize(settings_of())
    return settings_of().out


def brightness(composites, mask) -> list[float]:
    """A scorer: the foreground's mean value, in [0, 1]."""
    return [float(composite[mask].mean() / 255) for composite in composites]


def dark(composites, mask) -> list[float]:
    return [1 - score for score in brightness(composites, mask)]


def selected(rows: list[dict]) -> set[tuple[str, int]]:
    return {(row["pair_id"], row["k"]) for row in rows if row["selected"]}


def scores_beside(run: Path) -> dict[tuple[str, int], dict]:
    tables = [pq.read_table(path).to_pylist() for path in sorted((run / "pairs").glob("*.parquet"))]
    return {
        (row["pair_id"], score["k"]): score for rows in tables for row in rows for score in json.loads(row["scores"])
    }


def test_another_rule_moves_the_selection_and_nothing_else(run, rows_of):
    before = rows_of(run)
    result = reselect(run, rule="quantile")
    after = rows_of(run)
    assert [[row[name] for name in UNTOUCHED] for row in after] == [[row[name] for name in UNTOUCHED] for row in before]
    assert selected(after) != selected(before)
    assert result.selected == len(selected(after)) == 6
    assert result.changed == sum(row["selected"] != old["selected"] for row, old in zip(after, before, strict=True))
    assert (result.shards_rewritten, result.candidates) == (3, 24)
    assert {row["reason"].partition(" rank")[0] for row in after if row["reason"] and not row["gate"]} == {
        "rule:quantile"
    }


def test_files_columns_and_the_pairs_scores_agree_after_it(run, rows_of):
    schema = pq.read_schema(run / "candidates" / "part-00000-of-00003.parquet")
    reselect(run, rule="diverse", count=2)
    again = pq.read_schema(run / "candidates" / "part-00000-of-00003.parquet")
    assert again.names == schema.names
    assert again.types == schema.types
    assert again.metadata[b"huggingface"] == schema.metadata[b"huggingface"]
    beside = scores_beside(run)
    for row in rows_of(run):
        stored = beside[row["pair_id"], row["k"]]
        assert all(row[name] == value for name, value in stored.items())


def test_the_run_counts_as_finished_and_its_summary_is_brought_up_to_date(run, settings_of, rows_of, tree):
    result = reselect(run, count=2, gates=GateSettings(min_fmse=500))
    summary = json.loads((run / "summary.json").read_text())
    rows = rows_of(run)
    assert summary["selected"] == result.selected == sum(row["selected"] for row in rows)
    assert summary["selected"] + sum(summary["dropped"].values()) == summary["candidates"] == 24
    assert summary["dropped"]["gate:fmse-low"] == sum(row["gate"] == "fmse-low" for row in rows) > 0
    before = tree(run)
    assert synthesize(settings_of()).shards_run == 0
    assert tree(run) == before


def test_the_same_selection_twice_writes_nothing(run, tree):
    reselect(run, rule="random", seed=3)
    before = tree(run)
    again = reselect(run, rule="random", seed=3)
    assert (again.shards_rewritten, again.changed) == (0, 0)
    assert tree(run) == before


def test_what_is_not_given_stays_as_it_was_chosen_last(run, rows_of):
    reselect(run, rule="random", count=2, seed=5)
    chosen = selected(rows_of(run))
    reselect(run, gates=GateSettings())
    assert selected(rows_of(run)) == chosen
    reselect(run, count=1)
    assert selected(rows_of(run)) < chosen


def test_back_to_the_first_rule_gives_back_the_first_selection(run, rows_of):
    before = selected(rows_of(run))
    reselect(run, rule="random", seed=9)
    reselect(run, rule="max-composite")
    assert selected(rows_of(run)) == before


def test_another_classifier_scores_every_candidate_anew(run, rows_of):
    reselect(run, scorer=brightness, scorer_digest="bright")
    rows = rows_of(run)
    bright = {(row["pair_id"], row["k"]): row["p_composite"] for row in rows}
    for pair in {row["pair_id"] for row in rows}:
        own = [row for row in rows if row["pair_id"] == pair and not row["gate"]]
        assert [row["k"] for row in own if row["selected"]] == [max(own, key=lambda row: row["p_composite"])["k"]]
    reselect(run, scorer=dark, scorer_digest="dark")
    assert {(row["pair_id"], row["k"]): pytest.approx(1 - row["p_composite"]) for row in rows_of(run)} == bright
    assert json.loads((run / "selection.json").read_text())["classifier_digest"] == "dark"


@pytest.mark.parametrize("writes", [0, 1, 4, 6, 7])
def test_a_selection_killed_anywhere_is_finished_by_the_same_command(run, rows_of, monkeypatch, tmp_path, writes):
    """Six files are rewritten, then the summary and the record of the choice."""
    calls = iter(range(writes))

    def stop(plain):
        def stopping(*arguments, **options):
            if next(calls, None) is None:
                raise KeyboardInterrupt
            plain(*arguments, **options)

        return stopping

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_parquet", stop(module.write_parquet))
        patch.setattr(module, "write_json", stop(module.write_json))
        with pytest.raises(KeyboardInterrupt):
            reselect(run, rule="random", seed=2, count=2)
    reselect(run, rule="random", seed=2, count=2)
    rows = rows_of(run)
    assert {row["reason"].partition(" rank")[0] for row in rows if row["reason"] and not row["gate"]} == {"rule:random"}
    assert len(selected(rows)) == 12
    assert {key for key, score in scores_beside(run).items() if score["selected"]} == selected(rows)
    assert json.loads((run / "summary.json").read_text())["selected"] == 12
    assert json.loads((run / "selection.json").read_text())["rule"] == "random"


def test_a_shard_of_bad_photos_only_is_no_obstacle(settings_of, six_photos, rows_of):
    for index in (2, 3):
        (six_photos / "images" / f"p{index}.png").write_bytes(b"x")
    settings = settings_of(max_bad_fraction=1)
    synthesize(settings)
    assert reselect(settings.out, rule="random", seed=1).candidates == 16
    assert synthesize(settings).summary["quarantined"] == 2


def test_a_run_that_kept_only_the_best_is_refused(settings_of):
    synthesize(settings_of(keep="best"))
    with pytest.raises(UsageError, match="--keep all"):
        reselect(settings_of().out, rule="random")


def test_an_unfinished_run_is_refused(settings_of):
    synthesize(settings_of(part="0/2"))
    with pytest.raises(UsageError, match="not finished"):
        reselect(settings_of().out, rule="random")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not a run folder"):
        reselect(tmp_path, rule="random")


def test_more_than_k_are_refused(run):
    with pytest.raises(UsageError, match="from 1 to K"):
        reselect(run, count=5)


@pytest.mark.parametrize("lock", ["reselect", "part-0-of-1"])
def test_a_second_one_at_work_is_refused(run, lock, tree):
    before = {name: file for name, file in tree(run).items() if ".lock" not in name}
    with locked(run, lock), pytest.raises(UsageError, match="another run is writing"):
        reselect(run, rule="random")
    assert {name: file for name, file in tree(run).items() if ".lock" not in name} == before


def test_a_gate_that_is_not_given_stays_as_the_run_has_it(settings_of, rows_of):
    settings = settings_of(gates={"min_fmse": 900.0})
    synthesize(settings)
    low = {(row["pair_id"], row["k"]) for row in rows_of(settings.out) if row["gate"] == "fmse-low"}
    reselect(settings.out, gates=GateSettings(max_fmse=100_000.0))
    assert low
    assert low == {(row["pair_id"], row["k"]) for row in rows_of(settings.out) if row["gate"] == "fmse-low"}


def test_what_a_killed_selection_left_is_swept_away(run):
    stray = run / "candidates" / ".part-00000-of-00003.parquet.1.tmp"
    stray.write_bytes(b"half")
    reselect(run, rule="random")
    assert not stray.exists()


def digest(run: Path) -> str:
    return json.loads((run / "plan.json").read_text())["plan_digest"]


def reviewed(run: Path, rows: list[dict]) -> Decisions:
    """Reject the selected of the first pair, accept the last candidate of the second, reject all of the third."""
    pairs = list(dict.fromkeys(row["pair_id"] for row in rows))
    (first,) = (row["k"] for row in rows if row["pair_id"] == pairs[0] and row["selected"])
    made = {(pairs[0], first): "reject", (pairs[1], 3): "accept", **{(pairs[2], k): "reject" for k in range(4)}}
    return Decisions("run", digest(run), made)


def test_a_review_is_applied_and_recorded(run, rows_of):
    before = rows_of(run)
    made = reviewed(run, before)
    result = reselect(run, decisions=made)
    after = rows_of(run)
    pairs = list(dict.fromkeys(row["pair_id"] for row in after))
    taken = dict(sorted(selected(after)))
    assert pairs[2] not in taken
    assert taken[pairs[1]] == 3
    assert taken[pairs[0]] != dict(sorted(selected(before)))[pairs[0]]
    assert {pair: taken[pair] for pair in pairs[3:]} == {
        pair: k for pair, k in selected(before) if pair in set(pairs[3:])
    }
    assert sum(row["reason"] == "review:rejected" for row in after) == 5
    assert (result.accepted, result.rejected, result.unfilled, result.selected) == (1, 5, 1, 5)
    held = json.loads((run / "selection.json").read_text())
    assert held["decisions"] == to_rows(made.of)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["dropped"]["review:rejected"] == 5
    assert (summary["selection"]["accepted"], summary["selection"]["rejected"]) == (1, 5)
    beside = scores_beside(run)
    assert {key: score["review"] for key, score in beside.items() if "review" in score} == made.of


def test_a_review_stays_until_another_takes_its_place(run, rows_of, tree):
    first = selected(rows_of(run))
    made = reviewed(run, rows_of(run))
    reselect(run, decisions=made)
    taken, before = selected(rows_of(run)), tree(run)
    assert reselect(run, decisions=made).shards_rewritten == 0
    assert tree(run) == before
    reselect(run, count=2)
    reselect(run, count=1)
    assert selected(rows_of(run)) == taken
    reselect(run, decisions=Decisions("run", digest(run), {}))
    assert selected(rows_of(run)) == first
    assert "decisions" not in json.loads((run / "selection.json").read_text())
    assert not [score for score in scores_beside(run).values() if "review" in score]


def test_a_review_of_another_run_or_of_unknown_candidates_changes_nothing(run, tree):
    before = tree(run)
    with pytest.raises(UsageError, match="of the run 'other' with plan 00"):
        reselect(run, decisions=Decisions("other", "00", {}))
    with pytest.raises(UsageError, match="does not have pair 'nobody'"):
        reselect(run, decisions=Decisions("run", digest(run), {("nobody", 0): "accept"}))
    assert tree(run) == before


def test_what_a_reviewer_rejected_is_neither_exported_nor_picked(run, rows_of, tmp_path):
    made = reviewed(run, rows_of(run))
    reselect(run, decisions=made, gates=GateSettings(min_fmse=9999))
    rows = Run.open(run).usable().to_pylist()
    assert [(row["pair_id"], row["k"]) for row in rows] == [key for key, word in made.of.items() if word == "accept"]
    export(ExportSettings(run=run, out=tmp_path / "dataset"))
    assert len(list((tmp_path / "dataset").rglob("composite_images/*"))) == 1


def test_a_file_whose_footer_lost_a_columns_name_is_refused_and_not_written_again(run, tree):
    """A footer has no checksum: one flipped bit renames a column, and to write the file again would make it right."""
    path = sorted((run / "pairs").glob("*.parquet"))[1]
    table = pq.read_table(path)
    names = ["fg_rauio" if name == "fg_ratio" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names).replace_schema_metadata(table.schema.metadata), path)
    before = tree(run)
    with pytest.raises(StorageError, match=f"{path.name}.* lacks the columns fg_ratio"):
        reselect(run, rule="quantile")
    assert tree(run)[f"pairs/{path.name}"] == before[f"pairs/{path.name}"]


def stopped_after(writes: int, monkeypatch, **choice) -> None:
    """Select or score by ``choice`` and stop after a number of files: pairs and candidates of each shard, in turn."""
    calls = iter(range(writes))
    plain = module.write_parquet

    def stopping(*arguments, **options):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        plain(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_parquet", stopping)
        with pytest.raises(KeyboardInterrupt):
            reselect(**choice)


def test_scores_of_two_classifiers_are_not_selected_from(run, rows_of, monkeypatch):
    stopped_after(2, monkeypatch, out=run, scorer=brightness, scorer_digest="bright")
    with pytest.raises(UsageError, match=r"1 of 3 shards hold scores .*repeat the harmonygen score"):
        reselect(run, rule="random")
    reselect(run, scorer=brightness, scorer_digest="bright")
    scored = {(row["pair_id"], row["k"]): row["p_composite"] for row in rows_of(run)}
    reselect(run, rule="random")
    assert {(row["pair_id"], row["k"]): row["p_composite"] for row in rows_of(run)} == scored


@pytest.mark.parametrize("writes", [1, 3, 5])
def test_back_to_the_choice_before_one_that_was_stopped_between_two_files(run, rows_of, monkeypatch, writes):
    reselect(run, count=2)
    stopped_after(writes, monkeypatch, out=run, count=3)
    reselect(run, count=2)
    rows = rows_of(run)
    assert {key for key, score in scores_beside(run).items() if score["selected"]} == selected(rows)
    assert json.loads((run / "summary.json").read_text())["selected"] == len(selected(rows)) == 12


@pytest.mark.parametrize("first", [True, False])
def test_a_half_applied_review_is_not_picked_from(run, rows_of, monkeypatch, first):
    if not first:
        reselect(run, rule="quantile")
    made = reviewed(run, rows_of(run))
    stopped_after(2, monkeypatch, out=run, decisions=made)
    with pytest.raises(UsageError, match=r"half done \(1 of 3 shards"):
        Run.open(run)
    reselect(run, decisions=made)
    assert Run.open(run).rows().num_rows == 24


def test_a_shard_that_was_made_again_after_a_review_is_not_picked_from(run, rows_of, settings_of):
    reselect(run, decisions=reviewed(run, rows_of(run)))
    chosen = selected(rows_of(run))
    (run / "candidates" / "part-00001-of-00003.parquet").unlink()
    with pytest.raises(UsageError, match=r"not finished \(2 of 3 shards"):
        reselect(run, rule="random")
    synthesize(settings_of())
    with pytest.raises(UsageError, match="repeat the select or score command"):
        Run.open(run)
    reselect(run)
    assert selected(rows_of(run)) == chosen


def flipped(path: Path) -> Path:
    """Flip a bit in the middle of the file's first picture."""
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 40] ^= 1
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize("folder", ["candidates", "pairs"])
def test_a_flipped_bit_in_a_picture_is_found_before_another_selection_is_written(run, folder):
    path = flipped(run / folder / "part-00001-of-00003.parquet")
    with pytest.raises(StorageError, match=f"cannot read '{path}'"):
        reselect(run, rule="random")


def test_a_flipped_bit_in_a_picture_is_found_before_it_is_mixed_in(run):
    found = Run.open(run)
    path = flipped(run / "candidates" / "part-00001-of-00003.parquet")
    with pytest.raises(StorageError, match=f"cannot read '{path}'"):
        list(found.composites(found.rows().to_pylist()))
    path = flipped(run / "pairs" / "part-00001-of-00003.parquet")
    with pytest.raises(StorageError, match=f"cannot read '{path}'"):
        list(found.images(1))


@pytest.mark.parametrize("place", [b"ARROW:schema", b"shift_g"])
def test_a_damaged_footer_is_told_with_the_files_name(run, place):
    """The schema's encoding is damaged, or a column's name."""
    path = run / "candidates" / "part-00001-of-00003.parquet"
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    harmed = content[footer:].replace(place, bytes([place[0] ^ 1]) + place[1:])
    if place == b"ARROW:schema":
        at = content.index(place, footer) - footer + 40
        harmed = content[footer : footer + at] + b"\0" + content[footer + at + 1 :]
    path.write_bytes(content[:footer] + harmed)
    with pytest.raises(StorageError, match=f"cannot read '{path}'"):
        reselect(run, rule="random")
