"""A small run folder with the columns that `synthesize` writes, pixels made by plain gains."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from skimage import data

from harmonygen.pictures import images
from harmonygen.records import Quarantined
from harmonygen.runs.decisions import Decisions
from harmonygen.runs.tables import CANDIDATE_COLUMNS, candidate_schema, pair_schema
from harmonygen.storage import shards
from harmonygen.storage.parquet_cells import image_cell

NASTY = "<script>alert('x')</script>&\"1"
K = 3


def photo_and_mask(index: int, height: int = 60) -> tuple[np.ndarray, np.ndarray]:
    source = (data.astronaut(), data.coffee(), data.chelsea())[index % 3]
    photo = np.asarray(Image.fromarray(source).resize((round(height * source.shape[1] / source.shape[0]), height)))
    mask = np.zeros(photo.shape[:2], dtype=bool)
    mask[10:40, 15 : 35 + index] = True
    return photo, mask


def scores_of(index: int) -> list[dict]:
    """Candidate 0 is gated, 1 is selected, 2 is passed over; later pairs score higher."""
    shifts = dict.fromkeys(("shift_r", "shift_g", "shift_b"), 0.0)
    common = {"fmse": 812.4, "structure": 0.97, "drift": 0.0, **shifts}
    verdicts = (("clipped", "gate:clipped"), ("", ""), ("", "rule:max-composite rank 2"))
    return [
        {
            "k": k,
            "seed": k,
            "p_composite": round(0.9 - 0.3 * k + index / 1000, 4),
            "selected": k == 1,
            "gate": gate,
            "reason": reason,
            "clipped": 0.5 if gate else 0.0,
            **common,
        }
        for k, (gate, reason) in enumerate(verdicts)
    ]


def identity(index: int, mask: np.ndarray, pair_id: str) -> dict:
    height, width = mask.shape
    ids = {"pair_id": pair_id, "real_id": f"r{index}", "mask_id": "1", "subset": ("HCOCO", "HFlickr")[index % 2]}
    return {**ids, "width": width, "height": height, "fg_ratio": float(mask.mean())}


def build_run(folder: Path, pairs: int = 4, shard_size: int = 2, keep: tuple[int, ...] = (0, 1, 2)) -> Path:
    """Write a finished run; the second pair's id is an attack on the page, the first's photo is a file."""
    for name in ("pairs", "candidates"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for shard in shards.cut(pairs, shard_size):
        pair_rows, candidate_rows = [], []
        for index in range(shard.start, shard.stop):
            photo, mask = photo_and_mask(index)
            known = identity(index, mask, NASTY if index == 1 else f"pair-{index}")
            path = folder / f"photo-{index}.png"
            images.save(photo, path)
            real = image_cell(images.encode(photo), "r.png")
            pair_rows.append(
                {
                    **known,
                    "real": {"bytes": None, "path": str(path)} if index == 0 else real,
                    "mask": image_cell(images.encode(mask), "m.png"),
                    "source": str(path),
                    "mask_source": "m",
                    "originals": "[]",
                    "scores": json.dumps(scores_of(index)),
                }
            )
            for score in scores_of(index):
                if score["k"] in keep:
                    changed = images.paste((photo * (0.4 + 0.2 * score["k"])).astype(np.uint8), photo, mask)
                    made = dict.fromkeys(("generator", "model_digest", "params_digest"), "x")
                    row = {**known, **score, **made, "composite": image_cell(images.encode(changed), "c.png")}
                    candidate_rows.append({name: row.get(name) for name in CANDIDATE_COLUMNS})
        tables = {"pairs": (pair_rows, pair_schema()), "candidates": (candidate_rows, candidate_schema())}
        for name, (rows, schema) in tables.items():
            shards.write_parquet(folder / name / shard.filename, pa.Table.from_pylist(rows, schema=schema))
    bad = [Quarantined("bad-1", "read", "InputError", "'<b>x.jpg</b>' is empty")]
    shards.write_parquet(folder / "quarantine.parquet", shards.quarantine_table(bad))
    table = [{"index": shard.index} for shard in shards.cut(pairs, shard_size)]
    settings = {"k": K, "generator": "lut", "limit": None, "gates": {"min_fmse": 20.0}, "keep": "all", "seed": 0}
    plan = {"verb": "synthesize", "settings": {**settings, "rule": "max-composite"}, "shards": table}
    digests = {"plan_digest": f"tests-{pairs}", "classifier_digest": "c"}
    shards.write_json(folder / "plan.json", {**plan, **digests})
    summary = {"candidates_per_second": 12.5, "seconds": 3.0, "generator": "lut", "versions": {"torch": "2.11.0"}}
    shards.write_json(folder / "summary.json", summary)
    return folder


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 4 pairs x 3 candidates in two shards; tests must not write into it."""
    return build_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="session")
def builder():
    """`build_run`, for tests that need another run."""
    return build_run


@pytest.fixture(scope="session")
def first_photo() -> tuple[np.ndarray, np.ndarray]:
    """The photo and mask of the run's first pair."""
    return photo_and_mask(0)


@pytest.fixture(scope="session")
def nasty() -> str:
    """The second pair's id."""
    return NASTY


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Any]:
    """A headless Chromium with a page, downloads in ``tmp_path / "saved"``; skipped where there is none."""
    spec = importlib.util.spec_from_file_location("report_chromium", Path(__file__).with_name("chromium.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    binary = module.find_chromium()
    if binary is None:
        pytest.skip("no chromium or chrome on PATH")
    with module.Chromium(binary, tmp_path / "profile") as browser:
        browser.downloads_to(tmp_path / "saved")
        yield browser


@pytest.fixture(scope="session")
def decisions_of():
    """Decisions on a run folder from ``{(pair id, k): decision}``."""

    def make(run: Path, made: dict) -> Decisions:
        return Decisions(run.name, json.loads((run / "plan.json").read_text())["plan_digest"], made)

    return make
