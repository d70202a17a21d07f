"""benchmarks/gpu_session.py, dry: every part prints its rows; one that fails or comes too late stops no other."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
bench = importlib.import_module("gpu_session")
sys.path.pop(0)


@pytest.fixture
def session(monkeypatch):
    """A session at the least widths; compiling is left out, which takes seconds for each size."""
    monkeypatch.setattr(bench, "matrix_peak", lambda *_: 1e11)
    monkeypatch.setattr(bench, "_REPEATS", 1)
    monkeypatch.setattr(bench, "DENOISED_TOGETHER", (1, 2))
    monkeypatch.setattr(bench, "DECODED_TOGETHER", (2,))
    monkeypatch.setattr(bench.Denoiser, "compile", lambda self, *_, **__: self)
    options = {"widths": 0.1, "sizes": [32], "k": 2, "minutes": 5.0, "compiler": "eager"}
    return bench.Session(argparse.Namespace(**options))


def rows(printed: str, part: str) -> list[list[str]]:
    """The cells of a part's table, without its head."""
    text = printed.partition(f"## {part},")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_part_prints_its_rows(session, capsys):
    assert bench.run(session, list(bench.PARTS)) == 0
    printed = capsys.readouterr().out
    counted = {(side, decoder): float(step) for side, decoder, step, *_ in rows(printed, "operations")}
    assert counted.keys() == {("32", "full"), ("32", "light")}
    for _, way, limit, measured, share, _ in rows(printed, "rates"):
        assert float(measured) > 0, way
        assert float(share.rstrip("%")) / 100 == pytest.approx(float(measured) / float(limit), rel=0.05, abs=0.01)
    layouts = rows(printed, "layouts")
    assert len(layouts) == 5
    assert layouts[0][4] == "1.00"
    assert [row[1].endswith("(not held)") for row in layouts] == [False, False, True, False, True]  # no GPU here
    assert [row[1:3] for row in rows(printed, "batches")] == [
        ["UNet, a step", "1"], ["UNet, a step", "2"], ["full decoder", "2"], ["light decoder", "2"]
    ]  # fmt: skip
    assert len(rows(printed, "buckets")) == 6
    assert "0 parts failed" in printed


def test_a_part_that_fails_is_told_and_none_begins_too_late(session, capsys, monkeypatch):
    def broken(_session):
        raise RuntimeError("no kernel for this")

    monkeypatch.setitem(bench.PARTS, "rates", broken)
    assert bench.run(session, ["machine", "rates", "operations"]) == 1
    printed = capsys.readouterr().out
    assert "no kernel for this" in printed
    assert rows(printed, "operations")
    session.options.minutes = 0.0
    assert bench.run(session, ["machine"]) == 0
    assert "## machine: not begun" in capsys.readouterr().out


def test_what_is_imported_is_named():
    assert {"torch", "diffusers", "numpy"} <= set(bench.needs())
