from __future__ import annotations

import io
import itertools
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harmonygen.errors import UsageError
from harmonygen.pictures.outline import outline, simplify
from harmonygen.records import CellSource, FileSource
from harmonygen.report import contact_sheet, plots, write_contact_sheet
from harmonygen.report.rows import PairRow, Tile, choose_rows, fitting
from harmonygen.report.thumbnails import small_picture, stream, thumbnail

NOWHERE = FileSource(Path("nowhere.png"))
SCORES = st.lists(st.floats(0, 1) | st.none(), max_size=30)


def rows_of(scores: list[float | None]) -> list[PairRow]:
    return [PairRow(str(i), "", NOWHERE, NOWHERE, (Tile(0, NOWHERE, score),)) for i, score in enumerate(scores)]


@given(SCORES, st.integers(1, 12))
def test_chosen_rows_are_distinct_in_order_and_reach_both_ends(scores: list[float | None], count: int) -> None:
    rows = rows_of(scores)
    chosen = choose_rows(rows, count)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(count, len(rows))
    known = [score for score in scores if score is not None]
    if known and chosen:
        assert max(known) in {scores[index] for index in chosen}
    if len(known) == len(scores) and len(chosen) > 1:
        assert min(known) in {scores[index] for index in chosen}


@given(st.integers(0, 40), st.integers(1, 50))
def test_as_many_rows_fit_as_hold_the_limit(count: int, limit: int) -> None:
    fit = fitting(rows_of([0.5] * count), range(count), limit)
    assert fit == min(count, limit)


@given(st.lists(st.floats(0, 1), max_size=60), st.lists(st.floats(0, 1), max_size=60))
def test_histogram_draws_every_score_once(low: list[float], high: list[float]) -> None:
    svg = ElementTree.fromstring(plots.histogram([("passed", low), ("gated", high)], "scores"))
    counted = {"passed": 0, "gated": 0}
    for bar in svg.iter("rect"):
        counted[bar.attrib["class"]] += int(bar[0].text.rpartition(":")[2])
    assert counted == {"passed": len(low), "gated": len(high)}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_curve_falls_and_stays_in_its_frame(ratios: list[float]) -> None:
    svg = ElementTree.fromstring(plots.curve(ratios, "ratios"))
    line = next(path.attrib["d"] for path in svg.iter("path") if path.attrib["class"] == "line")
    heights = [float(point.split()[1]) for point in line[1:].split("L")]
    assert heights == sorted(heights)
    assert min(heights) >= 10
    assert f"{np.mean([ratio > 0.2 for ratio in ratios]):.0%} above 0.2" in ElementTree.tostring(svg, "unicode")


def test_outline_of_a_mask_at_the_border_is_closed_along_it() -> None:
    coverage = np.zeros((20, 30), dtype=np.uint8)
    coverage[:, :10] = 255
    (polygon,) = outline(Image.fromarray(coverage))
    assert polygon.min(0).tolist() == [0, 0]
    assert polygon.max(0).tolist() == [10, 20]
    assert (polygon[0] == polygon[-1]).all()


def test_outline_keeps_holes_and_parts_apart() -> None:
    coverage = np.zeros((40, 40), dtype=np.uint8)
    coverage[5:30, 5:30] = 255
    coverage[12:20, 12:20] = 0
    coverage[34:39, 34:39] = 255
    assert len(outline(Image.fromarray(coverage))) == 3


def test_thumbnail_is_upright_never_enlarged_and_not_wider_than_three_heights() -> None:
    def encoded(width: int, height: int, orientation: int = 1) -> bytes:
        buffer, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", (width, height), "teal").save(buffer, "JPEG", exif=exif)
        return buffer.getvalue()

    sizes = [
        small_picture(encoded(*case), "x", 128).size for case in ((400, 600), (600, 400, 6), (50, 40), (3000, 100))
    ]
    assert sizes == [(85, 128), (85, 128), (50, 40), (384, 13)]
    small = thumbnail(encoded(400, 600), "x", 128)
    assert Image.open(io.BytesIO(small.webp)).size == (small.width, small.height) == (85, 128)


def test_stream_yields_each_source_once_and_errors_in_their_place(run_folder: Path) -> None:
    path = run_folder / "candidates" / "part-00000-of-00002.parquet"
    wanted = [CellSource(path, "composite", row) for row in (5, 0, 3, 0)]
    missing = FileSource(run_folder / "none.png")
    no_file = CellSource(run_folder / "none.parquet", "composite", 0)
    found = dict(stream([*wanted, missing, no_file]))
    assert set(found) == {*wanted, missing, no_file}
    assert all(isinstance(found[source], bytes) for source in wanted)
    assert len({found[source] for source in wanted}) == 3
    assert "cannot read" in str(found[missing])
    assert "cannot read" in str(found[no_file])


def test_contact_sheet_has_a_row_a_pair_and_shows_the_photo(run_folder: Path, first_photo) -> None:
    sheet = contact_sheet(run_folder, rows=10, columns=10)
    assert (sheet.mode, sheet.size) == ("RGB", (8 + 4 * 152, 8 + 4 * 170))
    assert contact_sheet(run_folder, rows=2, columns=1).size == (8 + 2 * 152, 8 + 2 * 170)
    photo, mask = first_photo
    left, top = 8 + (144 - photo.shape[1]) // 2, 8 + 144 - photo.shape[0]
    cell = np.asarray(sheet)[top : top + photo.shape[0], left : left + photo.shape[1]].astype(int)
    far = np.ones_like(mask)
    far[7:43, 12:38] = False  # the outline is drawn in here
    assert (cell[far] == photo[far]).all()


def test_contact_sheet_is_written_as_png_or_refused(run_folder: Path, tmp_path: Path, builder) -> None:
    path = write_contact_sheet(run_folder, tmp_path / "new" / "sheet.png")
    assert Image.open(path).format == "PNG"
    with pytest.raises(UsageError, match=r"ends in \.png"):
        write_contact_sheet(run_folder, tmp_path / "sheet.jpg")
    with pytest.raises(UsageError, match="0 rows"):
        contact_sheet(run_folder, rows=0)
    assert contact_sheet(builder(tmp_path / "empty", pairs=0)).height > 0


@given(st.integers(0, 10_000), st.floats(0.1, 2.0))
@settings(deadline=None, max_examples=40)
def test_what_simplify_leaves_out_is_within_the_tolerance_of_what_stays(seed: int, tolerance: float) -> None:
    steps = np.random.default_rng(seed).normal(size=(60, 2))
    points = np.cumsum(steps, axis=0)
    kept = simplify(points, tolerance)
    assert np.array_equal(kept[[0, -1]], points[[0, -1]])
    places = [int(np.flatnonzero((points == corner).all(axis=1))[0]) for corner in kept]
    assert places == sorted(places)
    for first, last in itertools.pairwise(places):
        along = points[last] - points[first]
        for point in points[first + 1 : last]:
            place = np.clip((point - points[first]) @ along / (along @ along), 0, 1)
            assert np.linalg.norm(point - points[first] - place * along) <= tolerance + 1e-9


def test_simplify_makes_a_square_of_its_many_points() -> None:
    edge = np.arange(10.0)
    ring = [(x, 0.0) for x in edge] + [(10.0, y) for y in edge] + [(10 - x, 10.0) for x in edge]
    ring += [(0.0, 10 - y) for y in edge] + [(0.0, 0.0)]
    assert simplify(np.array(ring), 0.4).tolist() == [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
