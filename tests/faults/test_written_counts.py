"""Cards, summaries and `--json` count what was written, not what was to be written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small import HERE, command, copied, done, photos, rows, tree

CASE = HERE / "cases" / "04-card-counts-iharmony4" / "hh"
STRICT = ("gates.min_fmse=1000",)
"""A gate that some of the candidates fail, so that some pairs have nothing selected."""


def build(data: Path, out: Path, kind: str, *more: object) -> dict[str, Any]:
    """Build a dataset and return what `--json` says."""
    words = ("--imaterialist", data, "--k", 2, "--product-filter", "none", "--max-bad-fraction", 1, "--format", kind)
    return done("build-human-harmony", *words, "--out", out, "--json", "--quiet", *more).json


@pytest.fixture(scope="module", params=["case", "gated", "rejected"])
def trees(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A build in iHarmony4 layout some of whose pairs have no composite, and what it said of itself.

    ``case`` is case 04; ``gated`` has pairs whose candidates all failed a gate; of ``rejected`` a reviewer rejected
    both candidates of one pair.
    """
    place = tmp_path_factory.mktemp("trees")
    if request.param == "case":
        return place / "out", build(CASE, place / "out", "iharmony4", "--generator", "color-transfer")
    made = ("--generator", "color-jitter", "--test-fraction", 0.3, "gates.max_clipped=1", "gates.min_structure=-1")
    photos(place / "photos", 6)
    words = (place / "photos", place / "out", "iharmony4", *made, *(STRICT if request.param == "gated" else ()))
    said = build(*words)
    if request.param == "rejected":
        plan = json.loads((place / "out" / "work" / "synthesize" / "plan.json").read_text())
        first = rows(place / "out" / "work" / "synthesize" / "candidates", ["pair_id"])[0]["pair_id"]
        decided = [{"pair_id": first, "k": k, "decision": "reject"} for k in (0, 1)]
        head = {"harmonygen": plan["harmonygen"], "folder": "synthesize", "plan_digest": plan["plan_digest"]}
        (place / "decisions.json").write_text(json.dumps({**head, "decisions": decided}))
        said = build(*words, "--decisions", place / "decisions.json")
    return place / "out", said


def listed(out: Path) -> dict[str, int]:
    """Return how many composites each split of a tree lists; each of them has to be a file."""
    counts = {}
    for split in ("train", "test"):
        lines = (out / f"IHD_{split}.txt").read_text().split()
        assert all((out / line).is_file() for line in lines)
        counts[split] = len(lines)
    return counts


def table_rows(card: str) -> dict[str, int]:
    """Return the rows of a card's table "What is in it", by split."""
    found = re.findall(r"^\|[^|]*\| (train|test) \| ([\d,]+) \|$", card, re.MULTILINE)
    return {split: int(count.replace(",", "")) for split, count in found}


def test_the_tree_of_these_builds_lacks_composites_of_some_pairs(trees):
    out, said = trees
    assert 0 < sum(listed(out).values()) < said["pairs"]


def test_the_summary_of_a_tree_counts_its_composites(trees):
    out, said = trees
    summary = json.loads((out / "summary.json").read_text())
    (counts,) = summary["rows"].values()
    assert {"train": 0, "test": 0, **counts} == listed(out)
    assert summary["selected"] == sum(listed(out).values())
    assert said["summary"]["rows"] == summary["rows"]


def test_the_card_of_a_tree_counts_its_composites(trees):
    out, _ = trees
    assert {"train": 0, "test": 0, **table_rows((out / "README.md").read_text())} == listed(out)


def test_the_table_on_the_screen_counts_what_is_in_the_tree(trees, tmp_path):
    out, said = trees
    settings = json.loads((out / "plan.json").read_text())["settings"]
    words = ("--data", settings["data"], "--k", 2, "--product-filter", "none", "--format", "iharmony4")
    more = ("--generator", settings["generator"], "--max-bad-fraction", 1, f"test_fraction={settings['test_fraction']}")
    gates = [f"gates.{name}={value}" for name, value in settings["gates"].items()]
    if settings["decisions"]:
        gates += ["--decisions", settings["decisions"]]
    end = done("build-human-harmony", *words, *more, *gates, "--out", out)
    for split, count in listed(out).items():
        found = re.findall(rf"│[^│\n]*{split}[^│\n]*│\s*([\d,]+)\s*│", end.err)
        assert found == [str(count)], end.err
    assert said["summary"]["selected"] == sum(listed(out).values())


