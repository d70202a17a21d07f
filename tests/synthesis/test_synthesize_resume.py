"""Synthesis stopped, repeated, cut into parts, reordered or run twice at once: nothing lost, nothing twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from harmonygen.data import read_pairs
from harmonygen.errors import UsageError
from harmonygen.records import PairSet
from harmonygen.storage.shards import locked
from harmonygen.synthesis import synthesize as module
from harmonygen.synthesis.generators.color_jitter import ColorJitterGenerator
from harmonygen.synthesis.synthesize import synthesize


class StopError(Exception):
    """What a test stops a run with."""


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch):
    """Make the LUT generator raise after n photos."""

    def arm(photos: int) -> None:
        plain, calls = ColorJitterGenerator.__call__, iter(range(photos))

        def stopping(self, photo, candidates):
            if next(calls, None) is None:
                monkeypatch.setattr(ColorJitterGenerator, "__call__", plain)
                raise StopError
            return plain(self, photo, candidates)

        monkeypatch.setattr(ColorJitterGenerator, "__call__", stopping)

    return arm


def by_key(rows: list[dict]) -> dict[tuple[str, int], tuple]:
    return {(row["pair_id"], row["k"]): (row["seed"], row["pixels"], row["selected"], row["gate"]) for row in rows}


@pytest.mark.parametrize("photos", [0, 1, 2, 5])
def test_a_run_stopped_after_n_photos_goes_on_without_loss_or_repeat(
    settings_of, rows_of, stop_after, tmp_path, photos
):
    settings = settings_of()
    stop_after(photos)
    with pytest.raises(StopError):
        synthesize(settings)
    whole = [path.name for path in (settings.out / "candidates").iterdir() if not path.name.startswith(".")]
    assert len(whole) == photos // 2
    assert not (settings.out / "summary.json").exists()
    resumed = synthesize(settings)
    assert resumed.shards_run == 3 - photos // 2
    synthesize(settings_of(out=tmp_path / "straight"))
    rows, straight = rows_of(settings.out), rows_of(tmp_path / "straight")
    assert set(Counter((row["pair_id"], row["k"]) for row in rows).values()) == {1}
    assert by_key(rows) == by_key(straight)
    assert [(row["pair_id"], row["k"]) for row in rows] == [(row["pair_id"], row["k"]) for row in straight]
    assert not list(settings.out.rglob("*.tmp"))


def test_a_torn_file_is_made_again(settings_of, rows_of):
    settings = settings_of()
    synthesize(settings)
    before = by_key(rows_of(settings.out))
    torn = settings.out / "candidates" / "part-00001-of-00003.parquet"
    torn.write_bytes(torn.read_bytes()[:-20])
    (settings.out / "pairs" / "part-00002-of-00003.parquet").unlink()
    assert synthesize(settings).shards_run == 2
    assert by_key(rows_of(settings.out)) == before


def test_a_finished_run_repeated_writes_nothing(settings_of, tree):
    settings = settings_of()
    first = synthesize(settings)
    before, folders = (
        tree(settings.out),
        {path: path.stat().st_mtime_ns for path in settings.out.rglob("*") if path.is_dir()},
    )
    again = synthesize(settings)
    assert tree(settings.out) == before
    assert {path: path.stat().st_mtime_ns for path in settings.out.rglob("*") if path.is_dir()} == folders
    assert again.shards_run == 0
    assert again.summary == first.summary


def test_a_lost_summary_or_report_is_written_again_from_the_shards(settings_of, tree):
    settings = settings_of()
    first = synthesize(settings)
    before = tree(settings.out)
    for name in ("summary.json", "report.html"):
        (settings.out / name).unlink()
    again = synthesize(settings)
    assert again.shards_run == 0
    assert again.summary == first.summary
    assert set(tree(settings.out)) == set(before)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"k": 5}, "k: 4 then, 5 now"),
        ({"seed": 1}, "seed: 0 then, 1 now"),
        ({"keep": "best"}, "keep: 'all' then, 'best' now"),
        ({"shard_size": 3}, "shard_size: 2 then, 3 now"),
        ({"limit": 5}, "limit"),
    ],
)
def test_changed_options_are_refused_by_name(settings_of, tree, changes, named):
    synthesize(settings_of(k=4))
    before = tree(settings_of().out)
    with pytest.raises(UsageError, match=named):
        synthesize(settings_of(**changes))
    after = tree(settings_of().out)
    assert {name: file for name, file in after.items() if ".lock" not in name} == {
        name: file for name, file in before.items() if ".lock" not in name
    }


def test_changed_inputs_are_refused(settings_of, six_photos):
    synthesize(settings_of(k=1))
    for folder in ("images", "masks"):
        (six_photos / folder / "p5.png").rename(six_photos / folder / "q5.png")
    with pytest.raises(UsageError, match="inputs_digest changed"):
        synthesize(settings_of(k=1))


def test_how_a_run_is_carried_out_may_change(settings_of, stop_after):
    stop_after(2)
    with pytest.raises(StopError):
        synthesize(settings_of())
    assert synthesize(settings_of(batch_size="3", max_bad_fraction=0.3)).shards_run == 2


def test_overwrite_begins_anew_and_leaves_strangers_alone(settings_of, rows_of):
    synthesize(settings_of(k=4))
    (settings_of().out / "notes.txt").write_text("mine")
    synthesize(settings_of(k=2), overwrite=True)
    assert {row["k"] for row in rows_of(settings_of().out)} == {0, 1}
    assert (settings_of().out / "notes.txt").read_text() == "mine"


def test_two_parts_make_the_rows_of_one_run(settings_of, rows_of, tmp_path):
    whole = synthesize(settings_of(out=tmp_path / "whole"))
    first = synthesize(settings_of(part="0/2"))
    assert first.summary == {}
    assert not (settings_of().out / "summary.json").exists()
    second = synthesize(settings_of(part="1/2"))
    assert (first.shards_run, second.shards_run) == (2, 1)
    assert by_key(rows_of(settings_of().out)) == by_key(rows_of(tmp_path / "whole"))
    assert {
        key: value for key, value in second.summary.items() if "seconds" not in key and key != "candidates_per_second"
    } == {key: value for key, value in whole.summary.items() if "seconds" not in key and key != "candidates_per_second"}


@pytest.mark.parametrize("generator", ["lut", "diffusion", "color-transfer"])
def test_the_order_of_the_data_changes_no_candidate(
    settings_of, rows_of, tmp_path, tiny_inverse, monkeypatch, generator
):
    options = {"generator": generator, "model": str(tiny_inverse), "k": 3, "methods": ("reinhard",), "resolution": 32}
    synthesize(settings_of(**options, out=tmp_path / "one"))

    def backwards(*arguments, **keywords) -> PairSet:
        found = read_pairs(*arguments, **keywords)
        return PairSet(found.pairs[::-1], found.layout, found.root, found.bad)

    monkeypatch.setattr(module, "read_pairs", backwards)
    synthesize(settings_of(**options, out=tmp_path / "other", shard_size=5))
    one, other = rows_of(tmp_path / "one"), rows_of(tmp_path / "other")
    assert [row["pair_id"] for row in one] != [row["pair_id"] for row in other]
    assert by_key(one) == by_key(other)


@pytest.mark.slow
def test_two_workers_make_the_rows_and_pixels_of_one(settings_of, rows_of, tmp_path):
    synthesize(settings_of(k=2, out=tmp_path / "one"))
    synthesize(settings_of(k=2, workers=2))
    assert by_key(rows_of(settings_of().out)) == by_key(rows_of(tmp_path / "one"))


def test_a_second_run_on_the_folder_is_refused(settings_of, tree):
    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    settings = settings_of()
    with pytest.raises(KeyboardInterrupt):
        synthesize(settings, progress=interrupt)
    before = tree(settings.out)
    with locked(settings.out, "part-0-of-1"):
        for overwrite in (False, True):
            with pytest.raises(UsageError, match="another run is writing"):
                synthesize(settings, overwrite=overwrite)
    assert {name for name in tree(settings.out) if ".lock" not in name} == {
        name for name in before if ".lock" not in name
    }


@pytest.mark.parametrize("lock", ["part-1-of-2", "reselect"])
def test_a_run_cut_otherwise_or_a_selection_at_work_refuses_a_run(settings_of, lock):
    out = settings_of().out
    out.mkdir()
    with locked(out, lock), pytest.raises(UsageError, match="another run is writing"):
        synthesize(settings_of(k=1))


def test_parts_of_one_job_array_work_side_by_side(settings_of):
    out = settings_of().out
    out.mkdir()
    with locked(out, "part-1-of-2"):
        assert synthesize(settings_of(k=1, part="0/2")).shards_run == 2


def test_overwrite_of_one_part_is_refused_since_it_would_remove_the_others(settings_of, tree):
    synthesize(settings_of(part="0/2"))
    before = tree(settings_of().out)
    with pytest.raises(UsageError, match=r"--overwrite with --part 1/2"):
        synthesize(settings_of(part="1/2"), overwrite=True)
    assert {name for name in before if "part-" in name} <= set(tree(settings_of().out))


HOLD = """
import sys, time
from pathlib import Path
from harmonygen.storage.shards import locked
with locked(Path(sys.argv[1]), "part-0-of-1"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_dies_with_its_process(settings_of):
    out = settings_of().out
    out.mkdir()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another run is writing"):
            synthesize(settings_of(k=1))
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    assert synthesize(settings_of(k=1)).shards_run == 3


def test_what_a_killed_run_left_behind_is_swept_away(settings_of):
    settings = settings_of()
    for folder in ("candidates", "pairs"):
        (settings.out / folder).mkdir(parents=True)
        (settings.out / folder / ".part-00001-of-00003.parquet.4242.tmp").write_bytes(b"half")
    (settings.out / ".lock-like").write_text("")
    with pytest.raises(UsageError, match="not a run"):  # no plan.json: never a run of ours
        synthesize(settings)
    shutil.rmtree(settings.out)
    synthesize(settings_of(limit=3))
    (settings.out / "candidates" / "part-00001-of-00002.parquet").rename(
        settings.out / "candidates" / ".part-00001-of-00002.parquet.4242.tmp"
    )
    synthesize(settings_of(limit=3))
    assert not list(settings.out.rglob("*.tmp"))


def test_pictures_are_not_read_to_plan(settings_of, six_photos, monkeypatch):
    from harmonygen.data import read_pairs
    from harmonygen.synthesis.synthesize import prepare

    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("a photo was decoded"))
    pairs = read_pairs(settings_of().data)
    assert prepare(settings_of(), pairs)[1].pairs == 6


def test_paths_in_a_message_are_the_users(settings_of):
    synthesize(settings_of(k=1))
    with pytest.raises(UsageError) as refused:
        synthesize(settings_of(k=2))
    assert str(Path(settings_of().out)) in str(refused.value)
    assert "--overwrite" in str(refused.value)


def test_what_a_killed_run_left_half_written_is_removed_by_the_next(settings_of):
    settings = settings_of()
    synthesize(settings)
    strays = [settings.out / name for name in (".summary.json.7.tmp", "pairs/.part-00000-of-00003.parquet.7.tmp")]
    for stray in strays:
        stray.write_text("half")
    synthesize(settings)
    assert not any(stray.exists() for stray in strays)


def test_a_part_leaves_the_temporary_files_of_other_parts(settings_of):
    settings = settings_of(part="0/2")
    synthesize(settings)
    other = settings.out / ".quarantine.parquet.7.tmp"
    other.write_text("another part writes this")
    synthesize(settings)
    assert other.exists()
