"""The local engine: shards in this process or in others, and what a worker's trouble does."""

from __future__ import annotations

import multiprocessing
import pickle
import queue
from dataclasses import replace
from types import SimpleNamespace

import pytest

from harmonygen.data import read_pairs
from harmonygen.errors import CheckpointError, HarmonygenError, InputError
from harmonygen.storage.shards import cut, is_whole, part_of
from harmonygen.synthesis.engines import local
from harmonygen.synthesis.engines.worker import build_context, job_of
from harmonygen.synthesis.generators import color_jitter
from harmonygen.synthesis.synthesize import prepare


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
    monkeypatch.setattr(color_jitter, "jitter_foreground", lambda *_arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(local.run_shards(context, plan.shards, out))
    assert [path for folder in ("candidates", "pairs") for path in (out / folder).iterdir()] == []


def test_an_input_error_of_the_generator_is_quarantined_not_raised(prepared, monkeypatch):
    context, plan, out = prepared

    def refuse(*_arguments):
        raise InputError("no colours left")

    monkeypatch.setattr(color_jitter, "jitter_foreground", refuse)
    made = [result for _, result in local.run_shards(context, plan.shards, out)]
    assert [(result.pairs, result.quarantined) for result in made] == [(0, 2)] * 3


def test_what_workers_are_sent_holds_no_weights(prepared):
    context, *_ = prepared
    assert len(pickle.dumps(job_of(context))) < 20_000


def test_a_worker_with_other_weights_is_refused(prepared):
    context, *_ = prepared
    job = job_of(context)
    assert build_context(job, "cpu").plan_digest == context.plan_digest
    with pytest.raises(CheckpointError, match=r"digest .* give all workers the same weights"):
        build_context(replace(job, classifier_digest="another"), "cpu")


def test_a_worker_that_died_is_reported_with_what_to_do():
    results = multiprocessing.get_context("spawn").Queue()
    dead = [SimpleNamespace(exitcode=None), SimpleNamespace(exitcode=-9)]
    with pytest.raises(HarmonygenError, match=r"exit code -9.*fewer --workers"):
        local._next_result(results, dead, print)


def test_an_answer_is_taken_before_a_death_is_looked_at():
    answers: queue.Queue = queue.Queue()
    answers.put(("shard", "result"))
    assert local._next_result(answers, [SimpleNamespace(exitcode=1)], print) == ("shard", "result")


def test_a_workers_own_error_goes_back_to_the_parent(prepared, monkeypatch):
    """The worker's loop in this process: the failing shard's error is its last answer."""
    context, plan, out = prepared
    tasks, results = queue.Queue(), queue.Queue()
    for shard in (*plan.shards, None):
        tasks.put(shard)
    monkeypatch.setattr(local.signal, "signal", lambda *_: None)
    local._work(job_of(context), "cpu", tasks, results, out / "missing", 1)
    shard, error = results.get_nowait()
    assert shard == plan.shards[0]
    assert isinstance(error, HarmonygenError)
    assert results.empty()


def test_what_hinders_a_worker_from_starting_goes_back_too(prepared, monkeypatch):
    context, _, out = prepared
    results = queue.Queue()
    monkeypatch.setattr(local.signal, "signal", lambda *_: None)
    local._work(replace(job_of(context), classifier_digest="another"), "cpu", queue.Queue(), results, out, 1)
    assert isinstance(results.get_nowait()[1], CheckpointError)


@pytest.mark.parametrize(
    ("gpus", "device", "asked", "devices"),
    [
        (4, "auto", 0, ["cuda:0", "cuda:1", "cuda:2"]),  # three shards only
        (2, "cuda", 3, ["cuda:0", "cuda:1", "cuda:0"]),
        (2, "cuda:1", 2, ["cuda:1", "cuda:1"]),
        (2, "cpu", 2, ["cpu", "cpu"]),
        (0, "auto", 2, ["auto", "auto"]),
    ],
)
def test_each_worker_has_a_device_of_its_own(settings_of, prepared, monkeypatch, gpus, device, asked, devices):
    """Processes that only note what they were started with."""
    started = []

    class Noted:
        exitcode = 0

        def __init__(self, target, args):
            started.append(args[1])
            self.results, self.tasks = args[3], args[2]

        def start(self):
            while (shard := self.tasks.get()) is not None:
                self.results.put((shard, "done"))

        def join(self):
            """Ended already."""

        terminate = join

    spawn = SimpleNamespace(Queue=queue.Queue, Process=Noted)
    monkeypatch.setattr(local.multiprocessing, "get_context", lambda _: spawn)
    monkeypatch.setattr(local, "_gpus", lambda: gpus)
    context, plan, out = prepared
    context = replace(context, settings=settings_of(device=device, workers=asked))
    assert len(list(local.run_shards(context, plan.shards, out))) == 3
    assert started == devices


def test_one_gpu_or_none_means_one_worker_in_this_process(settings_of, monkeypatch):
    for gpus, device, workers in [(0, "auto", 1), (1, "auto", 1), (4, "cpu", 1), (4, "auto", 4)]:
        monkeypatch.setattr(local, "_gpus", lambda gpus=gpus: gpus)
        assert local.workers_here(settings_of(device=device)) == workers


def test_parts_share_all_shards_between_them():
    shards = cut(23, 2)
    parts = [part_of(shards, part, 5) for part in range(5)]
    assert sorted((shard for part in parts for shard in part), key=lambda shard: shard.index) == shards
