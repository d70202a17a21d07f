"""Every spelling of a test list is seen by every verb that keeps training photos and test photos apart."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small import ALL_CASES, LOOSE, End, command, copied, done, names_of, some

SUFFIXES = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz")
STEMS = ("IHD_{}", "HSmall_{}", "HSmall/HSmall_{}", "{}")
SPELLINGS = [f"{stem}{suffix}" for stem in STEMS for suffix in SUFFIXES]
FEW = SPELLINGS if ALL_CASES else SPELLINGS[1::5]  # each ending, and three of the four stems
"""A list's path below the root of a data set whose subset is HSmall; ``{}`` is the split."""
SMALL = ("--resolution", 32, "validation_samples=1", "--max-train-steps", 1)
TRAIN = ("train", "direct", "--recipe", "train/smoke-direct", *SMALL)


def write_list(root: Path, spelling: str, split: str, *indices: int) -> None:
    path = root / spelling.format(split)
    bare = path.parent != root or path.name.startswith("HSmall")  # a subset's list has bare names
    names = [name.rpartition("/")[2] if bare else name for name in names_of(*indices)]
    lines = [json.dumps({"file_name": name}) if ".jsonl" in path.name else name for name in names]
    text = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


@pytest.fixture
def data(made_tree: Path, tmp_path: Path) -> Path:
    """A tree of four photos, p0 .. p3, without lists."""
    return copied(made_tree / "tree", tmp_path / "tree")


