"""The review page driven in headless Chromium: keys, saving, reload, export, import, and what `select` makes of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from harmonygen.report import write_review
from harmonygen.runs.decisions import read_decisions, write_decisions

HERE = "[document.getElementById('pair').textContent, document.getElementById('which').textContent]"
TALLY = "document.getElementById('tally').textContent"
CELLS = "[...document.querySelectorAll('.cell')].map(cell => cell.getAttribute('aria-label'))"
SAID = "document.getElementById('toast').textContent"


@pytest.fixture(scope="module")
def run(builder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four pairs in a folder of its own: candidate 1 is selected, 2 is next in line, 0 is gated."""
    folder = builder(tmp_path_factory.mktemp("reviewed") / "run")
    write_review(folder)
    return folder


@pytest.fixture
def page(chromium, run: Path):
    """The review page, open and ready; no error in it and no request by it may come."""
    chromium.open((run / "review.html").as_uri())
    chromium.until("document.documentElement.dataset.ready")
    yield chromium
    assert chromium.errors == []
    assert set(chromium.requests) <= {(run / "review.html").as_uri()}


def saved(folder: Path) -> Path:
    until = time.monotonic() + 20
    while not (found := list((folder / "saved").glob("*.json"))):
        assert time.monotonic() < until, "nothing was downloaded"
        time.sleep(0.05)
    return found[0]


def test_keys_decide_and_the_queue_goes_on_to_the_next_in_line(page, nasty: str) -> None:
    assert page.value(HERE) == ["pair-0", "candidate 1"]
    assert page.value("document.getElementById('help').open") is True
    assert "0 of 4 pairs settled" in page.value(TALLY)
    page.press("a")
    assert page.value(HERE) == [nasty, "candidate 1"]
    page.press("r")
    assert page.value(HERE) == [nasty, "candidate 2"]  # takes the place of the rejected one
    assert page.value(TALLY) == "1 of 4 pairs settled ✓ 1 ✗ 1"  # the goal stays
    page.press("r")
    assert page.value(HERE) == ["pair-2", "candidate 1"]  # the third of the pair failed a gate
    assert page.value(CELLS)[:3] == [
        "pair-0, candidate 1, score 0.600, accepted",
        f"{nasty}, candidate 1, score 0.601, rejected",
        f"{nasty}, candidate 2, score 0.301, rejected",
    ]
    page.press("u")
    assert page.value(HERE) == [nasty, "candidate 2"]
    assert page.value("document.getElementById('stamp').textContent") == "undecided"
    page.press("u", "u", "u")
    assert "0 of 4 pairs settled" in page.value(TALLY)
    assert "Nothing to undo" in page.value(SAID)


def test_arrows_walk_and_siblings_are_reached_without_deciding(page, nasty: str) -> None:
    page.press("ArrowRight", "n", "p")
    assert page.value(HERE) == [nasty, "candidate 1"]
    page.press("ArrowLeft", "ArrowLeft")
    assert page.value(HERE) == ["pair-0", "candidate 1"]
    page.press("ArrowDown", "ArrowDown", "ArrowDown")
    assert page.value(HERE) == ["pair-0", "candidate 0"]
    page.press("ArrowUp")
    assert page.value(HERE) == ["pair-0", "candidate 2"]
    page.press("x")
    assert page.value(TALLY) == "1 of 4 pairs settled ✓ 0 ✗ 3"
    assert page.value(HERE) == [nasty, "candidate 1"]
    page.press("u")
    assert "0 of 4 pairs settled" in page.value(TALLY)


def test_decisions_survive_a_reload(page, nasty: str) -> None:
    page.press("a", "r", "a")
    before = page.value(CELLS)
    page.reload()
    page.until("document.documentElement.dataset.ready")
    assert page.value(TALLY) == "2 of 4 pairs settled ✓ 2 ✗ 1"
    assert page.value(CELLS) == before
    assert page.value(HERE) == ["pair-2", "candidate 1"]  # the first that is undecided
    assert "2 done before" in page.value(SAID)
    page.press("ArrowLeft", "c")
    page.reload()
    page.until("document.documentElement.dataset.ready")
    assert page.value(TALLY) == "1 of 4 pairs settled ✓ 1 ✗ 1"
    assert page.value(HERE) == [nasty, "candidate 2"]


def test_filters_show_what_they_say(page, nasty: str) -> None:
    page.press("a", "r", "3")
    assert [label.partition(",")[0] for label in page.value(CELLS)] == ["pair-0"]
    page.press("4")
    assert page.value(CELLS) == [f"{nasty}, candidate 1, score 0.601, rejected"]
    assert page.value(HERE) == [nasty, "candidate 1"]
    page.press("2")
    assert len(page.value(CELLS)) == 3
    page.press("1", "s")
    assert len(page.value(CELLS)) == 12
    assert "all candidates" in page.value("document.getElementById('says').textContent")
    page.press("f", *["ArrowRight"] * 70)
    assert page.value("document.getElementById('scores').textContent") == "0.70 – 1.00"
    assert all("candidate 0, score 0.90" in label for label in page.value(CELLS))
    page.press("Escape", "r")
    assert page.value(TALLY) == "3 of 12 decided ✓ 1 ✗ 2"
    page.value("document.querySelector('[name=gate]').value = '-', document.querySelector('[name=gate]')"
               ".dispatchEvent(new Event('input', { bubbles: true }))")  # fmt: skip
    assert page.value(CELLS) == []
    assert page.value("document.getElementById('nothing').textContent") == "No candidate fits these filters."


