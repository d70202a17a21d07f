"""No space: a real full disk (a small tmpfs) while writing, and an injected ENOSPC at fsync, rename and link."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from faults import jobs
from faults.forge import End
from faults.jobs import Job, Workshop
from faults.kills import Tally, check
from faults.table import Row

OPS = ("fsync", "rename", "open", "link", "mkdir")
EXIT_STORAGE = 4


def rows(shop: Workshop, most: int = 3) -> Iterator[Row]:
    """Fill the disk under every verb, and inject ENOSPC at every kind of call."""
    made = [make(shop) for make in jobs.ALL if make is not jobs.starter]
    prepared = [(job, *shop.straight(job)) for job in made]
    yield _full_disk(shop, most)
    for op in OPS:
        tally = Tally()
        for job, expected, straight in prepared:
            count = sum(kind == op for kind, _ in straight.events)
            for at in sorted({place * count // most for place in range(most)} if count else ()):
                _inject(shop, job, expected, op, at, tally)
        told = f"injected OSError(ENOSPC); {_told(tally)}"
        yield tally.row(f"no space at {op}, all verbs", told)


def _inject(shop: Workshop, job: Job, expected: dict[str, object], op: str, at: int, tally: Tally) -> None:
    out = shop.out_of(job)
    trap = shop.trap(job, out, does="error", errno=errno.ENOSPC, ops=[op], at=at)
    end = shop.forge.run(*job.command(out), trap=trap)
    what = f"{job.name}, {op} {at}"
    _judge(end, tally, what)
    check(shop, job, out, expected, tally, what)


def _told(tally: Tally) -> str:
    """Say how often a run ended with exit code 4, and how often the call was not needed."""
    return f"exit code 4 and resumed {tally.phases['stopped']}, not needed {tally.phases['not needed']}"


def _judge(end: End, tally: Tally, what: str) -> None:
    """Count an end that is neither a clean stop nor success: a folder that is there already needs no mkdir."""
    if end.code == EXIT_STORAGE:
        tally.phases["stopped"] += 1
    elif end.code == 0:
        tally.phases["not needed"] += 1
    else:
        tally.wrong.append(f"{what}: exit {end.code}, {end.told}")
        tally.survived -= 1


def _full_disk(shop: Workshop, most: int) -> Row:
    """Fill a real disk: a tmpfs instead of the folder that the jobs write to."""
    makers = [make for make in jobs.ALL if make not in (jobs.starter, jobs.augment)]
    disk, tally = shop.place / "disk", Tally()
    made = [*(make(shop) for make in makers), jobs.augment(shop, "parquet")]  # links would need the data's disk
    prepared = [(job, shop.straight(job)[0]) for job in made]
    if not mounted(disk):
        return Row("no space at write, all verbs", 0, 0, note="no right to mount a tmpfs here")
    try:
        for job, expected in prepared:
            needed = _size_of(shop, job)
            for share in range(1, most + 1):
                _fill(shop, job, expected, needed * share // (most + 1), tally)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)
    return tally.row("no space at write, all verbs", f"a full tmpfs; {_told(tally)}")


def _size_of(shop: Workshop, job: Job) -> int:
    """Return how many bytes of the disk a job takes."""
    before, out = _free(shop), shop.out_of(job)
    shop.forge.run(*job.command(out))
    taken = before - _free(shop)
    shutil.rmtree(out)
    return taken


def _free(shop: Workshop) -> int:
    disk = os.statvfs(shop.place / "disk")
    return disk.f_bavail * disk.f_frsize


def _fill(shop: Workshop, job: Job, expected: dict[str, object], left: int, tally: Tally) -> None:
    """Leave ``left`` bytes of the disk, run the job, make room, and go on."""
    out, ballast = shop.out_of(job), shop.place / "disk" / "ballast"
    ballast.write_bytes(bytes(max(0, _free(shop) - left)))
    end = shop.forge.run(*job.command(out))
    ballast.unlink()
    what = f"{job.name} with {left} bytes left"
    _judge(end, tally, what)
    check(shop, job, out, expected, tally, what)


def mounted(folder: Path, mebibytes: int = 64) -> bool:
    """Mount a small tmpfs; tell whether it could be."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "harmonygen-faults", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
