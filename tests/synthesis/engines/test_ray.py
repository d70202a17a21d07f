"""The Ray engine on a cluster that is joined: the same bytes as local, whoever dies; and on a Ray of the run's own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import pytest

from harmonygen.errors import HarmonygenError, UsageError
from harmonygen.synthesis.engines import ray as engine
from harmonygen.synthesis.engines.ray import Node, Share, share_of
from harmonygen.synthesis.synthesize import synthesize

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
COMMAND = "from harmonygen_cli.main import main; main()"
K = 12


@pytest.fixture(scope="module")
def own_token(tmp_path_factory):
    """Ray asks for a token; these tests have one of their own, and leave the user's alone."""
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(uuid4().hex)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
        yield


@pytest.fixture(scope="module")
def address(tmp_path_factory, own_token):
    """A Ray cluster of one machine, started as a user would, as processes of its own."""
    said = ""
    for _ in range(3):  # Ray waits 30 s for itself, which a busy machine may need
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = ["--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
        command = [str(Path(sys.executable).with_name("ray")), "start", *options, "--disable-usage-stats"]
        log = tmp_path_factory.mktemp("ray") / "log"
        with log.open("w") as opened:
            process = subprocess.Popen(command, start_new_session=True, stdout=opened, stderr=subprocess.STDOUT)
        try:
            while "Ray runtime started" not in (said := log.read_text()) and process.poll() is None:
                time.sleep(0.1)
            if process.poll() is None:
                yield f"127.0.0.1:{port}"
                return
        finally:
            with suppress(ProcessLookupError):  # ended, with all it started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    pytest.fail(f"Ray did not start on this machine: {said[-300:]}")


@pytest.fixture
def on_ray(settings_of, address, tmp_path):
    """Settings of a small run on the cluster."""
    return lambda **changes: settings_of(
        **{"engine": "ray", "ray_address": address, "workers": 2, "k": K, "out": tmp_path / "on-ray", **changes}
    )


@pytest.fixture
def killer():
    """Kill workers that write a shard whose file name fits, as often as asked; their process is in the file's name."""
    ended, killed = threading.Event(), []

    def watch(out: Path, pattern: str, times: int) -> None:
        while not ended.is_set() and len(killed) < times:
            for path in (out / "candidates").glob(f".{pattern}.*.hg-tmp"):
                worker = int(re.search(r"\.(\d+)\.hg-tmp$", path.name)[1])
                if worker not in killed and worker != os.getpid():
                    os.kill(worker, signal.SIGKILL)
                    killed.append(worker)
            time.sleep(0.001)

    def start(out: Path, pattern: str, times: int) -> list[int]:
        threading.Thread(target=watch, args=(out, pattern, times), daemon=True).start()
        return killed

    yield start
    ended.set()


def keys_of(rows):
    return {
        (row["pair_id"], row["k"]): (row["seed"], row["p_composite"], row["selected"], row["pixels"]) for row in rows
    }


def nothing_lost_nothing_twice(rows, whole):
    assert set(Counter((row["pair_id"], row["k"]) for row in rows).values()) == {1}
    assert keys_of(rows) == keys_of(whole)


@needs_ray
def test_outputs_are_those_of_the_local_engine_bit_for_bit(on_ray, settings_of, rows_of):
    done = []
    result = synthesize(on_ray(generator="color-transfer"), progress=lambda *counts: done.append(counts))
    synthesize(settings_of(generator="color-transfer", k=K))
    assert result.summary["candidates"] == 6 * K
    assert done == [(0, 6), (2, 6), (4, 6), (6, 6)]
    nothing_lost_nothing_twice(rows_of(result.out), rows_of(settings_of().out))


@needs_ray
def test_a_worker_that_is_killed_is_replaced(on_ray, settings_of, rows_of, killer, capsys):
    settings = on_ray(shard_size=1)
    killed = killer(settings.out, "part-*", 2)
    assert synthesize(settings).shards_run == 6
    assert len(killed) == 2
    assert capsys.readouterr().out == ""
    assert not list(settings.out.rglob("*.hg-tmp"))
    synthesize(settings_of(k=K))
    nothing_lost_nothing_twice(rows_of(settings.out), rows_of(settings_of().out))


@needs_ray
def test_a_shard_that_always_ends_its_worker_is_named(on_ray, killer):
    settings = on_ray(workers=1)
    killed = killer(settings.out, "part-00001-*", 100)
    with pytest.raises(HarmonygenError, match=r"shard 1 \('p2_0' to 'p3_0'\) ended its worker 3 times"):
        synthesize(settings)
    assert len(killed) == 3
    assert [path.name for path in (settings.out / "candidates").glob("part-*")] == ["part-00000-of-00003.parquet"]


@needs_ray
def test_the_command_killed_and_repeated_loses_nothing(on_ray, settings_of, rows_of, address):
    settings = on_ray(shard_size=1)
    process = start(settings, "--ray-address", address)
    wait_for_shards(process, settings.out, 1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (settings.out / "summary.json").exists()
    assert synthesize(settings).summary["candidates"] == 6 * K
    synthesize(settings_of(k=K))
    nothing_lost_nothing_twice(rows_of(settings.out), rows_of(settings_of().out))


@needs_ray
def test_ctrl_c_ends_a_ray_of_the_runs_own(settings_of, own_token):
    """And what the command says on stdout is its one JSON object."""
    settings = settings_of(shard_size=1, k=1000, workers=1)
    process = start(settings, "--json")
    try:
        wait_for_shards(process, settings.out, 1)
        started = processes_of(process.pid)
        assert any("raylet" in name for name in started.values())
        os.kill(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 130
        assert said.decode().count("\n") == 1
        assert said.startswith(b'{"error": "stopped by the keyboard')
        deadline = time.monotonic() + 15
        while any(Path(f"/proc/{pid}").exists() for pid in started) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert [name for pid, name in started.items() if Path(f"/proc/{pid}").exists()] == []
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def start(settings, *options):
    """Start the command in a process group of its own."""
    values = {
        "data": settings.data,
        "out": settings.out,
        "classifier": settings.classifier,
        "generator": settings.generator,
        "k": settings.k,
        "shard-size": settings.shard_size,
        "workers": settings.workers,
        "engine": "ray",
        "device": "cpu",
    }
    typed = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-c", COMMAND, "synthesize", *typed, "--quiet", *options]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE)


def wait_for_shards(process, out, count):
    while len(list(out.glob("candidates/part-*"))) < count:
        assert process.poll() is None
        time.sleep(0.005)


def processes_of(parent: int) -> dict[int, str]:
    """Return the processes below one, with their commands."""
    listed = subprocess.run(["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    found: dict[int, str] = {}
    below = {parent}
    while below:
        children = {int(pid): args for pid, above, args in rows if int(above) in below and int(pid) not in found}
        found.update(children)
        below = set(children)
    return found


@needs_ray
def test_a_cluster_that_is_not_there_is_refused(on_ray):
    with pytest.raises(UsageError, match=r"Ray at 'local:x' cannot be reached .*check --ray-address"):
        synthesize(on_ray(ray_address="local:x"))


def test_without_ray_the_message_says_what_to_install(settings_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'harmonygen\[ray\]'"):
        synthesize(settings_of(engine="ray"))


@pytest.mark.parametrize(
    ("nodes", "asked", "device", "share"),
    [
        ([(2, 0)], 0, "auto", (1, 2, 0)),  # one a machine, with all of it
        ([(2, 0)], 5, "cpu", (5, 1, 0)),  # more than there is room for wait for it
        ([(16, 0), (16, 0)], 3, "cpu", (3, 8, 0)),  # 10 each would leave no room for the third
        ([(0, 0), (8, 4)], 0, "cuda", (4, 2, 1)),  # a head node does no work
        ([(32, 1), (8, 4)], 0, "auto", (5, 2, 1)),
        ([(8, 4)], 2, "auto", (2, 4, 1)),
        ([(8, 4)], 0, "cpu", (1, 8, 0)),
        ([], 0, "auto", (1, 1, 0)),  # a cluster that has yet to grow
    ],
)
def test_how_workers_share_a_cluster(nodes, asked, device, share):
    assert share_of([Node(*node) for node in nodes], asked, device) == Share(*share)


def test_a_gpu_that_no_machine_has_is_refused():
    with pytest.raises(UsageError, match=r"--device cuda: no machine of the Ray cluster has a GPU"):
        share_of([Node(8, 0)], 0, "cuda")


def test_sigterm_still_ends_a_command_as_before():
    before = signal.getsignal(signal.SIGTERM)
    with engine._signals_kept():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("fault", ["version", "folder"])
def test_a_worker_that_is_not_where_the_run_is_says_so(settings_of, tmp_path, fault):
    synthesize(settings_of(k=1))
    from harmonygen.data import read_pairs
    from harmonygen.synthesis.engines.worker import job_of
    from harmonygen.synthesis.synthesize import prepare

    settings = settings_of(k=1)
    job = job_of(prepare(settings, read_pairs(settings.data))[0])
    import harmonygen

    out, version = (tmp_path, harmonygen.__version__) if fault == "folder" else (settings.out, "0.0")
    with pytest.raises(UsageError, match="does not see the run" if fault == "folder" else "install the same"):
        engine.Worker(job, out, tmp_path / "missing", version).ready()
    worker = engine.Worker(job, settings.out, tmp_path / "missing", harmonygen.__version__)
    worker.ready()
    assert worker.context.plan_digest == job.plan_digest


@needs_ray
def test_a_plug_in_and_several_judges_are_found_by_the_workers(on_ray, settings_of, rows_of, tmp_path, monkeypatch):
    """The command's folder is the workers': a module there is imported by its name."""
    (tmp_path / "ray_plugin.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    made = {
        "generator": "ray_plugin:generate",
        "classifier": "starter",
        "judge": ("starter", "ray_plugin:judge"),
        "k": 2,
    }
    try:
        there = synthesize(on_ray(**made))
        synthesize(settings_of(**made))
        assert rows_of(there.out) == rows_of(settings_of().out)
        assert list(there.summary["judges"]) == ["starter", "ray_plugin"]
    finally:
        with suppress(ValueError):
            sys.path.remove(str(tmp_path))
        sys.modules.pop("ray_plugin", None)


PLUGIN = """
import numpy as np

def generate(photo, candidates):
    for candidate in candidates:
        light = 1 + 0.5 * np.random.default_rng(candidate.seed).uniform(-1, 1, 3)
        yield np.clip(photo.image_u8 * light, 0, 255).astype(np.uint8)

def judge(composites, mask):
    return [float(each[mask].mean() / 255) for each in composites]
"""
