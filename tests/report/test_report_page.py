from __future__ import annotations

import base64
import io
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmonygen.records import Quarantined
from harmonygen.report import write_report
from harmonygen.storage import shards

VOID = {"meta", "img", "br", "input"}


class Page(HTMLParser):
    """Collects tags with their attributes and the visible text; every tag must be closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.stack: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.stack):
            self.text.append(data)

    def of(self, tag: str, name: str = "") -> list[dict]:
        return [a for t, a in self.tags if t == tag and (not name or name in (a.get("class") or "").split())]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def html(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "sub" / "r.html"
    result = write_report(run_folder, path)
    assert (result.pairs, result.pairs_shown, result.candidates, result.candidates_shown) == (4, 4, 12, 12)
    assert (result.path, result.bytes, result.unreadable) == (path, path.stat().st_size, 0)
    return path


@pytest.fixture(scope="module")
def page(html: Path) -> Page:
    return Page(html)


def test_page_is_well_formed_and_has_every_pair_and_candidate(page: Page, nasty: str) -> None:
    assert page.stack == []
    assert [row["data-id"] for row in page.of("article", "row")] == ["pair-0", nasty, "pair-2", "pair-3"]
    tiles = page.of("button", "t")
    assert len(tiles) == 12
    assert sum("sel" in tile["class"].split() for tile in tiles) == 4
    assert sum("bad" in tile["class"].split() for tile in tiles) == 4
    assert Counter(tile.get("data-why") for tile in tiles)["gate:clipped"] == 4


def test_headline_counts_reasons_and_facts_are_the_runs(page: Page) -> None:
    for words in ("candidates made 12", "selected 4", "refused by a gate 4", "quarantined 1", "candidates/s 12.5"):
        assert words in page.words
    for words in ("gate:clipped 4", "rule:max-composite 4", "gates.min_fmse 20.0", "torch 2.11.0", "generator lut"):
        assert words in page.words
    assert "limit" not in page.words


def test_rows_carry_what_they_are_sorted_and_filtered_by(page: Page) -> None:
    row = page.of("article", "row")[2]
    assert float(row["data-best"]) == pytest.approx(0.902)
    assert float(row["data-mean"]) == pytest.approx(0.602)
    assert (row["data-gated"], row["data-gates"], row["data-subset"]) == ("1", "clipped", "HCOCO")
    assert 0 < float(row["data-ratio"]) < 1


def test_ids_and_messages_are_escaped(page: Page, nasty: str) -> None:
    assert len(page.of("script")) == 1
    assert nasty in page.words
    assert "'<b>x.jpg</b>' is empty" in page.words


def test_nothing_is_loaded_from_elsewhere(page: Page, html: Path) -> None:
    loads = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "data-src", "href")]
    assert len(loads) == 4 + 12
    assert all(value.startswith("data:image/webp;base64,") for value in loads)
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe", "object", "embed", "base")]
    text = re.sub(r"base64,[^\"]+", "", html.read_text())
    assert not re.search(r"https?://|@import|url\(", text)


def test_thumbnail_is_the_photo_and_the_outline_encloses_the_mask(page: Page, first_photo) -> None:
    photo, mask = first_photo
    encoded = next(a["src"] for a in page.of("img") if a.get("src")).partition(",")[2]
    small = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert small.size == photo.shape[1::-1]
    assert np.abs(np.asarray(small.convert("RGB"), dtype=float) - photo).mean() < 8
    path = next(a["d"] for a in page.of("path") if a["d"].endswith("Z") and not a.get("class"))
    points = np.array(re.findall(r"([\d.]+) ([\d.]+)", path), dtype=float)
    ys, xs = np.nonzero(mask)
    assert points.min(0) == pytest.approx([xs.min(), ys.min()], abs=0.6)
    assert points.max(0) == pytest.approx([xs.max() + 1, ys.max() + 1], abs=0.6)


def test_equal_input_gives_equal_bytes(run_folder: Path, html: Path, tmp_path: Path) -> None:
    write_report(run_folder, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == html.read_bytes()


def test_only_the_first_rows_have_pictures_at_once_and_progress_ends_at_all(builder, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    run = builder(tmp_path / "run", pairs=27, shard_size=27)
    write_report(run, progress=lambda done, total: seen.append((done, total)))
    page = Page(run / "report.html")
    assert sum("src" in a for a in page.of("img")) == 24 * 4
    assert sum("data-src" in a for a in page.of("img")) == 3 * 4
    assert seen[-1] == (27 * 5, 27 * 5)


def test_candidates_that_were_not_kept_are_listed_with_their_scores(builder, tmp_path: Path) -> None:
    run = builder(tmp_path / "run", keep=(1,))
    write_report(run)
    page = Page(run / "report.html")
    assert len(page.of("button", "t")) == 4
    assert len(page.of("div", "unkept")) == 8
    assert "kept 4" in page.words
    assert "0.300 k2 not kept" in page.words


def test_over_the_limit_the_pairs_shown_are_spread_over_the_scores_and_the_page_says_so(run_folder, tmp_path) -> None:
    result = write_report(run_folder, tmp_path / "r.html", max_candidates=6)
    page = Page(tmp_path / "r.html")
    assert (result.pairs_shown, result.candidates_shown, result.candidates) == (2, 6, 12)
    assert [row["data-id"] for row in page.of("article", "row")] == ["pair-0", "pair-3"]
    assert "2 of 4 pairs are shown" in page.words
    assert "candidates made 12" in page.words


def test_pairs_are_picked_by_pattern(run_folder: Path, tmp_path: Path) -> None:
    write_report(run_folder, tmp_path / "r.html", pairs=["pair-[23]", "pair-0"])
    page = Page(tmp_path / "r.html")
    assert [row["data-id"] for row in page.of("article", "row")] == ["pair-0", "pair-2", "pair-3"]
    assert "3 of 4 pairs fit the ids asked for" in page.words
    write_report(run_folder, tmp_path / "r.html", pairs=["none"])
    assert "No pairs to show." in Page(tmp_path / "r.html").words


def test_a_run_of_nothing_has_a_page(builder, tmp_path: Path) -> None:
    run = builder(tmp_path / "run", pairs=0)
    assert write_report(run).candidates == 0
    page = Page(run / "report.html")
    assert page.stack == []
    assert "No pairs to show." in page.words
    assert "Nothing was dropped." in page.words


def test_an_unfinished_run_is_reported_with_what_its_shards_carry(builder, tmp_path: Path) -> None:
    run = builder(tmp_path / "run")
    for name in ("quarantine.parquet", "summary.json", "pairs/part-00001-of-00002.parquet"):
        (run / name).unlink()
    part = run / "candidates" / "part-00000-of-00002.parquet"
    packed = shards.pack_quarantine([Quarantined("late", "read", "InputError", "cut off")])
    shards.write_parquet(part, shards.pq.read_table(part), {shards.QUARANTINE_KEY: packed})
    assert write_report(run).pairs == 2
    words = Page(run / "report.html").words
    assert "1 of 2 shards are done" in words
    assert "late read InputError cut off" in words


def test_a_photo_that_is_gone_leaves_a_word_in_its_place(builder, tmp_path: Path) -> None:
    run = builder(tmp_path / "run")
    (run / "photo-0.png").write_bytes(b"not an image")
    assert write_report(run).unreadable == 1
    assert "picture not readable" in Page(run / "report.html").words
