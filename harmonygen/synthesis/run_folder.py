"""Where a run's files count: its folder, or a URL that the folder is staged for.

A run at a URL is worked on in a folder of the cache and sent shard by shard, ``pairs/`` before ``candidates/``: as in a
local run, the candidates' file under its final name is the record that the shard is done, and only what is at the
URL counts.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harmonygen.errors import UsageError
from harmonygen.records import Quarantined
from harmonygen.runs.identity import Noted, noted_of, read_noted
from harmonygen.runs.job_folder import PLAN, QUARANTINE, REPORT, SUMMARY
from harmonygen.storage.fetch import side_by_side
from harmonygen.storage.remote import Remote, StoredFile, place_of
from harmonygen.storage.shards import (
    PLAN_KEY,
    Shard,
    is_whole,
    locked,
    make_folder,
    refuse_others,
    storage_errors,
    sweep,
    unpack_quarantine,
    unpack_rows,
    write_bytes,
    write_json,
)
from harmonygen.storage.url_lease import leased
from harmonygen.synthesis.plan import Plan, adopt
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.summary import finish, finished

FOLDERS = ("pairs", "candidates")
_TOP = (QUARANTINE, REPORT, SUMMARY)
"""What sums a run up, in the order it is sent: the summary says that the others are there."""
_BESIDE = ("selection.json",)
_STRAY = re.compile(r"(pairs|candidates)/\.(?P<filename>part-\d+-of-\d+\.parquet)\.\d+\.tmp")


def open_run(settings: SynthesizeSettings) -> RunFolder:
    """Return a run's folder, made if it is not there.

    Raises:
        UsageError: the store's package is missing, or a store in this process's memory is asked for by others.
    """
    if not settings.remote:
        return RunFolder(make_folder(settings.out))
    remote = Remote(settings.remote)
    if "memory" in remote.protocols and (settings.engine == "ray" or settings.workers > 1):
        raise UsageError("memory:// is seen by one process only: use --workers 1, or another --out")
    return RemoteRun(make_folder(place_of(settings.remote, "runs")), remote)


def is_done(out: Path, shard: Shard, digest: str) -> bool:
    """Tell whether a shard's two files are whole and belong to the plan."""
    return all(is_whole(out / folder / shard.filename, digest) for folder in FOLDERS)


def begin_anew(plan: Plan, out: Path) -> None:
    """Remove an old run's files, and nothing else that lies beside them, and put the new plan in place of its own."""
    clear(out)
    write_json(out / PLAN, plan.to_json())


def clear(out: Path) -> None:
    """Remove what a run has made."""
    with storage_errors(f"'{out}'"):
        for name in (*_TOP, *_BESIDE):
            (out / name).unlink(missing_ok=True)
        for name in FOLDERS:
            shutil.rmtree(out / name, ignore_errors=True)


def send_shard(remote: Remote, shard: Shard, out: Path) -> None:
    """Send a shard's two whole files, the record that it is done last."""
    for folder in FOLDERS:
        remote.put(out / folder / shard.filename, f"{folder}/{shard.filename}")


class RunFolder:
    """A run in a folder of this machine, or of storage that all its workers share."""

    def __init__(self, out: Path) -> None:
        self.out = out

    @contextmanager
    def held(self, part: int, parts: int) -> Iterator[None]:
        """Hold the run for a part of a job array; its other parts may be at work beside.

        Raises:
            UsageError: another run holds it.
        """
        with locked(self.out, f"part-{part}-of-{parts}"):
            refuse_others(self.out, f"part-*-of-{parts}")
            if parts == 1:  # another part's temporary files are not a killed run's
                sweep(self.out)
            yield

    def adopt(self, plan: Plan, overwrite: bool) -> None:
        """Take up a run where it is, or begin it; :func:`harmonygen.synthesis.plan.adopt` says what is refused."""
        if overwrite and (self.out / PLAN).is_file():
            begin_anew(plan, self.out)
        adopt(plan, self.out)

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
        """Tell whether the run is complete and summed up."""
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
    def held(self, part: int, parts: int) -> Iterator[None]:
        """Hold the staging folder by its lock, and the URL by a lease."""
        with super().held(part, parts), leased(self.remote, f"part-{part}-of-{parts}", f"part-*-of-{parts}"):
            yield

    def adopt(self, plan: Plan, overwrite: bool) -> None:
        """Take up the run at the URL, or begin it there; the staging folder follows."""
        names = self.remote.listing()
        strangers = {name for name in names if not name.startswith(".")} - {PLAN}
        if PLAN not in names and strangers:
            raise UsageError(
                f"'{self.remote.url}' is not empty and not a run (found {', '.join(sorted(strangers)[:3])}): "
                "choose another --out"
            )
        if overwrite:
            clear(self.out)  # what is staged may be of photos that changed
            self._remove_run(names if PLAN in names else {})
        content = json.dumps(plan.to_json(), indent=1, ensure_ascii=False, default=str).encode()
        self.remote.write(PLAN, content, new=True)
        there = self.remote.read(PLAN) or content
        if _digest_in(there) != self._staged_digest():
            clear(self.out)
        write_bytes(self.out / PLAN, there)
        adopt(plan, self.out)

    def _remove_run(self, names: dict[str, StoredFile]) -> None:
        """Remove the run at the URL, its plan last, and nothing else that lies beside it."""
        ours = [name for name in names if name.partition("/")[0] in FOLDERS]
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
            if (stray := _STRAY.fullmatch(name)) and stray["filename"] in ours:
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
        """Tell whether the run is complete and summed up at the URL."""
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
        """Copy to the staging folder what it has not, or not in the size that counts."""
        sizes, staged = self.remote.listing(), self.out
        missing = [
            name
            for name in names
            if not (staged / name).is_file() or (staged / name).stat().st_size != sizes[name].size
        ]
        side_by_side(lambda name: self.remote.get(name, staged / name), missing)


def _digest_in(plan: bytes) -> str:
    """Return the digest in a ``plan.json``; empty if it is none."""
    try:
        return str(json.loads(plan)["plan_digest"])
    except (ValueError, KeyError, TypeError):
        return ""
