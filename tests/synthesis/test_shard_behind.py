"""On a GPU what follows the model runs behind it, while the next pair is drawn: the files are the same."""

from __future__ import annotations

import threading

import pyarrow.parquet as pq
import pytest

from harmonygen.data import read_pairs
from harmonygen.synthesis import shard as shards_of
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.shard import run_shard
from harmonygen.synthesis.synthesize import prepare


@pytest.fixture
def run(photo_folder, tmp_path):
    """A function that runs a shard of four pairs, one of them damaged, on a generator that says it is on ``device``."""
    (photo_folder / "images" / "damaged.png").write_bytes((photo_folder / "images" / "coffee.png").read_bytes()[:900])
    mask = (photo_folder / "masks" / "coffee.png").read_bytes()
    (photo_folder / "masks" / "damaged.png").write_bytes(mask)

    def run(device: str) -> dict:
        out = tmp_path / device
        settings = SynthesizeSettings(
            data=str(photo_folder), out=out, k=3, generator="color-jitter", max_bad_fraction=1
        )
        context, plan = prepare(settings, read_pairs(settings.data))
        context.generator.device = device
        for folder in ("candidates", "pairs"):
            (out / folder).mkdir(parents=True)
        (shard,) = plan.shards
        result = run_shard(context, shard, out)
        tables = [pq.read_table(out / folder / shard.filename).to_pylist() for folder in ("candidates", "pairs")]
        return {"result": result, "tables": tables}

    return run


def test_rows_are_the_same_behind_the_model(run):
    here, behind = run("cpu"), run("cuda")
    assert here == behind
    assert (here["result"].pairs, here["result"].candidates, here["result"].quarantined) == (3, 9, 1)


def test_the_next_pair_is_drawn_while_one_is_finished(run, monkeypatch):
    finish, draw, drawn = shards_of.finish, shards_of.draw, []
    second = threading.Event()

    def drawing(photo, context):
        drawn.append(photo.pair.pair_id)
        if len(drawn) == 2:
            second.set()
        return draw(photo, context)

    def finishing(item, context, threads):
        assert second.wait(20), "the second pair was not begun while the first was being finished"
        return finish(item, context, threads)

    monkeypatch.setattr(shards_of, "draw", drawing)
    monkeypatch.setattr(shards_of, "finish", finishing)
    assert run("cuda")["result"].pairs == 3
    assert len(drawn) == 3


def test_an_error_behind_the_model_stops_the_shard_and_leaves_no_file(run, monkeypatch, tmp_path):
    def broken(*_):
        raise RuntimeError("the scorer broke")

    monkeypatch.setattr(shards_of, "finish", broken)
    with pytest.raises(RuntimeError, match="the scorer broke"):
        run("cuda")
    assert not list((tmp_path / "cuda" / "candidates").iterdir())