def test_space_puts_the_photo_in_place_and_o_moves_the_outline(page) -> None:
    flipped = "getComputedStyle(document.querySelector('.behind')).visibility"
    outline = "[...document.querySelectorAll('.view .outline')].map(one => getComputedStyle(one).visibility)"
    assert page.value("document.querySelector('.view.real .outline path').getAttribute('d').length") > 20
    page.press(" ", hold=True)
    assert page.value(flipped) == "visible"
    page.release(" ")
    assert page.value(flipped) == "hidden"
    assert page.value(outline) == ["visible", "hidden"]
    page.press("o")
    assert page.value(outline) == ["visible", "visible"]
    page.press("o")
    assert page.value(outline) == ["hidden", "hidden"]


def test_the_mouse_decides_too_and_gives_the_keys_back(page) -> None:
    page.click("button[name=accept]")
    page.click("label:has([value=open])")
    page.press("r")
    assert page.value(TALLY) == "1 of 4 pairs settled ✓ 1 ✗ 1"
    page.click(".cell:nth-child(3)")
    assert page.value(HERE)[0] == "pair-3"


def test_keys_can_be_turned_off_and_do_not_disturb_typing(page) -> None:
    page.click("[name=text]")
    page.press("a", "r", "-", "3")
    assert page.value("document.querySelector('[name=text]').value") == "ar-3"
    assert "0 of 4 pairs settled" in page.value(TALLY)
    page.press("Escape")
    page.click("#keys")
    page.press("a")
    assert "0 of 4 pairs settled" in page.value(TALLY)


def test_the_exported_file_is_what_select_applies(page, run: Path, tmp_path: Path, nasty: str) -> None:
    page.press("a", "r", "r", "a", "s")  # pair-0 k1; second pair k1 and k2 rejected; pair-2 k1
    page.press("4", "1", "e")
    made = read_decisions(saved(tmp_path))
    assert (made.folder, made.plan_digest) == ("run", "tests-4")
    rejected = {(nasty, 1): "reject", (nasty, 2): "reject"}
    assert made.of == {("pair-0", 1): "accept", **rejected, ("pair-2", 1): "accept"}
    assert json.loads(saved(tmp_path).read_text())["decisions"][0] == {
        "pair_id": "pair-0",
        "k": 1,
        "decision": "accept",
    }
    result = select(run, saved(tmp_path))
    assert (result["selected"], result["unfilled"], result["accepted"], result["rejected"]) == (3, 1, 2, 2)
    rows = [row for path in sorted((run / "candidates").glob("*")) for row in rows_of(path)]
    assert {row["pair_id"]: row["k"] for row in rows if row["selected"]} == {"pair-0": 1, "pair-2": 1, "pair-3": 1}
    assert [row["reason"] for row in rows if row["pair_id"] == nasty] == [
        "gate:clipped", "review:rejected", "review:rejected"
    ]  # fmt: skip
    assert select(run, saved(tmp_path))["shards_rewritten"] == 0
    assert "rejected" in (run / "report.html").read_text()


def rows_of(path: Path) -> list[dict]:
    return pq.read_table(path, columns=["pair_id", "k", "selected", "reason"]).to_pylist()


def select(run: Path, decisions: Path) -> dict:
    import typer

    from harmonygen_cli.select import select as command

    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, [str(run), "--decisions", str(decisions), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_file_is_imported_as_one_step_and_a_foreign_one_is_not(page, run: Path, tmp_path: Path, decisions_of) -> None:
    page.press("a")
    theirs = tmp_path / "theirs.json"
    write_decisions(theirs, decisions_of(run, {("pair-0", 1): "reject", ("pair-2", 0): "accept"}))
    page.choose_file("#file", theirs)
    page.until(f"{SAID}.includes('2 decisions read')")
    assert "3 decided" in page.value("document.title") or "✓ 1 ✗ 1" in page.value(TALLY)
    page.press("u")
    assert "✓ 1 ✗ 0" in page.value(TALLY)
    theirs.write_text(theirs.read_text().replace("tests-4", "tests-5"))
    page.choose_file("#file", theirs)
    page.until(f"{SAID}.includes('of another run')")
    write_decisions(theirs, decisions_of(run, {("pair-9", 1): "reject"}))
    page.choose_file("#file", theirs)
    page.until(f"{SAID}.includes('no candidate 1 of pair “pair-9”')")
    assert "✓ 1 ✗ 0" in page.value(TALLY)


def test_only_what_is_in_view_exists_and_focus_and_names_are_there(chromium, builder, tmp_path: Path) -> None:
    folder = builder(tmp_path / "run", pairs=60, shard_size=60)
    chromium.open(write_review(folder).path.as_uri())
    chromium.until("document.documentElement.dataset.ready")
    chromium.press("s")
    assert chromium.value("document.querySelectorAll('.cell').length") < 40
    assert chromium.value("document.querySelector('.cell').getAttribute('aria-setsize')") == "180"
    chromium.press("End")
    assert chromium.value(HERE)[0] == "pair-59"
    assert chromium.value("document.querySelector('.cell.current').getAttribute('aria-posinset')") == "180"
    active = "document.getElementById(document.getElementById('queue').getAttribute('aria-activedescendant'))"
    assert chromium.value(f"{active}.getAttribute('aria-selected')") == "true"
    nameless = """[...document.querySelectorAll("button, input, select")].filter(one => !(one.textContent.trim()
        || one.ariaLabel || (one.labels && one.labels[0] && one.labels[0].textContent.trim())))
        .map(one => one.outerHTML)"""
    assert chromium.value(nameless) == []
    assert chromium.errors == []
