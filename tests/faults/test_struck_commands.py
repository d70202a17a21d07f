"""One command struck in a process of its own, and what the suite's own eyes see: a check that cannot fail is none."""

from __future__ import annotations

import json
import signal

import pytest
from faults import content, jobs, samples
from faults.forge import Forge
from faults.jobs import label, moments
from faults.kills import Tally, check


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    place = tmp_path_factory.mktemp("shop")
    with Forge(place / "said") as forge:
        yield jobs.workshop(forge, place)


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_and_a_stopped_run_go_on_and_what_is_lost_is_seen(shop):
    job = jobs.synthesize(shop)
    expected, straight = shop.straight(job)
    out = shop.out_of(job)
    second = [number for number, event in enumerate(straight.events) if event[0] == "rename"][2]
    killed = shop.forge.run(*job.command(out), trap=shop.trap(job, out, does="kill", at=second))
    assert killed.code == -signal.SIGKILL
    tally = Tally()
    check(shop, job, out, expected, tally, "killed between two renames")
    assert (tally.survived, tally.lost, tally.twice, tally.wrong) == (1, 0, 0, [])

    stop = shop.trap(job, out, does="signal", numbers=[signal.SIGTERM], at=second)
    assert shop.forge.run(*job.command(out), trap=stop).code == 143
    full = shop.trap(job, out, does="error", errno=28, ops=["fsync"], at=2)
    assert shop.forge.run(*job.command(out), trap=full).code == 4
    shop.forge.run(*job.command(out))
    summary = out / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "candidates": 7}))
    check(shop, job, out, expected, tally, "a changed summary")
    assert (tally.survived, tally.lost) == (1, 1)
    assert "summary.json" in tally.wrong[0]


def test_torn_files_and_rows_twice_are_seen(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "candidates").mkdir()
    row = {"pair_id": "a", "k": 0, "composite": b"x"}
    for part in (0, 1):
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "candidates" / f"part-{part}.parquet")
    assert content.twice(tmp_path) == 1
    assert content.torn(tmp_path) == []
    whole = (tmp_path / "candidates" / "part-0.parquet").read_bytes()
    (tmp_path / "candidates" / "part-0.parquet").write_bytes(whole[:-9])
    (tmp_path / "a.json").write_text("{")
    samples.save(samples.picture(), tmp_path / "a.png")
    assert sorted(content.torn(tmp_path)) == ["a.json", "part-0.parquet"]


def test_moments_cover_every_kind_of_event_first():
    events = (("open", "p1"), ("fsync", "p1"), ("open", "p2"), ("fsync", "p2"), ("rename", "x"))
    assert label(events[0]) == label(events[2]) == "open p#"
    assert moments(events, 3) == [2, 3, 4]
    assert moments(events, 99) == [0, 1, 2, 3, 4]
