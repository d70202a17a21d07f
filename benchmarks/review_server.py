"""The review's server at the size of Human Harmony: first page, memory, keys, filters, map, kills, attacks, counts.

python benchmarks/review_server.py FOLDER [--pairs 30000] [--k 10] [--qt-python PYTHON] [--only speed kills ...]

FOLDER gets the run (see review_run.py) if it is not there. The browser is Chromium where one is on PATH, else Qt
WebEngine by an interpreter that has PySide6 (``--qt-python``).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "report"), str(ROOT / "tests" / "fakes")]

from chromium import Chromium, find_chromium  # noqa: E402
from qt_browser import QtBrowser  # noqa: E402
from review_client import Client  # noqa: E402
from review_run import make_run  # noqa: E402

from harmonygen.review.column_store import columns_of  # noqa: E402
from harmonygen.review.columns import read_columns_of  # noqa: E402
from harmonygen.review.thresholds import LIMITS  # noqa: E402
from harmonygen.runs.read import Run  # noqa: E402
from harmonygen.runs.review_log import REVIEW, read_log  # noqa: E402
from harmonygen_cli.main import run as command  # noqa: E402

KILLS = 20
NASTY = "<img src=x onerror=\"document.documentElement.dataset.attacked='1'\">'\"&"
READY = "document.documentElement && document.documentElement.dataset.ready"
SHOWN = "['pair', 'which', 'stamp'].map(id => document.getElementById(id).textContent).join('|')"
PRESS = """(async () => {
  const shown = () => %s, before = shown(), key = %s, begun = performance.now();
  const code = /\\d/.test(key) ? `Digit${key}` : "";
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key, code, bubbles: true }));
  while (shown() === before && performance.now() - begun < 5000) await new Promise(done => setTimeout(done, 1));
  await document.querySelector(".candidate .front").decode().catch(() => {});
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - begun;
})()"""
FILTER = """(async () => {
  const field = document.getElementById("filters").elements.namedItem(%s), page = document.documentElement;
  const before = page.dataset.drawn, begun = performance.now();
  field.value = %s;
  (field.length && field[0].type === "radio" ? field[0] : field).dispatchEvent(new Event("input", { bubbles: true }));
  const late = () => performance.now() - begun > 10000;
  while (page.dataset.drawn === before && !late()) await new Promise(done => setTimeout(done, 1));
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  return [performance.now() - begun, document.getElementById("count").textContent];
})()"""


MAP = """(async () => {
  const page = document.documentElement, begun = performance.now();
  delete page.dataset.map;
  document.querySelector("[name=tab][value=map]").click();
  while (!page.dataset.map && performance.now() - begun < 20000) await new Promise(done => setTimeout(done, 1));
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  const spent = performance.now() - begun;
  document.querySelector("#map canvas").setPointerCapture = () => {};
  return [spent, document.getElementById("map-said").textContent];
})()"""
LASSO = """(async ([x, y, size]) => {
  const canvas = document.querySelector("#map canvas"), box = canvas.getBoundingClientRect();
  const at = (type, turn) => canvas.dispatchEvent(new PointerEvent(type, { bubbles: true, pointerId: 1, button: 0,
    clientX: box.x + (x + size * Math.cos(turn) * (1 + 0.3 * Math.sin(5 * turn))) * box.width,
    clientY: box.y + (y + size * Math.sin(turn)) * box.height }));
  const page = document.documentElement, before = page.dataset.drawn;
  at("pointerdown", 0);
  for (let turn = 0.05; turn < 6.2; turn += 0.05) at("pointermove", turn);
  const begun = performance.now();
  at("pointerup", 6.2);
  const late = () => performance.now() - begun > 20000;
  while (page.dataset.drawn === before && !late()) await new Promise(done => setTimeout(done, 1));
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  return [performance.now() - begun, document.getElementById("count").textContent];
})(%s)"""


@contextlib.contextmanager
def served(run: Path, reviewer: str = "ana") -> Iterator[tuple[subprocess.Popen[str], str, float]]:
    """Serve a run; yield the process, its link, and the seconds until it was there."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "harmonygen", "review", str(run), "--reviewer", reviewer, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = json.loads(process.stdout.readline() or "{}")
        if "link" not in line:
            sys.exit(f"the server did not start: {line} {process.stderr and process.stderr.read()}")
        yield process, line["link"], time.perf_counter() - began
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()


