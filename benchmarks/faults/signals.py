"""SIGINT and SIGTERM, once and twice: exit code 130 or 143, whole files, and the same command resumes."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator

from faults import jobs
from faults.jobs import Job, Workshop, moments
from faults.kills import Tally, check, phase
from faults.table import Row

CASES = (
    ("SIGINT", (signal.SIGINT,), 130),
    ("SIGTERM", (signal.SIGTERM,), 143),
    ("SIGINT twice", (signal.SIGINT, signal.SIGINT), 130),
    ("SIGTERM twice", (signal.SIGTERM, signal.SIGTERM), 143),
)


def rows(shop: Workshop, most: int = 3) -> Iterator[Row]:
    """Signal every verb at up to ``most`` moments a case."""
    made = [make(shop) for make in jobs.ALL if make is not jobs.starter]
    prepared = [(job, *shop.straight(job)) for job in made]
    for name, numbers, code in CASES:
        tally = Tally()
        for job, expected, straight in prepared:
            _strike(shop, job, expected, straight.events, (numbers, code), most, tally)
        yield tally.row(f"{name} x resume, all verbs", f"exit code {code}; {_where(tally)}")


def _strike(
    shop: Workshop,
    job: Job,
    expected: dict[str, object],
    events: tuple[tuple[str, str], ...],
    case: tuple[tuple[signal.Signals, ...], int],
    most: int,
    tally: Tally,
) -> None:
    numbers, code = case
    out = shop.out_of(job)
    for at in moments(events, most):
        trap = shop.trap(job, out, does="signal", numbers=[int(number) for number in numbers], at=at)
        end = shop.forge.run(*job.command(out), trap=trap)
        what = f"{job.name} at {' '.join(events[at])}"
        if end.code == 0 and at >= len(events) - 3:  # it was over before the signal could act
            shutil.rmtree(out, ignore_errors=True)
            continue
        tally.phases[phase(end.events)] += 1
        if end.code != code:
            tally.wrong.append(f"{what}: exit {end.code}, {end.told}")
            tally.survived -= 1
        check(shop, job, out, expected, tally, what)


def _where(tally: Tally) -> str:
    return ", ".join(f"{phase} {count}" for phase, count in tally.phases.items())
