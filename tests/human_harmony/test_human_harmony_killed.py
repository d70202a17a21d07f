"""A build killed with SIGKILL before its commits: nothing lost, nothing twice.

It takes a minute and runs with HARMONYGEN_ALL_CASES=1. `make test` kills a build at two moments
(tests/faults/test_foreign_folders.py), `make crash` at every operation.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from harmonygen.data.manifest import read_manifest

BUILD_UNTIL_DONE = """
import os, signal, sys
from pathlib import Path
import datasets, jinja2, skimage.measure, skimage.metrics, torchvision, yaml  # once, before the forks
from harmonygen.storage import shards
from harmonygen.human_harmony.settings import HumanHarmonySettings
from harmonygen.data import write_parquet
from harmonygen.human_harmony import build as human_harmony
from harmonygen.human_harmony import prepare

source, classifier, out = sys.argv[1:]
prepare.SHARD = 2
write_parquet.ROW_GROUP_BYTES, write_parquet.FILE_BYTES = 30_000, 60_000
settings = HumanHarmonySettings(imaterialist=source, classifier=classifier, out=Path(out), k=2, device="cpu",
    generator="color-jitter", product_filter="none", shard_size=2, test_fraction=0.3, min_fg=0.1)
commit = shards.commit

def build(commits: int) -> None:
    left = iter(range(commits))
    def killing(temporary, final, **options):
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        commit(temporary, final, **options)
    modules = [module for name, module in sys.modules.items() if name.startswith("harmonygen")]
    for module in modules:
        if getattr(module, "commit", None) in (commit, killing):
            module.commit = killing
    human_harmony.build_human_harmony(settings)

def files() -> int:
    return sum(not path.name.startswith(".") for path in Path(out).rglob("*"))

deaths, allowed, before = 0, int(os.environ["COMMITS"]), 0
while True:
    child = os.fork()
    if child == 0:
        try:
            build(allowed)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        break
    deaths += 1
    allowed, before = allowed + (files() <= before), files()  # what sums up is written anew: it needs a longer life
print(deaths, os.waitstatus_to_exitcode(status))
"""


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Seven different photos of 96 x 80 with masks; the last one's foreground is too small."""
    root = tmp_path / "photos"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for index in range(7):
        source = (data.astronaut(), data.coffee(), data.chelsea())[index % 3]
        picture = Image.fromarray(source[20 * index : 20 * index + 160, 25 * index : 25 * index + 192])
        picture.resize((96, 80)).save(root / "images" / f"p{index}.png")
        mask = np.zeros((80, 96), np.uint8)
        mask[10 : 16 if index == 6 else 60, 10:60] = 255
        Image.fromarray(mask).save(root / "masks" / f"p{index}.png")
    return root


def run(source: Path, classifier: Path, out: Path, commits: int) -> tuple[int, int]:
    """Build with so many commits a life, more when a life brought no new file; return deaths and the last exit code."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD_UNTIL_DONE, str(source), str(classifier), str(out)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COMMITS": str(commits), "OMP_NUM_THREADS": "1"},
        timeout=3000,
    )
    deaths, code = done.stdout.split()[-2:]
    assert code == "0", done.stderr
    return int(deaths), int(code)


def content(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of every published file but what names the folder's own run."""
    files = [*sorted((out / "data").iterdir()), *sorted((out / "candidates").iterdir())]
    rows = {str(path.relative_to(out)): pq.read_table(path).to_pylist() for path in files}
    return {name: [{**row, "run": ""} for row in own] for name, own in rows.items()}


@pytest.mark.long
@pytest.mark.slow
def test_a_build_killed_before_each_of_its_commits_comes_to_the_same(folders, tiny_classifier, tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert run(folders, tiny_classifier, straight, 10_000)[0] == 0
    deaths, _ = run(folders, tiny_classifier, killed, 1)
    assert deaths > 25  # prepared, dropped, split, run, several files a configuration and split, card, report, manifest
    assert content(killed) == content(straight)
    names = set(content(killed))
    assert sum(name.startswith("candidates/train") for name in names) > 1
    assert {entry.path for entry in read_manifest(killed)} == {entry.path for entry in read_manifest(straight)}
    counted = [json.loads((out / "summary.json").read_text()) for out in (killed, straight)]
    assert all(counted[0][name] == counted[1][name] for name in ("pairs", "candidates", "left_out", "rows", "split"))
    assert not list(killed.rglob("*.tmp"))
