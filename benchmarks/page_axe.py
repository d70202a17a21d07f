"""axe-core over pages, light and dark, wide and narrow: a table of findings, and pictures to look at.

    pip install PySide6==6.8.3 && pip install --no-deps axe-playwright-python    # in a venv of their own
    python benchmarks/page_axe.py outputs/run1/report.html http://127.0.0.1:8000/?token=... [--pictures FOLDER]

Each page is opened in Qt's Chromium at 1280 and 390 px, in both colour schemes. Exit code 1 if axe has a serious or
critical finding.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QTWEBENGINE_CHROMIUM_FLAGS", "--no-sandbox --disable-gpu --single-process")
os.environ.setdefault("QTWEBENGINE_DISABLE_SANDBOX", "1")
WIDTHS, SCHEMES, HEIGHT, WAIT_MS = (1280, 390), ("light", "dark"), 900, 1500
RUN = """
axe.run(document, {resultTypes: ["violations"]}).then(found => {
  window.axeFound = JSON.stringify(found.violations.map(each => (
    {id: each.id, impact: each.impact, help: each.help, nodes: each.nodes.map(node => node.html.slice(0, 160))})));
}, error => {
  window.axeFound = JSON.stringify([{id: "axe failed", impact: "critical", help: String(error), nodes: [""]}]);
});
"""


def axe_source() -> str:
    """Return axe-core's script."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or not found.submodule_search_locations:
        sys.exit("axe-core is missing: pip install --no-deps axe-playwright-python")
    return (Path(found.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")


def look(page: str, width: int, scheme: str, picture: str) -> None:
    """Open one page in this process, print axe's findings as JSON and save a picture."""
    from PySide6.QtCore import QTimer, QUrl
    from PySide6.QtWebEngineWidgets import QWebEngineView
    from PySide6.QtWidgets import QApplication

    os.environ["QTWEBENGINE_CHROMIUM_FLAGS"] += f" --blink-settings=preferredColorScheme={int(scheme == 'light')}"
    app = QApplication([])
    view = QWebEngineView()
    view.resize(width, HEIGHT)
    view.show()

    def ask() -> None:
        view.page().runJavaScript(
            "JSON.stringify([window.axeFound || '', matchMedia('(prefers-color-scheme: dark)').matches])", 0, take
        )

    def take(told: str) -> None:
        answer = json.loads(told or "[]")
        if not answer or not answer[0]:
            QTimer.singleShot(200, ask)
            return
        view.grab().save(picture)
        print(json.dumps({"dark": bool(answer[1]), "found": json.loads(answer[0])}))
        app.quit()

    def start() -> None:
        view.page().runJavaScript(axe_source() + RUN, 0)
        QTimer.singleShot(500, ask)

    view.loadFinished.connect(lambda _fine: QTimer.singleShot(WAIT_MS, start))
    view.load(QUrl(page) if "://" in page else QUrl.fromLocalFile(os.path.abspath(page)))
    QTimer.singleShot(120_000, lambda: app.exit(3))
    sys.exit(app.exec())


def main() -> int:
    """Look at every page in every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+")
    parser.add_argument("--pictures", type=Path, default=Path("axe"))
    parser.add_argument("--one", nargs=3, metavar=("WIDTH", "SCHEME", "PICTURE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        look(options.pages[0], int(options.one[0]), options.one[1], options.one[2])
    options.pictures.mkdir(parents=True, exist_ok=True)
    print("| page | width | scheme | serious or critical | other |\n|---|---|---|---|---|")
    return max(
        [
            _row(page, width, scheme, options.pictures)
            for page in options.pages
            for width in WIDTHS
            for scheme in SCHEMES
        ]
    )


def _row(page: str, width: int, scheme: str, pictures: Path) -> int:
    name = "-".join(Path(page.partition("?")[0]).parts[-2:]).replace(".html", "")
    picture = pictures / f"{name}-{width}-{scheme}.png"
    command = [sys.executable, __file__, page, "--one", str(width), scheme, str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        sys.exit(f"{page} did not open: {done.stderr[-800:]}")
    answer = json.loads(lines[-1])
    grave = [each for each in answer["found"] if each["impact"] in ("serious", "critical")]
    other = [each for each in answer["found"] if each not in grave]
    seen = scheme if answer["dark"] == (scheme == "dark") else f"{scheme} (not shown by the browser)"
    print(f"| {name} | {width} | {seen} | {_named(grave)} | {_named(other)} |", flush=True)
    for each in grave:
        print(f"    {each['id']}: {each['help']}", *each["nodes"][:3], sep="\n        ", file=sys.stderr)
    return int(bool(grave))


def _named(found: list[dict]) -> str:
    return ", ".join(f"{each['id']} ({len(each['nodes'])})" for each in found) or "0"


if __name__ == "__main__":
    sys.exit(main())
