"""The local engine: shards in this process or in others, and what a worker's trouble does."""

from __future__ import annotations

import multiprocessing
import queue
from types import SimpleNamespace

import pytest

from harmonygen.data import read_pairs
from harmonygen.engines import local
from harmonygen.errors import HarmonygenError, InputError
from harmonygen.shards import cut, is_whole, part_of
from harmonygen.workflows.synthesize import prepare


@pytest.fixture
def prepared(settings_of, six_photos):
    settings = settings_of(k=2)
    context, plan = prepare(settings, read_pairs(six_photos))
    return context, plan, settings.out


def test_shards_are_yielded_in_order_each_with_its_counts(prepared):
    context, plan, out = prepared
    made = list(local.run_shards(context, plan.shards, out))
    assert [shard for shard, _ in made] == list(plan.shards)
    assert [(result.pairs, result.candidates, result.quarantined) for _, result in made] == [(2, 4, 0)] * 3
    for folder in ("candidates", "pairs"):
        assert all(is_whole(out / folder / shard.filename, plan.digest) for shard in plan.shards)


def test_only_the_shards_asked_for_are_run_and_swept(prepared):
    context, plan, out = prepared
    (out / "candidates").mkdir(parents=True)
    strays = [out / "candidates" / f".{shard.filename}.77.tmp" for shard in plan.shards]
    for stray in strays:
        stray.write_bytes(b"half")
    list(local.run_shards(context, part_of(plan.shards, 1, 2), out))
    assert [stray.exists() for stray in strays] == [True, False, True]  # another part may be writing the others
    assert len(list((out / "candidates").glob("part-*"))) == 1


def test_a_shard_that_fails_leaves_no_file(prepared, monkeypatch):
    context, plan, out = prepared
    monkeypatch.setattr(context.generator, "_lut", lambda candidate: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(local.run_shards(context, plan.shards, out))
    assert [path for folder in ("candidates", "pairs") for path in (out / folder).iterdir()] == []


def test_an_input_error_of_the_generator_is_quarantined_not_raised(prepared, monkeypatch):
    context, plan, out = prepared

    def refuse(candidate):
        raise InputError("no colours left")

    monkeypatch.setattr(context.generator, "_lut", refuse)
    made = [result for _, result in local.run_shards(context, plan.shards, out)]
    assert [(result.pairs, result.quarantined) for result in made] == [(0, 2)] * 3


def test_what_workers_are_sent_holds_no_weights(prepared):
    import pickle

    context, *_ = prepared
    portable = local._portable(context)
    assert set(portable) == {"settings", "pairs", "plan_digest", "run_columns"}
    assert len(pickle.dumps(portable)) < 20_000


def test_a_worker_that_died_is_reported_with_what_to_do():
    results = multiprocessing.get_context("spawn").Queue()
    dead = [SimpleNamespace(exitcode=None), SimpleNamespace(exitcode=-9)]
    with pytest.raises(HarmonygenError, match=r"exit code -9.*fewer --workers"):
        local._next_result(results, dead)


def test_an_answer_is_taken_before_a_death_is_looked_at():
    answers: queue.Queue = queue.Queue()
    answers.put(("shard", "result"))
    assert local._next_result(answers, [SimpleNamespace(exitcode=1)]) == ("shard", "result")


def test_a_workers_own_error_goes_back_to_the_parent(prepared, monkeypatch):
    """The worker's loop in this process: the failing shard's error is its last answer."""
    context, plan, out = prepared
    tasks, results = queue.Queue(), queue.Queue()
    for shard in (*plan.shards, None):
        tasks.put(shard)
    monkeypatch.setattr(local.signal, "signal", lambda *_: None)
    local._work(local._portable(context), tasks, results, out / "missing", 1)
    shard, error = results.get_nowait()
    assert shard == plan.shards[0]
    assert isinstance(error, HarmonygenError)
    assert results.empty()


def test_parts_share_all_shards_between_them():
    shards = cut(23, 2)
    parts = [part_of(shards, part, 5) for part in range(5)]
    assert sorted((shard for part in parts for shard in part), key=lambda shard: shard.index) == shards