def test_the_parquet_build_of_the_same_case_counts_its_rows(tmp_path):
    """The other format says what it wrote already: the two have to agree."""
    said = build(CASE, tmp_path / "out", "parquet", "--generator", "color-transfer")
    for config, folder in (("default", "data"), ("candidates", "candidates")):
        files = {split: sorted((tmp_path / "out" / folder).glob(f"{split}-*.parquet")) for split in ("train", "test")}
        counts = {split: sum(pq.read_metadata(path).num_rows for path in paths) for split, paths in files.items()}
        assert said["summary"]["rows"][config] == counts


@pytest.fixture(scope="module")
def gated_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of six photos, one of them not to be read (``tree``), and a run of it with pairs that failed (``run``)."""
    place = tmp_path_factory.mktemp("gated")
    tree(place / "tree", 6)
    (place / "tree" / "HSmall" / "masks" / "p5_1.png").write_bytes(b"")
    words = ("--data", place / "tree", "--generator", "color-jitter", "--k", 2, "gates.max_clipped=1", *STRICT)
    done("synthesize", *words, "--max-bad-fraction", 1, "--out", place / "run", "--quiet")
    return place


def test_the_summary_of_a_run_counts_its_rows(gated_run):
    summary = json.loads((gated_run / "run" / "summary.json").read_text())
    found = rows(gated_run / "run" / "candidates", ["pair_id", "selected"])
    assert summary["candidates"] == summary["kept"] == len(found) == 10
    assert summary["selected"] == sum(row["selected"] for row in found)
    assert summary["quarantined"] == len(pq.read_table(gated_run / "run" / "quarantine.parquet")) == 1


@pytest.mark.parametrize("which", ["all", "selected"])
def test_the_summary_of_an_export_counts_its_files(which, gated_run, tmp_path):
    out = tmp_path / "out"
    said = done("export", gated_run / "run", "--which", which, "--out", out, "--json", "--quiet").json
    summary = json.loads((out / "summary.json").read_text())
    composites = len((out / "IHD_train.txt").read_text().split())
    assert (
        composites == len(list(out.rglob("composite_images/*"))) == pq.read_metadata(out / "manifest.parquet").num_rows
    )
    assert summary["composites"] == said["composites"] == composites
    assert summary["pairs"] == said["pairs"] == len(list(out.rglob("masks/*")))


@pytest.mark.parametrize("kind", ["iharmony4", "parquet"])
def test_the_summary_of_augment_counts_its_files(kind, gated_run, tmp_path):
    data = copied(gated_run / "tree", tmp_path / "data")
    (data / "HSmall" / "composite_images" / "p5_1_1.png").unlink()
    out = tmp_path / "out"
    words = ("--data", data, "--candidates", gated_run / "run", "--gamma", 2, "--allow-fewer", "--format", kind)
    end = command("augment", *words, "--out", out, "--json", "--quiet")
    assert end.code == 0, end.err
    summary = json.loads((out / "summary.json").read_text())
    found = rows(out / "data" if kind == "parquet" else out, ["source"])
    new = sum(row["source"] == "harmonygen" for row in found)
    assert summary["new"] == end.json["new"] == new
    assert summary["originals"] == end.json["originals"] == len(found) - new == 5


def test_the_summary_of_harmonize_and_evaluate_counts_what_they_wrote(gated_run, direct_model, tmp_path):
    out = tmp_path / "harmonized"
    words = ("--data", gated_run / "run", "--method", "direct", "--model", direct_model)
    said = done("harmonize", *words, "--out", out, "--json", "--quiet").json
    assert said["made"] == said["summary"]["harmonized"] == len(list(out.rglob("*.png")))
    words = ("--data", gated_run / "run", "--predictions", out, "--no-ssim", "resamples=100")
    said = done("evaluate", *words, "--out", tmp_path / "scores", "--json", "--quiet").json
    scored = pq.read_table(tmp_path / "scores" / "per_image.parquet").num_rows
    assert scored == 2 * said["summary"]["images"]