def memory(pid: int, name: str = "VmRSS") -> float:
    """Return a process's resident memory in MB, now or (VmHWM) at most."""
    text = Path(f"/proc/{pid}/status").read_text()
    return float(text.partition(f"{name}:")[2].split()[0]) / 1024


def speed(run: Path, browser_of: Any, openings: int = 5) -> None:
    """First page, memory, keys and filters, each in new servers and browsers."""
    ready, starts, held, whole, keys, filters = [], [], [], [], [], []
    for number in range(openings):
        shutil.rmtree(run / REVIEW, ignore_errors=True)
        with served(run) as (process, link, seconds), browser_of() as browser:
            browser.open("about:blank")
            began = time.perf_counter()
            browser.open(link)
            browser.until(READY)
            ready.append(time.perf_counter() - began)
            starts.append(seconds)
            held.append(memory(process.pid))
            browser.until("document.getElementById('notes').hidden", 120)
            whole.append(time.perf_counter() - began)
            keys += [browser.value(PRESS % (SHOWN, json.dumps(key))) for key in "aararnnpa035" * 2]
            browser.value(FILTER % ('"scope"', '"all"'))
            for name, value in (("p_composite_min", "0.9"), ("gate", "passed"), ("sort", "-margin"), ("find", "7")):
                filters.append(browser.value(FILTER % (json.dumps(name), json.dumps(value))))
        if number == 0:
            print("of one opening:", [(round(ms), text) for ms, text in filters])
    print(f"server's link after {shown(starts, 's')}; first page from the link {shown(ready, 's')}; at that moment")
    print(f"the server holds {max(held):.0f} MB; all rows read after {shown(whole, 's')}")
    print(f"a key to its painted picture: {shown(keys, 'ms')} ({len(keys)} keys)")
    print(f"a filter of all rows to its drawn queue: {shown([ms for ms, _ in filters], 'ms')}")


def map_speed(run: Path, browser_of: Any, openings: int = 3) -> None:
    """Open the map, draw lassos and change its colour, each in new servers and browsers."""
    opens, lassos, held = [], [], []
    for _ in range(openings):
        with served(run) as (process, link, _), browser_of() as browser:
            browser.open("about:blank")
            browser.open(link + "&scope=all")
            browser.until(READY)
            browser.until("document.getElementById('notes').hidden", 120)
            opens.append(browser.value(MAP))
            for place in ([0.4, 0.4, 0.1], [0.55, 0.5, 0.2], [0.6, 0.3, 0.15], [0.3, 0.6, 0.08]):
                lassos.append(browser.value(LASSO % json.dumps(place)))
            held.append(memory(process.pid, "VmHWM"))
    print("of one opening:", opens[-1][1], [(round(ms), text) for ms, text in lassos[-4:]])
    print(f"the map from the click to its points: {shown([ms for ms, _ in opens], 'ms')}")
    print(f"a lasso to its drawn queue and map: {shown([ms for ms, _ in lassos], 'ms')}")
    print(f"the server held {max(held):.0f} MB at most")


def shown(values: list[float], unit: str) -> str:
    """Return median and extremes."""
    return f"{statistics.median(values):.2f} {unit} (median; {min(values):.2f} to {max(values):.2f})"


def kills(run: Path, browser_of: Any) -> None:
    """Kill server and browser by SIGKILL at random moments while a person presses keys; count what is lost."""
    shutil.rmtree(run / REVIEW, ignore_errors=True)
    columns_of(Run.look(run))  # kept, as after a first opening: each round has all pairs at once
    drawn, seen, lost, digest = random.Random(0), 0, 0, Run.look(run).plan_digest
    log = run / REVIEW / "ana.jsonl"
    for number in range(KILLS):
        with served(run) as (process, link, _):
            browser = opened(browser_of, link)
            decided = _press_until_killed(browser, process, number, drawn)
        marks = read_log(log, digest)
        held = marks.decisions() if marks else {}
        missing = [key for key, made in decided.items() if held.get(key) != made]
        seen, lost = seen + len(decided), lost + len(missing)
        whole = log.read_bytes().endswith(b"\n") if log.is_file() else True
        order = ("server first", "browser first", "both at once")[number % 3]
        print(f"kill {number + 1:2d}, {order}: {len(decided)} seen as decided, {len(missing)} lost", end="")
        print("" if whole else ", a torn last line")
    print(f"{KILLS} kills: {seen} decisions seen, {lost} lost")


