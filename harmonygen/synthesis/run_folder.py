"""Where a run's files count: its folder, or a URL that the folder is staged for.

A run at a URL is worked on in a folder of the cache and sent shard by shard, ``pairs/`` before ``candidates/``: as in a
local run, the candidates' file under its final name is the record that the shard is done, and only what is at the
URL counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harmonygen.errors import UsageError
from harmonygen.records import Quarantined
from harmonygen.runs.identity import Noted, noted_of, read_noted
from harmonygen.runs.job_folder import PLAN, QUARANTINE, REPORT, SUMMARY, job_folder, parse_plan, sweep
from harmonygen.storage.fetch import side_by_side
from harmonygen.storage.remote import Remote, StoredFile, place_of
from harmonygen.storage.shards import (
    PLAN_KEY,
    Shard,
    final_name,
    is_stray,
    is_whole,
    locked,
    make_folder,
    refuse_others,
    storage_errors,
    unpack_quarantine,
    unpack_rows,
    write_bytes,
)
from harmonygen.storage.url_lease import leased
from harmonygen.synthesis.plan import Plan
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.summary import finish, finished

FOLDERS = ("pairs", "candidates")
_TOP = (QUARANTINE, REPORT, SUMMARY)
"""What sums a run up, in the order it is sent: the summary says that the others are there."""
_BESIDE = ("selection.json",)
_PART = re.compile(r"part-\d+-of-\d+\.parquet")
_REMEDY = "choose another --out, or pass --overwrite"


def open_run(settings: SynthesizeSettings) -> RunFolder:
    """Return a run's folder, which need not be there; nothing is written.

    Raises:
        UsageError: the store's package is missing, or a store in this process's memory is asked for by others.
    """
    if not settings.remote:
        return RunFolder(settings.out)
    remote = Remote(settings.remote)
    if "memory" in remote.protocols and (settings.engine == "ray" or settings.workers > 1):
        raise UsageError("memory:// is seen by one process only: use --workers 1, or another --out")
    return RemoteRun(place_of(settings.remote, "runs"), remote)


def is_done(out: Path, shard: Shard, digest: str) -> bool:
    """Return whether a shard's two files are whole and belong to the plan."""
    return all(is_whole(out / folder / shard.filename, digest) for folder in FOLDERS)


def clear(out: Path) -> None:
    """Remove what a run has made, and nothing else that lies beside it; its plan stays."""
    with storage_errors(f"'{out}'"):
        for name in (*_TOP, *_BESIDE):
            (out / name).unlink(missing_ok=True)
        for folder in (out / name for name in FOLDERS):
            for path in list(folder.iterdir()) if folder.is_dir() else []:
                if _PART.fullmatch(path.name):
                    path.unlink()


def writes(shards: Sequence[Shard]) -> list[str]:
    """Return the files that shards and their summing up write, relative to the run's folder."""
    return [*_TOP, *_BESIDE, *(f"{folder}/{shard.filename}" for shard in shards for folder in FOLDERS)]


def send_shard(remote: Remote, shard: Shard, out: Path) -> None:
    """Send a shard's two whole files, the record that it is done last."""
    for folder in FOLDERS:
        remote.put(out / folder / shard.filename, f"{folder}/{shard.filename}")


