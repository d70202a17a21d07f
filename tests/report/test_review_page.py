"""The review page as it is written: what it holds, in which order, and whom it refuses."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from harmonygen.errors import UsageError
from harmonygen.records import FileSource
from harmonygen.report import write_report, write_review
from harmonygen.report.review import cut, in_line
from harmonygen.report.rows import PairRow, Tile
from harmonygen.synthesis.reselect import reselect

HERE = FileSource(Path("x.png"))


def facts(page: Path) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="run">(.*?)</script>', page.read_text())[1])


def entries(page: Path) -> list[str]:
    blocks = re.findall(r'<script type="text/plain" id="block-\d+">(.*?)</script>', page.read_text(), re.DOTALL)
    return [line for block in blocks for line in block.split("\n")]


@pytest.fixture(scope="module")
def page(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("review") / "r.html"
    result = write_review(run_folder, path)
    assert (result.pairs_shown, result.candidates_shown, result.unreadable) == (4, 12, 0)
    assert result.bytes == path.stat().st_size
    return path


def test_the_page_holds_each_pair_with_its_candidates_in_line(page: Path, nasty: str) -> None:
    run = facts(page)
    assert [pair[0] for pair in run["pairs"]] == ["pair-0", nasty, "pair-2", "pair-3"]
    assert [[tile[0] for tile in pair[8]] for pair in run["pairs"]] == [[1, 2, 0]] * 4  # 1 selected, 0 gated
    assert (run["digest"], run["count"], run["whole"], run["folder"]) == ("tests-4", 1, True, "run")


def test_every_picture_and_outline_is_where_the_page_looks_for_it(page: Path, first_photo) -> None:
    run, held = facts(page), entries(page)
    assert len(held) == 4 * (2 + 3)
    for pair in run["pairs"]:
        photo, outline, *tiles = held[pair[7] : pair[7] + 5]
        sizes = {Image.open(io.BytesIO(base64.b64decode(text))).size for text in (photo, *tiles)}
        assert len(sizes) == 1
        assert re.fullmatch(r"(M[\d. L]+Z)+", outline)
    assert Image.open(io.BytesIO(base64.b64decode(held[0]))).size == first_photo[0].shape[1::-1]


def test_nothing_is_loaded_from_elsewhere_and_ids_cannot_leave_their_script(page: Path, nasty: str) -> None:
    text = page.read_text()
    assert nasty not in text
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|@import|url\(", re.sub(r'<script type="text/plain".*', "", text))


def test_equal_input_gives_equal_bytes(run_folder: Path, page: Path, tmp_path: Path) -> None:
    write_review(run_folder, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_a_picture_that_is_gone_leaves_an_empty_entry(builder, tmp_path: Path) -> None:
    run = builder(tmp_path / "run")
    (run / "photo-0.png").write_bytes(b"not an image")
    assert write_review(run).unreadable == 1
    assert [index for index, text in enumerate(entries(run / "review.html")) if not text] == [0]


def test_pairs_are_picked_by_pattern_and_the_page_says_what_it_lacks(run_folder: Path, tmp_path: Path) -> None:
    result = write_review(run_folder, tmp_path / "r.html", pairs=["pair-[23]"])
    assert (result.pairs_shown, result.candidates_shown, facts(tmp_path / "r.html")["whole"]) == (2, 6, False)
    assert "6 of 12 candidates, of 2 of 4 pairs" in (tmp_path / "r.html").read_text()


def test_the_line_follows_decision_selection_rank_and_gate() -> None:
    tiles = (
        Tile(0, HERE, 0.9, gate="clipped", reason="gate:clipped"),
        Tile(1, HERE, 0.2, reason="rule:random rank 3"),
        Tile(2, HERE, 0.8, reason="rule:random rank 10"),
        Tile(3, None, 0.99, selected=True),
        Tile(4, HERE, 0.1, selected=True, gate="structure", review="accept"),
        Tile(5, HERE, 0.5, reason="review:rejected", review="reject"),
    )
    assert [tile.k for tile in in_line(PairRow("a", "", HERE, HERE, tiles)).tiles] == [5, 4, 1, 2, 0]


@pytest.mark.parametrize(("limit", "kept"), [(30, [3] * 10), (29, [2] * 10), (10, [1] * 10), (4, [1] * 4)])
def test_over_the_limit_each_pair_keeps_its_first_in_line(limit: int, kept: list[int]) -> None:
    rows = [
        PairRow(str(i), "", HERE, HERE, tuple(Tile(k, HERE, i / 10, selected=k == 0) for k in range(3)))
        for i in range(10)
    ]
    shown = cut(rows, limit)
    assert [len(row.tiles) for row in shown] == kept
    assert all(row.tiles[0].selected for row in shown)


def test_a_dataset_is_refused(tmp_path: Path, run_folder: Path) -> None:
    (tmp_path / "data").mkdir()
    part = run_folder / "pairs" / "part-00000-of-00002.parquet"
    table = pq.read_table(part, columns=["real", "mask"])
    pq.write_table(table.append_column("composite", table["real"]), tmp_path / "data" / "train-0.parquet")
    with pytest.raises(UsageError, match="a review decides what a run selects"):
        write_review(tmp_path)


def test_a_run_inside_a_build_is_reviewed_under_its_own_plan(builder, tmp_path: Path) -> None:
    builder(tmp_path / "build" / "work" / "synthesize")
    assert write_review(tmp_path / "build").candidates_shown == 12
    assert facts(tmp_path / "build" / "review.html")["digest"] == "tests-4"


def test_the_command_writes_it_and_refuses_two_things_at_once(run_folder: Path, tmp_path: Path) -> None:
    import typer

    from harmonygen_cli.report import report

    app = typer.Typer()
    app.command()(report)
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, [str(run_folder), "--review", "--out", str(page), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["candidates_shown"] == 12
    assert facts(page)["count"] == 1
    both = CliRunner().invoke(app, [str(run_folder), "--review", "--contact-sheet", "s.png"])
    assert isinstance(both.exception, UsageError)
    assert "--review and --contact-sheet" in str(both.exception)


def test_what_was_applied_is_on_both_pages(builder, tmp_path: Path, decisions_of) -> None:
    run = builder(tmp_path / "run")
    reselect(run, decisions=decisions_of(run, {("pair-0", 1): "reject", ("pair-2", 0): "accept"}))
    write_review(run)
    tiles = {(pair[0], tile[0]): tile for pair in facts(run / "review.html")["pairs"] for tile in pair[8]}
    assert (tiles["pair-0", 1][4], tiles["pair-0", 2][3]) == ("reject", 1)
    assert (tiles["pair-2", 0][4], tiles["pair-2", 0][3]) == ("accept", 1)
    write_report(run)
    text = (run / "report.html").read_text()
    assert text.count('<span class="review accept">✓ accepted</span>') == 1
    assert text.count('<span class="review reject">✗ rejected</span>') == 1
    assert "review:rejected" in text
    assert re.search(r'<th scope="row">accepted</th><td>1</td>', text)
