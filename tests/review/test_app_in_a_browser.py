"""The app as a browser shows it, driven by keys; HARMONYGEN_QT_PYTHON names a Python that has PySide6."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from channel_judge import judge_by_channels
from qt_browser import QtBrowser

QT = os.environ.get("HARMONYGEN_QT_PYTHON", "")
pytestmark = pytest.mark.skipif(not QT, reason="HARMONYGEN_QT_PYTHON names no Python with PySide6")


@pytest.fixture
def browser() -> Iterator[QtBrowser]:
    """A window of Qt's Chromium."""
    with QtBrowser(QT) as found:
        yield found


def press(browser: QtBrowser, key: str) -> None:
    """Press a key and wait until the page has taken it: what is said of the current candidate changes."""
    before = browser.value("document.getElementById('now').textContent")
    browser.value(f"document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}})), 1")
    browser.until(f"document.getElementById('now').textContent !== {before!r}")


def text(browser: QtBrowser, place: str) -> str:
    return browser.value(f"document.getElementById('{place}').textContent")


def test_the_goal_is_a_number_of_pairs_that_stays(run: Path, browser: QtBrowser, serving):
    with serving(run) as (_client, _session, door):
        browser.open(door.link)
        browser.until("document.documentElement?.dataset.ready")
        seen = [text(browser, "tally")]
        for key in "raa":
            press(browser, key)
            seen.append(text(browser, "tally"))
        browser.open(f"http://127.0.0.1:{door.port}/?reviewer=reviewer")
        browser.until("document.documentElement?.dataset.ready")
        assert text(browser, "tally") == seen[-1]
    assert [each.partition(" pairs settled")[0] for each in seen] == ["0 of 40", "0 of 40", "1 of 40", "2 of 40"]


def test_each_judge_is_shown_and_thresholds_follow_how_they_are_combined(
    run: Path, browser: QtBrowser, serving, monkeypatch
):
    judge_by_channels(run, monkeypatch, ("red", "green"), combine="veto", min_score=0.3)
    with serving(run) as (_client, session, door):
        browser.open(door.link)
        browser.until("document.documentElement?.dataset.ready")
        row = next(row for row in range(240) if session.columns.selected[row])
        red, green = (f"{name} {session.columns.values[f'p_{name}'][row]:.3f}" for name in ("red", "green"))
        decided = session.columns.deciders[session.columns.decider[row]]
        assert f"{red} · {green} ·" in text(browser, "facts")
        assert f"decided by {decided}" in text(browser, "facts")
        browser.value("document.querySelector('[name=tab][value=limits]').click(), 1")
        titles = "[...document.querySelectorAll('.limit h2')].map(each => each.textContent).join()"
        browser.until(f"{titles}.endsWith('Greatest drift,Least score of green')")
        browser.value(
            "(() => { const choice = document.querySelector('.combine select'); choice.value = 'all-above';"
            " choice.dispatchEvent(new Event('change')); return 1; })()"
        )
        browser.until(f"{titles}.endsWith('Greatest drift,Least score of red,Least score of green')")
