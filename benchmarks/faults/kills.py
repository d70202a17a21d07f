"""SIGKILL at every phase of every verb, then the same command again: nothing lost, nothing twice."""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults import content
from faults.forge import End
from faults.jobs import ALL, Job, Workshop, moments
from faults.table import Row


@dataclass
class Tally:
    """What came of striking a job several times."""

    injected: int = 0
    survived: int = 0
    lost: int = 0
    twice: int = 0
    wrong: list[str] = field(default_factory=list)
    phases: Counter[str] = field(default_factory=Counter)

    def row(self, fault: str, note: str = "") -> Row:
        """Return the table's row."""
        where = ", ".join(f"{phase} {count}" for phase, count in self.phases.items())
        wrong = f"; WRONG: {'; '.join(self.wrong[:3])}" if self.wrong else ""
        return Row(fault, self.injected, self.survived, self.lost, self.twice, (note or where) + wrong)


def rows(shop: Workshop, most: int = 12, starter: int = 3) -> Iterator[Row]:
    """Kill every verb at up to ``most`` moments (the starter's diffusion model at ``starter``)."""
    for make in ALL:
        yield kill(shop, make(shop), starter if make.__name__ == "starter" else most)


def kill(shop: Workshop, job: Job, most: int) -> Row:
    """Kill one job at up to ``most`` of the moments at which it touches a file, and go on each time."""
    expected, straight = shop.straight(job)
    tally, out = Tally(), shop.out_of(job)
    for at in moments(straight.events, most):
        end = shop.forge.run(*job.command(out), trap=shop.trap(job, out, does="kill", at=at))
        if end.code != -signal.SIGKILL:  # fewer events this time: threads; nothing was injected
            shutil.rmtree(out, ignore_errors=True)
            continue
        tally.phases[phase(end.events)] += 1
        check(shop, job, out, expected, tally, f"killed at {' '.join(straight.events[at])}")
    return tally.row(f"kill -9 x resume: {job.name}")


def check(
    shop: Workshop, job: Job, out: Path, expected: dict[str, Any], tally: Tally, what: str, cut: bool = False
) -> End:
    """Go on with a job that was struck, compare it with one that was not, and count; ``cut``: files were torn by us."""
    tally.injected += 1
    torn = [] if cut else content.torn(out)
    end = shop.forge.run(*job.resumed(out))
    found = content.content(out)
    lost, twice, strays = content.lost(expected, found), content.twice(out), content.strays(expected, out)
    tally.lost, tally.twice = tally.lost + len(lost), tally.twice + twice
    faults = [f"exit {end.code}: {end.told}"] if end.code else []
    faults += (
        [f"lost {lost[:2]}"] * bool(lost) + [f"strays {strays[:2]}"] * bool(strays) + [f"torn {torn}"] * bool(torn)
    )
    if twice or faults:
        tally.wrong.append(f"{what}: {', '.join(faults) or 'rows twice'}")
    else:
        tally.survived += 1
    shutil.rmtree(out, ignore_errors=True)
    return end


def phase(events: tuple[tuple[str, str], ...]) -> str:
    """Name the phase that a job was in, by the last thing it did."""
    kind, path = events[-1]
    name = Path(path).name
    earlier = [path for kind, path in events[:-1] if kind == "rename"]
    if name.endswith(".html") or ".html." in name:
        return "report"
    if any(word in path for word in ("summary", "quarantine", "manifest", "README", "IHD_", "table.", "state.json")):
        return "summary"
    if kind == "read":
        return "while computing" if earlier else "start-up"
    if kind in ("fsync", "rename", "remove", "link"):
        pairs = [path for path in earlier if "/part-" in path or path.startswith("pairs/")]
        half = pairs and pairs[-1].rpartition("/")[0].endswith("pairs") and "candidates" in path
        return "between two renames" if half else "commit"
    return "write" if kind == "write" or earlier else "start-up"