def opened(browser_of: Any, link: str) -> Any:
    """Return a browser that shows the page; one that dies before it shows anything is started again."""
    for _ in range(4):
        browser = browser_of()
        try:
            browser.open("about:blank")
            break
        except (EOFError, OSError):
            browser.kill()
    browser.open(link)
    browser.until(READY)
    return browser


def _press_until_killed(browser: Any, process: Any, number: int, drawn: random.Random) -> dict[tuple[str, int], str]:
    """Press keys, and return what the page showed as decided before it was killed."""
    decided: dict[tuple[str, int], str] = {}
    victims = [lambda: process.send_signal(signal.SIGKILL), browser.kill]
    timer = threading.Timer(
        drawn.uniform(0.5, 5), lambda: [kill() for kill in victims[:: -1 if number % 3 == 1 else 1]]
    )
    timer.start()
    try:
        while True:
            pair, which, _ = browser.value(SHOWN).split("|")
            key = drawn.choice("aar")
            browser.value(PRESS % (SHOWN, json.dumps(key)))
            toast = browser.value("document.getElementById('toast').textContent")
            k = int(which.removeprefix("candidate "))
            if pair in toast and toast.startswith(("✓", "✗")):
                decided[pair, k] = "accept" if key == "a" else "reject"
    except (EOFError, OSError, RuntimeError, ValueError):
        pass
    timer.join()
    browser.kill()
    process.wait()
    return decided


def attacks(folder: Path, browser_of: Any) -> None:
    """Try to get in, out and through; print what came of each."""
    run = make_run(folder / "nasty", 40, 4, 1, NASTY)
    through = 0
    with served(run) as (_, link, _):
        port = int(link.partition("127.0.0.1:")[2].partition("/")[0])
        client = Client(port)
        client.enter(link)
        for name, method, path, headers in _attacks(port, link):
            body = b'{"reviewer":"ana","rows":[0],"decision":"accept"}' if method == "POST" else None
            status, _, content = client.ask(method, path, body, headers)
            passed = status < 400 or b"root:" in content or b"plan_digest" in content
            through += passed
            print(f"{name:52s} {status}  {'THROUGH' if passed else 'refused'}")
        second = subprocess.run(
            [sys.executable, "-m", "harmonygen", "review", str(run)], capture_output=True, check=False, timeout=60
        )
        through += second.returncode != 2
        held = "refused" if second.returncode == 2 else "THROUGH"
        print(f"{'a second server on the run':52s} exit {second.returncode}  {held}")
        through += _scripts(browser_of, client)
    print(f"through: {through}")


def _attacks(port: int, link: str) -> list[tuple[str, str, str, dict[str, str]]]:
    used = link.partition(str(port))[2]
    own = f"http://127.0.0.1:{port}"
    paths = ["/../plan.json", "/..%2fplan.json", "/%2e%2e/plan.json", "/picture/real/%2fetc%2fpasswd", "//etc/passwd"]
    paths += ["/picture/candidate/..%2f..%2fplan.json", "/review/ana.jsonl", "/plan.json", "/api/run?reviewer=../../x"]
    return [
        ("no token, no cookie", "GET", "/api/run?reviewer=ana", {"Cookie": ""}),
        ("no token, no cookie, a picture", "GET", "/picture/candidate/0", {"Cookie": ""}),
        ("no token, no cookie, a decision", "POST", "/api/say", {"Cookie": ""}),
        ("a cookie that is guessed", "GET", "/", {"Cookie": f"harmonygen-review-{port}=guessed"}),
        ("the link a second time", "GET", used, {"Cookie": ""}),
        ("another token", "GET", "/?token=guessed", {"Cookie": ""}),
        ("another Host with the cookie (DNS rebinding)", "GET", "/", {"Host": "evil.example"}),
        ("another Host at this port", "GET", "/", {"Host": f"evil.example:{port}"}),
        ("another Host with the token", "GET", used, {"Host": f"evil.example:{port}"}),
        ("a decision from another page's origin", "POST", "/api/say", {"Origin": "http://evil.example"}),
        ("a decision from another port of this machine", "POST", "/api/say", {"Origin": own.replace(str(port), "1")}),
        ("a picture in another port's page", "GET", "/picture/candidate/0", {"Sec-Fetch-Site": "same-site"}),
        ("a decision by another page's form", "POST", "/api/say", {"Content-Type": "text/plain"}),
        *((f"path {path}", "GET", path, {}) for path in paths),
    ]


