"""The pool of Ray actors against a made-up Ray: who is handed what, who is replaced, and when it gives up."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from contextlib import redirect_stdout
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygen.errors import CheckpointError, HarmonygenError
from harmonygen.storage.shards import cut
from harmonygen.synthesis.engines.ray import DEATHS_ALLOWED, _in_actors, _OursAlone


class RayError(Exception):
    """A process or machine is gone."""


class RayTaskError(RayError):
    """What was called raised ``cause``."""

    def __init__(self, cause):
        self.cause = cause


class MadeUpRay:
    """Calls are done at once, in turn; ``faults`` says what a call (actor's number, shard's index or None) ends in."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, faults=None, never_ready=()):
        self.faults, self.never_ready = dict(faults or {}), never_ready
        self.actors, self.handed, self.killed, self.swept = 0, [], [], []

    def start(self):
        number, self.actors = self.actors, self.actors + 1

        def call(shard=None):
            self.handed.append((number, shard.index if shard else None))
            return SimpleNamespace(actor=number, shard=shard)

        named = SimpleNamespace(remote=call)
        return SimpleNamespace(number=number, ready=named, run=named)

    def wait(self, answers, timeout):
        assert answers, "nothing is running, and yet something is waited for"
        done = [answer for answer in answers if answer.actor not in self.never_ready]
        return done[:1], []

    def get(self, answer):
        key = answer.shard.index if answer.shard else None
        faults = self.faults.get(key, [])
        if faults and (fault := faults.pop(0)):
            raise fault
        return f"result of {key}"

    def kill(self, actor):
        self.killed.append(actor.number)


def run(ray, shards, workers):
    return [
        (shard.index, result) for shard, result in _in_actors(ray, ray.start, shards, workers, named, ray.swept.append)
    ]


def named(shard):
    return f"shard {shard.index}"


class Answer(SimpleNamespace):
    __hash__ = object.__hash__


@pytest.fixture(autouse=True, scope="module")
def hashable_answers():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "SimpleNamespace", Answer)
        yield


@given(
    shards=st.integers(1, 9), workers=st.integers(1, 4), deaths=st.dictionaries(st.integers(0, 8), st.integers(0, 2))
)
def test_every_shard_is_yielded_once_whoever_dies(shards, workers, deaths):
    ray = MadeUpRay({index: [RayError("gone")] * times for index, times in deaths.items()})
    found = run(ray, cut(shards, 1), workers)
    assert sorted(found) == [(index, f"result of {index}") for index in range(shards)]
    met = sum(times for index, times in deaths.items() if index < shards)
    assert len(ray.killed) == len(ray.swept) == met
    assert ray.actors == min(workers, shards) + met
    handed = Counter(index for _, index in ray.handed if index is not None)
    assert all(handed[index] == 1 + deaths.get(index, 0) for index in range(shards))


def test_a_free_actor_gets_the_next_shard_and_a_dead_one_none():
    ray = MadeUpRay({1: [RayError("gone")]})
    run(ray, cut(4, 1), 2)
    dead = next(number for number, index in ray.handed if index == 1)
    after = ray.handed.index((dead, 1)) + 1
    assert dead not in [number for number, _ in ray.handed[after:]]


def test_actors_that_never_become_ready_hold_nothing_up():
    ray = MadeUpRay(never_ready=(0, 2))
    assert len(run(ray, cut(5, 1), 3)) == 5
    assert {number for number, index in ray.handed if index is not None} == {1}


def test_a_shard_that_ends_its_worker_once_too_often_is_named():
    ray = MadeUpRay({2: [RayError("out of memory")] * 9})
    pool = _in_actors(ray, ray.start, cut(4, 1), 2, named, ray.swept.append)
    with pytest.raises(HarmonygenError, match=r"shard 2 ended its worker 3 times \(out of memory\).*fewer --workers"):
        list(pool)
    assert len(ray.killed) == DEATHS_ALLOWED


def test_workers_that_cannot_start_end_the_run():
    with pytest.raises(HarmonygenError, match=r"ended 3 times before they were ready.*installed on every machine"):
        run(MadeUpRay({None: [RayError("no module named harmonygen")] * 9}), cut(4, 1), 1)


def test_starts_that_fail_now_and_then_do_not():
    ray = MadeUpRay(
        {None: [RayError("gone"), None, RayError("gone"), None, RayError("gone"), None], 0: [RayError("x")] * 2}
    )
    assert len(run(ray, cut(3, 1), 1)) == 3


def test_what_rays_threads_print_is_no_part_of_stdout(capsys):
    with redirect_stdout(_OursAlone(sys.stdout)):
        print("ours")
        thread = threading.Thread(target=print, args=("(raylet) A worker died",), name="ray_listen_error_messages")
        thread.start()
        thread.join()
    assert capsys.readouterr() == ("ours\n", "(raylet) A worker died\n")


def test_a_workers_own_error_is_raised_as_it_is():
    with pytest.raises(CheckpointError, match="other weights"):
        run(MadeUpRay({None: [RayTaskError(CheckpointError("other weights"))]}), cut(2, 1), 1)
