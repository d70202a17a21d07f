r"""axe-core over pages, light and dark, wide and narrow: a table of findings, and pictures to look at.

    pip install PySide6==6.8.3 && pip install --no-deps axe-playwright-python    # in a venv of their own
    python benchmarks/page_axe.py outputs/run1/report.html site/index.html --review outputs/run1 \
        --qt-python qt/bin/python [--pictures FOLDER]

Each page is opened in Qt's Chromium at 1280 and 390 px, in both colour schemes. `--review` serves a copy of a run, and
looks at each part of the review app. Exit code 1 if axe has a serious or critical finding, or if Tab goes through the
controls in another order than the page has them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from qt_browser import QtBrowser  # noqa: E402

SCHEMES, WIDTHS, HEIGHT = ("light", "dark"), (1280, 390), 900
WHERE = "import axe_playwright_python as found; print(list(found.__path__)[0])"
RUN = """(() => { %s
return axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations.map(each => (
  {id: each.id, impact: each.impact, help: each.help, nodes: each.nodes.map(node => node.html.slice(0, 160))})));
})()"""
PARTS = {
    "review": "document.getElementById('help').open = false, 1",
    "keys": "document.getElementById('help').open = true, 1",
    "numbers": "document.querySelector('[name=fold]').getClientRects().length && document.querySelector('[name=fold]')"
    ".click(), document.getElementById('help').open = false, document.getElementById('more').open = true, 1",
    "thresholds": "document.querySelector('[name=tab][value=limits]').click(), 1",
    "reviewers": "document.querySelector('[name=tab][value=people]').click(), 1",
}
"""What brings up each part of the review app, as JavaScript."""
STOPS = """[...document.querySelectorAll('a[href], button, select, input, summary, [tabindex="0"]')]
  .filter(each => each.getClientRects().length && !each.disabled && each.type !== "file" && each.tabIndex >= 0)"""
ORDER = f"""(() => {{
  const box = each => each.getBoundingClientRect(), odd = [];
  const stops = {STOPS}.filter(each => !each.closest("dialog") && each.tabIndex === 0);
  if ([...document.querySelectorAll("[tabindex]")].some(each => each.tabIndex > 0)) odd.push("a positive tabindex");
  const part = each => each.closest("main, header, form, aside, nav");
  const lifted = each => ["fixed", "absolute"].includes(getComputedStyle(each).position);
  const aloft = each => each && (lifted(each) || aloft(each.parentElement));
  for (let at = 1; at < stops.length; at++) {{
    const before = box(stops[at - 1]), after = box(stops[at]);
    if (part(stops[at]) !== part(stops[at - 1]) || aloft(stops[at]) || aloft(stops[at - 1])) continue;
    if (after.bottom <= before.top && after.left <= before.left) odd.push(stops[at].outerHTML.slice(0, 90));
  }}
  return odd;
}})()"""
"""The controls that Tab reaches although they stand left of and above the one before."""
FIRST = f"""(() => {{
  const now = document.activeElement, first = {STOPS}.filter(each => !each.closest("dialog"))[0];
  if (!first || now === first || (now.name && now.name === first.name)) return [];  // radio buttons are one stop
  return ["Tab begins at " + now.outerHTML.slice(0, 90)];
}})()"""
"""Where Tab begins, if not at the first control of the page."""


def axe_source(python: str) -> str:
    """Return axe-core's script, from the packages of the Python that has Qt."""
    found = subprocess.run([python, "-c", WHERE], capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit("axe-core is missing: pip install --no-deps axe-playwright-python, beside PySide6")
    return (Path(found.stdout.strip()) / "axe.min.js").read_text(encoding="utf-8")


class Served:
    """The review app of a copy of a run; each :meth:`link` lets one browser in."""

    def __init__(self, run: Path) -> None:
        self.folder = tempfile.TemporaryDirectory()
        copy = shutil.copytree(run, Path(self.folder.name) / run.name)
        command = [sys.executable, "-m", "harmonygen", "review", str(copy), "--reviewer", "ana"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def link(self) -> str:
        """Return the link that the server shows next."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "http://" in line:
                return "http://" + line.partition("http://")[2].split()[0]
        sys.exit("the review's server ended")

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


def name_of(page: str) -> str:
    """Return what a page is called in the table and its pictures: its folder and file."""
    return "-".join(Path(page.partition("?")[0]).parts[-2:]).replace(".html", "")


def address_of(page: str) -> str:
    """Return a page's address."""
    return page if "://" in page else Path(page).resolve().as_uri()


def views(browser: QtBrowser, pages: list[str], link: str) -> Iterator[tuple[str, int]]:
    """Bring up one page after the other, in every width; yield its name and the width."""
    for page in pages:
        for width in WIDTHS:
            browser.resize(width, HEIGHT)
            browser.open(address_of(page))
            time.sleep(0.5)
            yield name_of(page), width
    if link:
        browser.open(link)
        for width in WIDTHS:
            for part, script in PARTS.items():
                browser.resize(width, HEIGHT)
                browser.open(link.partition("?")[0])
                browser.until("document.documentElement?.dataset.ready")
                browser.value(script)
                time.sleep(1.5)
                yield f"app-{part}", width


def looked_at(browser: QtBrowser, axe: str, picture: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what axe finds on the page that is up, and which controls Tab reaches out of order; save its picture."""
    browser.screenshot(picture)
    found, odd = browser.value(RUN % axe), browser.value(ORDER)
    browser.tab()
    return found, [*odd, *browser.value(FIRST)]


def named(found: list[dict[str, Any]]) -> str:
    """Return findings as a cell of the table."""
    return ", ".join(f"{each['id']} ({len(each['nodes'])})" for each in found) or "0"


def main() -> int:
    """Look at every page in every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*")
    parser.add_argument("--review", type=Path, help="run to serve in the review app")
    parser.add_argument("--qt-python", default=sys.executable, help="a Python that has PySide6 and axe")
    parser.add_argument("--pictures", type=Path, default=Path("axe"))
    options = parser.parse_args()
    options.pictures.mkdir(parents=True, exist_ok=True)
    axe, wrong = axe_source(options.qt_python), 0
    print("| page | width | scheme | serious or critical | other | out of order |\n|---|---|---|---|---|---|")
    with Served(options.review) if options.review else nullcontext() as app:
        for scheme in SCHEMES:
            with QtBrowser(options.qt_python, (WIDTHS[0], HEIGHT), dark=scheme == "dark") as browser:
                for name, width in views(browser, options.pages, app.link() if app else ""):
                    found, odd = looked_at(browser, axe, options.pictures / f"{name}-{width}-{scheme}.png")
                    dark = browser.value("matchMedia('(prefers-color-scheme: dark)').matches")
                    assert dark == (scheme == "dark"), "the browser does not show the colour scheme"
                    grave = [each for each in found if each["impact"] in ("serious", "critical")]
                    other = [each for each in found if each not in grave]
                    wrong += bool(grave or odd)
                    print(f"| {name} | {width} | {scheme} | {named(grave)} | {named(other)} | {len(odd)} |", flush=True)
                    for line in [*(f"{each['id']}: {each['help']} {each['nodes'][:3]}" for each in grave), *odd]:
                        print(f"    {line}", file=sys.stderr, flush=True)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
