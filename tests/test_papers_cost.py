"""benchmarks/papers_cost.py, and the tables of docs/papers-tables.md that it prints."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.profiler import ProfilerActivity, profile

from harmonygen.models.importing import SD15_UNET

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
bench = importlib.import_module("papers_cost")
sys.path.pop(0)

PAGE = (ROOT / "docs" / "papers-tables.md").read_text(encoding="utf-8")


def rows(columns: int) -> dict[tuple[str, ...], list[str]]:
    """The page's table rows of so many columns by their first two cells, numbers without commas."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line[:1] == "|"]
    return {(row[0], row[1].replace(",", "")): row for row in cells if len(row) == columns and row[1][:1].isdigit()}


HOURS, MEMORY = rows(6), rows(5)


def test_the_pages_hours_are_its_operations_over_peak_and_share():
    works = {(work.name, str(work.images)): work for work in bench.works()}
    assert HOURS.keys() == works.keys()
    for key, (_, _, each, exa, *told) in HOURS.items():
        images, operations = works[key].images, float(each) * bench.TERA
        assert float(exa) == pytest.approx(images * operations / bench.EXA, rel=0.03)
        for gpus, cell in zip((1, 8), told, strict=True):
            found = [bench.hours(images, operations, 790e12, share, gpus) for share in (0.31, 0.16)]
            assert [float(value) for value in cell.split(" to ")] == pytest.approx(found, rel=0.05)


def test_a_training_sees_the_samples_of_its_recipe():
    assert bench.samples("sd15-forward") == 102_800 * 64
    assert bench.samples("sd15-harmony-vae-forward") == 41_090 * 16


def test_operations_are_those_that_were_counted_of_stable_diffusion():
    """REFERENCE section 12, in TFLOP: UNet 0.803 at 512 px, encode 1.117, decode 2.515."""
    with bench.as_on_a_gpu(), torch.no_grad():
        vae = bench.vae(bench.HALF)
        unet = bench.counted(lambda: bench.denoise(1, 512, bench.HALF))
        encode = bench.counted(lambda: vae.encode(bench.pictures(1, 512, dtype=bench.HALF)))
        decode = bench.counted(lambda: vae.decode(bench.pictures(1, 64, 4, bench.HALF)))
    assert [value / bench.TERA for value in (unet, encode, decode)] == pytest.approx([0.803, 1.117, 2.515], abs=1e-3)


@pytest.mark.parametrize("checkpointing", [True, False])
def test_the_peak_of_live_tensors_is_what_a_cpu_allocates(checkpointing):
    unet = UNet2DConditionModel.from_config({**SD15_UNET, "block_out_channels": (32, 64, 64, 64)}).train()
    (unet.enable_gradient_checkpointing if checkpointing else unet.disable_gradient_checkpointing)()

    def step() -> None:
        unet.zero_grad()
        with bench.half():
            predicted = unet(torch.zeros(2, 9, 16, 16), torch.zeros(2, dtype=torch.long), torch.zeros(2, 77, 768))
        predicted.sample.float().square().mean().backward()

    step()
    unet.zero_grad()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    now = most = 0
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    unet.zero_grad()
    assert bench.peak(step) == pytest.approx(most, rel=0.01)


@pytest.mark.long
def test_every_figure_of_the_page_is_counted_again():
    with bench.as_on_a_gpu():
        for work in bench.works():
            each = float(HOURS[work.name, str(work.images)][2])
            assert work.operations() / bench.TERA == pytest.approx(each, abs=1e-3), work.name
        for row in bench.memories():
            _, _, millions, kept, whole = MEMORY[row.name, str(row.batch)]
            assert row.parameters / 1e6 == pytest.approx(float(re.sub(r"\D", "", millions)), abs=0.51)
            assert row.kept() / bench.GIGA == pytest.approx(float(kept), abs=0.06)
            assert row.most() / bench.GIGA == pytest.approx(float(whole), abs=0.06), row.name
