"""No space: a real full disk (a small tmpfs) while writing, and an injected ENOSPC at fsync, rename and link."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from faults import jobs
from faults.jobs import Job, Workshop
from faults.kills import Tally, check
from faults.table import Row

OPS = ("fsync", "rename", "open", "link", "mkdir")
EXIT_STORAGE = 4


def rows(shop: Workshop, most: int = 3) -> Iterator[Row]:
    """Fill the disk under every verb, and inject ENOSPC at every kind of call."""
    made = [make(shop) for make in jobs.ALL if make is not jobs.starter]
    prepared = [(job, *shop.straight(job)) for job in made]
    yield _full_disk(shop, [(job, expected) for job, expected, _ in prepared], most)
    for op in OPS:
        tally = Tally()
        for job, expected, straight in prepared:
            count = sum(kind == op for kind, _ in straight.events)
            for at in sorted({place * count // most for place in range(most)} if count else ()):
                _inject(shop, job, expected, op, at, tally)
        yield tally.row(f"no space at {op}, all verbs", "injected OSError(ENOSPC); exit code 4, then resumed")


def _inject(shop: Workshop, job: Job, expected: dict[str, object], op: str, at: int, tally: Tally) -> None:
    out = shop.out_of(job)
    trap = shop.trap(job, out, does="error", errno=errno.ENOSPC, ops=[op], at=at)
    end = shop.forge.run(*job.command(out), trap=trap)
    what = f"{job.name}, {op} {at}"
    if end.code not in (EXIT_STORAGE, 0):  # 0: a link that fails is copied, an unneeded folder is done without
        tally.wrong.append(f"{what}: exit {end.code}, {end.told}")
        tally.survived -= 1
    check(shop, job, out, expected, tally, what)


def _full_disk(shop: Workshop, prepared: list[tuple[Job, dict[str, object]]], most: int) -> Row:
    fault, tally = "no space at write, all verbs", Tally()
    disk = shop.place / "small-disk"
    disk.mkdir(exist_ok=True)
    if not mounted(disk, 64):
        return Row(fault, 0, 0, note="no right to mount a tmpfs here")
    try:
        for job, expected in prepared:
            for share in range(1, most + 1):
                _fill(shop, job, expected, disk, share / (most + 1), tally)
    finally:
        subprocess.run(["umount", str(disk)], check=False)
    return tally.row(fault, "a full tmpfs; exit code 4, resumed once there was space")


def _fill(shop: Workshop, job: Job, expected: dict[str, object], disk: Path, share: float, tally: Tally) -> None:
    """Leave a share of the space that the job needs, run it, make room, and go on."""
    out, needed = shop.out_of(job), sum(len(str(value)) for value in expected.values() if isinstance(value, bytes))
    home = disk / "out"
    home.mkdir()
    os.symlink(home, out)
    room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    left = int(share * max(60_000, min(needed, 400_000)))
    (disk / "ballast").write_bytes(bytes(max(0, room - left)))
    end = shop.forge.run(*job.command(out))
    (disk / "ballast").unlink()
    if end.code == 0:  # there was enough
        tally.phases["enough"] += 1
    elif end.code != EXIT_STORAGE:
        tally.wrong.append(f"{job.name} with {left} bytes: exit {end.code}, {end.told}")
        tally.survived -= 1
    check(shop, job, out, expected, tally, f"{job.name} with {left} bytes left")
    if out.is_symlink():
        out.unlink()
    shutil.rmtree(home)


def mounted(folder: Path, mebibytes: int) -> bool:
    """Mount a small tmpfs; tell whether it could be."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "harmonygen-faults", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
