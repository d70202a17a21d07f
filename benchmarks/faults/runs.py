"""Two runs on one folder: the second is refused, the first is unharmed. A worker that dies: nothing is lost."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from faults import content, jobs
from faults.jobs import Workshop
from faults.kills import Tally
from faults.table import Row

EXIT_USAGE = 2


def rows(shop: Workshop) -> Iterator[Row]:
    """Start every verb a second time while a first one stands still half-way."""
    tally = Tally()
    for make in jobs.ALL:
        if make is not jobs.starter:
            _second(shop, make(shop), tally)
    yield tally.row("two runs on one folder, all verbs", "the second refused with exit code 2, the first unharmed")


def _second(shop: Workshop, job: jobs.Job, tally: Tally) -> None:
    expected, straight = shop.straight(job)
    out = shop.out_of(job)
    reached, until = shop.place / "reached", shop.place / "until"
    hold = {"does": "hold", "at": len(straight.events) // 2, "reached": str(reached), "until": str(until)}
    first = shop.forge.start(*job.command(out), trap=shop.trap(job, out, **hold))
    _await(reached)
    second = shop.forge.run(*job.command(out))
    until.touch()
    end = shop.forge.wait(first)
    lost = content.lost(expected, content.content(out))
    tally.injected += 1
    tally.lost += len(lost)
    tally.twice += content.twice(out)
    if second.code == EXIT_USAGE and end.code == 0 and not lost:
        tally.survived += 1
    else:
        tally.wrong.append(
            f"{job.name}: second {second.code} ({second.told}), first {end.code} ({end.told}), {lost[:2]}"
        )
    for path in (reached, until):
        path.unlink(missing_ok=True)
    shutil.rmtree(out)


def _await(path: Path) -> None:
    for _ in range(12_000):
        if path.exists():
            return
        time.sleep(0.01)
    raise RuntimeError("the first run did not come to its half")
