"""The contact sheet of what a build left out, and plots drawn as PNG."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from skimage import data

from harmonygen.errors import UsageError
from harmonygen.human_harmony.prepare import DROPPED_COLUMNS
from harmonygen.report import plots
from harmonygen.report.dropped import dropped_rows, dropped_sheet, read_left_out
from harmonygen.report.raster import COLOURS, to_png
from harmonygen.storage import shards
from harmonygen.storage.parquet_cells import image_cell, image_schema


def colour(name: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(COLOURS[name][1:]))


def drawn(svg: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(to_png(svg, 1))))


def has(picture: np.ndarray, name: str) -> bool:
    return bool((np.abs(picture.astype(int) - colour(name)).max(axis=2) < 8).any())


def test_a_curve_with_another_dataset_shows_both_and_their_shares():
    svg = plots.curve([0.1, 0.3, 0.4, 0.5], "x", ("iHarmony4 <b>", [0.01, 0.02, 0.3, 0.05]))
    picture = drawn(svg)
    assert has(picture, "line")
    assert has(picture, "beside")
    assert "75% above 0.2" in svg
    assert "25% above 0.2" in svg
    assert "iHarmony4 &lt;b&gt;" in svg
    assert not has(drawn(plots.curve([0.1, 0.3], "x")), "beside")


def test_a_histograms_bars_are_as_high_as_their_counts():
    picture = drawn(plots.histogram([("selected", [0.12] * 40), ("gated", [0.12] * 20), ("passed", [0.87] * 10)], "x"))
    heights = {
        name: int((np.abs(picture.astype(int) - colour(name)).max(axis=2) < 8).any(axis=1).sum())
        for name in ("selected", "gated", "passed")
    }
    assert heights["selected"] == pytest.approx(2 * heights["gated"], abs=3)
    assert heights["gated"] == pytest.approx(2 * heights["passed"], abs=3)


def test_an_element_that_plots_do_not_have_is_refused():
    with pytest.raises(UsageError, match="<polygon>"):
        to_png('<svg viewBox="0 0 2 2"><polygon points="0,0 1,1"/></svg>')


@pytest.fixture
def work(tmp_path):
    """A build's work folder with 25 photos that had too little foreground and 2 products, in two parts."""
    buffer = io.BytesIO()
    Image.fromarray(data.coffee()).resize((120, 80)).save(buffer, "WEBP")
    cell = image_cell(buffer.getvalue(), "x.webp")

    def row(name: str, reason: str) -> dict:
        return {"pair_id": name, "real_id": name, "reason": reason, "detail": "why", "fg_ratio": 0.1, "image": cell}

    folder = shards.make_folder(tmp_path / "work" / "dropped")
    for part, rows in enumerate([[row(f"a{i:02d}", "min-fg") for i in range(25)], [row("p", "product:list")] * 2]):
        table = pa.Table.from_pylist(rows, schema=image_schema(DROPPED_COLUMNS))
        shards.write_parquet(folder / f"part-{part:05d}-of-00002.parquet", table)
    return tmp_path / "work"


def test_left_out_photos_are_shown_by_reason_the_most_frequent_first(work):
    rows = dropped_rows(work)
    assert [row["reason"] for row in rows] == ["min-fg"] * 25 + ["product:list"] * 2
    sheet = np.asarray(dropped_sheet(rows)).astype(int)
    filled = (np.abs(sheet - 246).max(axis=2) > 60).mean(axis=1)
    bands = np.flatnonzero(np.diff((filled > 0.1).astype(int)) == 1)
    assert len(bands) >= 3  # 20 of 25 in two rows, then the two products in a third
    assert sheet.shape[1] == 8 + 10 * 152


def test_what_was_left_out_is_counted_also_where_there_is_no_picture(work):
    left = read_left_out(work, {"min-fg": 25, "product:list": 2, "not-chosen": 7})
    assert left.total == 34
    assert left.details["product:list"] == "p: why"
    assert Image.open(io.BytesIO(left.sheet)).size == (left.width, left.height)


def test_a_build_that_left_nothing_out_has_no_sheet(tmp_path):
    assert read_left_out(tmp_path, {}).sheet is None
