"""build-human-harmony on a tiny contest folder: what it writes, keeps, leaves out and refuses."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))
from small_contest import PHOTOS, crop, read

from harmonygen.data.manifest import read_manifest
from harmonygen.errors import TooManyBadInputsError, UsageError
from harmonygen.human_harmony.build import build_human_harmony
from harmonygen.human_harmony.photo_split import photos_of_test_split
from harmonygen.runs.decisions import Decisions, write_decisions
from harmonygen.runs.job_folder import read_plan
from harmonygen.storage.parquet_cells import image_cell, image_schema
from harmonygen.storage.shards import locked


def photos(out: Path, split: str) -> set[str]:
    return {row["real_id"] for row in read(out)[split]}


def pixels(cell: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(cell["bytes"])))


def test_a_build_has_both_configurations_split_by_photo(settings_for, contest):
    settings = settings_for()
    result = build_human_harmony(settings)
    chosen, everything = read(settings.out), read(settings.out, "candidates")
    assert (result.train, result.test) == (8, 3)  # 11 photos x 0.25 = 2.75
    assert [len(chosen[split]) for split in ("train", "test")] == [8, 3]
    assert [len(everything[split]) for split in ("train", "test")] == [24, 9]
    assert photos(settings.out, "train").isdisjoint(photos(settings.out, "test"))
    assert {"photo00", "photo0b"} <= photos(settings.out, "train") or {"photo00", "photo0b"} <= photos(
        settings.out, "test"
    )
    for row in chosen["train"] + chosen["test"]:
        assert row["real"]["bytes"] == (contest / "train" / f"{row['real_id']}.jpg").read_bytes()
        real, mask, composite = (pixels(row[name]) for name in ("real", "mask", "composite"))
        assert np.array_equal(composite[mask == 0], real[mask == 0])
        assert (composite[mask > 0] != real[mask > 0]).any()
        assert (row["selected"], row["gate"], row["subset"]) == (True, "", "HumanHarmony")
    assert not list(settings.out.rglob("*.tmp"))


def test_provenance_and_margin_of_the_rows(settings_for):
    settings = settings_for(license="CC BY 4.0")
    build_human_harmony(settings)
    plan = read_plan(settings.out / "work" / "synthesize")
    rows = [row for rows in read(settings.out, "candidates").values() for row in rows]
    by_pair: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_pair.setdefault(row["pair_id"], []).append(row)
        assert (row["run"], row["classifier_digest"]) == (plan["plan_digest"], plan["classifier_digest"])
        assert row["license"] == "CC BY 4.0"
    for own in by_pair.values():
        passed = sorted((row["p_composite"] for row in own if not row["gate"]), reverse=True)
        gap = passed[0] - passed[1] if len(passed) > 1 else None
        assert {row["margin"] for row in own} == {gap}
        assert sorted(row["k"] for row in own) == [0, 1, 2]
    two = by_pair["photo01_union"][0]
    assert (two["class_ids"], two["segments"], json.loads(two["attributes"])) == ("0 1", 2, [3, 7])


def test_what_was_left_out_is_told_with_its_reason(settings_for, contest):
    listed = contest / "products.txt"
    listed.write_text("photo03\n")
    settings = settings_for(product_filter="list", product_list=listed, max_fg=0.33)
    result = build_human_harmony(settings)
    assert result.left_out["product:list"] == 1
    assert result.left_out["min-fg"] == 1
    assert result.left_out["max-fg"] >= 1
    kept = photos(settings.out, "train") | photos(settings.out, "test")
    assert len(kept) == PHOTOS - sum(result.left_out.values())
    assert not {"photo03", "speck"} & kept
    page = (settings.out / "report.html").read_text()
    assert "product:list" in page
    assert "Contact sheet of photos left out" in page
    assert Image.open(settings.out / "dropped.png").width > 1000
    card = (settings.out / "README.md").read_text()
    assert "| product:list | 1 |" in card
    summary = json.loads((settings.out / "summary.json").read_text())
    assert summary["photos_read"] == PHOTOS == summary["pairs"] + sum(summary["left_out"].values())


def test_the_manifest_lists_every_published_file_and_is_whole(settings_for):
    settings = settings_for()
    build_human_harmony(settings)
    entries = read_manifest(settings.out)
    listed = {entry.path: entry for entry in entries}
    published = [
        path for folder in ("data", "candidates", "preferences", "assets") for path in (settings.out / folder).iterdir()
    ]
    assert set(listed) == {path.relative_to(settings.out).as_posix() for path in published} | {"README.md"}
    train = listed["data/train-00000-of-00001.parquet"]
    assert (train.config, train.split, train.rows) == ("default", "train", 8)
    assert listed["candidates/test-00000-of-00001.parquet"].config == "candidates"


def test_load_dataset_decodes_both_configurations(settings_for, tmp_path):
    from datasets import load_dataset

    settings = settings_for()
    build_human_harmony(settings)
    for config, train in (("default", 8), ("candidates", 24)):
        loaded = load_dataset(str(settings.out), config, cache_dir=str(tmp_path / "cache"))
        assert loaded["train"].num_rows == train
        row = loaded["test"][0]
        assert row["composite"].size == row["real"].size == row["mask"].size == (96, 80)


def test_a_finished_build_repeated_writes_nothing(settings_for, tree):
    settings = settings_for()
    first = build_human_harmony(settings)
    before = tree(settings.out)
    again = build_human_harmony(settings)
    assert tree(settings.out) == before
    assert (first.finished_before, again.finished_before) == (False, True)
    assert again.summary == first.summary


def test_a_dry_run_writes_nothing_and_foresees_the_split(settings_for):
    settings = settings_for()
    foreseen = build_human_harmony(settings, dry_run=True)
    assert not settings.out.exists()
    assert (foreseen.pairs, foreseen.train, foreseen.test, foreseen.exact) == (12, 9, 3, False)
    built = build_human_harmony(settings)
    exact = build_human_harmony(settings, dry_run=True)
    assert (exact.train, exact.test, exact.exact) == (built.train, built.test, True)


def test_changed_options_are_refused_by_name(settings_for, tree):
    build_human_harmony(settings_for())
    before = tree(settings_for().out)
    for changes, named in (
        ({"k": 2}, "k: 3 then, 2 now"),
        ({"min_fg": 0.0}, "min_fg"),
        ({"test_fraction": 0.5}, "test_fraction"),
    ):
        with pytest.raises(UsageError, match=named):
            build_human_harmony(settings_for(**changes))
    assert {name: kept for name, kept in tree(settings_for().out).items() if ".lock" not in name} == {
        name: kept for name, kept in before.items() if ".lock" not in name
    }


def test_changed_segments_of_the_same_photos_are_refused(settings_for, contest):
    build_human_harmony(settings_for())
    table = (contest / "train.csv").read_text().splitlines()
    (contest / "train.csv").write_text("\n".join(table[:1] + table[2:]))
    with pytest.raises(UsageError, match="inputs_digest changed"):
        build_human_harmony(settings_for())


def test_another_build_at_work_in_the_folder_is_refused(settings_for):
    settings = settings_for()
    settings.out.mkdir()
    with locked(settings.out, "build"), pytest.raises(UsageError, match="another run is writing"):
        build_human_harmony(settings)


def test_decisions_of_a_review_change_the_dataset_and_the_rest_stays(settings_for, tmp_path, tree):
    settings = settings_for()
    build_human_harmony(settings)
    before = {row["pair_id"]: row["k"] for rows in read(settings.out).values() for row in rows}
    plan = read_plan(settings.out / "work" / "synthesize")
    rejected = {("photo01_union", before["photo01_union"]): "reject"}
    rejected |= {("photo02_union", k): "reject" for k in range(3)}
    write_decisions(tmp_path / "decisions.json", Decisions("run", plan["plan_digest"], rejected))
    result = build_human_harmony(settings_for(decisions=tmp_path / "decisions.json"))
    after = {row["pair_id"]: row["k"] for rows in read(settings.out).values() for row in rows}
    assert after["photo01_union"] != before["photo01_union"]
    assert {pair: k for pair, k in after.items() if pair != "photo01_union"} == {
        pair: k for pair, k in before.items() if pair not in ("photo01_union", "photo02_union")
    }
    assert result.summary["unselected"] == 1
    assert "0 candidates accepted, 4 rejected" in (settings.out / "README.md").read_text()
    assert sum(map(len, read(settings.out, "candidates").values())) == 33
    held = tree(settings.out)
    assert build_human_harmony(settings_for(decisions=tmp_path / "decisions.json")).finished_before
    assert build_human_harmony(settings).finished_before  # a review stays until another takes its place
    assert tree(settings.out) == held


def test_given_lists_are_respected(settings_for, tmp_path):
    (tmp_path / "train.txt").write_text("photo01\nphoto02.jpg\n")
    (tmp_path / "test.csv").write_text("ImageId\nphoto00\nphoto05\n")
    settings = settings_for(train_list=tmp_path / "train.txt", test_list=tmp_path / "test.csv")
    build_human_harmony(settings)
    assert {"photo00", "photo0b", "photo05"} <= photos(settings.out, "test")  # photo0b looks like photo00
    assert {"photo01", "photo02"} <= photos(settings.out, "train")


def test_the_test_split_of_a_parquet_dataset_is_what_a_leak_check_compares_with(tmp_path):
    schema = image_schema({"real": "image", "mask": "image", "real_id": "string"})
    for split in ("train", "eval"):
        row = {"real": image_cell(b"1", "r.png"), "mask": image_cell(b"2", "m.png"), "real_id": f"of-{split}"}
        pq.write_table(pa.Table.from_pylist([row], schema=schema), tmp_path / f"{split}.parquet")
    assert set(photos_of_test_split(tmp_path)) == {"of-eval"}


def test_photos_of_another_test_split_are_left_out_by_id_and_by_pixels(settings_for, tmp_path):
    root = tmp_path / "iHarmony4" / "HFlickr"
    for kind in ("composite_images", "masks", "real_images"):
        (root / kind).mkdir(parents=True)
    crop(4).save(root / "real_images" / "f7.jpg", quality=60)  # photo04 under another name
    crop(5).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "real_images" / "f8.jpg", quality=90)
    names = ("photo02", "f7", "f8")
    (root.parent / "IHD_test.txt").write_text("".join(f"HFlickr/composite_images/{name}_1_1.jpg\n" for name in names))
    settings = settings_for(leak_check=tmp_path / "iHarmony4")
    result = build_human_harmony(settings)
    assert result.left_out["leak"] == 3
    assert result.train + result.test == 8
    assert not {"photo02", "photo04", "photo05"} & (photos(settings.out, "train") | photos(settings.out, "test"))
    assert "photo04_union" not in (settings.out / "report.html").read_text()


def test_an_iharmony4_tree_has_photos_and_lists_by_split(settings_for, contest):
    from harmonygen.data import read_pairs

    settings = settings_for(format="iharmony4")
    result = build_human_harmony(settings)
    for split, expected in (("train", result.train), ("test", result.test)):
        pairs = read_pairs(settings.out, list_file=settings.out / f"IHD_{split}.txt")
        assert len({pair.real_id for pair in pairs}) == expected
        assert all(len(pair.originals) == 1 for pair in pairs)
    real = settings.out / "HumanHarmony" / "real_images" / "photo00.jpg"
    assert real.samefile(contest / "train" / "photo00.jpg")
    listed = {entry.path for entry in read_manifest(settings.out)}
    assert {"HumanHarmony/real_images/photo00.jpg", "IHD_test.txt", "README.md"} <= listed
    assert not (settings.out / "data").exists()
    assert build_human_harmony(settings).finished_before


def test_a_tree_without_some_of_its_photos_counts_those_it_has(settings_for):
    settings = settings_for(format="iharmony4", gates={"min_fmse": 3000.0})
    result = build_human_harmony(settings)
    listed = {split: (settings.out / f"IHD_{split}.txt").read_text().split() for split in ("train", "test")}
    counts = {split: len(names) for split, names in listed.items()}
    summary, card = json.loads((settings.out / "summary.json").read_text()), (settings.out / "README.md").read_text()
    written = sum(counts.values())
    assert 0 < written < 11
    assert summary["rows"] == {"iHarmony4 layout": counts}
    assert (summary["pairs"], summary["selected"], summary["unselected"]) == (written, written, 11 - written)
    assert {split: summary["split"][split] for split in counts} == counts
    assert (result.train, result.test) == (counts["train"], counts["test"])
    assert f"{written} photos, {written} composites chosen among 3 candidates each" in card
    assert f"of {written} photos. Published" in card
    assert all(f"| iHarmony4 layout | {split} | {count} |" in card for split, count in counts.items() if count)


@pytest.mark.parametrize("layout", ["parquet", "iharmony4"])
def test_a_build_does_not_go_on_from_other_photos(layout, settings_for, contest, tree):
    settings = settings_for(format=layout, link="copy")
    build_human_harmony(settings)
    before = tree(settings.out)
    crop(5).save(contest / "train" / "photo02.jpg", quality=95)
    with pytest.raises(UsageError, match=r"1 pair are not .*: photo02_union \(photo\)"):
        build_human_harmony(settings)
    assert tree(settings.out) == before


def test_large_photos_are_resized_and_kept_beside_their_composites(settings_for):
    settings = settings_for(max_side=64)
    build_human_harmony(settings)
    for row in read(settings.out)["train"]:
        assert pixels(row["real"]).shape == pixels(row["composite"]).shape == (53, 64, 3)
        assert pixels(row["mask"]).shape == (53, 64)


def test_a_damaged_photo_is_quarantined_and_the_others_built(settings_for, contest):
    whole = (contest / "train" / "photo06.jpg").read_bytes()
    (contest / "train" / "photo06.jpg").write_bytes(whole[: len(whole) // 2])
    (contest / "train" / "photo07.jpg").write_bytes(b"")
    settings = settings_for(max_bad_fraction=0.2)
    result = build_human_harmony(settings)
    rows = pq.read_table(settings.out / "quarantine.parquet").to_pylist()
    assert [(row["id"], row["stage"]) for row in rows] == [("photo07", "read"), ("photo06_union", "prepare")]
    assert result.quarantined == 2
    assert not {"photo06", "photo07"} & (photos(settings.out, "train") | photos(settings.out, "test"))


def test_too_many_damaged_photos_stop_the_build(settings_for, contest):
    for index in range(3):
        (contest / "train" / f"photo0{index}.jpg").write_bytes(b"")
    with pytest.raises(TooManyBadInputsError, match="3 of 12 inputs"):  # a seventh of all segments
        build_human_harmony(settings_for(max_bad_fraction=0.2))


def test_a_bad_row_costs_its_segment_and_is_counted_against_all_segments(settings_for, contest):
    with open(contest / "train.csv", "a") as opened:
        opened.write("photo04,99999999 5,80,96,0,\n")
    settings = settings_for()
    assert build_human_harmony(settings).quarantined == 1
    (row,) = pq.read_table(settings.out / "quarantine.parquet").to_pylist()
    assert row["id"] == "photo04 row 23"
    with pytest.raises(TooManyBadInputsError, match="1 of 23 inputs"):
        build_human_harmony(settings_for(max_bad_fraction=0, out=settings.out.parent / "strict"))


def test_a_build_that_would_be_empty_says_why(settings_for):
    with pytest.raises(UsageError, match=r"no photo was kept of 12 \(min-fg 12\)"):
        build_human_harmony(settings_for(min_fg=0.9))


def test_a_listed_product_that_is_not_in_the_data_is_refused(settings_for, tmp_path):
    (tmp_path / "list.txt").write_text("photo03\nnobody\n")
    with pytest.raises(UsageError, match="nobody"):
        build_human_harmony(settings_for(product_filter="list", product_list=tmp_path / "list.txt"))


def test_the_curve_of_another_dataset_is_drawn_beside(settings_for, contest):
    settings = settings_for(reference=str(contest))
    result = build_human_harmony(settings)
    name, share = result.summary["fg_ratio"]["reference"]
    assert name == "contest"
    assert 0 < share < 1
    assert f"{share:.1%} of contest" in (settings.out / "README.md").read_text()


@pytest.mark.slow
def test_the_starter_builds_from_a_few_photos(settings_for):
    settings = settings_for(generator="diffusion", classifier="starter", product_filter="heuristic", k=2, limit=3)
    result = build_human_harmony(settings)
    assert result.summary["candidates"] == 2 * result.summary["pairs"] > 0
    assert {row["generator"] for rows in read(settings.out).values() for row in rows} == {"diffusion"}


def test_preferences_are_a_configuration_that_load_dataset_and_publish_read(settings_for, tmp_path, tree):
    from datasets import load_dataset

    from harmonygen.publishing.verify import published_entries, verify

    settings = settings_for(min_margin=0)
    build_human_harmony(settings)
    rows, everything = read(settings.out, "preferences"), read(settings.out, "candidates")
    usable = Counter(row["pair_id"] for own in everything.values() for row in own if not row["gate"])
    counts = {split: sum(usable[row["pair_id"]] > 1 for row in own) for split, own in read(settings.out).items()}
    assert {split: len(own) for split, own in rows.items()} == counts == {"train": 7, "test": 3}
    composites = {(row["pair_id"], row["k"]): row for row in everything["train"] + everything["test"]}
    for row in rows["train"] + rows["test"]:
        for side in ("preferred", "rejected"):
            same = composites[row["pair_id"], row[f"k_{side}"]]
            assert (row[side]["bytes"], row[f"p_{side}"]) == (same["composite"]["bytes"], same["p_composite"])
        assert row["margin"] == row["p_preferred"] - row["p_rejected"] >= 0
        assert row["by"] == "score"
    dataset = load_dataset(str(settings.out), "preferences", cache_dir=str(tmp_path / "cache"))
    assert {split: len(part) for split, part in dataset.items()} == counts
    assert dataset["train"][0]["preferred"].size == dataset["train"][0]["mask"].size
    assert "`k_preferred` and `k_rejected`" in (settings.out / "README.md").read_text()
    assert verify(settings.out, published_entries(settings.out)).faults == ()
    held = tree(settings.out)
    assert build_human_harmony(settings).finished_before
    assert tree(settings.out) == held
    _spoil_backgrounds(*(settings.out / "preferences").glob("train-*"))
    faults = map(str, verify(settings.out, _as_they_are(settings.out)).faults)
    assert any("background pixels of the composite" in fault and "preferences/" in fault for fault in faults)


def _spoil_backgrounds(path):
    table = pq.read_table(path)
    rows = table.to_pylist()
    for row in rows:
        buffer = io.BytesIO()
        Image.fromarray(255 - pixels(row["rejected"])).save(buffer, "PNG")
        row["rejected"]["bytes"] = buffer.getvalue()
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def _as_they_are(out):
    from harmonygen.data.manifest import entry

    return tuple(entry(out, out / each.path, each.config, each.split) for each in read_manifest(out))


def test_the_margin_and_a_review_decide_which_preferences_there_are(settings_for, tmp_path):
    settings = settings_for(min_margin=1)
    build_human_harmony(settings)
    assert not (settings.out / "preferences").exists()
    assert "preferences" not in (settings.out / "README.md").read_text()
    plan = read_plan(settings.out / "work" / "synthesize")
    made = {("photo01_union", 0): "reject", ("photo01_union", 2): "accept"}
    write_decisions(tmp_path / "decisions.json", Decisions("run", plan["plan_digest"], made))
    again = build_human_harmony(settings_for(min_margin=0, decisions=tmp_path / "decisions.json"))
    assert not again.finished_before
    rows = [row for own in read(settings.out, "preferences").values() for row in own]
    (row,) = (row for row in rows if row["pair_id"] == "photo01_union")
    assert (row["k_preferred"], row["k_rejected"], row["by"]) == (2, 0, "review")
