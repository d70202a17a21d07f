"""After a review, no verb uses a rejected candidate, and every verb uses the accepted ones."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from small import LOOSE, command, copied, done, photos, rows, tree

Key = tuple[str, int]


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of four photos (``tree``), and its run of three candidates a pair (``run``) that no gate has judged."""
    place = tmp_path_factory.mktemp("gated")
    tree(place / "tree")
    words = ("--data", place / "tree", "--generator", "color-jitter", "--k", 3, "--shard-size", 2)
    done("synthesize", *words, "--out", place / "run", "--quiet", *LOOSE)
    return place


def candidates(run: Path) -> dict[Key, dict]:
    names = ["pair_id", "k", "gate", "selected", "fmse"]
    return {(row["pair_id"], row["k"]): row for row in rows(run / "candidates", names)}


def limit(run: Path) -> float:
    """Return a least change (fMSE) that about half the candidates have."""
    changes = sorted(row["fmse"] for row in candidates(run).values())
    return (changes[len(changes) // 2 - 1] + changes[len(changes) // 2]) / 2


def write_decisions(run: Path, made: dict[Key, str]) -> Path:
    plan = json.loads((run / "plan.json").read_text())
    decisions = [{"pair_id": pair_id, "k": k, "decision": decision} for (pair_id, k), decision in made.items()]
    head = {"harmonygen": plan["harmonygen"], "folder": run.name, "plan_digest": plan["plan_digest"]}
    path = run.parent / f"{run.name}-decisions.json"
    path.write_text(json.dumps({**head, "decisions": decisions}))
    return path


def reviewed(run: Path, kind: str) -> set[Key]:
    """Have a run reviewed and selected anew; return the candidates that may be used.

    ``reject``: one candidate that passed the gates, of each pair that has one. ``accept``: one that failed, of each
    pair that has one. ``both``: both. ``every``: all that failed are accepted, more than are selected.
    """
    done("select", run, "--min-fmse", limit(run), "--quiet")
    found = candidates(run)
    made: dict[Key, str] = {}
    for key, row in found.items():
        decision = "accept" if row["gate"] else "reject"
        if kind == "every" and row["gate"]:
            made[key] = decision
        if kind in (decision, "both") and (key[0], decision) not in {(pair, d) for (pair, _), d in made.items()}:
            made[key] = decision
    assert made
    done("select", run, "--decisions", write_decisions(run, made), "--quiet")
    usable = {key for key, row in found.items() if (not row["gate"] or made.get(key) == "accept")}
    return usable - {key for key, decision in made.items() if decision == "reject"}


@pytest.fixture(params=["reject", "accept", "both", "every"])
def run(request, gated, tmp_path) -> tuple[Path, set[Key]]:
    """A run that was reviewed, and its candidates that may be used."""
    folder = copied(gated / "run", tmp_path / "run")
    return folder, reviewed(folder, request.param)


def key_of(name: str) -> Key:
    """Return the candidate that a result ``HSmall/p0_1_hg2`` is of."""
    found = re.fullmatch(r"(HSmall/p\d_1)_[a-z]*0*(\d+)", name)
    assert found, name
    return found[1], int(found[2])


def test_harmonize_takes_what_may_be_used(run, direct_model, tmp_path):
    folder, usable = run
    out = tmp_path / "out"
    done("harmonize", "--data", folder, "--method", "direct", "--model", direct_model, "--out", out, "--quiet")
    pictures = {path.relative_to(out).with_suffix("").as_posix() for path in out.rglob("*.png")}
    assert set(map(key_of, pictures)) == usable


def test_evaluate_scores_what_may_be_used(run, tmp_path):
    folder, usable = run
    done("evaluate", "--data", folder, "--no-ssim", "--out", tmp_path / "out", "--quiet", "resamples=100")
    with open(tmp_path / "out" / "per_image.csv", newline="") as opened:
        assert {key_of(row["name"]) for row in csv.DictReader(opened)} == usable


TRAIN = ("train", "direct", "--recipe", "train/smoke-direct", "--resolution", 32, "--max-train-steps", 1)
STORED = (*TRAIN, "validation_samples=1", "source=stored", "validation_fraction=0.2")


def test_train_counts_what_may_be_used(run, tmp_path):
    folder, usable = run
    end = done(*STORED, "--data", folder, "--output-dir", tmp_path / "out")
    counts = re.search(r"(\d+) composites of \d+ photos to train on, (\d+) ", end.err)
    assert counts, end.err
    trained, held_out = map(int, counts.groups())
    one_photo = trained == held_out and len({pair_id for pair_id, _ in usable}) == 1  # it is on both sides
    assert trained + (0 if one_photo else held_out) == len(usable)


def test_train_refuses_a_run_whose_candidates_were_all_rejected(gated, tmp_path):
    folder = copied(gated / "run", tmp_path / "run")
    every = dict.fromkeys(candidates(folder), "reject")
    done("select", folder, "--decisions", write_decisions(folder, every), "--quiet")
    assert command(*STORED, "--data", folder, "--output-dir", tmp_path / "out", "--quiet").code == 2


@pytest.mark.parametrize("verb", ["harmonize", "evaluate", "export", "augment"])
def test_verbs_refuse_a_run_whose_candidates_were_all_rejected(verb, gated, direct_model, tmp_path):
    folder, out = copied(gated / "run", tmp_path / "run"), tmp_path / "out"
    every = dict.fromkeys(candidates(folder), "reject")
    done("select", folder, "--decisions", write_decisions(folder, every), "--quiet")
    words = {
        "harmonize": ("--data", folder, "--method", "direct", "--model", direct_model),
        "evaluate": ("--data", folder),
        "export": (folder,),
        "augment": ("--data", gated / "tree", "--candidates", folder),
    }
    assert command(verb, *words[verb], "--out", out, "--quiet").code == 2
    assert not out.exists()


def exported(out: Path) -> set[Key]:
    found = rows(out, ["pair_id", "k", "source"])
    return {(row["pair_id"], row["k"]) for row in found if row["source"] == "harmonygen"}


def test_export_writes_what_may_be_used(run, tmp_path):
    folder, usable = run
    done("export", folder, "--out", tmp_path / "out", "--quiet")
    assert exported(tmp_path / "out") == usable
    assert len(list((tmp_path / "out").rglob("composite_images/*"))) == len(usable)


def test_export_writes_what_is_selected(run, tmp_path):
    folder, usable = run
    done("export", folder, "--which", "selected", "--out", tmp_path / "out", "--quiet")
    selected = {key for key, row in candidates(folder).items() if row["selected"]}
    assert exported(tmp_path / "out") == selected
    assert selected <= usable


@pytest.mark.parametrize("kind", ["iharmony4", "parquet"])
def test_augment_mixes_in_what_may_be_used(kind, run, gated, tmp_path):
    folder, usable = run
    words = ("--data", gated / "tree", "--candidates", folder, "--gamma", 3, "--allow-fewer", "--format", kind)
    done("augment", *words, "--out", tmp_path / "out", "--quiet")
    assert exported(tmp_path / "out" / ("data" if kind == "parquet" else "")) == usable


@pytest.mark.parametrize("kind", ["iharmony4", "parquet"])
def test_a_build_writes_what_may_be_used(kind, tmp_path):
    photos(tmp_path / "photos", 3)
    out = tmp_path / "out"
    build = ("build-human-harmony", "--imaterialist", tmp_path / "photos", "--product-filter", "none")
    words = (*build, "--generator", "color-jitter", "--k", 3, "--test-fraction", 0, "--format", kind, *LOOSE)
    done(*words, "--out", out, "--quiet")
    inside = out / "work" / "synthesize"
    usable = reviewed(inside, "both")
    done(*words, "--out", out, "--quiet", "--decisions", inside.parent / "synthesize-decisions.json")
    selected = {key for key, row in candidates(inside).items() if row["selected"]}
    files = (out / "data").glob("*.parquet") if kind == "parquet" else [out / "manifest.parquet"]
    written = [row for path in files for row in pq.read_table(path, columns=["pair_id", "k"]).to_pylist()]
    assert {(row["pair_id"], row["k"]) for row in written} == selected
    assert selected <= usable


def test_a_report_tells_what_was_decided(run, tmp_path):
    """A page shows every candidate, so it has to say which were rejected; the summary counts what is selected."""
    folder, _ = run
    page = tmp_path / "page.html"
    done("report", folder, "--out", page, "--quiet")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["selected"] == sum(row["selected"] for row in candidates(folder).values())
    assert ("review:rejected" in page.read_text()) == (summary["selection"]["rejected"] > 0)
