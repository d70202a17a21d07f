"""Secrets: after publishing, with faults, the token is found in no file, log or message."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from faults import jobs
from faults.jobs import Workshop
from faults.table import Row

FAKES = Path(__file__).resolve().parents[2] / "tests" / "fakes"
KINDS = {"environment": 0, "file": 0, "echoed": 2}
"""How the token is given, or that the server says it back in a refusal -> exit code."""
CHILD = (
    "import sys, time; nap = time.sleep; time.sleep = lambda s: nap(s / 100); import harmonygen_cli.main as m; m.main()"
)


def rows(shop: Workshop) -> Iterator[Row]:
    """Publish to a Hub on this machine with a token from the environment and from a file; search everything."""
    if not FAKES.is_dir():
        yield Row("tokens", 0, 0, note="tests/fakes is not here")
        return
    sys.path.insert(0, str(FAKES))
    from fake_hub import TOKEN, FakeHub
    from publish_cases import ECHO
    from small_dataset import build

    place = shop.place / "tokens"
    built, secret = build(place / "built", {"train": 8, "test": 4}), place / "secret"
    secret.write_text(TOKEN + "\n")
    tried = found = wrong = 0
    for kind, code in KINDS.items():
        with FakeHub() as hub:
            hub.faults = _echo(ECHO) if kind == "echoed" else []
            settings = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(place / "home")}
            words = ("--token-file", str(secret)) if kind == "file" else ()
            end = _publish(built, words, settings if kind == "file" else {**settings, "HF_TOKEN": TOKEN})
            wrong += end.returncode != code or hub.commits_on_main() != (code == 0)
        tried += 1
        found += (end.stdout + end.stderr).count(TOKEN)
        (place / f"{kind}.log").write_text(end.stdout + end.stderr)
    job = jobs.synthesize(shop)
    end = shop.forge.run(*job.command(shop.out_of(job)), env={"HF_TOKEN": TOKEN, "WANDB_API_KEY": TOKEN})
    held = [path for path in shop.place.rglob("*") if path.is_file() and path != secret and _holds(path, TOKEN)]
    note = f"in environment, --token-file, echoed by the server, beside a run: found {found + len(held)} times"
    note += f"; {[str(path.relative_to(shop.place)) for path in held[:3]]}" if held else ""
    good = tried + 1 - wrong - bool(end.code) - bool(found or held)
    yield Row("secrets in files, logs and messages", tried + 1, good, note=note, breaches=found + len(held))


def _publish(built: Path, words: tuple[str, ...], settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `harmonygen publish` in a new process: whether it may go online is settled when its library is imported."""
    command = [sys.executable, "-c", CHILD, "publish", str(built), "--repo", "user/set", "--json", *words]
    environment = {**{key: value for key, value in os.environ.items() if not key.startswith("HF_")}, **settings}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)


def _echo(said: str) -> list[object]:
    from fake_hub import Fault

    return [Fault("POST /api", 403, 1, 10_000, said, {})]


def _holds(path: Path, token: str) -> bool:
    return token.encode() in path.read_bytes()