def _scripts(browser_of: Any, client: Client) -> int:
    """Show ids, tags and comments that hold scripts, in all parts of the page; count those that ran."""
    for reviewer in ("ana", "bo"):
        client.post("/api/say", reviewer=reviewer, rows=[0], tags=[NASTY[:40]])
        client.post("/api/say", reviewer=reviewer, rows=[0], comment=NASTY)
        client.post("/api/say", reviewer=reviewer, rows=[0, 1], decision="accept")
    with browser_of() as browser:
        browser.open(client.post("/api/link")["link"] + "&reviewer=ana&scope=all")
        browser.until(READY)
        seen = NASTY in browser.value("document.getElementById('pair').textContent")
        for tab in ("limits", "map", "people", "review"):
            browser.value(f"document.querySelector('[name=tab][value={tab}]').click()")
            time.sleep(1.5)
        ran = browser.value("document.documentElement.dataset.attacked || ''")
        made = browser.value("document.querySelectorAll('img[src=x], [onerror]').length")
    print(f"{'script in ids, tags and comments':52s} shown as text: {seen}; ran: {bool(ran)}; elements made: {made}")
    return int(bool(ran) or made > 0 or not seen)


def counts(folder: Path) -> None:
    """Let the page write 20 recipes, and the command line select by them."""
    run, equal = make_run(folder / "counts", 300, 6), 0
    columns = read_columns_of(Run.look(run))
    for number in range(20):
        drawn = random.Random(number)
        limits = {
            limit.field: repr(float(drawn.choice(columns.values[limit.column])))
            for limit in LIMITS
            if limit.column != "drift" and drawn.random() < 0.6
        }
        shutil.rmtree(run / REVIEW, ignore_errors=True)
        with served(run) as (_, link, _):
            client = Client(int(link.partition("127.0.0.1:")[2].partition("/")[0]))
            client.enter(link)
            while not client.get("/api/run?reviewer=ana")["whole"]:
                time.sleep(0.05)
            for decision in ("accept", "reject"):
                client.post("/api/say", reviewer="ana", rows=drawn.sample(range(1800), 100), decision=decision)
            said = client.post("/api/limits/use", limits=limits)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            command(["select", str(run), "--recipe", said["path"], "--json", "--quiet"])
        result = json.loads(output.getvalue())
        equal += result["selected"] == said["selected"]
        print(f"{number + 1:2d}: page {said['selected']}, select {result['selected']}", limits)
    print(f"equal in {equal} of 20 settings")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=30_000)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--qt-python", default=sys.executable)
    parser.add_argument("--only", nargs="*", default=["speed", "map", "kills", "attacks", "counts"])
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "cli")])
    binary = find_chromium()

    def browser_of() -> Any:
        return Chromium(binary, options.folder / "profile") if binary else QtBrowser(options.qt_python)

    run = make_run(options.folder / "run", options.pairs, options.k)
    print(f"{options.pairs * options.k} candidates; {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    parts = {
        "speed": lambda: speed(run, browser_of),
        "map": lambda: map_speed(run, browser_of),
        "kills": lambda: kills(run, browser_of),
        "attacks": lambda: attacks(options.folder, browser_of),
        "counts": lambda: counts(options.folder),
    }
    for name in options.only:
        print(f"-- {name}")
        parts[name]()


if __name__ == "__main__":
    main()