class RunFolder:
    """A run in a folder of this machine, or of storage that all its workers share."""

    def __init__(self, out: Path) -> None:
        self.out = out

    @contextmanager
    def held(self, plan: Plan, part: tuple[int, int], overwrite: bool) -> Iterator[None]:
        """Begin the run, or take it up where it is, and hold it; other parts of a job array may be at work beside.

        Raises:
            UsageError: the folder is not a run's, holds a run with other options, or is held by another run.
        """
        anew = clear if overwrite else None
        whole = partial(self.finished, plan)
        with job_folder(self.out, plan.job, writes(plan.shards), part=part, finished=whole, anew=anew, remedy=_REMEDY):
            yield

    def waiting(self, shards: Sequence[Shard], digest: str) -> list[Shard]:
        """Return the shards that are not done yet."""
        return [shard for shard in shards if not is_done(self.out, shard, digest)]

    def make_ready(self, shards: Sequence[Shard], digest: str) -> list[Shard]:
        """Return the shards that are to be run."""
        return self.waiting(shards, digest)

    def noted(self, shards: Sequence[Shard], digest: str) -> list[Noted]:
        """Return what the shards that are done note of their photos and masks."""
        done = (self.out / "pairs" / shard.filename for shard in shards if is_done(self.out, shard, digest))
        return noted_of(done)

    def quarantined(self, shard: Shard) -> list[Quarantined]:
        """Return what was quarantined in a shard that is done."""
        return unpack_quarantine(self.out / "candidates" / shard.filename)

    def finished(self, plan: Plan) -> bool:
        """Return whether the run is complete and summed up."""
        return finished(self.out, plan)

    def finish(self, plan: Plan, read_bad: Sequence[Quarantined]) -> dict[str, Any]:
        """Write what sums up a complete run, if it is not there yet, and return its summary."""
        return finish(self.out, plan, read_bad)


