from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harmonygen.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def app():
    import typer

    from harmonygen_cli.report import report

    app = typer.Typer()
    app.command()(report)
    return app


def test_command_writes_the_page_and_says_so_in_json(app, run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    done = CliRunner().invoke(app, [str(run_folder), "--out", str(out), "--pairs", "pair-*", "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (result["pairs"], result["pairs_shown"], result["candidates_shown"]) == (4, 3, 9)
    assert out.stat().st_size == result["bytes"]


def test_command_writes_a_contact_sheet(app, run_folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [str(run_folder), "--contact-sheet", str(tmp_path / "s.png"), "--json"])
    assert done.exit_code == 0, done.output
    assert Path(json.loads(done.stdout)["path"]).is_file()
    assert not (tmp_path / "report.html").exists()


def test_a_wrong_folder_ends_with_exit_code_2(tmp_path: Path) -> None:
    pytest.importorskip("harmonygen_cli.main")
    code = "import sys; from harmonygen_cli.main import run; sys.exit(run(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "report", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "is empty: a report needs a run folder" in " ".join(done.stderr.split())


PROBE = """<script>addEventListener("load", () => {
  const form = document.querySelector(".controls").elements, ids = () =>
    [...document.querySelectorAll(".row:not([hidden])")].map(row => row.dataset.id);
  const change = (name, value) => { form[name].value = value; form[name].dispatchEvent(new Event("change")); };
  const seen = { start: ids() };
  change("sort", "best"); seen.best = ids();
  change("subset", "HFlickr"); seen.subset = ids();
  change("gate", "-"); seen.gate = ids();
  change("gate", ""); change("subset", ""); change("sort", "order");
  document.querySelector("button.t.sel").click();
  const dialog = document.getElementById("compare");
  seen.open = dialog.open; seen.about = dialog.querySelector(".about p").textContent;
  dialog.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown" }));
  seen.down = dialog.querySelector("h3").textContent;
  dialog.dispatchEvent(new KeyboardEvent("keydown", { key: " " }));
  seen.held = dialog.querySelector(".stage").className;
  document.body.dataset.seen = JSON.stringify(seen);
})</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_in_chromium_rows_sort_and_filter_and_the_overlay_opens(run_folder: Path, tmp_path: Path, nasty: str) -> None:
    path = write_report(run_folder, tmp_path / "r.html").path
    path.write_text(path.read_text().replace("</body>", PROBE))
    offline = ["--disable-background-networking", "--no-first-run", "--disable-component-update", "--disable-sync"]
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", *offline, f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [str(CHROMIUM), *options, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=60
    )
    seen = json.loads(html.unescape(re.search(r'data-seen="([^"]*)"', done.stdout).group(1)))
    assert seen["start"] == ["pair-0", nasty, "pair-2", "pair-3"]
    assert seen["best"] == ["pair-3", "pair-2", nasty, "pair-0"]
    assert seen["subset"] == ["pair-3", nasty]
    assert seen["gate"] == []
    assert seen["open"] is True
    assert seen["about"] == "0.600 k1 ★ · fMSE 812"
    assert seen["down"] == nasty
    assert seen["held"] == "stage real"
