"""Publish a small dataset to a fake Hub on this machine, with a fault each time; print what came of it.

    python benchmarks/publish_faults.py [--case 503] [--rows 40]

Each run is a process of its own, `harmonygen publish` as it is installed, but waits are shortened a hundredfold. After
the faulty run the same command is run again without the fault. Everything that the processes said or left on disk is
searched for the token. Exit code 1 if anything is not as it has to be.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "fakes"))
from fake_hub import TOKEN, FakeHub, Fault
from publish_cases import CASES, Case
from small_dataset import build

CHILD = (
    "import sys, time; nap = time.sleep; time.sleep = lambda s: nap(s / 100); import harmonygen_cli.main as m; m.main()"
)
HEAD = (
    "fault",
    "exit",
    "main then",
    "again",
    "sent first",
    "sent again",
    "sent twice",
    "lost",
    "tokens",
    "the user saw",
)


def main() -> int:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="", help="only cases whose name holds this")
    parser.add_argument("--rows", type=int, default=40, help="training rows; 21 kB each")
    options = parser.parse_args()
    failed = found = 0
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    with tempfile.TemporaryDirectory() as place:
        built = build(Path(place) / "built", {"train": options.rows, "test": 4})
        for case in (*CASES, KILLED):
            if options.case in case.name:
                good, tokens = show(case, built, Path(place))
                failed, found = failed + (not good), found + tokens
    print(f"\ncases that did not end as they have to: {failed}; tokens found anywhere: {found}")
    return int(bool(failed or found))


def show(case: Case, built: Path, place: Path) -> tuple[bool, int]:
    """Run a case, print its line, and tell whether all is as it has to be and how often the token was found."""
    home = Path(tempfile.mkdtemp(dir=place))
    with FakeHub() as hub:
        hub.faults = case.faults(hub)
        first = publish(hub, built, home, kill=case is KILLED)
        main_then, sent = hub.commits_on_main(), sum(hub.whole.values())
        hub.faults = []
        again = publish(hub, built, home)
        resent = sum(hub.whole.values()) - sent
        said = "".join((*first[1:], *again[1:]))
        tokens = said.count(TOKEN) + in_files(home) + in_files(built)
        right = [
            first[0] == case.code,
            main_then == int(case.main),
            re.search(case.said, " ".join(said.split())),
            again[0] == 0,
            hub.commits_on_main() == 1,
            hub.sent_twice() == 0,
            holds(hub, built),
        ]
        cells = [case.name, first[0], "published" if main_then else "as it was", "finished" if right[3] else again[0]]
        cells += [sent, resent, hub.sent_twice(), hub.lost, tokens, what_was_seen(*first[1:])]
    print("| " + " | ".join(str(cell) for cell in cells) + " |" + ("" if all(right) else " <- WRONG"), flush=True)
    return all(right), tokens


def publish(hub: FakeHub, built: Path, home: Path, kill: bool = False) -> tuple[int, str, str]:
    """Run the command; return its exit code and what it said on stdout and stderr."""
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), "HF_TOKEN": TOKEN}
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("HF_")}, **settings}
    command = [sys.executable, "-c", CHILD, "publish", str(built), "--repo", "user/set", "--json"]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if kill:
        hub.faults = [Fault("PUT /store", first=4, also=lambda: os.kill(child.pid, signal.SIGKILL))]
    out, err = child.communicate(timeout=600)
    assert TOKEN not in " ".join(command)
    return child.returncode, out, err


def in_files(folder: Path) -> int:
    """Return how many files below a folder hold the token."""
    return sum(TOKEN.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def holds(hub: FakeHub, built: Path) -> bool:
    """Tell whether main holds all published files, byte for byte, and no working branch is left."""
    repo = hub.repos["user/set"]
    files = repo.files("main") or {}
    listed = [each["path"] for each in json.loads((built / "manifest.json").read_text())["files"]]
    same = all(path in files and files[path].content == (built / path).read_bytes() for path in listed)
    return same and set(repo.branches) == {"main"}


def what_was_seen(out: str, err: str) -> str:
    """Return the error, or the last line that was said."""
    error = json.loads(out).get("error") if out.strip() else None
    lines = [line for line in err.splitlines() if line.strip()]
    return " ".join((error or (lines[-1] if lines else "")).split()).replace("|", "/").replace(str(Path.cwd()), ".")


KILLED = Case("SIGKILL at the fourth file", lambda _hub: [], -signal.SIGKILL, False, "published")

if __name__ == "__main__":
    sys.exit(main())