class RemoteRun(RunFolder):
    """A run at a URL, staged in a folder of the cache. What is staged and whole is sent, not made again."""

    def __init__(self, out: Path, remote: Remote) -> None:
        super().__init__(out)
        self.remote = remote
        self._footers: dict[str, tuple[StoredFile, dict[bytes, bytes]]] = {}

    @contextmanager
    def held(self, plan: Plan, part: tuple[int, int], overwrite: bool) -> Iterator[None]:
        """Look at the URL first; then hold the staging folder by its lock, and the URL by a lease."""
        self._look(plan, overwrite)
        own, kin = f"part-{part[0]}-of-{part[1]}", f"part-*-of-{part[1]}"
        with locked(make_folder(self.out), own):
            refuse_others(self.out, kin)
            with leased(self.remote, own, kin):
                self._adopt(plan, overwrite)
                if part[1] == 1:  # another part's temporary files are not a killed run's
                    sweep(self.out, writes(plan.shards), resumed=True)
                yield

    def _look(self, plan: Plan, overwrite: bool) -> dict[str, StoredFile]:
        """Return what is at the URL, unless it is refused; nothing is written."""
        names = self.remote.listing()
        strangers = sorted({name for name in names if not name.startswith(".")} - {PLAN})
        if PLAN in names:
            old = parse_plan(self.remote.read(PLAN) or b"", self.remote.url, "synthesize")
            if not overwrite:
                plan.job.refuse_another(old, self.remote.url, _REMEDY)
        elif strangers:
            found = ", ".join(strangers[:3])
            raise UsageError(f"'{self.remote.url}' is not empty and not a run (found {found}): choose another --out")
        return names

    def _adopt(self, plan: Plan, overwrite: bool) -> None:
        """Take up the run at the URL, or begin it there; the staging folder follows."""
        names = self._look(plan, overwrite)
        if overwrite:
            clear(self.out)  # what is staged may be of photos that changed
            self._remove_run(names if PLAN in names else {})
        content = json.dumps(plan.job.to_json(), indent=1, ensure_ascii=False, default=str).encode()
        self.remote.write(PLAN, content, new=True)
        there = self.remote.read(PLAN) or content
        plan.job.refuse_another(parse_plan(there, self.remote.url, "synthesize"), self.remote.url, _REMEDY)
        if _digest_in(there) != self._staged_digest():
            clear(self.out)
        write_bytes(self.out / PLAN, there)

    def _remove_run(self, names: dict[str, StoredFile]) -> None:
        """Remove the run at the URL, its plan last, and nothing else that lies beside it."""
        ours = [name for name in names if name.partition("/")[0] in FOLDERS and _is_part(name.partition("/")[2])]
        for name in (SUMMARY, QUARANTINE, REPORT, *_BESIDE, *sorted(ours), PLAN):
            if name in names:
                self.remote.remove(name)

    def _staged_digest(self) -> str:
        path = self.out / PLAN
        return _digest_in(path.read_bytes()) if path.is_file() else ""

    def make_ready(self, shards: Sequence[Shard], digest: str) -> list[Shard]:
        """Sweep what a killed run left of these shards, send what it staged whole, and return those that wait."""
        ours = {shard.filename for shard in shards}
        for name in self.remote.listing():
            folder, _, file = name.rpartition("/")
            if folder in FOLDERS and is_stray(file, ours, ours):
                self.remote.remove(name)
        waiting = super().make_ready(shards, digest)
        staged = [shard for shard in waiting if is_done(self.out, shard, digest)]
        for shard in staged:
            send_shard(self.remote, shard, self.out)
        return [shard for shard in waiting if shard not in staged]

    def waiting(self, shards: Sequence[Shard], digest: str) -> list[Shard]:
        """Return the shards whose two files are not whole at the URL."""
        names = self.remote.listing()

        def look(name: str) -> None:
            self._footers[name] = names[name], self._footer(name)

        files = [f"{folder}/{shard.filename}" for shard in shards for folder in FOLDERS]
        side_by_side(look, [name for name in files if name in names and not self._is_known(name, names[name])])
        done = {name for name in files if name in names and self._footers[name][1].get(PLAN_KEY) == digest.encode()}
        return [shard for shard in shards if not {f"{folder}/{shard.filename}" for folder in FOLDERS} <= done]

    def noted(self, shards: Sequence[Shard], digest: str) -> list[Noted]:
        """Return what the shards that are done at the URL, or staged whole, note of their photos and masks."""
        found = super().noted(shards, digest)
        waiting = self.waiting(shards, digest)
        for shard in shards:
            if shard not in waiting and not is_done(self.out, shard, digest):
                with self.remote.opened(f"pairs/{shard.filename}") as opened:
                    found += read_noted(opened)
        return found

    def _is_known(self, name: str, entry: StoredFile) -> bool:
        return name in self._footers and self._footers[name][0] == entry

    def _footer(self, name: str) -> dict[bytes, bytes]:
        """Read a file's footer at the URL; nothing if it is not whole."""
        with self.remote.opened(name) as opened:
            try:
                return dict(pq.read_metadata(opened).metadata or {})
            except pa.ArrowException:
                return {}

    def quarantined(self, shard: Shard) -> list[Quarantined]:
        """Return what was quarantined in a shard that is done."""
        name = f"candidates/{shard.filename}"
        known = self._footers[name][1] if name in self._footers else {}
        return unpack_rows(known or self._footer(name))

    def finished(self, plan: Plan) -> bool:
        """Return whether the run is complete and summed up at the URL."""
        return set(_TOP) <= self.remote.listing().keys() and not self.waiting(plan.shards, plan.digest)

    def finish(self, plan: Plan, read_bad: Sequence[Quarantined]) -> dict[str, Any]:
        """Sum up a complete run in the staging folder, with the shards that others made, and send that."""
        if self.finished(plan):
            self._collect(_TOP)
        else:
            self._collect([f"{folder}/{shard.filename}" for shard in plan.shards for folder in FOLDERS])
            finish(self.out, plan, read_bad)
            for name in _TOP:
                self.remote.put(self.out / name, name)
        summary: dict[str, Any] = json.loads((self.out / SUMMARY).read_text(encoding="utf-8"))
        return summary

    def _collect(self, names: Sequence[str]) -> None:
        """Copy to the staging folder what it lacks, or has in another size."""
        sizes, staged = self.remote.listing(), self.out
        missing = [
            name
            for name in names
            if not (staged / name).is_file() or (staged / name).stat().st_size != sizes[name].size
        ]
        side_by_side(lambda name: self.remote.get(name, staged / name), missing)


def _is_part(name: str) -> bool:
    """Return whether a file in a run's folder is a shard's, whole or being written."""
    return _PART.fullmatch(name) is not None or _PART.fullmatch(final_name(name) or "") is not None


def _digest_in(plan: bytes) -> str:
    """Return the digest in a ``plan.json``; empty if it is none."""
    try:
        return str(json.loads(plan)["plan_digest"])
    except (ValueError, KeyError, TypeError):
        return ""
