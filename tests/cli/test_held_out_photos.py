"""Photos that are held out, by a list or by a file's name, feed no training: the cases that users met."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harmonygen_cli.main import run

CASES = Path(os.environ.get("HARMONYGEN_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data/input_cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the shared input cases are not here")

MAKE = ("--k", "1", "--generator", "color-jitter", "--quiet", "gates.max_clipped=1", "gates.max_fmse=65025")
LOOSE = ("gates.min_fmse=0", "gates.min_structure=-1")


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of case 33's training list, which holds the photo rocket of its test list."""
    out = tmp_path_factory.mktemp("case-33") / "run"
    data = CASES / "33-test-list-as-jsonl"
    assert run(["synthesize", "--data", str(data), "--out", str(out), *MAKE, *LOOSE]) == 0
    return out


@pytest.mark.parametrize("name", ["IHD_test.jsonl", "IHD_test.txt.gz", "Sample_test.jsonl.gz", "Sample/TEST.txt"])
def test_case_33_is_refused_with_the_photo_in_every_spelling(name, candidates, tmp_path, capsys):
    data = shutil.copytree(CASES / "33-test-list-as-jsonl", tmp_path / "data")
    lines = (data / "IHD_test.jsonl").read_text()
    (data / "IHD_test.jsonl").unlink()
    names = [json.loads(line)["file_name"] for line in lines.splitlines()]
    text = (lines if ".jsonl" in name else "".join(f"{line}\n" for line in names)).encode()
    (data / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    words = ("--gamma", "1", "--allow-fewer", "--data", str(data), "--candidates", str(candidates))
    assert run(["augment", *words, "--out", str(tmp_path / "out")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"1 photos are in the test list '{Path(name).name}'" in said
    assert "Sample/rocket" in said
    assert not (tmp_path / "out").exists()


def test_an_augmentation_says_what_its_guard_compared(candidates, tmp_path, capsys):
    data = shutil.copytree(CASES / "33-test-list-as-jsonl", tmp_path / "data")
    (data / "IHD_test.jsonl").unlink()
    words = ("augment", "--gamma", "0.5", "--data", str(data), "--candidates", str(candidates), "--json")
    for out in ("out", "out"):  # finished, and repeated
        assert run([*words, "--out", str(tmp_path / out)]) == 0
        found = capsys.readouterr()
        assert "nothing was compared" in json.loads(found.out)["leak_guard"]
        assert "nothing was compared" in " ".join(found.err.split())
    assert "nothing was compared" in json.loads((tmp_path / "out" / "summary.json").read_text())["leak_guard"]


@pytest.mark.parametrize("folder", ["p-valtest", "p-tr"])
def test_case_08_reads_the_training_file_alone(folder, tmp_path, capsys):
    data = CASES / "08-parquet-test-read-as-train" / folder
    words = ("synthesize", "--data", str(data), "--dry-run", "--json", "--quiet", "--generator", "color-jitter")
    assert run([*words, "--out", str(tmp_path / "out")]) == 0
    both = json.loads(capsys.readouterr().out)["pairs"]
    alone = next(path for path in (data / "data").iterdir() if path.name.startswith("train"))
    assert run(["synthesize", "--data", str(alone), *words[3:], "--out", str(tmp_path / "alone")]) == 0
    assert both == json.loads(capsys.readouterr().out)["pairs"]


@pytest.mark.parametrize("source", ["stored", "on-the-fly"])
@pytest.mark.parametrize("name", ["test.parquet", "dev-00000-of-00001.parquet", "my_eval.parquet"])
def test_no_model_trains_on_a_held_out_file_whether_it_is_named_or_found(name, source, tmp_path, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    table = pq.read_table(CASES / "08-parquet-test-read-as-train/p-valtest/data/test.parquet")
    pq.write_table(table.append_column("composite", table["real"]), folder / name)
    words = ("train", "direct", "--recipe", "train/smoke-direct", f"source={source}", "--max-train-steps", "1")
    for data in (folder, folder / name):
        assert run([*words, "--data", str(data), "--output-dir", str(tmp_path / "out"), "--quiet"]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert f"is a test split ({name}): a model never trains on it" in said
