"""Every adapter at every door in a whole job that is killed with SIGKILL and run again: nothing lost, nothing other."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

import pytest

pytest.importorskip("transformers")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from harmonygen.harmonization.harmonize import harmonize
from harmonygen.harmonization.settings import HarmonizeSettings
from harmonygen.plugins.doors import DOORS
from harmonygen.plugins.guard import GuardedGenerator, GuardedHarmonizer, GuardedJudge
from harmonygen.plugins.judges import column_name
from harmonygen.synthesis.synthesize import synthesize
from tests.fakes.small_adapters import small_adapters

ADAPTERS = small_adapters()
GUARDS = {"generator": GuardedGenerator, "judge": GuardedJudge, "harmonizer": GuardedHarmonizer}


def killed_at(guard, calls, out, pattern, work) -> int:
    """Do ``work`` in a child that kills itself when the plug-in is called once more than ``calls`` times.

    It waits until a file like ``pattern`` is there: what is written is written behind the model.
    """
    child = os.fork()
    if child == 0:
        plain, left = guard.__call__, iter(range(calls))

        def dying(self, *given, **more):
            if next(left, None) is None:
                until = time.monotonic() + 20
                while not list(out.rglob(pattern)) and time.monotonic() < until:
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(self, *given, **more)

        guard.__call__ = dying
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def at_doors(*kinds):
    marked = [
        pytest.param(each, id=str(each), marks=[pytest.mark.long] if each.is_another else [])
        for each in ADAPTERS
        if each.kind in kinds
    ]
    return pytest.mark.parametrize("adapter", marked)


def run_settings(adapter, folder, settings_of):
    how = adapter.write(folder)
    if adapter.kind == "judge":
        given = {
            "classifier": "starter",
            "judge": (adapter.plugin,),
            "judge_settings": {column_name(adapter.plugin): how},
        }
    else:
        given = {"generator": adapter.plugin, "generator_settings": how}
    return partial(settings_of, **given, k=2, limit=3, shard_size=1)


@at_doors("generator", "judge")
def test_a_run_killed_and_repeated_has_the_same_rows(adapter, settings_of, rows_of, tmp_path, small_megapixel):
    settings = run_settings(adapter, tmp_path / "model", settings_of)
    straight, killed = settings(out=tmp_path / "straight"), settings(out=tmp_path / "killed")
    assert synthesize(straight).summary["kept"] == 6
    assert (
        killed_at(GUARDS[adapter.kind], 2, killed.out, "candidates/part-*", lambda: synthesize(killed))
        == -signal.SIGKILL
    )
    assert len(list((killed.out / "candidates").glob("part-*.parquet"))) in (1, 2)
    assert not (killed.out / "summary.json").exists()
    assert synthesize(killed).shards_run in (1, 2)
    assert rows_of(killed.out) == rows_of(straight.out)
    assert len({row["pixels"] for row in rows_of(killed.out)}) == 6
    assert synthesize(killed).shards_run == 0


@at_doors("harmonizer")
def test_a_harmonization_killed_and_repeated_has_the_same_pictures(adapter, finished_run, tmp_path, small_megapixel):
    how = adapter.write(tmp_path / "model")

    def settings(out):
        return HarmonizeSettings(
            data=str(finished_run),
            method=adapter.plugin,
            method_settings=how,
            out=tmp_path / out,
            limit=3,
            device="cpu",
        )

    def pictures(out):
        return {path.relative_to(tmp_path / out): path.read_bytes() for path in (tmp_path / out).rglob("*.png")}

    assert harmonize(settings("straight")).made == 3
    assert (
        killed_at(GuardedHarmonizer, 2, tmp_path / "killed", "*.png", lambda: harmonize(settings("killed")))
        == -signal.SIGKILL
    )
    assert 1 <= len(pictures("killed")) <= 2
    there = len(pictures("killed"))
    again = harmonize(settings("killed"))
    assert (again.kept, again.made) == (there, 3 - there)
    assert pictures("killed") == pictures("straight")


def test_every_adapter_is_killed_above():
    assert {(each.kind, each.plugin) for each in ADAPTERS} == {
        (door.kind, name) for door in DOORS for name in door.built_in.keys() - door.own
    }
