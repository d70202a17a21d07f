"""`harmonygen synthesize`: what a run folder holds."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import harmonygen
from harmonygen.errors import StorageError, TooManyBadInputsError, UsageError
from harmonygen.seeds import candidate_seed
from harmonygen.synthesis.settings import GateSettings
from harmonygen.synthesis.synthesize import synthesize

CONTRACT = ["pair_id", "real_id", "mask_id", "subset", "k", "seed", "composite", "width", "height", "fg_ratio"]
CONTRACT += ["p_composite", "selected", "gate", "generator", "model_digest", "params_digest"]
"""DESIGN section 4."""


def pair_rows(out: Path) -> list[dict]:
    return [row for path in sorted((out / "pairs").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_candidates_have_the_contracts_columns_in_order_and_one_row_each(settings_of, rows_of):
    settings = settings_of()
    result = synthesize(settings)
    files = sorted(path.name for path in (settings.out / "candidates").iterdir())
    assert files == [f"part-0000{index}-of-00003.parquet" for index in range(3)]
    assert pq.read_schema(settings.out / "candidates" / files[0]).names[: len(CONTRACT)] == CONTRACT
    rows = rows_of(settings.out)
    assert [(row["pair_id"], row["k"]) for row in rows] == [
        (pair, k) for pair in sorted({r["pair_id"] for r in rows}) for k in range(4)
    ]
    assert all(row["seed"] == candidate_seed(0, row["pair_id"], row["k"]) for row in rows)
    assert len({(row["pair_id"], row["pixels"]) for row in rows}) == len(rows) == 24
    assert {(row["width"], row["height"]) for row in rows} == {(64, 48)}
    assert result.pairs == 6


def test_each_pair_has_one_selected_the_highest_that_passed_the_gates(settings_of, rows_of):
    settings = settings_of(k=6, gates=GateSettings(min_fmse=600))
    synthesize(settings)
    rows = rows_of(settings.out)
    assert 0 < sum(row["gate"] == "fmse-low" for row in rows) < len(rows)
    for pair in {row["pair_id"] for row in rows}:
        own = [row for row in rows if row["pair_id"] == pair]
        passed = [row for row in own if not row["gate"]]
        assert [row["k"] for row in own if row["selected"]] == (
            [max(passed, key=lambda row: row["p_composite"])["k"]] if passed else []
        )
        assert all((row["fmse"] < 600) == (row["gate"] == "fmse-low") for row in own if row["gate"] != "clipped")
        assert all(row["reason"] == f"gate:{row['gate']}" for row in own if row["gate"])
        assert all(bool(row["reason"]) != row["selected"] for row in own)


def test_datasets_reads_every_image(settings_of, tmp_path):
    import datasets

    settings = settings_of(k=2)
    synthesize(settings)
    for part, columns in (("candidates", ["composite"]), ("pairs", ["real", "mask"])):
        loaded = datasets.load_dataset(
            "parquet",
            data_files=str(settings.out / part / "*.parquet"),
            split="train",
            cache_dir=str(tmp_path / "cache"),
        )
        assert len(loaded) == (12 if part == "candidates" else 6)
        for row in loaded:
            assert [row[column].size for column in columns] == [(64, 48)] * len(columns)


def test_the_photo_is_named_by_path_and_the_mask_is_held(settings_of, six_photos):
    settings = settings_of(k=1)
    synthesize(settings)
    rows = pair_rows(settings.out)
    assert [Path(row["real"]["path"]) for row in rows] == sorted((six_photos / "images").resolve().iterdir())
    assert all(row["real"]["bytes"] is None for row in rows)
    for row in rows:
        mask = np.asarray(Image.open(io.BytesIO(row["mask"]["bytes"])))
        assert mask.shape == (48, 64)
        assert row["fg_ratio"] == pytest.approx((mask > 0).mean())


def test_max_side_keeps_the_resized_photo_beside_its_composites(settings_of, rows_of):
    settings = settings_of(k=2, max_side=40)
    synthesize(settings)
    rows, photos = rows_of(settings.out), {row["pair_id"]: row for row in pair_rows(settings.out)}
    assert {(row["width"], row["height"]) for row in rows} == {(40, 30)}
    for row in rows:
        beside = photos[row["pair_id"]]
        real = np.asarray(Image.open(io.BytesIO(beside["real"]["bytes"])))
        mask = np.asarray(Image.open(io.BytesIO(beside["mask"]["bytes"]))) > 0
        composite = np.frombuffer(row["pixels"], dtype=np.uint8).reshape(30, 40, 3)
        assert np.array_equal(composite[~mask], real[~mask])
        assert not np.array_equal(composite[mask], real[mask])


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_the_background_is_bit_equal_to_the_photo_in_lossless_formats(settings_of, rows_of, six_photos, image_format):
    settings = settings_of(k=1, limit=2, image_format=image_format)
    synthesize(settings)
    for row in rows_of(settings.out):
        name = row["real_id"].rpartition("/")[2]
        real = np.asarray(Image.open(six_photos / "images" / f"{name}.png"))
        mask = np.asarray(Image.open(six_photos / "masks" / f"{name}.png")) > 0
        composite = np.frombuffer(row["pixels"], dtype=np.uint8).reshape(48, 64, 3)
        assert np.array_equal(composite[~mask], real[~mask])
        assert row["drift"] == 0


def test_the_plan_says_what_was_asked_of_what(settings_of):
    settings = settings_of()
    synthesize(settings)
    plan = json.loads((settings.out / "plan.json").read_text())
    assert plan["harmonygen"] == harmonygen.__version__
    assert plan["verb"] == "synthesize"
    assert plan["settings"]["k"] == 4
    assert plan["settings"]["generator"] == "color-jitter"
    assert plan["layout"] == "folders"
    assert plan["pairs"] == 6
    assert [(shard["start"], shard["stop"]) for shard in plan["shards"]] == [(0, 2), (2, 4), (4, 6)]
    ids = [row["pair_id"] for row in pair_rows(settings.out)]
    assert [(shard["first"], shard["last"]) for shard in plan["shards"]] == [(ids[i], ids[i + 1]) for i in (0, 2, 4)]
    for name in ("plan_digest", "inputs_digest", "model_digest", "classifier_digest"):
        assert plan[name]


def test_the_summarys_numbers_add_up(settings_of, rows_of, six_photos):
    (six_photos / "images" / "p3.png").write_bytes(b"broken")
    settings = settings_of(k=5, gates=GateSettings(min_fmse=700), max_bad_fraction=0.5)
    summary = synthesize(settings).summary
    rows = rows_of(settings.out)
    assert summary == json.loads((settings.out / "summary.json").read_text())
    assert summary["pairs"] == len({row["pair_id"] for row in rows}) == 5
    assert summary["candidates"] == summary["kept"] == len(rows) == summary["pairs"] * summary["k"]
    assert summary["selected"] == sum(row["selected"] for row in rows)
    assert summary["selected"] + sum(summary["dropped"].values()) == summary["candidates"]
    gated = Counter(f"gate:{row['gate']}" for row in rows if row["gate"])
    assert {reason: n for reason, n in summary["dropped"].items() if reason.startswith("gate")} == gated
    assert gated
    scores = [row["p_composite"] for row in rows]
    assert summary["p_composite"]["mean"] == pytest.approx(np.mean(scores))
    assert summary["p_composite"]["median"] == pytest.approx(np.median(scores))
    assert summary["quarantined"] == 1
    assert summary["seconds"] > 0
    assert summary["candidates_per_second"] == pytest.approx(len(rows) / summary["seconds"], rel=0.01)


def test_bad_inputs_are_quarantined_with_their_reason(settings_of, six_photos, rows_of):
    (six_photos / "images" / "p1.png").write_bytes((six_photos / "images" / "p1.png").read_bytes()[:200])
    Image.new("L", (64, 48)).save(six_photos / "masks" / "p4.png")
    settings = settings_of(max_bad_fraction=0.5)
    synthesize(settings)
    bad = pq.read_table(settings.out / "quarantine.parquet").to_pylist()
    assert [set(row) for row in bad] == [{"id", "stage", "error", "message"}] * 2
    assert {row["error"] for row in bad} == {"InputError"}
    assert "damaged or truncated" in bad[0]["message"]
    assert "is empty" in bad[1]["message"]
    assert {row["id"] for row in bad} & {row["pair_id"] for row in rows_of(settings.out)} == set()
    assert len({row["pair_id"] for row in rows_of(settings.out)}) == 4


def test_too_many_bad_inputs_stop_the_run_and_more_leave_lets_it_go_on(settings_of, six_photos):
    for index in (1, 4):
        (six_photos / "images" / f"p{index}.png").write_bytes(b"")
    with pytest.raises(TooManyBadInputsError, match="2 of 6 inputs could not be used, 1 are allowed"):
        synthesize(settings_of())
    assert len(pq.read_table(settings_of().out / "quarantine.parquet")) == 2
    assert synthesize(settings_of(max_bad_fraction=0.4)).summary["quarantined"] == 2


def test_a_shard_with_nothing_readable_is_whole_and_empty(settings_of, six_photos):
    for index in (2, 3):
        (six_photos / "images" / f"p{index}.png").write_bytes(b"x")
    settings = settings_of(max_bad_fraction=1)
    assert synthesize(settings).summary["pairs"] == 4
    assert pq.read_metadata(settings.out / "candidates" / "part-00001-of-00003.parquet").num_rows == 0


@pytest.mark.parametrize(("keep", "kept"), [("best", 1), ("3", 3)])
def test_keep_stores_only_the_selected_but_scores_of_all(settings_of, rows_of, tmp_path, keep, kept):
    synthesize(settings_of(out=tmp_path / "all"))
    settings = settings_of(keep=keep)
    summary = synthesize(settings).summary
    rows, everything = rows_of(settings.out), rows_of(tmp_path / "all")
    assert len(rows) == summary["kept"] == summary["selected"] <= 6 * kept
    assert all(row["selected"] for row in rows)
    pixels = {(row["pair_id"], row["k"]): row["pixels"] for row in everything}
    assert all(pixels[row["pair_id"], row["k"]] == row["pixels"] for row in rows)
    for pair in pair_rows(settings.out):
        scores = json.loads(pair["scores"])
        assert [score["k"] for score in scores] == [0, 1, 2, 3]
        own = sorted(
            (row["p_composite"] for row in everything if row["pair_id"] == pair["pair_id"] and not row["gate"]),
            reverse=True,
        )
        assert sorted((s["p_composite"] for s in scores if s["selected"]), reverse=True) == own[:kept]


def test_a_dry_run_writes_nothing(settings_of):
    result = synthesize(settings_of(), dry_run=True)
    assert (result.pairs, result.shards, result.dry_run) == (6, 3, True)
    assert not settings_of().out.exists()


def test_a_folder_that_holds_something_else_is_refused(settings_of):
    out = settings_of().out
    out.mkdir()
    (out / "thesis.txt").write_text("do not lose me")
    with pytest.raises(UsageError, match=r"not a run \(found thesis.txt\)"):
        synthesize(settings_of())
    with pytest.raises(UsageError, match="not a run"):
        synthesize(settings_of(), overwrite=True)
    assert (out / "thesis.txt").read_text() == "do not lose me"


def test_an_out_that_is_a_file_is_a_storage_error(settings_of):
    settings_of().out.write_text("")
    with pytest.raises(StorageError, match="is a file"):
        synthesize(settings_of())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep": "5"}, "--keep"),
        ({"part": "2/2"}, "--part"),
        ({"device": "tpu"}, "--device tpu"),
        ({"generator": "diffusion", "model": "nowhere"}, "nowhere"),
        ({"generator": "diffusion", "model": "nowhere", "dtype": "float8"}, "--dtype float8"),
        ({"generator": "diffusion", "model": "nowhere", "batch_size": "0"}, "--batch-size"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(settings_of, changes, message):
    with pytest.raises(UsageError, match=message):
        synthesize(settings_of(**changes))
    assert not settings_of().out.exists()