@pytest.fixture(scope="module")
def run_of_three(made_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of p0 .. p2."""
    place = tmp_path_factory.mktemp("three")
    tree = copied(made_tree / "tree", place / "tree")
    write_list(tree, "IHD_{}.txt", "train", 0, 1, 2)
    words = ("--data", tree, "--generator", "color-jitter", "--k", 1, "--out", place / "run", "--quiet")
    done("synthesize", *words, *LOOSE)
    return place / "run"


def augment(made_tree: Path, data: Path, out: Path, *more: object) -> End:
    return command("augment", "--data", data, "--candidates", made_tree / "run", "--out", out, "--json", *more)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_augment_refuses_a_photo_that_is_in_both_lists(spelling, made_tree, data, tmp_path):
    write_list(data, "IHD_{}.txt", "train", 0, 1, 2, 3)
    write_list(data, spelling, "test", 3)
    end = augment(made_tree, data, tmp_path / "out")
    assert end.code == 2, end.out
    assert "HSmall/p3" in end.err
    assert not re.search(r"HSmall/p[012]", end.err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("spelling", FEW)
def test_augment_compares_with_the_test_list_and_brings_it_along(spelling, run_of_three, data, tmp_path):
    write_list(data, "IHD_{}.txt", "train", 0, 1, 2)
    write_list(data, spelling, "test", 3)
    end = done("augment", "--data", data, "--candidates", run_of_three, "--out", tmp_path / "out", "--json")
    assert (end.json["test"], end.json["new"]) == (1, 3)
    assert end.json["compared"] == 4
    assert (tmp_path / "out" / "IHD_test.txt").read_text().split() == names_of(3)


@pytest.mark.parametrize("spelling", FEW)
def test_augment_refuses_a_test_photo_under_another_name(spelling, run_of_three, data, tmp_path):
    write_list(data, "IHD_{}.txt", "train", 0, 1, 2)
    write_list(data, spelling, "test", 3)
    home = data / "HSmall"
    (home / "real_images" / "p3.png").write_bytes((home / "real_images" / "p0.png").read_bytes())
    end = command("augment", "--data", data, "--candidates", run_of_three, "--out", tmp_path / "out", "--json")
    assert end.code == 2, end.out
    assert "HSmall/p0" in end.err
    assert "HSmall/p3" in end.err


@pytest.mark.parametrize("spelling", FEW)
def test_gain_refuses_a_photo_that_is_in_both_lists(spelling, data, tmp_path):
    write_list(data, "IHD_{}.txt", "train", 0, 1, 2, 3)
    write_list(data, spelling, "test", 3)
    end = command("gain", "--recipe", "gain/smoke", "--data", data, "--out", tmp_path / "out", "--quiet")
    assert end.code == 2
    assert "no test list" not in end.err
    assert "HSmall/p3" in end.err


@pytest.mark.parametrize("source", ["stored", "on-the-fly"])
@pytest.mark.parametrize("spelling", FEW)
def test_train_refuses_photos_that_are_all_in_the_test_list(spelling, source, data, tmp_path):
    write_list(data, "IHD_{}.txt", "train", 0, 1, 2, 3)
    write_list(data, spelling, "test", 0, 1, 2, 3)
    end = command(*TRAIN, "--data", data, f"source={source}", "--output-dir", tmp_path / "out", "--quiet")
    assert end.code == 2
    assert "test list" in end.err


@pytest.mark.parametrize("spelling", FEW)
def test_evaluate_scores_the_test_list(spelling, data, tmp_path):
    write_list(data, "IHD_{}.txt", "train", 0, 1, 2)
    write_list(data, spelling, "test", 3)
    end = done("evaluate", "--data", data, "--no-ssim", "--out", tmp_path / "out", "--json", "--quiet", "resamples=100")
    assert end.json["summary"]["images"] == 1


@pytest.mark.parametrize("spelling", some([*SPELLINGS[1::4], "HSmall_{}.txt"], 2))
def test_a_build_leaves_out_the_photos_of_a_test_list(spelling, made_tree, data, tmp_path):
    write_list(data, "IHD_{}.txt", "train", 0, 1)
    write_list(data, spelling, "test", 2, 3)
    segmented = tmp_path / "segmented"
    for name, kind in (("images", "real_images"), ("masks", "masks")):
        copied(data / "HSmall" / kind, segmented / name)
    for path in (segmented / "masks").iterdir():
        path.rename(path.with_name(path.name.replace("_1", "")))
    words = ("--imaterialist", segmented, "--product-filter", "none", "--generator", "color-jitter", "--k", 1)
    out = tmp_path / "out"
    done("build-human-harmony", *words, "--leak-check", data, "--test-fraction", 0, "--out", out, "--quiet", *LOOSE)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["left_out"] == {"leak": 2}


@pytest.mark.parametrize("spelling", FEW)
def test_synthesize_reads_the_training_list(spelling, data, tmp_path):
    write_list(data, spelling, "train", 0, 1, 2)
    write_list(data, "IHD_{}.txt", "test", 3)
    words = ("--data", data, "--generator", "color-jitter", "--dry-run", "--json", "--quiet")
    assert done("synthesize", *words, "--out", tmp_path / "out").json["pairs"] == 3


@pytest.mark.parametrize("spelling", FEW)
def test_augment_mixes_into_the_training_list_alone(spelling, data, tmp_path):
    write_list(data, spelling, "train", 0, 1, 2)
    write_list(data, "IHD_{}.txt", "test", 3)
    end = done("augment", "--data", data, "--dry-run", "--json", "--quiet", "--out", tmp_path / "out")
    assert [row["composites"] for row in end.json["subsets"]] == [3]


def texts(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)


SAID = re.compile(r"no test list|compare\w* (with )?nothing|nothing (was|is|to) compare", re.IGNORECASE)


@pytest.mark.parametrize("guard", ["hash", "ids"])
def test_a_guard_of_augment_without_a_test_list_says_that_it_compared_nothing(guard, made_tree, data, tmp_path):
    write_list(data, "IHD_{}.txt", "train", 0, 1, 2, 3)
    end = augment(made_tree, data, tmp_path / "out", "--leak-guard", guard)
    assert end.code == 0, end.err
    assert SAID.search(end.err)
    assert any(map(SAID.search, texts(end.json)))


@pytest.mark.parametrize("source", ["stored", "on-the-fly"])
def test_a_guard_of_train_without_a_test_list_says_that_it_compared_nothing(source, data, tmp_path):
    write_list(data, "IHD_{}.txt", "train", 0, 1, 2, 3)
    end = done(*TRAIN, "--data", data, f"source={source}", "--output-dir", tmp_path / "out", "--json")
    assert SAID.search(end.err)
    assert any(map(SAID.search, texts(end.json)))
